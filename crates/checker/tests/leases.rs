//! C6 and C9: no good history is rejected, no mutant gets through, and the odd replica is named.
//!
//! `cargo test -p checker --test leases -- --nocapture` prints the tables.

mod common;

use checker::leases::{FenceHistory, LeaseHistory};
use checker::{Point, Replicas, check_fences, check_leases, check_replicas};
use common::table::judge_all;
use types::{NodeId, Rng, Slot};

#[test]
fn every_mutant_of_leases_is_rejected() {
    let good: Vec<LeaseHistory> = (0..1_500).map(common::leasing::leases).collect();
    judge_all(&good, common::lease_mutate::LEASE_SPOILERS, 20, check_leases);
}

#[test]
fn every_mutant_of_locks_is_rejected() {
    let good: Vec<FenceHistory> = (0..1_500).map(common::leasing::fences).collect();
    judge_all(&good, common::lease_mutate::FENCE_SPOILERS, 20, check_fences);
}

/// Three to seven replicas, of which some report here and some there; a minority turns away, each at a slot of its own.
#[test]
fn whoever_differs_from_the_majority_is_named_with_its_first_slot() {
    for seed in 0..1_000 {
        let mut rng = Rng::keyed(seed, &[41]);
        let nodes = 2 * rng.between(1, 3) + 1;
        let slots = rng.between(5, 40);
        let turned: Vec<u64> = (0..nodes / 2).map(|_| rng.between(1, slots)).collect();
        let mut replicas = Replicas::new();
        let mut first = vec![None; turned.len()];
        for (node, slot) in (0..nodes).flat_map(|node| (1..=slots).map(move |slot| (node, slot))) {
            let wrong = turned.get(node as usize).is_some_and(|turned| slot >= *turned);
            // The sound ones report everywhere, so that there always is a majority.
            let reports = node >= nodes / 2 || rng.chance_ppm(700_000);
            if wrong && reports {
                first[node as usize].get_or_insert(slot);
            }
            let digest = u128::from(slot) * 100 + if wrong { u128::from(node) + 1 } else { 0 };
            if reports {
                replicas.report(NodeId(node), Point::Slot(Slot(slot)), digest);
            }
        }
        let mut found: Vec<(NodeId, Point)> =
            replicas.divergences().into_iter().map(|divergence| (divergence.node, divergence.at)).collect();
        found.sort_unstable();
        let named = |(node, slot): (usize, &Option<u64>)| {
            slot.map(|slot| (NodeId(node as u64), Point::Slot(Slot(slot))))
        };
        let expected: Vec<(NodeId, Point)> = first.iter().enumerate().filter_map(named).collect();
        assert_eq!(found, expected, "seed {seed}");
        assert_eq!(check_replicas(&replicas).holds(), expected.is_empty());
    }
}

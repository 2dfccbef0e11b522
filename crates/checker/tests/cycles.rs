//! C4 on its own kind of evidence: it is the definition on lists, and no mutant of good transactions gets through.
//!
//! `cargo test -p checker --test cycles -- --nocapture` prints the tables.

mod common;

use checker::check_cycles;
use checker::cycles::{Action, Ended, Transactions};
use common::lists::{Recipe, some_order, transactions};
use common::table::{index, judge_all};
use types::{Rng, Time};

#[test]
fn every_mutant_is_rejected() {
    let good: Vec<Transactions> = (0..1_000).map(|seed| transactions(seed, &Recipe::drawn(seed))).collect();
    judge_all(&good, common::list_mutate::SPOILERS, 20, check_cycles);
}

/// Small, crowded, and full of lost answers.
fn recipe(seed: u64, register_ppm: u32) -> Recipe {
    let mut rng = Rng::keyed(seed, &[13]);
    Recipe {
        clients: rng.between(2, 5),
        keys: rng.between(1, 2),
        transactions: rng.between(3, 7),
        actions_max: rng.between(1, 4),
        unknown_ppm: 250_000,
        aborted_ppm: 30_000,
        register_ppm,
    }
}

/// A list tells the order of its versions, so that nothing about it stays open.
#[test]
fn on_lists_the_cycle_checker_is_the_definition() {
    let mut counts = [0; 2];
    for seed in 0..6_000 {
        let txns = spoiled(seed, transactions(seed, &recipe(seed, 0)));
        let explained = some_order(&txns);
        let verdict = check_cycles(&txns);
        assert_eq!(verdict.holds(), explained, "seed {seed}: {verdict}\n{txns:#?}");
        assert_eq!(verdict.violated(), !explained, "seed {seed}: {verdict}");
        counts[usize::from(explained)] += 1;
    }
    println!("C4 agrees with the definition on {} bad and {} good histories of lists", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > 800), "{counts:?}");
}

/// A register's versions may stay unordered, so that some anomalies stay hidden.
#[test]
fn on_registers_it_rejects_nothing_that_some_order_explains() {
    let (mut bad, mut rejected) = (0, 0);
    for seed in 0..6_000 {
        let txns = spoiled(seed, transactions(seed, &recipe(seed, 700_000)));
        let explained = some_order(&txns);
        let verdict = check_cycles(&txns);
        assert!(verdict.holds() || verdict.violated(), "seed {seed}: {verdict}");
        assert!(verdict.holds() || !explained, "seed {seed}: {verdict}\n{txns:#?}");
        bad += u32::from(!explained);
        rejected += u32::from(verdict.violated());
    }
    println!("C4 rejects {rejected} of {bad} bad histories of registers");
    assert!(bad > 400 && rejected * 10 > bad * 9, "{rejected} of {bad}");
}

/// Changes a few reads, ends and times of most transactions into something plausible.
fn spoiled(seed: u64, mut txns: Transactions) -> Transactions {
    let mut rng = Rng::keyed(seed, &[14]);
    let reads: Vec<Action> =
        txns.list.iter().flat_map(|txn| &txn.actions).filter(|action| is_read(action)).cloned().collect();
    for _ in 0..rng.below(5) {
        let at = index(&mut rng, txns.list.len());
        let txn = &mut txns.list[at];
        match rng.below(8) {
            0 => txn.ended = Ended::Aborted,
            1 => txn.ended = Ended::Committed,
            2 => txn.invoked = Time(txn.invoked.0 + rng.below(300)).min(txn.returned.unwrap_or_default()),
            _ => {
                let at = index(&mut rng, txn.actions.len());
                if is_read(&txn.actions[at]) {
                    txn.actions[at] = spoiled_read(&txn.actions[at], &reads, &mut rng);
                }
            }
        }
    }
    txns
}

fn is_read(action: &Action) -> bool {
    matches!(action, Action::Read { .. } | Action::ReadList { .. })
}

/// Another read of the same thing, or a list that lost or exchanged something.
fn spoiled_read(read: &Action, reads: &[Action], rng: &mut Rng) -> Action {
    let same = |other: &&Action| match (read, other) {
        (Action::Read { key: a, .. }, Action::Read { key: b, .. }) => a == b,
        (Action::ReadList { key: a, .. }, Action::ReadList { key: b, .. }) => a == b,
        _ => false,
    };
    let mut spoiled = read.clone();
    if let Action::ReadList { values, .. } = &mut spoiled
        && values.len() > 1
        && rng.chance_ppm(500_000)
    {
        let at = index(rng, values.len() - 1);
        match rng.below(3) {
            0 => values.truncate(at),
            1 => values.swap(at, at + 1),
            _ => drop(values.remove(at)),
        }
        return spoiled;
    }
    let others: Vec<&Action> = reads.iter().filter(same).collect();
    rng.pick(&others).map_or(spoiled, |other| (*other).clone())
}

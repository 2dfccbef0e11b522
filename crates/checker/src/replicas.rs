//! C9: are all replicas the same, and if not, which one differs, and from where on?
//!
//! ```text
//!   slot        7    8    9   10
//!   node a     d7   d8   d9  d10
//!   node b     d7   d8        d10
//!   node c     d7   x8   x9        ◀─ differs from the majority since slot 8
//! ```
//!
//! Promises:
//! - V1  whoever digests its state after a slot, or its keys at a revision, gets what everybody else gets there;
//! - V2  and what it got itself before it was restarted.
//!
//! [`Agreement`](crate::Agreement) stops a simulation at the first difference; this one takes digests of any
//! origin, in any order, after the fact, and tells who is to be blamed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use types::{NodeId, Slot};

use crate::{Revision, Verdict, Violation};

/// What a digest was taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The whole state after this slot of the log.
    Slot(Slot),
    /// The keys as they were at this revision (etcd's `HashKV`).
    Revision(Revision),
}

/// The digests of all replicas.
#[derive(Clone, Debug, Default)]
pub struct Replicas {
    /// By point and digest: who reported it there.
    reports: BTreeMap<Point, BTreeMap<u128, BTreeSet<NodeId>>>,
}

/// Where a replica first differed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Which replica.
    pub node: NodeId,
    /// The first point at which it differed.
    pub at: Point,
    /// What it reported there.
    pub digest: u128,
    /// What more than half of those who reported there had, and who they are; `None` if there is no such
    /// majority, so that nobody can tell who is right.
    pub majority: Option<(u128, BTreeSet<NodeId>)>,
}

impl Replicas {
    /// No digests yet.
    pub fn new() -> Replicas {
        Replicas::default()
    }

    /// `node` has `digest` at `at`. Returns whether everybody has the same there, as far as is known.
    pub fn report(&mut self, node: NodeId, at: Point, digest: u128) -> bool {
        let digests = self.reports.entry(at).or_default();
        digests.entry(digest).or_default().insert(node);
        digests.len() == 1
    }

    /// At how many points somebody reported.
    pub fn len(&self) -> usize {
        self.reports.len()
    }

    /// Whether nobody reported anything.
    pub fn is_empty(&self) -> bool {
        self.reports.is_empty()
    }

    /// Who differs, and where first: on each of both scales, slots and revisions, a replica at most once.
    ///
    /// Nodes that a majority outvotes anywhere are to be blamed wherever they disagree with others, also where
    /// there are too few for a majority.
    pub fn divergences(&self) -> Vec<Divergence> {
        let outvoted: BTreeSet<NodeId> =
            self.reports.values().flat_map(|digests| suspects(digests, &BTreeSet::new()).0).collect();
        let (mut found, mut known) = (Vec::new(), BTreeSet::new());
        for (at, digests) in &self.reports {
            let (suspects, majority) = match suspects(digests, &outvoted) {
                (suspects, None) if digests.len() > 1 && suspects.is_empty() => (everybody(digests), None),
                suspects => suspects,
            };
            for (digest, node) in
                digests.iter().flat_map(|(digest, nodes)| nodes.iter().map(move |node| (digest, node)))
            {
                let wrong = majority.as_ref().is_none_or(|(right, _)| right != digest);
                if wrong && suspects.contains(node) && known.insert((matches!(at, Point::Slot(_)), *node)) {
                    found.push(Divergence {
                        node: *node,
                        at: *at,
                        digest: *digest,
                        majority: majority.clone(),
                    });
                }
            }
        }
        found
    }
}

/// Who is outvoted by the others, not counting `discredited` voters; and the majority.
fn suspects(
    digests: &BTreeMap<u128, BTreeSet<NodeId>>,
    discredited: &BTreeSet<NodeId>,
) -> (BTreeSet<NodeId>, Option<(u128, BTreeSet<NodeId>)>) {
    if digests.len() < 2 {
        return (BTreeSet::new(), None);
    }
    let votes = |nodes: &BTreeSet<NodeId>| nodes.difference(discredited).count();
    let total: usize = digests.values().map(votes).sum();
    let Some((right, nodes)) = digests.iter().find(|(_, nodes)| 2 * votes(nodes) > total) else {
        return (BTreeSet::new(), None);
    };
    let others =
        digests.iter().filter(|(digest, _)| *digest != right).flat_map(|(_, nodes)| nodes.iter().copied());
    (others.collect(), Some((*right, nodes.difference(discredited).copied().collect())))
}

fn everybody(digests: &BTreeMap<u128, BTreeSet<NodeId>>) -> BTreeSet<NodeId> {
    digests.values().flatten().copied().collect()
}

/// Judges whether all replicas are equal wherever they can be compared.
pub fn check_replicas(replicas: &Replicas) -> Verdict {
    let divergences = replicas.divergences();
    if divergences.is_empty() {
        return Verdict::Holds;
    }
    let found = divergences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let expected = "one digest at every slot and at every revision".to_owned();
    Verdict::Violated(Violation { rule: "replicas differ", expected, found, ops: Vec::new() })
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Point::Slot(slot) => write!(f, "slot {}", slot.0),
            Point::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// `n3 has …08 at slot 8, n1 and n2 have …07`
impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} has {:032x} at {}", self.node, self.digest, self.at)?;
        match &self.majority {
            None => f.write_str(", and no majority has the same"),
            Some((digest, nodes)) => {
                let nodes: Vec<String> = nodes.iter().map(|node| format!("{node:?}")).collect();
                write!(f, ", where {} have {digest:032x}", nodes.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);
    const C: NodeId = NodeId(3);

    fn replicas(reports: &[(NodeId, u64, u128)]) -> Replicas {
        let mut replicas = Replicas::new();
        for (node, slot, digest) in reports {
            replicas.report(*node, Point::Slot(Slot(*slot)), *digest);
        }
        replicas
    }

    #[test]
    fn equal_replicas_hold_however_often_they_report() {
        let mut equal = replicas(&[(A, 1, 7), (B, 1, 7), (C, 2, 8), (A, 2, 8), (A, 1, 7)]);
        equal.report(B, Point::Revision(2), 9);
        assert_eq!(check_replicas(&equal), Verdict::Holds);
    }

    #[test]
    fn the_odd_one_is_named_with_its_first_slot() {
        let odd = replicas(&[
            (A, 7, 1),
            (B, 7, 1),
            (C, 7, 1),
            (A, 8, 2),
            (B, 8, 2),
            (C, 8, 3),
            (C, 9, 4),
            (A, 9, 5),
        ]);
        assert_eq!(
            check_replicas(&odd).to_string(),
            "replicas differ: expected one digest at every slot and at every revision; \
             found n3 has 00000000000000000000000000000003 at slot 8, \
             where n1, n2 have 00000000000000000000000000000002"
        );
    }

    #[test]
    fn a_tie_is_decided_by_a_majority_elsewhere() {
        let reports = [(A, 7, 1), (C, 7, 2), (A, 9, 4), (B, 9, 4), (C, 9, 5)];
        let odd = replicas(&reports).divergences();
        assert_eq!(odd.iter().map(|odd| (odd.node, odd.at)).collect::<Vec<_>>(), [(C, Point::Slot(Slot(7)))]);
        let tie = replicas(&reports[..2]).divergences();
        assert_eq!(
            tie.iter().map(|odd| (odd.node, odd.majority.is_some())).collect::<Vec<_>>(),
            [(A, false), (C, false)]
        );
    }

    #[test]
    fn a_node_that_contradicts_itself_is_reported() {
        assert!(check_replicas(&replicas(&[(A, 7, 1), (A, 7, 2)])).violated());
        let odd = replicas(&[(A, 7, 1), (A, 7, 2), (B, 7, 1), (C, 7, 1)]).divergences();
        assert_eq!(odd.iter().map(|odd| (odd.node, odd.digest)).collect::<Vec<_>>(), [(A, 2)]);
    }

    #[test]
    fn slots_and_revisions_are_two_scales() {
        let mut odd = replicas(&[(A, 9, 1), (B, 9, 1), (C, 9, 2)]);
        for (node, digest) in [(A, 1), (B, 1), (C, 3)] {
            odd.report(node, Point::Revision(4), digest);
        }
        assert_eq!(odd.divergences().len(), 2);
    }
}

//! Did all replicas execute the same entries in the same order, and become the same?
//!
//! ```text
//!   slot      1   2   3   4
//!   node a   x1  x2  x3  x4     same slot, same entry (A2); same slot, same state (A3)
//!   node b   x1  x2  x3         each node's slots have no holes (A1)
//!   node c   checkpoint@3  x4   a checkpoint or a restart may move a node to any slot
//! ```
//!
//! Promises:
//! - A1  a node executes slot after slot, without skipping one;
//! - A2  what is executed at a slot is the same on every node, for ever: across restarts too;
//! - A3  the state after a slot is the same on every node.
//!
//! Fed after every step of a run, so that the first disagreement stops it at its cause.

use std::collections::BTreeMap;

use types::{NodeId, Slot};

use crate::Violation;

/// Watches all replicas of one group while they run.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    entries: BTreeMap<Slot, Claim>,
    states: BTreeMap<Slot, Claim>,
    applied: BTreeMap<NodeId, Slot>,
}

/// Who said first what a slot holds.
#[derive(Clone, Copy, Debug)]
struct Claim {
    node: NodeId,
    digest: u128,
}

impl Agreement {
    /// Nothing executed yet.
    pub fn new() -> Agreement {
        Agreement::default()
    }

    /// `node` executed the entry with `digest` at `slot`.
    ///
    /// # Errors
    /// A1 or A2 is broken.
    pub fn applied(&mut self, node: NodeId, slot: Slot, digest: u128) -> Result<(), Violation> {
        let last = self.applied.entry(node).or_default();
        if slot != last.next() {
            return Err(violation(
                "slots out of order",
                format!("{node:?} to execute {:?} after {last:?}", last.next()),
                format!("{slot:?}"),
            ));
        }
        *last = slot;
        agree(&mut self.entries, "replicas executed different entries", node, slot, digest)
    }

    /// `node` started again, or took over a checkpoint, and now stands at `slot`.
    pub fn moved(&mut self, node: NodeId, slot: Slot) {
        self.applied.insert(node, slot);
    }

    /// The state of `node` after `slot` has `digest`.
    ///
    /// # Errors
    /// A3 is broken.
    pub fn state(&mut self, node: NodeId, slot: Slot, digest: u128) -> Result<(), Violation> {
        agree(&mut self.states, "replicas differ in state", node, slot, digest)
    }

    /// The last slot that any node executed.
    pub fn highest(&self) -> Slot {
        self.entries.last_key_value().map_or(Slot::ZERO, |(slot, _)| *slot)
    }

    /// Forgets what slots below `slot` held, to bound memory in long runs.
    pub fn forget_below(&mut self, slot: Slot) {
        self.entries = self.entries.split_off(&slot);
        self.states = self.states.split_off(&slot);
    }
}

fn agree(
    claims: &mut BTreeMap<Slot, Claim>,
    rule: &'static str,
    node: NodeId,
    slot: Slot,
    digest: u128,
) -> Result<(), Violation> {
    let first = *claims.entry(slot).or_insert(Claim { node, digest });
    if first.digest == digest {
        return Ok(());
    }
    let expected = format!("{:032x} at {slot:?}, as on {:?}", first.digest, first.node);
    Err(violation(rule, expected, format!("{digest:032x} on {node:?}")))
}

fn violation(rule: &'static str, expected: String, found: String) -> Violation {
    Violation { rule, expected, found, ops: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    #[test]
    fn equal_logs_agree_through_restarts_and_checkpoints() {
        let mut agreement = Agreement::new();
        for slot in 1..=5 {
            agreement.applied(A, Slot(slot), u128::from(slot)).unwrap();
            agreement.state(A, Slot(slot), u128::from(slot * 10)).unwrap();
        }
        agreement.moved(A, Slot(3));
        agreement.applied(A, Slot(4), 4).unwrap();
        agreement.moved(B, Slot(4));
        agreement.applied(B, Slot(5), 5).unwrap();
        agreement.state(B, Slot(5), 50).unwrap();
        assert_eq!(agreement.highest(), Slot(5));
        agreement.forget_below(Slot(5));
        agreement.moved(B, Slot(4));
        agreement.applied(B, Slot(5), 5).unwrap();
    }

    #[test]
    fn a_different_entry_is_reported_with_both_nodes() {
        let mut agreement = Agreement::new();
        agreement.applied(A, Slot(1), 7).unwrap();
        let violation = agreement.applied(B, Slot(1), 8).unwrap_err();
        assert_eq!(
            violation.to_string(),
            "replicas executed different entries: \
             expected 00000000000000000000000000000007 at #1, as on n1; \
             found 00000000000000000000000000000008 on n2"
        );
    }

    #[test]
    fn an_entry_that_changes_over_a_restart_is_reported() {
        let mut agreement = Agreement::new();
        agreement.applied(A, Slot(1), 7).unwrap();
        agreement.moved(A, Slot::ZERO);
        assert!(agreement.applied(A, Slot(1), 8).is_err());
    }

    #[test]
    fn a_hole_a_repetition_and_a_different_state_are_reported() {
        let mut agreement = Agreement::new();
        agreement.applied(A, Slot(1), 7).unwrap();
        assert_eq!(agreement.applied(A, Slot(3), 9).unwrap_err().rule, "slots out of order");
        assert_eq!(agreement.applied(A, Slot(1), 7).unwrap_err().rule, "slots out of order");
        agreement.state(A, Slot(1), 1).unwrap();
        assert_eq!(agreement.state(B, Slot(1), 2).unwrap_err().rule, "replicas differ in state");
    }
}

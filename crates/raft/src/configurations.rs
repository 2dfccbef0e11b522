//! Which configuration is in force: the latest in the log, committed or not.
//!
//! ```text
//!   slot:   0 ....... 40 ........ 57 ........... last
//!                  C_old      C_old,new
//!                  settled     pending     ◀── current: in force as soon as it is appended
//! ```
//!
//! Being in force from the append on, and taken back by a truncation, is what Raft §6 asks for. Had a configuration to
//! be applied first, a slow state machine could elect two leaders in one term (etcd #7280, #11284).

use std::collections::VecDeque;

use consensus::Membership;
use types::{NodeId, Slot};

/// The configurations that may still matter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Configurations {
    /// Never empty. The first is the latest at or below the commit index, which nothing can take back; the others
    /// are above it, in order.
    known: VecDeque<(Slot, Membership)>,
    /// Grows whenever another configuration is in force.
    version: u64,
}

impl Configurations {
    /// `membership` is settled. It came with `slot` or an earlier one, or with no slot at all if that is `ZERO`.
    pub fn new(slot: Slot, membership: Membership) -> Configurations {
        Configurations { known: [(slot, membership)].into(), version: 1 }
    }

    /// A checkpoint at `slot` takes the place of the log.
    pub fn reset(&mut self, slot: Slot, membership: Membership) {
        self.known = [(slot, membership)].into();
        self.version += 1;
    }

    /// The configuration in force.
    pub fn current(&self) -> &Membership {
        &self.latest().1
    }

    /// The latest configuration that nothing can take back.
    pub fn settled(&self) -> &Membership {
        &self.known.front().expect("a configuration is always in force").1
    }

    /// Grows whenever another configuration is in force.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The slot of the configuration in force, or a later one up to which it is settled; `ZERO` if it stands in no log.
    pub fn slot(&self) -> Slot {
        self.latest().0
    }

    /// Whether the settled configuration says which disks the voters have.
    pub fn is_pinned(&self) -> bool {
        self.known.front().is_some_and(|(_, membership)| membership.is_pinned())
    }

    /// Whether `node` votes in the configuration in force, or in one before it that may yet prove to be the last.
    ///
    /// A leader that has appended the configuration without itself, and nobody else has it: the others cannot win
    /// against its longer log, so that it must stand itself (Ongaro's dissertation §4.2.2).
    pub fn may_matter(&self, node: NodeId) -> bool {
        self.known.iter().any(|(_, membership)| membership.votes(node))
    }

    fn latest(&self) -> &(Slot, Membership) {
        self.known.back().expect("a configuration is always in force")
    }

    /// The log holds `membership` at `slot`, above every other.
    pub fn append(&mut self, slot: Slot, membership: Membership) {
        self.known.push_back((slot, membership));
        self.version += 1;
    }

    /// The log was cut off from `slot` on.
    pub fn truncate_from(&mut self, slot: Slot) {
        while self.known.len() > 1 && self.slot() >= slot {
            self.known.pop_back();
            self.version += 1;
        }
    }

    /// Everything up to `commit` is committed: older configurations than the latest there can be forgotten.
    pub fn commit(&mut self, commit: Slot) {
        while self.known.get(1).is_some_and(|(slot, _)| *slot <= commit) {
            self.known.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(node: u64) -> Membership {
        Membership::of([NodeId(node)])
    }

    #[test]
    fn the_latest_is_in_force_until_it_is_cut_off() {
        let mut configurations = Configurations::new(Slot::ZERO, of(1));
        configurations.append(Slot(4), of(2));
        configurations.append(Slot(9), of(3));
        assert_eq!((configurations.current(), configurations.slot()), (&of(3), Slot(9)));
        configurations.truncate_from(Slot(10));
        assert_eq!(configurations.slot(), Slot(9), "below the cut");
        configurations.truncate_from(Slot(5));
        assert_eq!((configurations.current(), configurations.slot()), (&of(2), Slot(4)));
        configurations.truncate_from(Slot(1));
        assert_eq!(configurations.current(), &of(1));
    }

    #[test]
    fn what_is_committed_is_never_taken_back() {
        let mut configurations = Configurations::new(Slot::ZERO, of(1));
        configurations.append(Slot(4), of(2));
        configurations.append(Slot(9), of(3));
        configurations.commit(Slot(8));
        configurations.truncate_from(Slot(1));
        assert_eq!((configurations.current(), configurations.slot()), (&of(2), Slot(4)));
    }
}

//! What must hold across the whole cluster, checked as it happens.
//!
//! - O1  At most one leader per epoch.
//! - O2  Agreement: whoever reports a committed entry of a slot reports the same one, in slot order, no gaps.
//! - O3  Committed means durable: when a slot is first reported, the same record is durable on a majority.
//! - O4  A leader holds everything that was committed in earlier epochs.
//! - O5  A state machine is never ahead of what is durable in the log below it.
//! - O6  Replicas that have applied the same slots have the same state.
//! - O7  Storage gives back what was synced (see [`Shadow`]).
//! - O8  What a client was told is committed.
//! - O9  A log lets go only of what the state machine holds durably.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{Hash, Hasher};

use checker::{Point, Replicas, check_replicas};
use consensus::{CommittedEntry, Membership, Role, Status};
use kv::{KeyValue, RevisionEvents};
use storage::{LogOp, Recovery};
use types::{Epoch, Fingerprinter, NodeId, Slot};

use crate::operator::Register;
use crate::shadow::{Harm, Shadow};

/// What every run is judged by, as [`Broken::check`] names it; what a world cannot even begin with (a log that does not
/// open, say) has other names.
pub const PROMISES: [&str; 14] = [
    "one leader per epoch",
    "agreement per slot",
    "durable before committed",
    "leader completeness",
    "apply after durable",
    "replicas are equal",
    "storage gives back what was synced",
    "committed before acknowledged",
    "invariant of the core",
    "liveness",
    "revisions",
    "linearizability",
    "cycles",
    "acknowledged writes",
];

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which check noticed, in a few words.
    pub check: &'static str,
    /// The numbers that show it.
    pub detail: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.detail)
    }
}

/// Sees every node at once.
#[derive(Debug)]
pub(crate) struct Oracle {
    leaders: BTreeMap<Epoch, NodeId>,
    /// From slot 1 on: the entry's digest, and the epoch of the node that reported it first.
    committed: Vec<(u128, Epoch)>,
    /// C9: states by slot, events by revision.
    replicas: Replicas,
    shadows: BTreeMap<NodeId, Shadow>,
    /// The numbers of the nodes' disks.
    disks: BTreeMap<NodeId, u64>,
    /// Who takes part.
    pub(crate) register: Register,
}

impl Oracle {
    /// Watches `nodes`, of which `voters` begin the group.
    pub(crate) fn new(nodes: &[NodeId], voters: &[NodeId]) -> Oracle {
        Oracle {
            leaders: BTreeMap::new(),
            committed: Vec::new(),
            disks: BTreeMap::new(),
            replicas: Replicas::new(),
            shadows: nodes.iter().map(|node| (*node, Shadow::new())).collect(),
            register: Register::new(voters),
        }
    }

    /// The last slot that anybody reported as committed.
    pub(crate) fn committed_last(&self) -> Slot {
        Slot(self.committed.len() as u64)
    }

    /// How many epochs had a leader.
    pub(crate) fn epochs_led(&self) -> u64 {
        self.leaders.len() as u64
    }

    /// Looks at a node after a batch (O1, O4).
    pub(crate) fn observe(&mut self, node: NodeId, status: &Status) -> Result<(), Broken> {
        if status.role != Role::Leader {
            return Ok(());
        }
        match self.leaders.insert(status.epoch, node) {
            Some(other) if other == node => Ok(()),
            Some(other) => Err(Broken {
                check: "one leader per epoch",
                detail: format!("{other:?} and {node:?} both lead in {:?}", status.epoch),
            }),
            None => self.leader_is_complete(node, status),
        }
    }

    fn leader_is_complete(&self, node: NodeId, status: &Status) -> Result<(), Broken> {
        let earlier = self.committed.iter().rposition(|(_, epoch)| *epoch < status.epoch);
        let must_hold = Slot(earlier.map_or(0, |index| index as u64 + 1));
        if status.last >= must_hold {
            return Ok(());
        }
        Err(Broken {
            check: "leader completeness",
            detail: format!(
                "{node:?} leads in {:?} with a log up to {}, but {must_hold} was committed before",
                status.epoch, status.last
            ),
        })
    }

    /// A node reports committed entries (O2, O3, O5).
    pub(crate) fn commit(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        first: Slot,
        entries: &[CommittedEntry],
    ) -> Result<(), Broken> {
        let last = first.prev().plus(entries.len() as u64);
        let durable = self.shadows.get(&node).map_or(Slot::ZERO, Shadow::last);
        if last > durable {
            return Err(Broken {
                check: "apply after durable",
                detail: format!("{node:?} hands out slot {last}, and holds {durable} durably"),
            });
        }
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            self.commit_one(node, epoch, slot, entry)?;
        }
        Ok(())
    }

    fn commit_one(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        slot: Slot,
        entry: &CommittedEntry,
    ) -> Result<(), Broken> {
        let digest = digest(entry);
        let next = self.committed_last().next();
        if slot > next {
            let detail = format!("{node:?} reports slot {slot}, the next one to be reported is {next}");
            return Err(Broken { check: "no gaps", detail });
        }
        if slot == next {
            self.committed.push((digest, epoch));
            self.is_durable_on_majority(slot)?;
            if let Some(membership) = entry.entry.membership() {
                self.register.commit(slot, membership);
            }
            return Ok(());
        }
        let known = usize::try_from(slot.prev().0).ok().and_then(|index| self.committed.get(index));
        if known.is_some_and(|(known, _)| *known == digest) {
            return Ok(());
        }
        Err(Broken {
            check: "agreement per slot",
            detail: format!("{node:?} reports another entry of slot {slot} (proposed in {:?})", entry.epoch),
        })
    }

    fn is_durable_on_majority(&self, slot: Slot) -> Result<(), Broken> {
        let held = |node: &NodeId| self.shadows.get(node).and_then(|shadow| shadow.holds(slot));
        let records: BTreeSet<u128> = self.shadows.keys().filter_map(held).flatten().collect();
        // By the disk that the configuration names, or by one that was there until it was lost or forgot its number.
        let counts = |membership: &Membership, node: NodeId| {
            let is_named = membership.disk(node).is_none_or(|disk| self.disks.get(&node) == Some(&disk));
            is_named || self.shadows.get(&node).is_some_and(|shadow| shadow.held_before(slot))
        };
        let holds = |record: Option<u128>, membership: &Membership, node: NodeId| {
            held(&node).is_some_and(|found| found.is_none() || found == record) && counts(membership, node)
        };
        let is_enough =
            |record| self.register.is_some_quorum(|membership, node| holds(record, membership, node));
        if is_enough(None) || records.into_iter().any(|record| is_enough(Some(record))) {
            return Ok(());
        }
        let holders: Vec<NodeId> = self.shadows.keys().filter(|node| held(node).is_some()).copied().collect();
        Err(Broken {
            check: "durable before committed",
            detail: format!("slot {slot} is committed, and durable on {holders:?} only"),
        })
    }

    /// A client was told the outcome of what stands at `slot` (O8).
    pub(crate) fn acknowledge(&self, slot: Slot) -> Result<(), Broken> {
        if slot <= self.committed_last() {
            return Ok(());
        }
        let committed = self.committed_last();
        let detail = format!("slot {slot} was acknowledged, {committed} is the last committed");
        Err(Broken { check: "committed before acknowledged", detail })
    }

    /// A node's state after a slot (O6).
    pub(crate) fn state(&mut self, node: NodeId, slot: Slot, digest: u128) -> Result<(), Broken> {
        self.compare(node, Point::Slot(slot), digest)
    }

    /// What a node's state machine says to watchers of a revision (O6).
    pub(crate) fn told(&mut self, node: NodeId, events: &RevisionEvents) -> Result<(), Broken> {
        self.compare(node, Point::Revision(events.revision), events_digest(events))
    }

    fn compare(&mut self, node: NodeId, at: Point, digest: u128) -> Result<(), Broken> {
        if self.replicas.report(node, at, digest) {
            return Ok(());
        }
        Err(Broken { check: "replicas are equal", detail: check_replicas(&self.replicas).to_string() })
    }

    /// The node handed a batch to its disk.
    pub(crate) fn appended(&mut self, node: NodeId, ops: Vec<LogOp>) {
        if let Some(shadow) = self.shadows.get_mut(&node) {
            shadow.append(ops);
        }
    }

    /// The node's disk said that everything so far is durable (O9).
    pub(crate) fn synced(&mut self, node: NodeId) -> Result<(), Broken> {
        let Some(shadow) = self.shadows.get_mut(&node) else { return Ok(()) };
        shadow.sync();
        match shadow.gone_above_engine() {
            None => Ok(()),
            Some(gone) => Err(Broken {
                check: "compacted below the durable state",
                detail: format!(
                    "{node:?} let go of its log up to {gone}, and holds its state durably up to {} only",
                    shadow.engine
                ),
            }),
        }
    }

    /// The node's state engine is durable up to here.
    pub(crate) fn persisted(&mut self, node: NodeId, upto: Slot) {
        if let Some(shadow) = self.shadows.get_mut(&node) {
            shadow.engine = shadow.engine.max(upto);
        }
    }

    /// The node runs on the disk of this number.
    pub(crate) fn runs_on(&mut self, node: NodeId, disk: u64) {
        let before = self.disks.insert(node, disk);
        if before.is_some_and(|before| before != disk)
            && let Some(shadow) = self.shadows.get_mut(&node)
        {
            shadow.renumbered();
        }
    }

    /// The node has an empty disk from now on.
    pub(crate) fn lost_disk(&mut self, node: NodeId) {
        if let Some(shadow) = self.shadows.get_mut(&node) {
            *shadow = shadow.replaced();
        }
    }

    /// Whether the node's disk has lost its last write so that nothing can tell.
    pub(crate) fn forgot(&self, node: NodeId) -> bool {
        self.shadows.get(&node).is_some_and(|shadow| shadow.forgot)
    }

    /// The node started again and found this (O7).
    pub(crate) fn recovered(
        &mut self,
        node: NodeId,
        found: &Recovery,
        applied: Slot,
        harm: Harm,
    ) -> Result<(), Broken> {
        let Some(shadow) = self.shadows.get_mut(&node) else { return Ok(()) };
        let broken = |detail| Broken { check: "storage gives back what was synced", detail };
        if applied < shadow.engine {
            let detail =
                format!("{node:?} had made {} durable in its state, and found {applied}", shadow.engine);
            return Err(broken(detail));
        }
        shadow.recovered(found, harm).map_err(|reason| broken(format!("{node:?}: {reason}")))
    }
}

fn events_digest(events: &RevisionEvents) -> u128 {
    let mut fingerprinter = Fingerprinter::default();
    for event in &events.events {
        fingerprinter.write_u8(event.kind as u8);
        for kv in [Some(&event.kv), event.prev_kv.as_ref()].into_iter().flatten() {
            let KeyValue { key, value, create_revision, mod_revision, version, lease } = kv;
            fingerprinter.write_u64(key.len() as u64);
            fingerprinter.write(key);
            fingerprinter.write(value);
            for number in [create_revision, mod_revision, version, lease] {
                fingerprinter.write_i64(*number);
            }
        }
    }
    fingerprinter.finish128()
}

fn digest(entry: &CommittedEntry) -> u128 {
    let mut fingerprinter = Fingerprinter::default();
    entry.epoch.hash(&mut fingerprinter);
    fingerprinter.write_u8(entry.entry.kind as u8);
    fingerprinter.write(&entry.entry.payload);
    fingerprinter.finish128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use consensus::{Entry, EntryKind};

    const IDS: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn entry(payload: &'static str) -> CommittedEntry {
        let entry = Entry { kind: EntryKind::Commands, payload: Bytes::from_static(payload.as_bytes()) };
        CommittedEntry { epoch: Epoch::of(1), entry }
    }

    fn durable_at(nodes: &[NodeId]) -> Oracle {
        let mut oracle = Oracle::new(&IDS, &IDS);
        for node in nodes {
            oracle.appended(*node, vec![LogOp::Put(Slot(1), Bytes::from_static(b"record"))]);
            oracle.synced(*node).unwrap();
        }
        oracle
    }

    fn leader(epoch: u64, last: u64) -> Status {
        Status {
            role: Role::Leader,
            epoch: Epoch::of(epoch),
            leader: None,
            first: Slot(1),
            last: Slot(last),
            durable: Slot(last),
            committed: Slot::ZERO,
            applied: Slot::ZERO,
            checkpoint: Slot::ZERO,
            membership: Membership::default(),
        }
    }

    #[test]
    fn replicas_say_the_same_of_a_revision_and_are_in_the_same_state_after_a_slot() {
        let mut oracle = Oracle::new(&IDS, &IDS);
        let events = |value: &'static str| {
            let kv = KeyValue { value: Bytes::from_static(value.as_bytes()), ..KeyValue::default() };
            let event = kv::Event { kind: kv::EventKind::Put, kv, prev_kv: None };
            RevisionEvents { revision: 2, events: vec![event] }
        };
        assert_eq!(check(oracle.told(IDS[0], &events("a"))), "fine");
        assert_eq!(check(oracle.told(IDS[1], &events("a"))), "fine");
        assert_eq!(check(oracle.told(IDS[2], &events("b"))), "replicas are equal");
        assert_eq!(check(oracle.state(IDS[0], Slot(64), 7)), "fine");
        assert_eq!(check(oracle.state(IDS[1], Slot(64), 8)), "replicas are equal");
    }

    fn check(result: Result<(), Broken>) -> &'static str {
        result.map_or_else(|broken| broken.check, |()| "fine")
    }

    #[test]
    fn a_slot_is_committed_only_once_it_is_durable_on_a_majority() {
        let mut oracle = durable_at(&IDS[..2]);
        assert_eq!(check(oracle.commit(IDS[0], Epoch::of(1), Slot(1), &[entry("a")])), "fine");
        assert_eq!(check(oracle.commit(IDS[1], Epoch::of(1), Slot(1), &[entry("b")])), "agreement per slot");
        let mut oracle = durable_at(&IDS[..1]);
        let early = oracle.commit(IDS[0], Epoch::of(1), Slot(1), &[entry("a")]);
        assert_eq!(check(early), "durable before committed");
        let mut oracle = durable_at(&IDS[..2]);
        let ahead = oracle.commit(IDS[2], Epoch::of(1), Slot(1), &[entry("a")]);
        assert_eq!(check(ahead), "apply after durable");
    }

    /// Found by `althing sim --buggify --seed 300249713`: rot reached the meta record of a disk that had acknowledged.
    #[test]
    fn what_a_disk_acknowledged_counts_although_it_has_forgotten_its_number_since() {
        let commit = |acknowledged: bool| {
            let mut oracle = durable_at(&IDS[..1]);
            let pinned = Membership::of_disks(IDS.map(|id| (id, id.0 * 10)));
            oracle.register.commit(Slot(1), pinned);
            IDS.iter().for_each(|id| oracle.runs_on(*id, id.0 * 10));
            let acknowledge = |oracle: &mut Oracle| {
                oracle.appended(IDS[1], vec![LogOp::Put(Slot(1), Bytes::from_static(b"record"))]);
                oracle.synced(IDS[1]).unwrap();
            };
            if acknowledged {
                acknowledge(&mut oracle);
            }
            oracle.runs_on(IDS[1], 21);
            if !acknowledged {
                acknowledge(&mut oracle);
            }
            check(oracle.commit(IDS[0], Epoch::of(1), Slot(1), &[entry("a")]))
        };
        assert_eq!(commit(true), "fine");
        assert_eq!(commit(false), "durable before committed", "by a number that nobody knows");
    }

    #[test]
    fn an_epoch_has_one_leader_and_it_holds_what_was_committed_before() {
        let mut oracle = durable_at(&IDS);
        oracle.commit(IDS[0], Epoch::of(1), Slot(1), &[entry("a")]).unwrap();
        assert_eq!(check(oracle.observe(IDS[0], &leader(1, 1))), "fine");
        assert_eq!(check(oracle.observe(IDS[1], &leader(1, 1))), "one leader per epoch");
        assert_eq!(check(oracle.observe(IDS[1], &leader(2, 0))), "leader completeness");
    }
}

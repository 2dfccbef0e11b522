//! What each node's log must hold, kept beside the real log by somebody who never crashes.
//!
//! Two promises are judged against it:
//! - storage: what was synced is found again after a crash, a batch is found whole or not at all, and what is
//!   damaged is called damaged;
//! - the protocol: what it calls committed is durable on a majority at that moment.

use std::hash::Hasher;

use imbl::OrdMap;
use storage::{LogOp, Recovery};
use types::{Fingerprinter, Slot, SlotState};

/// The log of one node, as far as somebody outside can know.
#[derive(Debug)]
pub(crate) struct Shadow {
    synced: Store,
    /// What was synced before the last sync.
    before: Store,
    /// Batches that were written but not yet synced: a crash keeps the first few of them, each whole.
    unsynced: Vec<Vec<LogOp>>,
    /// Everything up to here is durable in the state engine.
    pub(crate) engine: Slot,
    /// The last slot that was durable when bits of the disk flipped: those before it counted until then.
    rotted: Slot,
    /// The disk has lost its last write, and nothing could tell the node.
    pub(crate) forgot: bool,
    /// Up to here everything was held under a number that nobody bears now: by a disk that was lost, or that has another.
    took_over_at: Slot,
}

/// What a node's disk has done to what was durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    /// Nothing.
    None,
    /// Something else may stand where it was.
    Rot,
    /// Besides, it confirmed a write that it did not do. If that was the last one before a power cut, nothing on the
    /// disk can tell.
    LostWrite,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Store {
    meta: Option<u128>,
    first: Slot,
    records: OrdMap<Slot, u128>,
}

impl Shadow {
    pub(crate) fn new() -> Shadow {
        let empty = Store { meta: None, first: Slot(1), records: OrdMap::new() };
        let before = empty.clone();
        Shadow {
            synced: empty,
            before,
            unsynced: Vec::new(),
            engine: Slot::ZERO,
            rotted: Slot::ZERO,
            forgot: false,
            took_over_at: Slot::ZERO,
        }
    }

    /// An empty disk in the place of this one. What this one held counted until now.
    pub(crate) fn replaced(&self) -> Shadow {
        Shadow { took_over_at: self.last().max(self.took_over_at), ..Shadow::new() }
    }

    /// The node cannot read this disk's number any more, and gave it another. What it holds counted by the old one.
    pub(crate) fn renumbered(&mut self) {
        self.took_over_at = self.took_over_at.max(self.last()).max(self.rotted);
    }

    /// Whether a slot was held under a number that nobody bears now.
    pub(crate) fn held_before(&self, slot: Slot) -> bool {
        slot <= self.took_over_at
    }

    /// The node handed a batch to its disk.
    pub(crate) fn append(&mut self, ops: Vec<LogOp>) {
        self.unsynced.push(ops);
    }

    /// The disk said that everything so far is durable.
    pub(crate) fn sync(&mut self) {
        self.before = self.synced.clone();
        for ops in self.unsynced.drain(..) {
            self.synced.apply(&ops);
        }
    }

    /// What this node holds durably at `slot`: nothing, a record with this digest, or `Some(None)` if the
    /// slot is below the log and its effect in the state engine, or was held before the disk rotted.
    pub(crate) fn holds(&self, slot: Slot) -> Option<Option<u128>> {
        match self.synced.records.get(&slot) {
            _ if self.held_before(slot) => Some(None),
            Some(digest) => Some(Some(*digest)),
            None => (slot < self.synced.first || slot <= self.engine || slot <= self.rotted).then_some(None),
        }
    }

    /// Up to where the log is gone, if the state engine does not hold all of that durably.
    pub(crate) fn gone_above_engine(&self) -> Option<Slot> {
        let gone = self.synced.first.prev();
        (gone > self.engine).then_some(gone)
    }

    /// The last slot that is durable in the log or in the state engine.
    pub(crate) fn last(&self) -> Slot {
        self.synced.last().max(self.engine)
    }

    /// Judges what the node found when it started again.
    pub(crate) fn recovered(&mut self, found: &Recovery, harm: Harm) -> Result<(), String> {
        let rotten = harm != Harm::None;
        if harm == Harm::LostWrite
            && mismatch(&self.synced, found, rotten).is_some()
            && mismatch(&self.before, found, rotten).is_none()
        {
            self.forgot = true;
            self.rotted = self.rotted.max(self.synced.last());
            self.synced = self.before.clone();
        }
        let mut candidate = self.synced.clone();
        let mut reasons = vec![mismatch(&candidate, found, rotten)];
        for ops in &self.unsynced {
            if reasons.iter().any(Option::is_none) {
                break;
            }
            candidate.apply(ops);
            reasons.push(mismatch(&candidate, found, rotten));
        }
        let batches = reasons.len() - 1;
        match reasons.pop().flatten() {
            None => {
                if rotten {
                    self.rotted = self.rotted.max(candidate.last());
                    candidate.learn(found);
                }
                self.before = std::mem::replace(&mut self.synced, candidate);
                self.unsynced.clear();
                Ok(())
            }
            Some(last) => {
                let synced = reasons.into_iter().next().flatten().unwrap_or_else(|| last.clone());
                Err(format!(
                    "recovery fits neither what was synced ({synced}) nor that and any of the {batches} \
                     batches written after it ({last})"
                ))
            }
        }
    }
}

/// Why what was found is not `store`; `None` if it is.
fn mismatch(store: &Store, found: &Recovery, rotten: bool) -> Option<String> {
    let found_last = found.first.prev().plus(found.records.len() as u64);
    if rotten {
        // Damage may hide where the log begins and ends, but not what an intact record says.
        if found_last < store.last() && !found.tail_damaged {
            return Some(format!("slots up to {} were synced, {found_last} is the last found", store.last()));
        }
    } else if (found.first, found_last) != (store.first, store.last()) {
        return Some(format!(
            "slots {} to {} were expected, {} to {found_last} found",
            store.first,
            store.last(),
            found.first
        ));
    }
    if found.tail_damaged && !rotten {
        return Some("the tail is called damaged".into());
    }
    let meta_fits = match &found.meta {
        SlotState::Ok(meta) => store.meta == Some(digest(meta)),
        SlotState::Missing => store.meta.is_none(),
        SlotState::Damaged => rotten,
    };
    if !meta_fits {
        return Some("the meta record is another one".into());
    }
    (0..).zip(&found.records).find_map(|(offset, state)| {
        let slot = found.first.plus(offset);
        let expected = store.records.get(&slot);
        match state {
            SlotState::Ok(record) if expected == Some(&digest(record)) => None,
            SlotState::Ok(_) if rotten && expected.is_none() => None,
            SlotState::Damaged if rotten => None,
            SlotState::Ok(_) => Some(format!("slot {slot} holds another record")),
            SlotState::Missing => Some(format!("slot {slot} is missing")),
            SlotState::Damaged => Some(format!("slot {slot} is called damaged")),
        }
    })
}

impl Store {
    fn apply(&mut self, ops: &[LogOp]) {
        for op in ops {
            match op {
                LogOp::SetMeta(meta) => self.meta = Some(digest(meta)),
                LogOp::Put(slot, record) => {
                    self.records.insert(*slot, digest(record));
                }
                LogOp::TruncateFrom(slot) => {
                    self.records = self.records.split(slot).0;
                }
                LogOp::CompactTo(slot) => {
                    self.records = self.records.split(slot).1;
                    self.first = self.first.max(slot.next());
                }
                LogOp::ResetTo { at } => {
                    self.records.clear();
                    self.first = at.next();
                }
            }
        }
    }

    /// Takes in what is intact, where damage leaves open which of the unsynced batches survived.
    fn learn(&mut self, found: &Recovery) {
        for (offset, state) in (0..).zip(&found.records) {
            if let SlotState::Ok(record) = state {
                self.records.insert(found.first.plus(offset), digest(record));
            }
        }
        if let SlotState::Ok(meta) = &found.meta {
            self.meta = Some(digest(meta));
        }
    }

    fn last(&self) -> Slot {
        self.records.get_max().map_or(self.first.prev(), |(slot, _)| *slot)
    }
}

fn digest(bytes: &[u8]) -> u128 {
    let mut fingerprinter = Fingerprinter::default();
    fingerprinter.write(bytes);
    fingerprinter.finish128()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn put(slot: u64, record: &'static str) -> LogOp {
        LogOp::Put(Slot(slot), Bytes::from_static(record.as_bytes()))
    }

    fn found(records: &[&'static str]) -> Recovery {
        let records = records.iter().map(|record| SlotState::Ok(Bytes::from_static(record.as_bytes())));
        Recovery {
            meta: SlotState::Missing,
            first: Slot(1),
            records: records.collect(),
            tail_damaged: false,
            created: false,
            report: Vec::new(),
        }
    }

    fn shadow() -> Shadow {
        let mut shadow = Shadow::new();
        shadow.append(vec![put(1, "a"), put(2, "b")]);
        shadow.sync();
        shadow.append(vec![LogOp::TruncateFrom(Slot(2)), put(2, "c")]);
        shadow.append(vec![put(3, "d")]);
        shadow
    }

    #[test]
    fn a_crash_may_keep_any_first_few_of_the_unsynced_batches() {
        for records in [&["a", "b"][..], &["a", "c"], &["a", "c", "d"]] {
            assert_eq!(shadow().recovered(&found(records), Harm::None), Ok(()), "{records:?}");
        }
    }

    #[test]
    fn what_was_synced_may_not_change_nor_a_batch_come_in_halves() {
        for records in [&["a"][..], &["a", "b", "d"], &["x", "b"]] {
            assert!(shadow().recovered(&found(records), Harm::None).is_err(), "{records:?}");
        }
    }

    #[test]
    fn rot_may_be_called_damage_but_never_the_end_of_the_log() {
        let mut damaged = found(&["a", "b"]);
        damaged.records[1] = SlotState::Damaged;
        assert!(shadow().recovered(&damaged, Harm::Rot).is_ok());
        assert!(shadow().recovered(&damaged, Harm::None).is_err(), "nothing had rotted");
        assert!(shadow().recovered(&found(&["a"]), Harm::Rot).is_err(), "bug bank A2");
    }

    #[test]
    fn only_the_last_write_can_be_lost_without_a_trace() {
        let two_syncs = || {
            let mut shadow = shadow();
            shadow.sync();
            shadow.append(vec![put(4, "e")]);
            shadow.sync();
            shadow
        };
        let without_last = found(&["a", "c", "d"]);
        assert!(two_syncs().recovered(&without_last, Harm::LostWrite).is_ok());
        assert!(two_syncs().recovered(&without_last, Harm::Rot).is_err());
        assert!(two_syncs().recovered(&found(&["a", "b"]), Harm::LostWrite).is_err());
    }
}

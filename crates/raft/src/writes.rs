//! The FIFO of durable writes, and which write each promise waits for (contract C1, C2, C6).
//!
//! ```text
//!   step: put, truncate, set_meta ──▶ ops ──flush──▶ Persist{seq} ──▶ disk ──▶ Durable{upto}
//!                │                                                               │
//!         gate_slot, gate_meta: the seq to wait for            durable_slot ◀────┘
//! ```

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use std::time::Duration;

use consensus::{StoreOp, WriteSeq};
use types::{Slot, Time};

use crate::{Meta, Raft, Record};

/// What is being written, and what is known to be durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    /// The last write that was handed to the driver.
    issued: WriteSeq,
    durable: WriteSeq,
    /// The next write, still being collected.
    ops: Vec<StoreOp<Raft>>,
    /// When the disk last finished something, or was given something after having had nothing to do; `None` while it
    /// has nothing to do.
    busy_since: Option<Time>,
    /// The last write that holds the meta record.
    meta: WriteSeq,
    /// Writes under way, and up to which slot the log is durable once they are. A truncation lowers the
    /// slots of the writes before it, so that no write vouches for a slot that a later one overwrites.
    log: VecDeque<(WriteSeq, Slot)>,
    durable_slot: Slot,
}

impl Writes {
    /// Nothing under way; the log is durable up to `durable_slot`.
    pub fn new(durable_slot: Slot) -> Writes {
        Writes { durable_slot, ..Writes::default() }
    }

    /// Appends `record` at `slot`.
    pub fn put(&mut self, slot: Slot, record: Record) {
        self.ops.push(StoreOp::Put(slot, record));
        self.note_end(slot);
    }

    /// Cuts off `from` and everything above it.
    pub fn truncate_from(&mut self, from: Slot) {
        self.ops.push(StoreOp::TruncateFrom(from));
        let end = from.prev();
        self.durable_slot = self.durable_slot.min(end);
        for (_, slot) in &mut self.log {
            *slot = (*slot).min(end);
        }
    }

    /// Forgets `upto` and everything below it.
    pub fn compact_to(&mut self, upto: Slot) {
        self.ops.push(StoreOp::CompactTo(upto));
    }

    /// Forgets the whole log and starts again after `at`, where the state machine durably stands.
    pub fn reset_to(&mut self, at: Slot) {
        self.ops.push(StoreOp::ResetTo { at });
        self.log.clear();
        self.durable_slot = self.durable_slot.min(at);
        self.note_end(at);
    }

    /// Replaces the meta record.
    pub fn set_meta(&mut self, meta: Meta) {
        self.ops.retain(|op| !matches!(op, StoreOp::SetMeta(_)));
        self.ops.push(StoreOp::SetMeta(meta));
        self.meta = self.issued.next();
    }

    /// The write that everything up to `slot` waits for.
    pub fn gate_slot(&self, slot: Slot) -> WriteSeq {
        if slot <= self.durable_slot {
            return WriteSeq::NONE;
        }
        let covering = self.log.partition_point(|(_, end)| *end < slot);
        self.log.get(covering).map_or(self.issued, |(seq, _)| *seq)
    }

    /// The write that the current term and vote wait for.
    pub fn gate_meta(&self) -> WriteSeq {
        if self.meta <= self.durable { WriteSeq::NONE } else { self.meta }
    }

    /// The last slot up to which the log is durable.
    pub fn durable_slot(&self) -> Slot {
        self.durable_slot
    }

    /// Every write up to `upto` is durable.
    pub fn durable(&mut self, now: Time, upto: WriteSeq) {
        let before = self.durable;
        self.durable = self.durable.max(upto.min(self.issued));
        if self.durable == self.issued {
            self.busy_since = None;
        } else if self.durable > before {
            self.busy_since = Some(now);
        }
        while let Some((seq, slot)) = self.log.front().copied()
            && seq <= self.durable
        {
            self.durable_slot = self.durable_slot.max(slot);
            self.log.pop_front();
        }
    }

    /// Ends the write being collected, if there is anything in it.
    pub fn take(&mut self, now: Time) -> Option<(WriteSeq, Vec<StoreOp<Raft>>)> {
        if self.ops.is_empty() {
            return None;
        }
        self.busy_since.get_or_insert(now);
        self.issued = self.issued.next();
        Some((self.issued, std::mem::take(&mut self.ops)))
    }

    /// For how long the disk has had something to do without finishing anything.
    pub fn stalled_for(&self, now: Time) -> Duration {
        self.busy_since.map_or(Duration::ZERO, |since| now.since(since))
    }

    fn note_end(&mut self, slot: Slot) {
        let seq = self.issued.next();
        match self.log.back_mut() {
            Some((last, end)) if *last == seq => *end = slot,
            _ => self.log.push_back((seq, slot)),
        }
    }
}

impl Hash for Writes {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // The operations themselves repeat what the log and the meta record say, and of the numbers of writes only
        // their distance from the durable one means anything.
        let ahead = |seq: WriteSeq| seq.0.saturating_sub(self.durable.0);
        (ahead(self.issued), self.ops.len(), ahead(self.meta), self.durable_slot, self.log.len()).hash(state);
        self.log.iter().for_each(|(seq, end)| (ahead(*seq), end).hash(state));
        self.busy_since.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use consensus::{Entry, EntryKind};

    fn put(writes: &mut Writes, slots: std::ops::RangeInclusive<u64>) {
        for slot in slots {
            let entry = Entry { kind: EntryKind::Noop, payload: bytes::Bytes::new() };
            writes.put(Slot(slot), Record { term: 1, entry });
        }
    }

    #[test]
    fn each_slot_waits_for_its_own_write() {
        let mut writes = Writes::new(Slot(2));
        put(&mut writes, 3..=5);
        assert_eq!(writes.take(Time(0)).map(|(seq, ops)| (seq, ops.len())), Some((WriteSeq(1), 3)));
        put(&mut writes, 6..=6);
        let gates = |writes: &Writes| [2, 3, 5, 6].map(|slot| writes.gate_slot(Slot(slot)).0);
        assert_eq!(gates(&writes), [0, 1, 1, 2], "also before the second write is issued");
        writes.take(Time(0));
        writes.durable(Time(0), WriteSeq(1));
        assert_eq!((writes.durable_slot(), gates(&writes)), (Slot(5), [0, 0, 0, 2]));
        writes.durable(Time(0), WriteSeq(2));
        assert_eq!(writes.durable_slot(), Slot(6));
        assert!(writes.take(Time(0)).is_none(), "nothing is left to write");
    }

    /// A write that was overtaken by a truncation says nothing about the slots that were cut off.
    #[test]
    fn a_truncation_takes_back_what_earlier_writes_vouch_for() {
        let mut writes = Writes::new(Slot(0));
        put(&mut writes, 1..=10);
        writes.take(Time(0));
        writes.truncate_from(Slot(5));
        put(&mut writes, 5..=6);
        writes.take(Time(0));
        writes.durable(Time(0), WriteSeq(1));
        assert_eq!((writes.durable_slot(), writes.gate_slot(Slot(5))), (Slot(4), WriteSeq(2)));
        writes.durable(Time(0), WriteSeq(2));
        assert_eq!(writes.durable_slot(), Slot(6));
        writes.truncate_from(Slot(3));
        assert_eq!(writes.durable_slot(), Slot(2), "at once, not when the cut is durable");
    }

    #[test]
    fn votes_and_entries_share_one_queue() {
        let mut writes = Writes::new(Slot(0));
        writes.set_meta(Meta::default());
        assert_eq!(writes.gate_meta(), WriteSeq(1));
        writes.set_meta(Meta { term: 2, ..Meta::default() });
        put(&mut writes, 1..=1);
        let Some((_, ops)) = writes.take(Time(0)) else { panic!("nothing to write") };
        assert!(matches!(&ops[..], [StoreOp::SetMeta(Meta { term: 2, .. }), StoreOp::Put(Slot(1), _)]));
        writes.durable(Time(0), WriteSeq(1));
        assert_eq!(writes.gate_meta(), WriteSeq::NONE);
    }

    #[test]
    fn a_disk_stalls_while_it_finishes_nothing() {
        let mut writes = Writes::new(Slot(0));
        let stalled = |writes: &Writes, now| writes.stalled_for(Time(now)).as_nanos();
        assert_eq!(stalled(&writes, 9), 0, "nothing to do");
        put(&mut writes, 1..=1);
        writes.take(Time(10));
        put(&mut writes, 2..=2);
        writes.take(Time(20));
        assert_eq!(stalled(&writes, 25), 15);
        writes.durable(Time(30), WriteSeq(1));
        assert_eq!(stalled(&writes, 35), 5, "it is slow, but it goes on");
        writes.durable(Time(40), WriteSeq(2));
        assert_eq!(stalled(&writes, 99), 0);
    }

    #[test]
    fn a_reset_is_itself_a_write_to_wait_for() {
        let mut writes = Writes::new(Slot(3));
        put(&mut writes, 4..=9);
        writes.take(Time(0));
        writes.reset_to(Slot(100));
        assert_eq!((writes.durable_slot(), writes.gate_slot(Slot(100))), (Slot(3), WriteSeq(2)));
        writes.take(Time(0));
        writes.durable(Time(0), WriteSeq(2));
        assert_eq!(writes.durable_slot(), Slot(100));
    }
}

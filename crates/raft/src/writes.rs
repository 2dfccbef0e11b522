//! The FIFO of durable writes, and which write each promise waits for (contract C1, C2, C6).
//!
//! ```text
//!   step: put, truncate, set_meta ──▶ ops ──flush──▶ Persist{seq} ──▶ disk ──▶ Durable{upto}
//!                │                                                               │
//!         gate_slot, gate_meta: the seq to wait for            durable_slot ◀────┘
//! ```

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use consensus::{StoreOp, WriteSeq};
use types::Slot;

use crate::{Meta, Raft, Record};

/// What is being written, and what is known to be durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Writes {
    /// The last write that was handed to the driver.
    issued: WriteSeq,
    durable: WriteSeq,
    /// The next write, still being collected.
    ops: Vec<StoreOp<Raft>>,
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
    pub fn durable(&mut self, upto: WriteSeq) {
        self.durable = self.durable.max(upto.min(self.issued));
        while let Some((seq, slot)) = self.log.front().copied()
            && seq <= self.durable
        {
            self.durable_slot = self.durable_slot.max(slot);
            self.log.pop_front();
        }
    }

    /// Ends the write being collected, if there is anything in it.
    pub fn take(&mut self) -> Option<(WriteSeq, Vec<StoreOp<Raft>>)> {
        if self.ops.is_empty() {
            return None;
        }
        self.issued = self.issued.next();
        Some((self.issued, std::mem::take(&mut self.ops)))
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
        // The operations themselves repeat what the log and the meta record say.
        (self.issued, self.durable, self.ops.len(), self.meta, &self.log, self.durable_slot).hash(state);
    }
}

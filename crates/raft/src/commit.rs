//! Counting copies, handing committed entries to the state machine, and letting the log's old end go.
//!
//! ```text
//!   durable copies ──majority──▶ commit ──durable here──▶ Committed ──▶ Applied ──enough of them──▶ TakeCheckpoint
//!                                                                                                       │
//!                    base ◀── all but what lagging peers may want ◀── CheckpointDurable ◀───────────────┘
//! ```

use consensus::{CommittedEntry, Event, Out, WriteSeq};
use types::{Epoch, NodeId, Slot, buggify};

use crate::raft::State;
use crate::{Raft, Record};

/// One event hands over at most this many bytes of entries, or a single entry, so that a long replay comes in
/// pieces.
const COMMITTED_BYTES_MAX: u64 = 4 << 20;

impl Raft {
    /// R4: commits what a majority holds durably, if it is of the leader's own term.
    pub(crate) fn try_commit(&mut self) {
        if buggify!(self.config.buggify, "raft.commit.later") {
            return;
        }
        let State::Leader(leading) = &self.state else { return };
        let is_unsynced_enough = planted!(self, CountsUnsynced);
        let own = if is_unsynced_enough { self.log.last() } else { self.writes.durable_slot() };
        let held = |node: NodeId| match leading.progress.get(&node) {
            _ if node == self.config.id => own,
            Some(progress) if self.counts(node, progress) => progress.matched,
            _ => Slot::ZERO,
        };
        let quorum =
            if planted!(self, CountsUnsorted) { self.unsorted_value(held) } else { self.quorum_value(held) };
        let Some(held) = quorum else { return };
        let is_own = self.log.term_at(held) == Some(self.term) || planted!(self, CommitsOldTerms);
        if held > self.commit && is_own {
            self.commit = held;
            self.configurations.commit(held);
        }
    }

    /// R5: hands over what is committed, behind the write that makes it durable here.
    pub(crate) fn emit_committed(&mut self, out: &mut Out<Raft>) {
        if planted!(self, CountsUnsynced) {
            self.try_commit();
        }
        if buggify!(self.config.buggify, "raft.committed.later") {
            return;
        }
        let bytes_max =
            if buggify!(self.config.buggify, "raft.committed.one") { 1 } else { COMMITTED_BYTES_MAX };
        let is_replaced = self.is_installing();
        while self.emitted < self.commit && (!is_replaced || planted!(self, AppliesDuringInstall)) {
            let first = self.emitted.next();
            let Some(records) = self.log.read(first, self.commit, bytes_max) else { return };
            self.emitted = self.emitted.plus(records.len() as u64);
            let is_gated = !planted!(self, CountsUnsynced, EmitsEarly);
            self.emitted_gate = if is_gated { self.writes.gate_slot(self.emitted) } else { WriteSeq::NONE };
            let entries = records.into_iter().map(committed_entry).collect();
            self.emit(Event::Committed { first, entries }, self.emitted_gate, out);
        }
    }

    pub(crate) fn on_applied(&mut self, upto: Slot, out: &mut Out<Raft>) {
        self.applied = self.applied.max(upto.min(self.emitted));
        let bytes_max =
            if buggify!(self.config.buggify, "raft.cache.evicted") { 0 } else { self.config.cache_bytes_max };
        self.log.evict(self.applied.min(self.writes.durable_slot()), bytes_max);
        self.ask_for_checkpoint(out);
    }

    fn ask_for_checkpoint(&mut self, out: &mut Out<Raft>) {
        let entries = self.applied.above(self.checkpoint);
        let bytes = || self.log.bytes_above(self.checkpoint) - self.log.bytes_above(self.applied);
        let is_due = entries >= self.config.checkpoint_entries || bytes() >= self.config.checkpoint_bytes;
        let is_due = (is_due && !buggify!(self.config.buggify, "raft.checkpoint.later"))
            || buggify!(self.config.buggify, "raft.checkpoint.now");
        if entries > 0 && is_due && self.checkpoint_asked.is_none() {
            self.checkpoint_asked = Some(self.applied);
            self.emit(Event::TakeCheckpoint { at: self.applied }, WriteSeq::NONE, out);
        }
    }

    pub(crate) fn on_checkpoint_durable(&mut self, at: Slot) {
        let at = at.min(self.applied);
        self.checkpoint = self.checkpoint.max(at);
        self.checkpoint_asked.take_if(|asked| *asked <= at);
        self.compact();
    }

    /// Lets go of the log below the checkpoint, except for what peers a little behind may still want.
    fn compact(&mut self) {
        if buggify!(self.config.buggify, "raft.compact.later") {
            return;
        }
        let retained = if buggify!(self.config.buggify, "raft.compact.nothing_kept") {
            0
        } else {
            self.config.retained_entries
        };
        let by_count = Slot(self.checkpoint.0.saturating_sub(retained));
        let by_bytes = self.log.lowest_within(self.checkpoint, self.config.retained_bytes);
        // A peer that is being sent a checkpoint goes on from where that one stands.
        let upto = by_count.max(by_bytes).min(self.lowest_transfer()).min(self.writes.durable_slot());
        if upto > self.log.base() {
            self.log.compact_to(upto);
            self.writes.compact_to(upto);
            self.save_meta();
        }
    }
}

fn committed_entry(record: Record) -> CommittedEntry {
    CommittedEntry { epoch: Epoch::of(record.term), entry: record.entry }
}

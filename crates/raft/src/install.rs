//! The follower's side of a checkpoint: stage its chunks in order, then put it in the state machine's place.
//!
//! ```text
//!   Chunk{i} ──in order──▶ StageChunk ──▶ ChunkStaged ──▶ ChunkAck{i + 1} … last: InstallCheckpoint
//!                                              CheckpointInstalled ──▶ log restarts after it ──▶ Appended{at}
//! ```
//!
//! A checkpoint that entries have overtaken is dropped, however much of it is staged: the state never goes back.
//! While the state machine is being replaced it is handed no entries, and it is not replaced before it got those
//! that were handed over earlier (R5).

use bytes::Bytes;
use consensus::{CheckpointMeta, Event, Out, TransferId, WriteSeq};
use types::{NodeId, WallTime, buggify};

use crate::log::Log;
use crate::{Message, Raft};

/// A checkpoint that a leader is sending.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Incoming {
    from: NodeId,
    transfer: TransferId,
    meta: CheckpointMeta,
    wall: WallTime,
    /// The next chunk to stage.
    next: u64,
    /// Chunks below this one are staged.
    staged: u64,
    /// The last chunk, once it has been seen.
    last: Option<u64>,
    /// The state machine is being replaced; only the driver can end that.
    installing: bool,
}

impl Incoming {
    pub fn is_installing(&self) -> bool {
        self.installing
    }
}

impl Raft {
    /// Whether a checkpoint is taking the place of the state machine.
    pub(crate) fn is_installing(&self) -> bool {
        self.following.incoming.as_ref().is_some_and(Incoming::is_installing)
    }

    pub(crate) fn on_chunk(
        &mut self,
        from: NodeId,
        transfer: TransferId,
        meta: CheckpointMeta,
        wall: WallTime,
        (index, chunk, last): (u64, Bytes, bool),
        out: &mut Out<Raft>,
    ) {
        if meta.at <= self.commit {
            self.following.ack_due = true; // this replica is further already
            return;
        }
        let is_current = |it: &Incoming| it.from == from && it.transfer == transfer;
        let is_busy = |it: &Incoming| it.installing && !is_current(it);
        let incoming = &mut self.following.incoming;
        if incoming.as_ref().is_some_and(is_busy) {
            return;
        }
        if index == 0 && !incoming.as_ref().is_some_and(is_current) {
            let (next, staged, last, installing) = (0, 0, None, false);
            *incoming = Some(Incoming { from, transfer, meta, wall, next, staged, last, installing });
        }
        match incoming.as_mut().filter(|it| is_current(it)) {
            Some(it) if it.next == index && it.last.is_none() => {
                it.next += 1;
                it.last = last.then_some(index);
                self.emit(Event::StageChunk { from, transfer, index, chunk }, WriteSeq::NONE, out);
            }
            Some(it) => {
                let staged = it.staged;
                self.acknowledge_chunks(from, transfer, staged, false, out);
            }
            None => self.acknowledge_chunks(from, transfer, 0, false, out),
        }
    }

    pub(crate) fn on_chunk_staged(&mut self, transfer: TransferId, index: u64, out: &mut Out<Raft>) {
        let keeps_overtaken = planted!(self, InstallsOvertaken);
        let Some(incoming) = &mut self.following.incoming else { return };
        if incoming.transfer != transfer || incoming.staged != index || incoming.installing {
            return;
        }
        incoming.staged += 1;
        if incoming.meta.at <= self.commit && !keeps_overtaken {
            // Entries that were thought lost came while it was being staged.
            self.following.incoming = None;
            self.following.ack_due = true;
            return;
        }
        incoming.installing = incoming.last == Some(index);
        let (from, staged, meta) = (incoming.from, incoming.staged, incoming.meta.clone());
        if incoming.installing {
            let after = gated!(self, InstallsEarly, self.emitted_gate.max(self.writes.gate_meta()));
            self.emit(Event::InstallCheckpoint { transfer, meta }, after, out);
        }
        self.acknowledge_chunks(from, transfer, staged, false, out);
    }

    pub(crate) fn on_checkpoint_installed(
        &mut self,
        transfer: TransferId,
        installed: bool,
        out: &mut Out<Raft>,
    ) {
        let is_it = |it: &mut Incoming| it.transfer == transfer && it.installing;
        let Some(incoming) = self.following.incoming.take_if(is_it) else { return };
        if installed {
            self.adopt(incoming.meta, incoming.wall);
        } else if self.leader == Some(incoming.from) {
            self.acknowledge_chunks(incoming.from, transfer, 0, true, out);
        }
    }

    /// The state machine durably stands at a checkpoint.
    fn adopt(&mut self, meta: CheckpointMeta, wall: WallTime) {
        let (at, term) = (meta.at, meta.epoch.number);
        self.wall = self.wall.max(wall);
        if self.log.term_at(at) != Some(term) {
            self.log = Log::new(at, term);
            self.writes.reset_to(at);
            if !planted!(self, ForgetsCheckpointMembership) {
                self.configurations.reset(at, meta.membership);
            }
            self.repair.nothing_to_cut();
            self.following.verified = at;
            self.commit = at;
        }
        self.commit = self.commit.max(at);
        self.configurations.commit(self.commit);
        self.following.verified = self.following.verified.max(at);
        self.emitted = at;
        self.applied = at;
        self.checkpoint = at;
        self.checkpoint_asked = None;
        self.save_meta();
        self.following.ack_due = true;
    }

    fn acknowledge_chunks(
        &self,
        to: NodeId,
        transfer: TransferId,
        next: u64,
        failed: bool,
        out: &mut Out<Raft>,
    ) {
        if self.leader == Some(to) && !buggify!(self.config.buggify, "raft.chunk.ack_not_said") {
            let message = Message::ChunkAck { term: self.term, transfer, next, failed };
            self.send_control(to, message, self.gate_meta(), out);
        }
    }
}

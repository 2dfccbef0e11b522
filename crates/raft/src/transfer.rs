//! The leader's side of a checkpoint on its way to a peer whose next entries are compacted away.
//!
//! ```text
//!   ReadChunk{i} ──driver──▶ ChunkRead{i} ──Chunk{i}──▶ peer ──ChunkAck{next}──▶ ReadChunk{i + window} ...
//!        ▲                                                          … Appended{at}: go on with entries
//!        └── no answer for a while: again from the first one missing; still none: give up
//! ```

use bytes::Bytes;
use consensus::{CheckpointMeta, Dest, Event, Lane, Out, TransferId, WriteSeq};
use types::{NodeId, Now, Slot, buggify};

use crate::progress::{Flow, Progress};
use crate::raft::State;
use crate::{Message, Raft};

/// One transfer to one peer.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Transfer {
    pub id: TransferId,
    /// Where the snapshot stands; known with its first chunk.
    at: Option<Slot>,
    /// The next chunk to read.
    next: u64,
    /// A chunk is being read; one at a time, because only the last one says that it is the last.
    reading: bool,
    /// Chunks below this one are staged at the peer.
    acked: u64,
    /// How many chunks there are; known with the last one.
    count: Option<u64>,
    /// Heartbeats since anything moved.
    idle: u64,
    /// Times it went back since the peer last answered.
    retries: u64,
}

/// Heartbeat intervals without an answer before chunks are sent again.
const RETRY_AFTER_HEARTBEATS: u64 = 5;
/// Retries without an answer before the transfer is given up.
const RETRIES_MAX: u64 = 3;

impl Transfer {
    fn new(id: TransferId) -> Transfer {
        Transfer { id, at: None, next: 0, reading: false, acked: 0, count: None, idle: 0, retries: 0 }
    }

    /// The next chunk that the window allows to read.
    fn next_chunk(&mut self, window: u64) -> Option<u64> {
        let is_read = self.count.is_some_and(|count| self.next >= count);
        if self.reading || is_read || self.next >= self.acked + window {
            return None;
        }
        self.reading = true;
        self.next += 1;
        Some(self.next - 1)
    }

    /// Begins again at the first chunk that is not staged, or asks about the last one if all are.
    fn go_back(&mut self) {
        self.idle = 0;
        self.retries += 1;
        self.next = match self.count {
            Some(count) => self.acked.min(count.saturating_sub(1)),
            None => self.acked,
        };
    }
}

impl Raft {
    /// Begins a transfer to each of `peers`, or waits for a sign of life from those that have long been silent.
    pub(crate) fn begin_transfers(&mut self, now: Now, peers: &[NodeId], out: &mut Out<Raft>) {
        let (term, timeout) = (self.term, self.config.election_timeout);
        for peer in peers {
            let Some(leading) = self.leading() else { return };
            let number = leading.transfers_begun + 1;
            let Some(progress) = leading.progress.get_mut(peer) else { continue };
            if now.mono.since(progress.contact) >= timeout {
                progress.flow = Flow::Probe { sent: true };
                continue;
            }
            // A term has one leader, so that no number is used twice, whatever restarts.
            progress.checkpoint(Transfer::new(TransferId((term << TERM_SHIFT) + number)));
            leading.transfers_begun = number;
            self.read_chunk(*peer, out);
        }
    }

    fn transfer(&mut self, peer: NodeId, id: TransferId) -> Option<&mut Transfer> {
        match &mut self.progress(peer)?.flow {
            Flow::Checkpoint(transfer) if transfer.id == id => Some(transfer),
            _ => None,
        }
    }

    fn peer_of(&self, id: TransferId) -> Option<NodeId> {
        let State::Leader(leading) = &self.state else { return None };
        let is_it = |progress: &Progress| matches!(&progress.flow, Flow::Checkpoint(it) if it.id == id);
        leading.progress.iter().find(|(_, progress)| is_it(progress)).map(|(peer, _)| *peer)
    }

    fn read_chunk(&mut self, peer: NodeId, out: &mut Out<Raft>) {
        let window = if buggify!(self.config.buggify, "raft.transfer.one_chunk") {
            1
        } else {
            self.config.chunks_inflight_max
        };
        let Some(Progress { flow: Flow::Checkpoint(transfer), .. }) = self.progress(peer) else { return };
        let id = transfer.id;
        if let Some(index) = transfer.next_chunk(window) {
            self.emit(Event::ReadChunk { transfer: id, index }, WriteSeq::NONE, out);
        }
    }

    pub(crate) fn on_chunk_read(
        &mut self,
        id: TransferId,
        meta: CheckpointMeta,
        (index, chunk, last): (u64, Bytes, bool),
        out: &mut Out<Raft>,
    ) {
        let Some(peer) = self.peer_of(id) else { return };
        let Some(transfer) = self.transfer(peer, id) else { return };
        transfer.at = Some(meta.at);
        transfer.idle = 0;
        transfer.reading = false;
        if last {
            transfer.count = Some(index + 1);
        }
        let (term, wall) = (self.term, self.wall);
        let incarnation = self.stamp.incarnation;
        let message = Message::Chunk { term, incarnation, transfer: id, meta, wall, index, chunk, last };
        if buggify!(self.config.buggify, "raft.transfer.chunk_twice") {
            self.send_now(Dest::Node(peer), message.clone(), Lane::Bulk, out);
        }
        if !buggify!(self.config.buggify, "raft.transfer.chunk_not_sent") {
            self.send_now(Dest::Node(peer), message, Lane::Bulk, out);
        }
        self.read_chunk(peer, out);
    }

    pub(crate) fn on_chunk_ack(
        &mut self,
        now: Now,
        from: NodeId,
        id: TransferId,
        (next, failed): (u64, bool),
        out: &mut Out<Raft>,
    ) {
        let Some(progress) = self.progress(from) else { return };
        progress.contact = now.mono;
        let gives_up = buggify!(self.config.buggify, "raft.transfer.given_up");
        let goes_back = buggify!(self.config.buggify, "raft.transfer.goes_back");
        let Some(transfer) = self.transfer(from, id) else { return };
        if failed || gives_up {
            return self.give_up_transfer(from, out);
        }
        // A peer that has fewer chunks than before has restarted; it stops answering for this transfer.
        if next >= transfer.acked && next <= transfer.next {
            transfer.acked = next;
            transfer.idle = 0;
            transfer.retries = 0;
        }
        if goes_back {
            transfer.go_back();
        }
        self.read_chunk(from, out);
    }

    pub(crate) fn on_chunk_lost(&mut self, id: TransferId, out: &mut Out<Raft>) {
        if let Some(peer) = self.peer_of(id) {
            self.give_up_transfer(peer, out);
        }
    }

    /// Once a heartbeat: goes back where nothing moves, gives up where nobody answers.
    pub(crate) fn retry_transfers(&mut self, out: &mut Out<Raft>) {
        let Some(leading) = self.leading() else { return };
        let (mut again, mut over) = (Vec::new(), Vec::new());
        for (peer, progress) in &mut leading.progress {
            let Flow::Checkpoint(transfer) = &mut progress.flow else { continue };
            transfer.idle += 1;
            if transfer.idle < RETRY_AFTER_HEARTBEATS {
                continue;
            }
            if transfer.retries >= RETRIES_MAX {
                over.push(*peer);
            } else {
                transfer.go_back();
                again.push(*peer);
            }
        }
        for peer in again {
            self.read_chunk(peer, out);
        }
        for peer in over {
            self.give_up_transfer(peer, out);
        }
    }

    /// The peer stands at the checkpoint, or got there in another way.
    pub(crate) fn finish_transfer(&mut self, peer: NodeId, out: &mut Out<Raft>) {
        self.close_transfer(peer, out);
        if let Some(progress) = self.progress(peer) {
            progress.replicate();
        }
    }

    fn give_up_transfer(&mut self, peer: NodeId, out: &mut Out<Raft>) {
        self.close_transfer(peer, out);
        if let Some(progress) = self.progress(peer) {
            let next = progress.next;
            progress.probe(next);
        }
    }

    pub(crate) fn close_transfer(&mut self, peer: NodeId, out: &mut Out<Raft>) {
        if let Some(Progress { flow: Flow::Checkpoint(transfer), .. }) = self.progress(peer) {
            let transfer = transfer.id;
            self.emit(Event::CloseTransfer { transfer }, WriteSeq::NONE, out);
        }
    }

    /// This replica no longer leads.
    pub(crate) fn abandon_transfers(&mut self, out: &mut Out<Raft>) {
        let Some(leading) = self.leading() else { return };
        let peers: Vec<NodeId> = leading.progress.keys().copied().collect();
        for peer in peers {
            self.close_transfer(peer, out);
        }
    }

    /// The log above this slot is still wanted by a peer that is being sent a checkpoint.
    pub(crate) fn lowest_transfer(&self) -> Slot {
        let State::Leader(leading) = &self.state else { return Slot(u64::MAX) };
        let wanted = leading.progress.values().filter_map(|progress| match &progress.flow {
            Flow::Checkpoint(transfer) => Some(transfer.at.unwrap_or(self.log.base())),
            _ => None,
        });
        wanted.min().unwrap_or(Slot(u64::MAX))
    }
}

/// Bits of a transfer's number that count within a term.
const TERM_SHIFT: u32 = 20;

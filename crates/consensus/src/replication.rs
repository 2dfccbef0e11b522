//! Layer 2: totally ordered replication of commands, by whichever protocol.

use bytes::Bytes;
use types::{Command, Epoch, NodeId, Reader, Slot, Wire, WireError};

use crate::{Change, ChangeRefusal, Membership, Protocol};

/// A protocol that puts commands into one order on every replica.
pub trait Consensus: Protocol<Request = Request, Event = Event> {
    /// What this protocol offers. The conformance suite exercises all of it; the API refuses the rest.
    const CAPABILITIES: Capabilities;

    /// Where this replica stands.
    fn status(&self) -> Status;

    /// Bytes of new commands that this replica takes before it answers [`Refusal::Busy`]. The server sheds
    /// load from this number, not from the length of a queue.
    fn credit(&self) -> u64;
}

/// What a protocol offers, declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Which faults it survives.
    pub fault: FaultModel,
    /// Which reads it can serve.
    pub reads: &'static [ReadLevel],
    /// How its membership can change.
    pub reconfigure: &'static [ReconfigureMode],
}

/// Which faults a protocol survives, and how many replicas that takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultModel {
    /// Replicas stop or lose messages, but do not lie: `2f + 1` replicas survive `f` faults.
    Crash,
    /// Replicas may do anything: `3f + 1` replicas survive `f` faults.
    Byzantine,
}

/// How fresh a read is, from weakest to strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadLevel {
    /// What this replica has applied: possibly stale.
    Local,
    /// Linearizable as long as clocks run alike, without asking anybody while a lease lasts (Raft dissertation §6.4.1);
    /// a round to a quorum when it does not.
    Lease,
    /// Linearizable for the price of one round to a quorum, without a log write (Raft dissertation §6.4).
    ReadIndex,
}

/// How membership can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReconfigureMode {
    /// Through a joint configuration (Raft §6).
    Joint,
}

/// Correlates a request with its answer; chosen by the driver, never reused while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// One transfer of one checkpoint to one peer; never reused by the replica that sends it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// What a driver asks of a core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Replicate commands. A follower forwards them to the leader it knows. There is no positive answer: the
    /// proposer sees its command applied. [`Event::Refused`], emitted ungated by the very `step` that takes the
    /// request, says that this attempt went nowhere; without it the outcome is open (C8).
    Propose {
        /// Names this attempt in a refusal.
        token: Token,
        /// Proposed together, in this order.
        commands: Vec<Command>,
    },
    /// Ask for a point in the log at which a read of `level` may be served: answered by [`Event::ReadReady`] or
    /// [`Event::Refused`], or not at all if messages are lost. A retry carries a new token.
    Read {
        /// Names this attempt.
        token: Token,
        /// How fresh.
        level: ReadLevel,
    },
    /// Change the membership, all of `changes` in one step. A follower asks the leader it knows. Answered by
    /// [`Event::Reconfigured`] or [`Event::Refused`], or not at all if messages are lost or the leader changes: the
    /// outcome is then open (C8), and the membership tells.
    Reconfigure {
        /// Names this attempt.
        token: Token,
        /// What to change.
        changes: Vec<Change>,
    },
    /// Let another voter lead. Only a leader can; [`Event::Refused`] says why it will not even try. Success is seen as
    /// [`Event::Leadership`]; if it does not come within an election timeout, this replica goes on leading.
    TransferLeadership {
        /// Names this attempt.
        token: Token,
        /// Who shall lead; `None` for whoever is furthest.
        to: Option<NodeId>,
    },
    /// The state machine has applied everything up to here.
    Applied {
        /// The last applied slot.
        upto: Slot,
    },
    /// Answers [`Event::TakeCheckpoint`]: the state machine is itself durable up to here, so that the log
    /// below is only needed by lagging peers.
    CheckpointDurable {
        /// The last slot whose effect is durable in the state machine.
        at: Slot,
    },
    /// Answers [`Event::ReadChunk`].
    ChunkRead {
        /// The transfer it belongs to.
        transfer: TransferId,
        /// The last slot whose effect the snapshot holds; the same for every chunk of a transfer.
        at: Slot,
        /// The epoch of that slot's entry.
        epoch: Epoch,
        /// The membership at that slot, as the state machine holds it.
        membership: Membership,
        /// Which chunk, from 0.
        index: u64,
        /// Its bytes.
        chunk: Bytes,
        /// Whether it is the last one.
        last: bool,
    },
    /// Answers [`Event::ReadChunk`] when the transfer cannot go on, for instance because the driver restarted
    /// its snapshot: the core begins a new transfer.
    ChunkLost {
        /// The transfer that is over.
        transfer: TransferId,
    },
    /// Answers [`Event::StageChunk`]: the chunk is kept.
    ChunkStaged {
        /// The transfer, as its sender numbered it.
        transfer: TransferId,
        /// Which chunk.
        index: u64,
    },
    /// Answers [`Event::InstallCheckpoint`].
    CheckpointInstalled {
        /// The transfer, as its sender numbered it.
        transfer: TransferId,
        /// Whether the state machine now stands there, durably. `false` if what was staged is not a whole,
        /// intact checkpoint; it has then been thrown away.
        installed: bool,
    },
}

/// What a core tells its driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Entries are committed, in slot order and without gaps since `recover`'s `applied` or the last installed
    /// checkpoint. Gated on their own durability at this replica, so that a state machine is never durably
    /// ahead of the log below it.
    Committed {
        /// The slot of the first entry.
        first: Slot,
        /// Consecutive entries.
        entries: Vec<CommittedEntry>,
    },
    /// A read may be served as soon as the state machine has applied `at`.
    ReadReady {
        /// The attempt.
        token: Token,
        /// The slot to wait for.
        at: Slot,
    },
    /// A change of membership is committed, and no other is under way.
    Reconfigured {
        /// The attempt.
        token: Token,
        /// The slot of the final configuration.
        at: Slot,
    },
    /// Another configuration is in force at this replica: for the driver to know whom to talk to. It may not be
    /// committed yet, and may be taken back.
    MembershipChanged {
        /// The slot of its entry, or a later one up to which it is settled; 0 if it stands in no log.
        at: Slot,
        /// The configuration.
        membership: Membership,
    },
    /// An attempt to propose, read or change something went nowhere. The submitter may try again.
    Refused {
        /// The attempt.
        token: Token,
        /// Why.
        refusal: Refusal,
    },
    /// The role, epoch or known leader of this replica changed.
    Leadership {
        /// The new role.
        role: Role,
        /// The epoch it holds in.
        epoch: Epoch,
        /// The leader of that epoch, once known.
        leader: Option<NodeId>,
    },
    /// The log has grown enough: make the state machine durable at or above `at`, then say
    /// [`Request::CheckpointDurable`].
    TakeCheckpoint {
        /// The least slot to be covered.
        at: Slot,
    },
    /// Read chunk `index` of `transfer`. The first one opens a stable snapshot of the state machine; later ones
    /// go on from it, and may ask for a chunk again. Answered by [`Request::ChunkRead`].
    ReadChunk {
        /// Names the snapshot.
        transfer: TransferId,
        /// Which chunk, from 0.
        index: u64,
    },
    /// The transfer is over: drop its snapshot.
    CloseTransfer {
        /// The transfer.
        transfer: TransferId,
    },
    /// Keep a chunk that a leader sent. Index 0 throws away what was staged before.
    StageChunk {
        /// Whose checkpoint it is.
        from: NodeId,
        /// The transfer, as `from` numbered it.
        transfer: TransferId,
        /// Which chunk; they come in order.
        index: u64,
        /// Its bytes.
        chunk: Bytes,
    },
    /// Every chunk is staged: verify them, and put them in the place of the state machine, durably and
    /// atomically. Answered by [`Request::CheckpointInstalled`].
    InstallCheckpoint {
        /// The transfer, as its sender numbered it.
        transfer: TransferId,
        /// Where the new state stands.
        meta: CheckpointMeta,
    },
}

/// One committed log entry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommittedEntry {
    /// The epoch that the entry was proposed in.
    pub epoch: Epoch,
    /// What it holds.
    pub entry: Entry,
}

/// What one slot of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// How to read the payload.
    pub kind: EntryKind,
    /// For `Commands` an encoded [`types::Batch`], for `Membership` an encoded [`Membership`], else empty. Kept
    /// encoded, so that it is encoded once.
    pub payload: Bytes,
}

/// How to read an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// Nothing: what a new leader writes to commit what it inherited.
    Noop,
    /// A [`types::Batch`] for the state machine.
    Commands,
    /// A [`Membership`], which the state machine keeps beside its slot.
    Membership,
}

/// Where a checkpoint stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointMeta {
    /// The last slot whose effect it holds.
    pub at: Slot,
    /// The epoch of that slot's entry.
    pub epoch: Epoch,
    /// The membership at that slot.
    pub membership: Membership,
}

/// What a replica does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Its disk lost something that it may have acknowledged; it takes part in nothing but its own repair.
    Recovering,
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it could win an election (Raft dissertation §9.6).
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Why an attempt went nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// No leader is known here, or the known one stepped down; try again when one appears.
    #[error("no leader")]
    NoLeader,
    /// More is under way than the replica takes: shed load.
    #[error("too many requests under way")]
    Busy,
    /// Only a leader can do this, and this replica does not lead.
    #[error("not the leader")]
    NotLeader,
    /// Leadership is on its way to another replica.
    #[error("leadership is being transferred")]
    Transferring,
    /// The membership cannot change like this.
    #[error("membership: {0}")]
    Change(#[from] ChangeRefusal),
    /// This protocol does not offer it.
    #[error("not offered by this protocol")]
    Unsupported,
}

/// Where a replica stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// Its epoch.
    pub epoch: Epoch,
    /// The leader it knows in that epoch.
    pub leader: Option<NodeId>,
    /// First slot still in its log.
    pub first: Slot,
    /// Last slot in its log.
    pub last: Slot,
    /// Last slot that is durable here.
    pub durable: Slot,
    /// Last slot known to be committed.
    pub committed: Slot,
    /// Last slot that the state machine has applied.
    pub applied: Slot,
    /// Last slot that the state machine holds durably.
    pub checkpoint: Slot,
    /// Who takes part.
    pub membership: Membership,
}

impl Wire for Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self.kind {
            EntryKind::Noop => 0,
            EntryKind::Commands => 1,
            EntryKind::Membership => 2,
        });
        self.payload.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let kind = match u8::decode(input)? {
            0 => EntryKind::Noop,
            1 => EntryKind::Commands,
            2 => EntryKind::Membership,
            tag => return Err(WireError::Tag { what: "entry kind", tag }),
        };
        Ok(Entry { kind, payload: Bytes::decode(input)? })
    }
}

impl Wire for TransferId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(TransferId(u64::decode(input)?))
    }
}

impl Wire for CheckpointMeta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.at.encode(out);
        self.epoch.encode(out);
        self.membership.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(CheckpointMeta {
            at: Slot::decode(input)?,
            epoch: Epoch::decode(input)?,
            membership: Membership::decode(input)?,
        })
    }
}

impl Entry {
    /// The membership that an entry puts in force, if it is such an entry and well-formed.
    pub fn membership(&self) -> Option<Membership> {
        match self.kind {
            EntryKind::Membership => Membership::from_bytes(self.payload.clone()).ok(),
            EntryKind::Noop | EntryKind::Commands => None,
        }
    }
}

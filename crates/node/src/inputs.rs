//! What the threads of a node say to each other, and in which directions.
//!
//! ```text
//!        clients, readers of peers' connections
//!                       │ offer / wait for room
//!                       ▼
//!   ┌────────────── core ◀───────────────┐
//!   │ post            ▲ post             │ post
//!   ▼                 │                  │
//!  disk ──────────────┘                  │
//!   │ post                               │
//!   └─────────▶ apply ───────────────────┘
//! ```
//!
//! Between the three, everything is posted, which never blocks, so there is no cycle to dead-lock in. What is
//! queued is bounded all the same: writes by the core's windows and `credit()`, clients by what `offer` lets in,
//! entries to be applied by pausing the bulk lane of the peers ([`crate::mailbox`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use consensus::{CommittedEntry, Consensus, Errand, Event, Lane, Request, StoreOp, WriteSeq};
use tokio::sync::oneshot;
use types::{Epoch, NodeId, SessionId, Slot};

use crate::handle::{Applied, ErrandError, ProposeError, ReadError};
use crate::leases::LeaseQuestion;
use crate::mailbox::{Mailbox, Rejected};
use crate::node::Driven;

/// What happens to the core thread.
pub(crate) enum CoreInput<P: Consensus> {
    /// A peer's message.
    Recv { from: NodeId, message: P::Message },
    /// A client's wish.
    Client(ClientInput),
    /// A peer asks about a lease.
    Asked(LeaseAsk),
    /// Everything up to `upto` is synced, what it gates has been released, and `passed` things more that were
    /// held have been posted to the apply thread.
    Durable { upto: WriteSeq, passed: u64 },
    /// Answers `ReadLog`.
    LogRead { first: Slot, records: Vec<P::Record> },
    /// A connection to a peer was lost.
    Unreachable { peer: NodeId },
    /// Entries have been applied, and are visible to readers.
    Applied(AppliedReport),
    /// The apply thread answers an event.
    Reply(Request),
}

/// What clients of this node ask of its core.
pub(crate) enum ClientInput {
    /// Execute a command, encoded.
    Write { body: Bytes, timeout: Duration, reply: WriteReply },
    /// Say when all that was acknowledged anywhere before is applied here.
    Read { timeout: Duration, reply: oneshot::Sender<Result<(), ReadError>> },
    /// A question about a lease.
    Lease(LeaseAsk),
    /// Change the membership, or who leads.
    Errand { errand: Errand, timeout: Duration, reply: ErrandReply },
    /// Take nothing more from clients, and confirm when the last outcome is known.
    Drain { drained: oneshot::Sender<()> },
}

/// Who waits for an errand.
pub(crate) type ErrandReply = oneshot::Sender<Result<(), ErrandError>>;

/// Who waits for a command.
pub(crate) enum WriteReply {
    /// A client.
    Client(oneshot::Sender<Result<Applied, ProposeError>>),
    /// The node itself: its publication of its name.
    Publication,
    /// The lessor of the leader of this epoch, which asks again when it needs to.
    Revoke(Epoch),
}

/// A question about a lease on its way to the apply thread, which answers it.
pub(crate) struct LeaseAsk {
    pub(crate) question: LeaseQuestion,
    pub(crate) timeout: Duration,
    pub(crate) reply: LeaseReply,
}

/// Where the answer goes.
pub(crate) enum LeaseReply {
    /// To a task of this node.
    Here(oneshot::Sender<Bytes>),
    /// To a peer.
    Peer { to: NodeId, id: u64 },
}

/// What the apply thread did.
pub(crate) struct AppliedReport {
    /// The last applied slot.
    pub(crate) upto: Slot,
    /// Bytes of payload that were taken off its hands.
    pub(crate) bytes: u64,
    /// What became of commands of this node's sessions.
    pub(crate) own: Vec<OwnOutcome>,
    /// Entries were jumped over by installing a checkpoint.
    pub(crate) skipped: bool,
}

/// What became of one command of this node.
pub(crate) struct OwnOutcome {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
    pub(crate) fate: Fate,
}

/// See [`OwnOutcome`].
pub(crate) enum Fate {
    Done(Applied),
    Duplicate,
    SessionMissing,
    SessionOpened,
}

/// What the disk thread is asked, in order.
pub(crate) enum DiskInput<P: Consensus> {
    /// Write and sync.
    Write { seq: WriteSeq, ops: Vec<StoreOp<P>> },
    /// Release `item` when `after` is durable.
    Hold { after: WriteSeq, item: Gated },
    /// Read records back.
    Read { first: Slot, last: Slot, bytes_max: u64 },
}

/// What the disk thread releases by itself.
pub(crate) enum Gated {
    /// A frame for peers.
    Frame { to: consensus::Dest, lane: Lane, frame: Bytes },
    /// Something for the apply thread.
    Apply(ApplyInput),
}

/// What the apply thread is told, in order.
pub(crate) enum ApplyInput {
    /// Entries to apply.
    Committed { first: Slot, entries: Vec<CommittedEntry> },
    /// A checkpoint to take, send, stage or install.
    Checkpoint(Event),
    /// In which epoch this node leads now, if it does.
    Leading(Option<Epoch>),
    /// A question to the lessor; leadership was confirmed after it was asked.
    Lease(LeaseAsk),
}

/// A core's inbox, whatever its protocol: what front-ends hold.
pub(crate) trait ClientPort: Send + Sync {
    /// Hands a wish to the core.
    ///
    /// # Errors
    /// The wish, if there is no room or the node is stopping.
    fn offer(&self, input: ClientInput) -> Result<(), Rejected<ClientInput>>;
}

impl<P: Driven> ClientPort for Mailbox<CoreInput<P>> {
    fn offer(&self, input: ClientInput) -> Result<(), Rejected<ClientInput>> {
        let client = |input| match input {
            CoreInput::Client(input) => Some(input),
            _ => None,
        };
        match Mailbox::offer(self, CoreInput::Client(input)) {
            Ok(()) => Ok(()),
            Err(Rejected::Full(input)) => client(input).map_or(Ok(()), |input| Err(Rejected::Full(input))),
            Err(Rejected::Closed(input)) => {
                client(input).map_or(Ok(()), |input| Err(Rejected::Closed(input)))
            }
        }
    }
}

/// The inboxes of a node's threads.
pub(crate) struct Mailboxes<P: Consensus> {
    pub(crate) core: Arc<Mailbox<CoreInput<P>>>,
    pub(crate) disk: Arc<Mailbox<DiskInput<P>>>,
    pub(crate) apply: Arc<Mailbox<ApplyInput>>,
}

impl<P: Consensus> Clone for Mailboxes<P> {
    fn clone(&self) -> Self {
        Mailboxes { core: self.core.clone(), disk: self.disk.clone(), apply: self.apply.clone() }
    }
}

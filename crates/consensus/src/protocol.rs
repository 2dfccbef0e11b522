//! Layer 1: any protocol. Nothing here knows about logs of commands, leaders or reads, so that gossip and
//! atomic commitment can use the same drivers, simulator and traces.

use types::{Fingerprinter, NodeId, Now, Slot, SlotState, Time, Wire};

/// A protocol core: inputs come in by [`step`](Protocol::step), intentions go out through [`Out`].
///
/// A core is a plain value: cloning one forks its future, which is how small state spaces are explored.
pub trait Protocol: Sized + Clone + std::fmt::Debug {
    /// What a replica is told when it is built: who it is, who its peers are, its time-outs and windows.
    type Config: Clone + std::fmt::Debug;
    /// What replicas say to each other.
    type Message: Wire + Clone + std::fmt::Debug;
    /// What must be durable besides the log: Raft's term and vote, a promised ballot, view and log-view.
    type Meta: Wire + Clone + std::fmt::Debug;
    /// What is durable for one slot: Raft's term and entry, an accepted ballot and value, a certificate.
    type Record: Wire + Clone + std::fmt::Debug;
    /// What the driver asks on behalf of clients and the state machine.
    type Request: Clone + std::fmt::Debug;
    /// What the core tells the driver.
    type Event: Clone + std::fmt::Debug;

    /// Builds a replica from what its disk holds; a fresh replica is recovery from an empty store.
    ///
    /// `seed` is all the randomness that the replica may ever use.
    fn recover(config: Self::Config, seed: u64, disk: Recovered<Self>, now: Now, out: &mut Out<Self>)
    -> Self;

    /// Takes one input. Called for a whole batch of inputs before [`flush`](Protocol::flush).
    fn step(&mut self, now: Now, input: Input<Self>, out: &mut Out<Self>);

    /// Ends a batch: emits coalesced messages and at most one [`Action::Persist`].
    fn flush(&mut self, now: Now, out: &mut Out<Self>);

    /// When [`Input::Timer`] must be delivered next; `None` while nothing depends on time.
    fn deadline(&self) -> Option<Time>;

    /// Writes the whole state into a digest: all that this replica's behaviour depends on, and as little else as
    /// possible, so that state-space exploration recognises it.
    fn digest(&self, into: &mut Fingerprinter);

    /// A stable digest of the whole state, for replay checks.
    fn fingerprint(&self) -> u128 {
        let mut fingerprinter = Fingerprinter::default();
        self.digest(&mut fingerprinter);
        fingerprinter.finish128()
    }

    /// Checks the protocol's numbered promises.
    ///
    /// # Errors
    /// The promise that does not hold, with the numbers that show it. Only our own bug can cause this.
    fn check_invariants(&self) -> Result<(), String>;
}

/// What happens to a core.
#[derive(Clone, Debug)]
pub enum Input<P: Protocol> {
    /// A message arrived. `from` is who the transport knows the peer to be, not what the message says.
    Recv {
        /// The sender.
        from: NodeId,
        /// What it said; may be old, duplicated, reordered or senseless.
        message: P::Message,
    },
    /// [`Protocol::deadline`] has passed. Early or repeated timers are harmless.
    Timer,
    /// Every write up to and including `upto` is on stable storage. Cumulative; may skip numbers.
    Durable {
        /// The last durable write.
        upto: WriteSeq,
    },
    /// Answers [`Action::ReadLog`]: the records from `first` on, as many as fitted; empty if the range has
    /// been compacted meanwhile.
    LogRead {
        /// The first slot of the range that was read.
        first: Slot,
        /// The records of consecutive slots.
        records: Vec<P::Record>,
    },
    /// The transport lost its connection to `peer`. A hint: nothing may depend on it for safety.
    Unreachable {
        /// The peer that cannot be reached at the moment.
        peer: NodeId,
    },
    /// The driver asks something.
    Request(P::Request),
}

/// What a core wants done.
#[derive(Clone, Debug)]
pub enum Action<P: Protocol> {
    /// Apply `ops` in order, as one atomic unit, make them durable, then report [`Input::Durable`]. The driver
    /// may merge consecutive `Persist`s into one disk write. A failure is a crash (C3).
    Persist {
        /// This write's place in the FIFO.
        seq: WriteSeq,
        /// What to write.
        ops: Vec<StoreOp<P>>,
    },
    /// Send `message` to every node of `to`, but not before write `after` is durable. The driver encodes
    /// it once, and releases it from the disk completion without asking the core again.
    Send {
        /// Who gets it.
        to: Dest,
        /// What they get.
        message: P::Message,
        /// The gate; [`WriteSeq::NONE`] lets it leave now.
        after: WriteSeq,
        /// What it may queue behind.
        lane: Lane,
    },
    /// Read old records for a lagging peer; answered by [`Input::LogRead`], never inline.
    ReadLog {
        /// First slot wanted.
        first: Slot,
        /// Last slot wanted.
        last: Slot,
        /// Stop after this many bytes, but return at least one record.
        bytes_max: u64,
    },
    /// Tell the driver something, but not before write `after` is durable.
    Event {
        /// What to tell.
        event: P::Event,
        /// The gate; [`WriteSeq::NONE`] lets it through now.
        after: WriteSeq,
    },
}

/// One change to the durable store.
#[derive(Clone, Debug)]
pub enum StoreOp<P: Protocol> {
    /// Replace the meta record.
    SetMeta(P::Meta),
    /// Write the record of a slot: an append, or a re-accept of an old slot.
    Put(Slot, P::Record),
    /// Forget this slot and all above it.
    TruncateFrom(Slot),
    /// Forget this slot and all below it; only below a durable checkpoint.
    CompactTo(Slot),
    /// The state machine now stands at a checkpoint that came from a peer: forget the whole log, and start
    /// again after `at`.
    ResetTo {
        /// The checkpoint's slot.
        at: Slot,
    },
}

/// Position in a replica's single FIFO of durable writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteSeq(pub u64);

impl WriteSeq {
    /// "Nothing to wait for".
    pub const NONE: WriteSeq = WriteSeq(0);

    /// The write after this one.
    #[must_use]
    pub fn next(self) -> WriteSeq {
        WriteSeq(self.0 + 1)
    }
}

/// Who gets a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dest {
    /// One node.
    Node(NodeId),
    /// Several nodes that get the very same bytes: encoded once.
    Nodes(Vec<NodeId>),
}

impl Dest {
    /// The nodes, in order.
    pub fn nodes(&self) -> &[NodeId] {
        match self {
            Dest::Node(node) => std::slice::from_ref(node),
            Dest::Nodes(nodes) => nodes,
        }
    }
}

/// What a message may queue behind (C7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Elections, heartbeats, acknowledgements, read rounds: small, and never behind bulk.
    Control,
    /// Entries, forwarded commands, checkpoint chunks.
    Bulk,
}

/// Collects the actions of one batch, in order.
#[derive(Debug)]
pub struct Out<P: Protocol> {
    /// In the order in which the core emitted them; the driver keeps that order per gate, lane and peer.
    pub actions: Vec<Action<P>>,
}

impl<P: Protocol> Default for Out<P> {
    fn default() -> Self {
        Out { actions: Vec::new() }
    }
}

/// What recovery found on this replica's disk.
#[derive(Clone, Debug)]
pub struct Recovered<P: Protocol> {
    /// The meta record. `Damaged` if it may have been newer than anything readable.
    pub meta: SlotState<P::Meta>,
    /// The slot of the first element of `log`: one above what has been compacted or reset.
    pub first: Slot,
    /// Every slot from `first` to the last that was ever written, as far as the disk can tell.
    pub log: Vec<SlotState<P::Record>>,
    /// Whether slots above `log` may have been written, acknowledged and lost to damage.
    pub tail_damaged: bool,
    /// Where the state machine stands: all up to this slot is applied, and committed,
    /// with the epoch of that slot. The log need not reach back to it or up to it.
    pub applied: (Slot, types::Epoch),
    /// Who took part at that slot, as the state machine holds it; nobody if no entry up to there says it.
    pub membership: crate::Membership,
}

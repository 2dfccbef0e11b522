//! Who, where in the log, and under whose leadership.

use std::fmt;

use crate::{Reader, Wire, WireError};

/// A member of a replication group; the same number that etcd's API calls a member ID.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// A position in the replicated log, counted from 1; 0 means "before the first".
///
/// Raft's index, a Paxos instance, Viewstamped Replication's op-number, PBFT's sequence number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// A period of leadership, totally ordered: Raft's term, a Paxos ballot, a view, ZAB's epoch.
///
/// Protocols whose epochs are plain numbers leave `proposer` at its default.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch {
    /// Grows with every change of leadership.
    pub number: u64,
    /// Breaks ties between proposers that chose the same number.
    pub proposer: NodeId,
}

impl Slot {
    /// Before the first slot.
    pub const ZERO: Slot = Slot(0);

    /// The slot after this one.
    #[must_use]
    pub fn next(self) -> Slot {
        Slot(self.0 + 1)
    }

    /// The slot before this one; `ZERO` stays `ZERO`.
    #[must_use]
    pub fn prev(self) -> Slot {
        Slot(self.0.saturating_sub(1))
    }

    /// How many slots `self` is above `lower`; 0 if it is not above.
    pub fn above(self, lower: Slot) -> u64 {
        self.0.saturating_sub(lower.0)
    }

    /// The slot `count` places further on.
    #[must_use]
    pub fn plus(self, count: u64) -> Slot {
        Slot(self.0 + count)
    }
}

impl Epoch {
    /// The epoch of a protocol whose epochs are plain numbers.
    pub fn of(number: u64) -> Epoch {
        Epoch { number, proposer: NodeId(0) }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{:x}", self.0)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.proposer == NodeId(0) {
            write!(f, "e{}", self.number)
        } else {
            write!(f, "e{}.{:x}", self.number, self.proposer.0)
        }
    }
}

impl Wire for NodeId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(NodeId(u64::decode(input)?))
    }
}

impl Wire for Slot {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Slot(u64::decode(input)?))
    }
}

impl Wire for Epoch {
    fn encode(&self, out: &mut Vec<u8>) {
        self.number.encode(out);
        self.proposer.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Epoch { number: u64::decode(input)?, proposer: NodeId::decode(input)? })
    }
}

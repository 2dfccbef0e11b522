//! C6, first half: does a lease live as long as its client was told, and end as one?
//!
//! ```text
//!   client    ├─keep alive─┤ ttl 10 s
//!             ▲ sent                                    nobody may see a key gone before
//!             └────────── 10 s, less clock error ──────────▶ here
//! ```
//!
//! Rules:
//! - K1  no key of a lease vanishes before the time to live is over, counted from when the last request that was
//!   answered was *sent*, less the clock error; unless a client deleted the key or revoked the lease;
//! - K2  when a lease ends, all its keys go at one revision;
//! - K3  after an answered revocation nothing is attached to the lease, up to the revision of the answer and beyond;
//! - K4  a key that belongs to no lease is only deleted by clients;
//! - K5  what is over is over: no keepalive sent after the end was seen succeeds, and no key is attached later.
//!
//! The server may count from when it received the request, which is later, on a clock that errs by no more than the
//! bound. Nothing is said about how late a lease may end.

use std::time::Duration;

use bytes::Bytes;
use trace::OpId;
use types::Time;

use crate::{Revision, Verdict};

mod fences;
mod judge;

pub use fences::{FenceHistory, GuardedWrite, Hold, WriteOutcome, check_fences};

/// A lease's number. Used once: who grants again takes another.
pub type LeaseId = i64;

/// What a client asked about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseRequest {
    /// To create it.
    Grant,
    /// To live on.
    KeepAlive,
    /// To end it.
    Revoke,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseOutcome {
    /// It lives so long, counted from when the server decided that.
    Alive {
        /// The time to live that the answer names.
        ttl: Duration,
    },
    /// It is over, with all its keys, at the revision that the answer names, if it names one.
    Revoked {
        /// The header's revision.
        revision: Option<Revision>,
    },
    /// There is no such lease.
    Gone,
    /// Nothing happened, nor ever will.
    Refused,
    /// It may have happened, or may yet.
    Unknown,
}

/// One request about a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseCall {
    /// What reports call it.
    pub id: OpId,
    /// Which lease.
    pub lease: LeaseId,
    /// What was asked.
    pub request: LeaseRequest,
    /// When.
    pub sent: Time,
    /// When the answer came, if one did.
    pub returned: Option<Time>,
    /// What it was.
    pub outcome: LeaseOutcome,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It was put, and belongs to this lease from now on, or to none.
    Put(Option<LeaseId>),
    /// A client deleted it, or may have: an unanswered delete explains it as well.
    DeletedByClient,
    /// It was deleted, and no client asked for that.
    Vanished,
}

/// One change of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeasedChange {
    /// When, in the store's order.
    pub revision: Revision,
    /// Which key.
    pub key: Bytes,
    /// What happened to it.
    pub effect: Effect,
    /// When somebody first knew of it, on the clients' clock; `None` if nobody noted the time.
    pub seen: Option<Time>,
}

/// By how much a server's clock may err against the clients'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockBound {
    /// How much faster it may run, in parts per million.
    pub drift_ppm: u32,
    /// How far off a reading may be whatever its age: ticks, rounding.
    pub error: Duration,
}

/// Everything that is known about leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseHistory {
    /// What clients asked, in any order.
    pub calls: Vec<LeaseCall>,
    /// Every change to keys that may have a lease, from the store's first on, in order.
    pub changes: Vec<LeasedChange>,
    /// How good the clocks are.
    pub clock: ClockBound,
}

impl ClockBound {
    /// The least that a client may count on of `ttl`.
    pub fn certain(&self, ttl: Duration) -> Duration {
        let early = ttl.as_nanos() * u128::from(self.drift_ppm) / 1_000_000;
        let early = Duration::from_nanos(u64::try_from(early).unwrap_or(u64::MAX));
        ttl.saturating_sub(early).saturating_sub(self.error)
    }
}

/// Judges whether leases kept what they promise: see the rules of this module.
pub fn check_leases(history: &LeaseHistory) -> Verdict {
    match judge::judge(history) {
        Ok(()) => Verdict::Holds,
        Err(violation) => Verdict::Violated(*violation),
    }
}

#[cfg(test)]
mod tests;

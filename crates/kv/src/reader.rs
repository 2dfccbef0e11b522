//! Reads of the latest applied state, from any thread, while entries are being applied.

use bytes::Bytes;
use storage::{Engine, EngineError};

use crate::{
    KvError, LeaseId, Member, RangeRequest, RangeResponse, Revision, RevisionEvents, TxnRequest, TxnResponse,
};

/// Reads the store. Every call sees one consistent revision.
#[derive(Clone, Debug)]
pub struct Reader<E: Engine> {
    engine: E,
}

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The request is refused.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The engine failed.
    #[error("cannot read the state")]
    Engine(#[from] EngineError),
    /// A crash interrupted the installation of a checkpoint, and another is awaited.
    #[error("the state is incomplete and waits for a checkpoint")]
    Incomplete,
}

/// Why history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// `from` is below the compacted revision.
    #[error("revision {compacted} and above are kept, {asked} was asked for")]
    Compacted {
        /// The first revision asked for.
        asked: Revision,
        /// The compacted revision.
        compacted: Revision,
    },
    /// As for other reads.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A stretch of history; whole revisions only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventsPage {
    /// Matching events, ascending; revisions without any are left out.
    pub events: Vec<RevisionEvents>,
    /// Where to go on: everything below has been looked at. `upto + 1` when the page completes the stretch.
    pub next: Revision,
}

/// A lease and its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Its time to live in seconds, as granted.
    pub ttl_seconds: i64,
    /// The keys attached to it, sorted.
    pub keys: Vec<Bytes>,
}

// Signatures first, so that front-ends can be written against them.
#[allow(unused_variables, clippy::todo, dead_code)]
impl<E: Engine> Reader<E> {
    /// Serves a range; returns the current revision (not the one read at) and the answer.
    ///
    /// # Errors
    /// [`ReadError`]; the request's own faults are `ReadError::Kv`.
    pub fn range(&self, request: &RangeRequest) -> Result<(Revision, RangeResponse), ReadError> {
        todo!()
    }

    /// Serves a transaction for which [`crate::is_read_only`] holds. It must have passed
    /// [`crate::validate_txn`].
    ///
    /// # Errors
    /// [`ReadError`] as for `range`.
    pub fn txn(&self, request: &TxnRequest) -> Result<(Revision, TxnResponse), ReadError> {
        todo!()
    }

    /// Reads the events of keys in a range (as in [`RangeRequest`]) with revisions `from..=upto`, `prev_kv`
    /// filled in where it is not compacted. `upto` is cut to the current revision. A page ends, at the end of a
    /// revision, when it holds `limit` events or much has been looked at.
    ///
    /// # Errors
    /// [`EventsError::Compacted`] if `from` is below the compacted revision.
    pub fn events(
        &self,
        key: &[u8],
        range_end: &[u8],
        from: Revision,
        upto: Revision,
        limit: usize,
    ) -> Result<EventsPage, EventsError> {
        todo!()
    }

    /// The current revision.
    ///
    /// # Errors
    /// [`ReadError`]; likewise below.
    pub fn revision(&self) -> Result<Revision, ReadError> {
        todo!()
    }

    /// The compacted revision: the lowest one that can be read; -1 before the first compaction.
    pub fn compact_revision(&self) -> Result<Revision, ReadError> {
        todo!()
    }

    /// A lease and its keys, or `None` if there is no such lease.
    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseInfo>, ReadError> {
        todo!()
    }

    /// Every lease with its granted time to live in seconds, ascending.
    pub fn leases(&self) -> Result<Vec<(LeaseId, i64)>, ReadError> {
        todo!()
    }

    /// Every published member, ascending by id.
    pub fn members(&self) -> Result<Vec<Member>, ReadError> {
        todo!()
    }
}

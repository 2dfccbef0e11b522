//! Reads of the latest applied state, from any thread, while entries are being applied.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use storage::{Engine, EngineError};
use types::{Buggify, Epoch, Slot, Wire, buggify};

use crate::layout::{MEMBERS, MEMBERSHIP_KEY, META, undecodable};
use crate::meta::Meta;
use crate::store::Store;
use crate::write::Writer;
use crate::{
    KeyRange, KvError, LeaseId, Member, RangeRequest, RangeResponse, Revision, RevisionEvents, TxnRequest,
    TxnResponse, checkpoint, history, is_read_only, lease, range, txn,
};

/// Reads the store. Every call sees one consistent revision: the latest applied one.
#[derive(Clone)]
pub struct Reader<E: Engine> {
    shared: Arc<Shared<E>>,
}

struct Shared<E: Engine> {
    engine: E,
    /// The latest state, made by the first read that wants it and dropped by the next write, so that a view
    /// costs nothing while nobody reads and little while nobody writes.
    latest: Mutex<Option<Arc<Snapshot<E::View>>>>,
    buggify: Buggify,
}

/// One consistent state.
struct Snapshot<V> {
    meta: Meta,
    store: Store<V>,
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

impl<E: Engine> fmt::Debug for Reader<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl<E: Engine> Reader<E> {
    pub(crate) fn new(engine: E, buggify: Buggify) -> Reader<E> {
        Reader { shared: Arc::new(Shared { engine, latest: Mutex::new(None), buggify }) }
    }

    /// Runs a write of the engine: reads that begin after it see its result.
    pub(crate) fn publish<T>(&self, write: impl FnOnce() -> T) -> T {
        // Before, so that no idle view burdens the write; after, because a read may have come in between.
        *self.lock() = None;
        let result = write();
        *self.lock() = None;
        result
    }

    /// Serves a range; returns the current revision (not the one read at) and the answer.
    ///
    /// # Errors
    /// [`ReadError`]; the request's own faults are `ReadError::Kv`.
    pub fn range(&self, request: &RangeRequest) -> Result<(Revision, RangeResponse), ReadError> {
        let Snapshot { meta, store } = &*self.snapshot()?;
        Ok((meta.revision, range::range(store, meta.revision, meta.compacted, request)?))
    }

    /// Serves a transaction for which [`is_read_only`] holds (anything else is the caller's bug). It must have
    /// passed [`crate::validate_txn`].
    ///
    /// # Errors
    /// [`ReadError`] as for `range`.
    pub fn txn(&self, request: &TxnRequest) -> Result<(Revision, TxnResponse), ReadError> {
        assert!(is_read_only(request), "a transaction that writes goes through the log");
        let Snapshot { meta, store } = &*self.snapshot()?;
        let mut scratch = store.clone();
        let mut writer = Writer::new(&mut scratch, meta.revision);
        Ok((meta.revision, txn::run_txn(&mut writer, meta.compacted, request)??))
    }

    /// Reads the events of keys in a range (as in [`RangeRequest`]) with revisions `from..=upto`, `prev_kv`
    /// filled in where it is not compacted. `upto` is cut to the current revision. A page ends, at the end of a
    /// revision, when it holds `limit` events or many bytes, or much has been looked at.
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
        let Snapshot { meta, store } = &*self.snapshot()?;
        if from < meta.compacted {
            return Err(EventsError::Compacted { asked: from, compacted: meta.compacted });
        }
        let keys = KeyRange::new(&Bytes::copy_from_slice(key), &Bytes::copy_from_slice(range_end));
        let limit = if buggify!(self.shared.buggify, "kv.events.short_page") { 1 } else { limit };
        let upto = upto.min(meta.revision);
        Ok(history::events(store, meta.compacted, &keys, (from, upto), limit).map_err(ReadError::from)?)
    }

    /// The current revision.
    ///
    /// # Errors
    /// [`ReadError`]; likewise below.
    pub fn revision(&self) -> Result<Revision, ReadError> {
        Ok(self.snapshot()?.meta.revision)
    }

    /// The compacted revision: the lowest one that can be read; -1 before the first compaction.
    pub fn compact_revision(&self) -> Result<Revision, ReadError> {
        Ok(self.snapshot()?.meta.compacted)
    }

    /// The last applied slot and its entry's epoch.
    pub fn applied(&self) -> Result<(Slot, Epoch), ReadError> {
        let snapshot = self.snapshot()?;
        Ok((snapshot.meta.applied, snapshot.meta.epoch))
    }

    /// A digest of the whole state and the slot it reflects: equal on all replicas at the same slot. Reads
    /// everything.
    pub fn digest(&self) -> Result<(Slot, u128), ReadError> {
        let Snapshot { meta, store } = &*self.snapshot()?;
        Ok((meta.applied, checkpoint::digest(store.view())?))
    }

    /// A lease and its keys, or `None` if there is no such lease.
    pub fn lease(&self, id: LeaseId) -> Result<Option<LeaseInfo>, ReadError> {
        Ok(lease::info(&self.snapshot()?.store, id)?)
    }

    /// Every lease with its granted time to live in seconds, ascending.
    pub fn leases(&self) -> Result<Vec<(LeaseId, i64)>, ReadError> {
        Ok(lease::all(&self.snapshot()?.store)?)
    }

    /// Every published member, ascending by id.
    pub fn members(&self) -> Result<Vec<Member>, ReadError> {
        let snapshot = self.snapshot()?;
        let members = snapshot
            .store
            .scan_all(MEMBERS)
            .map(|row| Member::from_bytes(row?.1).map_err(|_| undecodable("member")));
        Ok(members.collect::<Result<_, EngineError>>()?)
    }

    /// Who takes part, as [`Kv::membership`](crate::Kv::membership).
    pub fn membership(&self) -> Result<Option<Bytes>, ReadError> {
        Ok(self.snapshot()?.store.get(META, MEMBERSHIP_KEY)?)
    }

    fn snapshot(&self) -> Result<Arc<Snapshot<E::View>>, ReadError> {
        // Held while the view is made: `publish` must not slip in between making and keeping it.
        let mut latest = self.lock();
        if let Some(snapshot) = &*latest
            && !buggify!(self.shared.buggify, "kv.read.new_view")
        {
            return Ok(snapshot.clone());
        }
        let view = self.shared.engine.view();
        let meta = Meta::load(&view)?.unwrap_or_else(Meta::fresh);
        if !meta.complete {
            return Err(ReadError::Incomplete);
        }
        let snapshot =
            Arc::new(Snapshot { meta, store: Store::new(view).with_buggify(&self.shared.buggify) });
        *latest = Some(snapshot.clone());
        Ok(snapshot)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Snapshot<E::View>>>> {
        self.shared.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

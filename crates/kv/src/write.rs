//! Puts and deletes: what one revision changes in the engine.

use bytes::Bytes;
use storage::{EngineError, View};

use crate::layout::{
    LATEST, LEASE_KEYS, LEASES, REVISIONS, VERSIONS, lease_key, lease_key_key, revision_key, version_key,
};
use crate::range::{latest, visit_latest};
use crate::record::{Change, OldPair, Pair};
use crate::store::Store;
use crate::{
    DeleteRangeRequest, DeleteRangeResponse, Event, EventKind, KeyRange, KeyValue, KvError, LeaseId,
    PutRequest, PutResponse, Revision,
};

/// The changes of one command, all of one revision. No key is changed twice: that is what validation is for.
pub(crate) struct Writer<'s, V> {
    pub store: &'s mut Store<V>,
    /// The revision before the command.
    pub begin: Revision,
    /// What was changed so far, in order.
    pub events: Vec<Event>,
}

/// A refusal, or a failure of the engine.
pub(crate) type Fallible<T> = Result<Result<T, KvError>, EngineError>;

impl<'s, V: View> Writer<'s, V> {
    pub(crate) fn new(store: &'s mut Store<V>, begin: Revision) -> Writer<'s, V> {
        Writer { store, begin, events: Vec::new() }
    }

    /// The store revision: one more than at the beginning as soon as something was changed.
    pub(crate) fn revision(&self) -> Revision {
        if self.events.is_empty() { self.begin } else { self.next_revision() }
    }

    fn next_revision(&self) -> Revision {
        self.begin.saturating_add(1)
    }

    /// A put outside of a transaction: checks first, then changes.
    pub(crate) fn checked_put(&mut self, request: &PutRequest) -> Fallible<PutResponse> {
        if !lease_exists(self.store, request.lease)? {
            return Ok(Err(KvError::LeaseNotFound));
        }
        let before = latest(self.store, &request.key)?;
        if before.is_none() && (request.ignore_value || request.ignore_lease) {
            return Ok(Err(KvError::KeyNotFound));
        }
        Ok(Ok(self.put_over(request, before)))
    }

    /// A put whose checks have passed.
    pub(crate) fn put(&mut self, request: &PutRequest) -> Result<PutResponse, EngineError> {
        let before = latest(self.store, &request.key)?;
        Ok(self.put_over(request, before))
    }

    fn put_over(&mut self, request: &PutRequest, before: Option<Pair>) -> PutResponse {
        let revision = self.next_revision();
        let old = before.as_ref();
        let pair = Pair {
            create_revision: old.map_or(revision, |old| old.create_revision),
            mod_revision: revision,
            version: old.map_or(1, |old| old.version.saturating_add(1)),
            lease: old.filter(|_| request.ignore_lease).map_or(request.lease, |old| old.lease),
            value: old.filter(|_| request.ignore_value).map_or(&request.value, |old| &old.value).clone(),
        };
        // The engine may keep the key for long: not as a slice of the whole log entry.
        let key = Bytes::copy_from_slice(&request.key);
        self.move_lease(&key, old.map_or(0, |old| old.lease), pair.lease);
        self.store.put(LATEST, key.clone(), pair.encode());
        let prev_kv = self.record(EventKind::Put, key, before, |key| pair.with_key(key));
        PutResponse { prev_kv: prev_kv.filter(|_| request.prev_kv) }
    }

    /// Deletes a range. The pairs as they were are returned if asked for.
    pub(crate) fn delete_range(
        &mut self,
        request: &DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, EngineError> {
        let mut doomed = Vec::new();
        visit_latest(self.store, &KeyRange::new(&request.key, &request.range_end), |key, pair| {
            doomed.push((key, pair.decode()?));
            Ok(true)
        })?;
        let deleted = doomed.len() as i64;
        let mut prev_kvs = Vec::new();
        for (key, pair) in doomed {
            let prev_kv = self.delete(key, pair);
            prev_kvs.extend(prev_kv.filter(|_| request.prev_kv));
        }
        Ok(DeleteRangeResponse { deleted, prev_kvs })
    }

    /// Deletes one key that holds `pair`, and returns both as they were.
    pub(crate) fn delete(&mut self, key: Bytes, pair: Pair) -> Option<KeyValue> {
        let key = Bytes::copy_from_slice(&key);
        let revision = self.next_revision();
        self.move_lease(&key, pair.lease, 0);
        self.store.remove(LATEST, key.clone());
        let gone = |key| KeyValue { key, mod_revision: revision, ..KeyValue::default() };
        self.record(EventKind::Delete, key, Some(pair), gone)
    }

    /// Writes history: the pair before goes to `VERSIONS`, the change to `REVISIONS`, the event to watchers.
    fn record(
        &mut self,
        kind: EventKind,
        key: Bytes,
        before: Option<Pair>,
        after: impl FnOnce(Bytes) -> KeyValue,
    ) -> Option<KeyValue> {
        let revision = self.next_revision();
        let sub = u32::try_from(self.events.len()).expect("a command changes fewer than 2^32 keys");
        let previous = before.as_ref().map_or(0, |pair| pair.mod_revision);
        let change = Change { kind, previous, key: key.clone() };
        self.store.put(REVISIONS, revision_key(revision, sub), change.encode());
        let prev_kv = before.map(|pair| {
            let old = OldPair { superseded: revision, pair };
            self.store.put(VERSIONS, version_key(&key, previous), old.encode());
            old.pair.with_key(key.clone())
        });
        self.events.push(Event { kind, kv: after(key), prev_kv: prev_kv.clone() });
        prev_kv
    }

    fn move_lease(&mut self, key: &[u8], from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if from != 0 {
            self.store.remove(LEASE_KEYS, lease_key_key(from, key));
        }
        if to != 0 {
            self.store.put(LEASE_KEYS, lease_key_key(to, key), Bytes::new());
        }
    }
}

/// Whether a put may name this lease: it exists, or is 0, "none".
pub(crate) fn lease_exists<V: View>(store: &Store<V>, id: LeaseId) -> Result<bool, EngineError> {
    Ok(id == 0 || store.get(LEASES, &lease_key(id))?.is_some())
}

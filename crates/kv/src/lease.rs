//! Leases as replicated state: which exist, and which keys are attached. Their clock is the leader's
//! ([`crate::Lessor`]).

use bytes::Bytes;
use storage::{EngineError, View};
use types::Wire;

use crate::layout::{
    LEASE_KEYS, LEASES, lease_key, lease_key_bounds, parse_lease_key, parse_lease_key_key, undecodable,
};
use crate::range::latest;
use crate::store::Store;
use crate::write::{Fallible, Writer};
use crate::{KvError, LeaseId, LeaseInfo};

/// The longest time to live that etcd grants, in seconds (`lease.MaxLeaseTTL`).
pub const LEASE_TTL_MAX_SECONDS: i64 = 9_000_000_000;

/// Checks what does not depend on the state.
pub(crate) fn validate_grant(id: LeaseId, ttl_seconds: i64) -> Result<(), KvError> {
    match (id, ttl_seconds) {
        (0, _) => Err(KvError::LeaseNotFound),
        (_, ttl) if ttl > LEASE_TTL_MAX_SECONDS => Err(KvError::LeaseTtlTooLarge),
        _ => Ok(()),
    }
}

/// Creates a lease.
pub(crate) fn grant<V: View>(store: &mut Store<V>, id: LeaseId, ttl_seconds: i64) -> Fallible<()> {
    if store.get(LEASES, &lease_key(id))?.is_some() {
        return Ok(Err(KvError::LeaseExists));
    }
    store.put(LEASES, lease_key(id), ttl_seconds.to_bytes());
    Ok(Ok(()))
}

/// Deletes a lease, and its keys in the order of their bytes, all in one revision.
pub(crate) fn revoke<V: View>(writer: &mut Writer<'_, V>, id: LeaseId) -> Fallible<()> {
    let Some(info) = info(writer.store, id)? else { return Ok(Err(KvError::LeaseNotFound)) };
    for key in info.keys {
        let pair = latest(writer.store, &key)?.ok_or_else(|| undecodable("lease attachment"))?;
        writer.delete(key, pair);
    }
    writer.store.remove(LEASES, lease_key(id));
    Ok(Ok(()))
}

/// Reads a lease and its keys.
pub(crate) fn info<V: View>(store: &Store<V>, id: LeaseId) -> Result<Option<LeaseInfo>, EngineError> {
    let Some(ttl) = store.get(LEASES, &lease_key(id))? else { return Ok(None) };
    let keys = store.scan(LEASE_KEYS, lease_key_bounds(id)).map(|row| parse_lease_key_key(&row?.0));
    Ok(Some(LeaseInfo { ttl_seconds: decode_ttl(ttl)?, keys: keys.collect::<Result<_, _>>()? }))
}

/// Reads every lease and its granted seconds, ascending.
pub(crate) fn all<V: View>(store: &Store<V>) -> Result<Vec<(LeaseId, i64)>, EngineError> {
    let leases = store.scan_all(LEASES).map(|row| {
        let (key, ttl) = row?;
        Ok((parse_lease_key(&key)?, decode_ttl(ttl)?))
    });
    leases.collect()
}

pub(crate) fn decode_ttl(bytes: Bytes) -> Result<i64, EngineError> {
    i64::from_bytes(bytes).map_err(|_| undecodable("lease"))
}

//! What the fuzz targets reach of the store's rows: each function panics if a claim does not hold.

use std::fmt::Debug;

use bytes::Bytes;
use storage::EngineError;
use types::fuzzing::one_form;

use crate::layout::{
    lease_key, lease_key_key, parse_lease_key, parse_lease_key_key, parse_revision_key, parse_session_key,
    parse_version_key, revision_key, session_key, version_key,
};
use crate::meta::Meta;
use crate::record::{Change, OldPair, Pair};
use crate::session;

/// Every value that stands in the engine has one form. The first byte of `data` says which is read.
///
/// # Panics
/// As said.
pub fn value(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => reads_back(rest, Pair::decode, Pair::encode),
        1 => reads_back(rest, OldPair::decode, OldPair::encode),
        2 => reads_back(rest, Change::decode, Change::encode),
        3 => drop(one_form::<Meta>(rest)),
        4 => drop(one_form::<crate::Member>(rest)),
        _ => session::fuzzing(rest),
    }
}

/// Every key in the engine has one form. The first byte of `data` says which is read.
///
/// # Panics
/// As said.
pub fn key(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 5 {
        0 => reads_back(rest, |key| parse_version_key(&key), |(key, modified)| version_key(key, *modified)),
        1 => {
            reads_back(rest, |key| parse_revision_key(&key), |(revision, sub)| revision_key(*revision, *sub))
        }
        2 => reads_back(rest, |key| parse_lease_key(&key), |id| lease_key(*id)),
        3 => reads_back(rest, |key| parse_session_key(&key), |id| session_key(*id)),
        _ => {
            let Some(id) = rest.first_chunk::<8>() else { return };
            let id = parse_lease_key(id).expect("a lease's key is eight bytes");
            let attached = parse_lease_key_key(&Bytes::copy_from_slice(rest)).expect("it is long enough");
            assert_eq!(lease_key_key(id, &attached), rest);
        }
    }
}

fn reads_back<T: Debug>(
    data: &[u8],
    decode: impl Fn(Bytes) -> Result<T, EngineError>,
    encode: impl Fn(&T) -> Bytes,
) {
    if let Ok(value) = decode(Bytes::copy_from_slice(data)) {
        assert_eq!(encode(&value), data, "another form of {value:?}");
    }
}

//! Where everything lies in the engine: the spaces and their keys.
//!
//! ```text
//!   META       ""                      applied slot and epoch, revision, compaction, wall clock   (meta.rs)
//!                                      who takes part, as the latest entry that said so put it
//!   LATEST     key                     the living pair                                           (record.rs)
//!   VERSIONS   key' ++ ~mod_revision   a pair that a later revision replaced or deleted
//!   REVISIONS  revision ++ sub         what that revision did to which key
//!   LEASES     id                      granted seconds
//!   LEASE_KEYS id ++ key               nothing: the key is attached
//!   SESSIONS   session                 which of its commands were executed                       (session.rs)
//!   MEMBERS    id                      name and URLs
//! ```
//!
//! Numbers in keys are big-endian, so that byte order is number order; `key'` is escaped so that no key is a
//! prefix of another, and `~` inverts, so that a key's newest version comes first. Costs are weighed in
//! `docs/decisions/0004-kv-on-an-ordered-engine.md`.

use std::ops::Bound;

use bytes::Bytes;
use storage::{EngineError, Space};
use types::SessionId;

use crate::{KeyRange, LeaseId, Revision};

pub(crate) const META: Space = Space(0);
pub(crate) const LATEST: Space = Space(1);
pub(crate) const VERSIONS: Space = Space(2);
pub(crate) const REVISIONS: Space = Space(3);
pub(crate) const LEASES: Space = Space(4);
pub(crate) const LEASE_KEYS: Space = Space(5);
pub(crate) const SESSIONS: Space = Space(6);
pub(crate) const MEMBERS: Space = Space(7);

/// Every space of the engine that the store uses, ascending from 0.
pub const SPACES: [Space; 8] = [META, LATEST, VERSIONS, REVISIONS, LEASES, LEASE_KEYS, SESSIONS, MEMBERS];

/// The first key of `META`.
pub(crate) const META_KEY: &[u8] = b"meta";

/// The other key of `META`; it must sort after the first, which every checkpoint begins with.
pub(crate) const MEMBERSHIP_KEY: &[u8] = b"meta.membership";

/// Ends an escaped key. A zero byte inside the key is followed by `ESCAPED` instead, which sorts higher.
const END: [u8; 2] = [0, 0];
const ESCAPED: [u8; 2] = [0, 0xff];

/// The key in `VERSIONS` of the pair that `key` had from revision `modified` on.
pub(crate) fn version_key(key: &[u8], modified: Revision) -> Bytes {
    let mut out = escape(key);
    out.extend_from_slice(&(!(modified as u64)).to_be_bytes());
    Bytes::from(out)
}

/// Reads back a key of `VERSIONS`.
pub(crate) fn parse_version_key(bytes: &Bytes) -> Result<(Bytes, Revision), EngineError> {
    let damaged = || undecodable("version key");
    let (escaped, inverted) = bytes.split_last_chunk::<8>().ok_or_else(damaged)?;
    let body_len = escaped.strip_suffix(&END).ok_or_else(damaged)?.len();
    let modified = !u64::from_be_bytes(*inverted) as Revision;
    Ok((unescape(bytes.slice(..body_len)).ok_or_else(damaged)?, modified))
}

/// Bounds in `VERSIONS` of every version of every key in a range.
pub(crate) fn version_bounds(range: &KeyRange) -> Option<(Bound<Bytes>, Bound<Bytes>)> {
    let start = |key: &Bytes| Bytes::from(escape(key));
    match range {
        KeyRange::Empty => None,
        KeyRange::Point(key) => Some(version_bounds_since(key, Revision::MAX)),
        KeyRange::Between(from, to) => Some((Bound::Included(start(from)), Bound::Excluded(start(to)))),
        KeyRange::From(from) => Some((Bound::Included(start(from)), Bound::Unbounded)),
    }
}

/// Bounds in `VERSIONS` of one key's versions whose `mod_revision` is at most `revision`, newest first.
pub(crate) fn version_bounds_since(key: &[u8], revision: Revision) -> (Bound<Bytes>, Bound<Bytes>) {
    (Bound::Included(version_key(key, revision)), Bound::Included(version_key(key, 0)))
}

/// The key in `REVISIONS` of a revision's change number `sub`, from 0.
pub(crate) fn revision_key(revision: Revision, sub: u32) -> Bytes {
    let mut out = Vec::with_capacity(12);
    out.extend_from_slice(&(revision as u64).to_be_bytes());
    out.extend_from_slice(&sub.to_be_bytes());
    Bytes::from(out)
}

/// Reads back a key of `REVISIONS`.
pub(crate) fn parse_revision_key(bytes: &[u8]) -> Result<(Revision, u32), EngineError> {
    let parts = bytes.split_first_chunk::<8>().and_then(|(revision, sub)| {
        Some((u64::from_be_bytes(*revision) as Revision, u32::from_be_bytes(sub.try_into().ok()?)))
    });
    parts.ok_or_else(|| undecodable("revision key"))
}

/// The key in `LEASES`, and the prefix in `LEASE_KEYS`. Flipping the sign bit puts negative ids first.
pub(crate) fn lease_key(id: LeaseId) -> Bytes {
    Bytes::copy_from_slice(&((id as u64) ^ (1 << 63)).to_be_bytes())
}

/// Reads back a key of `LEASES`.
pub(crate) fn parse_lease_key(bytes: &[u8]) -> Result<LeaseId, EngineError> {
    let flipped = <[u8; 8]>::try_from(bytes).map_err(|_| undecodable("lease key"))?;
    Ok((u64::from_be_bytes(flipped) ^ (1 << 63)) as LeaseId)
}

/// The key in `LEASE_KEYS` that attaches `key` to a lease.
pub(crate) fn lease_key_key(id: LeaseId, key: &[u8]) -> Bytes {
    Bytes::from([&lease_key(id)[..], key].concat())
}

/// Bounds in `LEASE_KEYS` of a lease's keys.
pub(crate) fn lease_key_bounds(id: LeaseId) -> (Bound<Bytes>, Bound<Bytes>) {
    let high = id.checked_add(1).map_or(Bound::Unbounded, |next| Bound::Excluded(lease_key(next)));
    (Bound::Included(lease_key(id)), high)
}

/// Reads the attached key back from a key of `LEASE_KEYS`.
pub(crate) fn parse_lease_key_key(bytes: &Bytes) -> Result<Bytes, EngineError> {
    if bytes.len() < 8 { Err(undecodable("lease attachment")) } else { Ok(bytes.slice(8..)) }
}

/// The key in `SESSIONS`.
pub(crate) fn session_key(session: SessionId) -> Bytes {
    Bytes::copy_from_slice(&session.0.to_be_bytes())
}

/// Reads back a key of `SESSIONS`.
pub(crate) fn parse_session_key(bytes: &[u8]) -> Result<SessionId, EngineError> {
    let id = <[u8; 16]>::try_from(bytes).map_err(|_| undecodable("session key"))?;
    Ok(SessionId(u128::from_be_bytes(id)))
}

/// The key in `MEMBERS`.
pub(crate) fn member_key(id: u64) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

/// What is in the engine is not what this version writes: the engine's own checks failed, or a newer version
/// wrote it.
pub(crate) fn undecodable(what: &'static str) -> EngineError {
    EngineError { operation: "decode", reason: format!("a {what} is damaged or of another version") }
}

fn escape(key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + END.len() + 8);
    for part in key.split_inclusive(|byte| *byte == 0) {
        out.extend_from_slice(part);
        if part.ends_with(&[0]) {
            out.push(ESCAPED[1]);
        }
    }
    out.extend_from_slice(&END);
    out
}

/// Shares the input's memory unless something was escaped. Takes the escaped key without its end; `None` if
/// [`escape`] writes no such key.
fn unescape(escaped: Bytes) -> Option<Bytes> {
    if !escaped.contains(&0) {
        return Some(escaped);
    }
    let mut out = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.iter();
    while let Some(&byte) = bytes.next() {
        out.push(byte);
        if byte == 0 && bytes.next() != Some(&ESCAPED[1]) {
            return None;
        }
    }
    Some(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_keys_sort_by_key_then_newest_first_and_read_back() {
        let keys: [&[u8]; 8] = [b"\0", b"\0\0", b"\0\x01", b"a", b"a\0", b"a\0\xff", b"a\x01", b"\xff\xff"];
        let mut all = Vec::new();
        for key in keys {
            for modified in [Revision::MAX, 300, 2] {
                let encoded = version_key(key, modified);
                assert_eq!(parse_version_key(&encoded).unwrap(), (Bytes::from_static(key), modified));
                all.push(encoded);
            }
        }
        assert!(all.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn version_bounds_hold_exactly_the_versions_of_the_range() {
        use std::ops::RangeBounds;
        let keys: [&'static [u8]; 6] = [b"\0", b"a", b"a\0", b"a\0b", b"b", b"b\0"];
        for from in keys {
            for end in [&b""[..], b"\0", b"a\0", b"b", b"c"] {
                let range = KeyRange::new(&Bytes::from_static(from), &Bytes::copy_from_slice(end));
                let Some(bounds) = version_bounds(&range) else { continue };
                for key in keys {
                    let inside = bounds.contains(&version_key(key, 7));
                    assert_eq!(inside, range.contains(key), "{key:?} in {range:?}");
                }
            }
        }
    }

    #[test]
    fn other_keys_read_back_in_number_order() {
        assert!(lease_key(-5) < lease_key(0) && lease_key(0) < lease_key(i64::MAX));
        assert_eq!(parse_lease_key(&lease_key(-5)).unwrap(), -5);
        assert_eq!(parse_revision_key(&revision_key(9, 3)).unwrap(), (9, 3));
        assert_eq!(parse_session_key(&session_key(SessionId(77))).unwrap(), SessionId(77));
        assert_eq!(&parse_lease_key_key(&lease_key_key(4, b"k")).unwrap()[..], b"k");
        assert!(parse_revision_key(b"short").is_err() && parse_lease_key(b"").is_err());
        assert!(parse_version_key(&Bytes::from_static(b"nonsense")).is_err());
        assert!(
            parse_version_key(&Bytes::from_static(b"a\0b\0\x00modified")).is_err(),
            "a zero that is not escaped"
        );
    }

    #[test]
    fn the_longest_key_fits_an_engine_in_every_space() {
        let worst = vec![0; crate::KEY_LEN_MAX];
        assert!(version_key(&worst, 1).len() <= storage::KEY_LEN_MAX);
        assert!(lease_key_key(1, &worst).len() <= storage::KEY_LEN_MAX);
    }
}

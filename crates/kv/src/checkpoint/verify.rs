//! Telling a whole checkpoint from anything else.

use bytes::Bytes;
use storage::Space;
use types::{Epoch, Reader, Slot, Wire, WireError};

use super::{FORMAT, MAGIC, Row, Tally};
use crate::Member;
use crate::layout::{
    LATEST, LEASE_KEYS, LEASES, MEMBERS, MEMBERSHIP_KEY, META, META_KEY, REVISIONS, SESSIONS, SPACES,
    VERSIONS, parse_lease_key, parse_lease_key_key, parse_revision_key, parse_session_key, parse_version_key,
};
use crate::lease::decode_ttl;
use crate::meta::Meta;
use crate::record::{Change, OldPair, Pair};
use crate::session::is_session;

/// Checks chunks one by one as they arrive, and in the end that they are a whole checkpoint.
#[derive(Debug, Default)]
pub struct ChunkVerifier {
    chunks: u64,
    tally: Tally,
    /// The last record so far: they must ascend.
    behind: Option<(Space, Bytes)>,
    at: Option<(Slot, Epoch)>,
    /// What the last chunk said of all records.
    total: Option<(u64, u128)>,
}

/// What a whole checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// The last slot whose effect it holds, and the epoch of that slot's entry.
    pub at: (Slot, Epoch),
    /// How many records it holds.
    pub records: u64,
    /// The digest of the state: what [`crate::Kv::digest`] returns.
    pub digest: u128,
}

/// Why chunks are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A chunk is not there, or cannot be read.
    #[error("chunk {index} is missing")]
    Missing {
        /// Which chunk.
        index: u64,
    },
    /// A chunk's checksum does not match its bytes.
    #[error("chunk {index} is damaged: its checksum is {found:08x}, its bytes have {expected:08x}")]
    Damaged {
        /// Which chunk was expected.
        index: u64,
        /// The checksum of its bytes.
        expected: u32,
        /// The checksum it carries.
        found: u32,
    },
    /// A chunk is intact but cannot be read.
    #[error("chunk {index} has another form")]
    Malformed {
        /// Which chunk was expected.
        index: u64,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A chunk was left out, repeated or put in another place.
    #[error("chunk {found} stands where chunk {expected} should")]
    OutOfOrder {
        /// The index wanted.
        expected: u64,
        /// The index found.
        found: u64,
    },
    /// Records do not ascend, or do not begin with the one that says where the state stands.
    #[error("record {record} is out of place")]
    Unordered {
        /// Which record, from 0.
        record: u64,
    },
    /// A record cannot be read as what its space holds.
    #[error("record {record}, of space {space}, cannot be read")]
    Unreadable {
        /// Which record, from 0.
        record: u64,
        /// Its space.
        space: u8,
    },
    /// The last chunk has not come.
    #[error("the checkpoint ends after {chunks} chunks without its last one")]
    Unfinished {
        /// How many came.
        chunks: u64,
    },
    /// The records are not those that the last chunk speaks of.
    #[error(
        "{found} records with digest {found_digest:032x} instead of {expected} with {expected_digest:032x}"
    )]
    Different {
        /// How many the last chunk promises.
        expected: u64,
        /// Their digest.
        expected_digest: u128,
        /// How many there are.
        found: u64,
        /// Their digest.
        found_digest: u128,
    },
    /// It is a good checkpoint of another moment.
    #[error("the checkpoint stands at {found:?} instead of {expected:?}")]
    Elsewhere {
        /// The slot and epoch wanted.
        expected: (Slot, Epoch),
        /// The slot and epoch it holds.
        found: (Slot, Epoch),
    },
}

impl ChunkVerifier {
    /// Before the first chunk.
    pub fn new() -> ChunkVerifier {
        ChunkVerifier::default()
    }

    /// Checks the next chunk.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is damaged or is not the next one. Nothing may be accepted after that.
    pub fn accept(&mut self, chunk: &Bytes) -> Result<(), CheckpointError> {
        self.accept_rows(chunk).map(drop)
    }

    /// Whether the last chunk has been accepted.
    pub fn is_finished(&self) -> bool {
        self.total.is_some()
    }

    /// Checks that the last chunk has been seen and that everything adds up.
    ///
    /// # Errors
    /// [`CheckpointError`] if not.
    pub fn finish(self) -> Result<CheckpointSummary, CheckpointError> {
        let unfinished = CheckpointError::Unfinished { chunks: self.chunks };
        let (Some((expected, expected_digest)), Some(at)) = (self.total, self.at) else {
            return Err(unfinished);
        };
        let (found, found_digest) = (self.tally.records, self.tally.digest.finish128());
        if (found, found_digest) != (expected, expected_digest) {
            return Err(CheckpointError::Different { expected, expected_digest, found, found_digest });
        }
        Ok(CheckpointSummary { at, records: found, digest: found_digest })
    }

    /// As [`accept`](ChunkVerifier::accept), and returns the chunk's records.
    pub(super) fn accept_rows(&mut self, chunk: &Bytes) -> Result<Vec<Row>, CheckpointError> {
        let expected = self.chunks;
        let body = checked_body(expected, chunk)?;
        let decoded = Chunk::from_bytes(body)
            .map_err(|source| CheckpointError::Malformed { index: expected, source })?;
        if decoded.index != expected || self.is_finished() {
            return Err(CheckpointError::OutOfOrder { expected, found: decoded.index });
        }
        self.chunks += 1;
        self.total = decoded.total;
        for row in &decoded.rows {
            self.row(row)?;
        }
        Ok(decoded.rows)
    }

    fn row(&mut self, row: &Row) -> Result<(), CheckpointError> {
        let unordered = CheckpointError::Unordered { record: self.tally.records };
        let place = (row.0, row.1.clone());
        if !SPACES.contains(&row.0) || self.behind.as_ref().is_some_and(|behind| *behind >= place) {
            return Err(unordered);
        }
        if self.at.is_none() {
            self.at = Some(meta_at(row).ok_or(unordered)?);
        }
        if !is_readable(row) {
            return Err(CheckpointError::Unreadable { record: self.tally.records, space: row.0.0 });
        }
        self.tally.add(row);
        self.behind = Some(place);
        Ok(())
    }
}

/// Whether a store that holds this record can read it. What cannot be read must not take the place of what can (P3).
fn is_readable((space, key, value): &Row) -> bool {
    let value = value.clone();
    match *space {
        META => key == MEMBERSHIP_KEY || (key == META_KEY && Meta::decode_record(value).is_ok()),
        LATEST => Pair::decode(value).is_ok(),
        VERSIONS => parse_version_key(key).is_ok() && OldPair::decode(value).is_ok(),
        REVISIONS => parse_revision_key(key).is_ok() && Change::decode(value).is_ok(),
        LEASES => parse_lease_key(key).is_ok() && decode_ttl(value).is_ok(),
        LEASE_KEYS => parse_lease_key_key(key).is_ok(),
        SESSIONS => parse_session_key(key).is_ok() && is_session(value),
        MEMBERS => Member::from_bytes(value).is_ok(),
        _ => false,
    }
}

/// Where the state stands, if this is the record that says so.
fn meta_at((space, key, value): &Row) -> Option<(Slot, Epoch)> {
    let meta = Meta::decode_record(value.clone()).ok()?;
    (*space == META && key == META_KEY && meta.complete).then_some((meta.applied, meta.epoch))
}

/// Checks the checksum and cuts it off.
fn checked_body(index: u64, chunk: &Bytes) -> Result<Bytes, CheckpointError> {
    let Some((body, crc)) = chunk.split_last_chunk::<4>() else {
        let source = WireError::Truncated { needed: 4, left: chunk.len() as u64 };
        return Err(CheckpointError::Malformed { index, source });
    };
    let (expected, found) = (crc32c::crc32c(body), u32::from_le_bytes(*crc));
    if expected != found {
        return Err(CheckpointError::Damaged { index, expected, found });
    }
    Ok(chunk.slice(..body.len()))
}

struct Chunk {
    index: u64,
    rows: Vec<Row>,
    total: Option<(u64, u128)>,
}

impl Chunk {
    fn from_bytes(bytes: Bytes) -> Result<Chunk, WireError> {
        let mut input = Reader::new(bytes);
        if input.array()? != MAGIC {
            return Err(WireError::Range { what: "chunk mark" });
        }
        match u8::decode(&mut input)? {
            FORMAT => {}
            tag => return Err(WireError::Tag { what: "chunk format", tag }),
        }
        let last = bool::decode(&mut input)?;
        let index = u64::decode(&mut input)?;
        // A record is at least a space and two lengths.
        let count = input.count(9)?;
        let mut rows = Vec::with_capacity(count);
        for _ in 0..count {
            rows.push((
                Space(u8::decode(&mut input)?),
                Bytes::decode(&mut input)?,
                Bytes::decode(&mut input)?,
            ));
        }
        let total = if last { Some((u64::decode(&mut input)?, u128::decode(&mut input)?)) } else { None };
        input.finish()?;
        Ok(Chunk { index, rows, total })
    }
}

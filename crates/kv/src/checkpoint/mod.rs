//! Checkpoints: the whole state as a sequence of self-describing chunks, for a replica that lags too far.
//!
//! ```text
//!   CheckpointWriter ──chunk 0, 1, 2 …──▶ ChunkVerifier        Kv::install: verify all again, mark the engine
//!   (a view; writes go on)                 (as they arrive)     incomplete, clear, fill, mark complete
//! ```
//!
//! A checkpoint is every record of every space, in the order of space and key, cut into chunks:
//!
//! ```text
//!   chunk := "ALKV" format:u8 last:u8 index:u64 count:u32 record* [total] crc:u32
//!   record := space:u8 key:bytes value:bytes         total (in the last chunk only) := records:u64 digest:u128
//! ```
//!
//! Integers are little-endian, `bytes` has a `u32` length, `crc` is CRC-32C of everything before it, and
//! `digest` covers all records: a chunk of another checkpoint has a good `crc` and still does not fit.
//! Promises:
//! - P1  Equal states give equal chunks; any chunk can be made again.
//! - P2  Nothing but the whole sequence is accepted: no damaged, missing, repeated, reordered or foreign chunk, and no
//!   record that the store could not read.
//! - P3  The old state is untouched until the new one has been verified; a crash after that leaves a store that
//!   knows that it is incomplete.

pub(crate) mod install;
mod verify;
mod write;

use std::hash::Hasher;

use bytes::Bytes;
use storage::{EngineError, Scan, Space, View};
use types::Fingerprinter;

use crate::layout::SPACES;

pub use install::InstallError;
pub use verify::{CheckpointError, CheckpointSummary, ChunkVerifier};
pub use write::CheckpointWriter;

const MAGIC: [u8; 4] = *b"ALKV";
const FORMAT: u8 = 1;

/// One record of the state.
type Row = (Space, Bytes, Bytes);

/// The digest of a whole state.
pub(crate) fn digest(view: &impl View) -> Result<u128, EngineError> {
    Ok(digest_while(view, |_| true)?.unwrap_or_default())
}

/// The same, as long as `goes_on` says so; it is told the bytes of each record.
fn digest_while(view: &impl View, mut goes_on: impl FnMut(u64) -> bool) -> Result<Option<u128>, EngineError> {
    let mut tally = Tally::default();
    for row in rows_after(view, None) {
        let row = row?;
        tally.add(&row);
        if !goes_on((row.1.len() + row.2.len()) as u64) {
            return Ok(None);
        }
    }
    Ok(Some(tally.digest.finish128()))
}

/// Every record behind a place, in the order of space and key.
fn rows_after<V: View>(
    view: &V,
    after: Option<(Space, Bytes)>,
) -> impl Iterator<Item = Result<Row, EngineError>> {
    use std::ops::Bound;
    let first = after.as_ref().map_or(SPACES[0], |(space, _)| *space);
    SPACES.into_iter().filter(move |space| *space >= first).flat_map(move |space| {
        let low = match &after {
            Some((begun, key)) if *begun == space => Bound::Excluded(key.clone()),
            _ => Bound::Unbounded,
        };
        let rows = view.scan(Scan { space, low, high: Bound::Unbounded, descending: false });
        rows.map(move |row| row.map(|(key, value)| (space, key, value)))
    })
}

/// Counts and digests records.
#[derive(Clone, Debug, Default)]
struct Tally {
    records: u64,
    digest: Fingerprinter,
}

impl Tally {
    fn add(&mut self, (space, key, value): &Row) {
        self.records += 1;
        self.digest.write_u8(space.0);
        self.digest.write_u64(key.len() as u64);
        self.digest.write(key);
        self.digest.write_u64(value.len() as u64);
        self.digest.write(value);
    }
}

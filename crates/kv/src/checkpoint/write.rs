//! Cutting a state into chunks.

use bytes::Bytes;
use storage::{EngineError, Space, View};
use types::{Buggify, Epoch, Slot, Wire, buggify};

use super::{FORMAT, MAGIC, Row, Tally, rows_after};
use crate::layout::{LEASES, MEMBERSHIP_KEY, META, SESSIONS};
use crate::meta::Meta;
use crate::planted::Bugs;

/// A chunk ends with the record that reaches this many bytes; one longer record makes it longer.
const CHUNK_BYTES: usize = 256 * 1024;

/// Cuts an unchanging view of the state into chunks.
#[derive(Debug)]
pub struct CheckpointWriter<V: View> {
    view: V,
    at: (Slot, Epoch),
    /// Where each chunk starts, as far as that is known: any of these can be made.
    starts: Vec<Position>,
    /// A chunk ends with the row that brings it to this many bytes.
    chunk_bytes: usize,
    bugs: Bugs,
}

#[derive(Clone, Debug, Default)]
struct Position {
    after: Option<(Space, Bytes)>,
    tally: Tally,
}

impl<V: View> CheckpointWriter<V> {
    pub(crate) fn new(view: V, bugs: Bugs, buggify: &Buggify) -> Result<CheckpointWriter<V>, EngineError> {
        let refusal =
            |reason: &str| EngineError { operation: "make a checkpoint", reason: reason.to_owned() };
        let meta = Meta::load(&view)?.ok_or_else(|| refusal("nothing was ever applied"))?;
        if !meta.complete {
            return Err(refusal("the state is incomplete"));
        }
        // For the whole checkpoint: a chunk that is asked for again must be the same.
        let chunk_bytes = if buggify!(buggify, "kv.checkpoint.one_row_chunks") {
            1
        } else if buggify!(buggify, "kv.checkpoint.small_chunks") {
            512
        } else {
            CHUNK_BYTES
        };
        let at = (meta.applied, meta.epoch);
        Ok(CheckpointWriter { view, at, starts: vec![Position::default()], chunk_bytes, bugs })
    }

    /// The last slot whose effect the checkpoint holds, and the epoch of that slot's entry.
    pub fn at(&self) -> (Slot, Epoch) {
        self.at
    }

    /// Who takes part at that slot, as [`Kv::membership`](crate::Kv::membership).
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn membership(&self) -> Result<Option<Bytes>, EngineError> {
        self.view.get(META, MEMBERSHIP_KEY)
    }

    /// The digest of the state that the checkpoint holds, as [`Kv::digest`](crate::Kv::digest) would have given it there.
    /// Reads everything; `goes_on` is told the bytes of each record, and may end it: then there is no digest.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn digest(&self, goes_on: impl FnMut(u64) -> bool) -> Result<Option<u128>, EngineError> {
        super::digest_while(&self.view, goes_on)
    }

    /// Returns chunk `index` and whether it is the last. The first time chunks must be asked for in order;
    /// any earlier chunk may be asked for again. `None` if `index` is out of that order.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn chunk(&mut self, index: u64) -> Result<Option<(Bytes, bool)>, EngineError> {
        let Some(start) = usize::try_from(index).ok().and_then(|index| self.starts.get(index)) else {
            return Ok(None);
        };
        let (chunk, end) = self.cut(index, start.clone())?;
        let last = end.is_none();
        if let Some(end) = end
            && index + 1 == self.starts.len() as u64
        {
            self.starts.push(end);
        }
        Ok(Some((chunk, last)))
    }

    /// Makes the chunk that begins at a position, and finds where the next one begins unless it is the last.
    fn cut(&self, index: u64, from: Position) -> Result<(Bytes, Option<Position>), EngineError> {
        let Position { after, mut tally } = from;
        let mut rows = rows_after(&self.view, after.clone()).filter(|row| !self.is_left_out(row));
        let (mut records, mut count, mut end) = (Vec::with_capacity(self.chunk_bytes), 0u32, after);
        let last = loop {
            if records.len() >= self.chunk_bytes {
                break rows.next().transpose()?.is_none();
            }
            let Some(row) = rows.next().transpose()? else { break true };
            encode_row(&row, &mut records);
            tally.add(&row);
            count += 1;
            end = Some((row.0, row.1));
        };
        let mut out = Vec::with_capacity(records.len() + 64);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[FORMAT, u8::from(last)]);
        index.encode(&mut out);
        count.encode(&mut out);
        out.append(&mut records);
        if last {
            tally.records.encode(&mut out);
            tally.digest.finish128().encode(&mut out);
        }
        crc32c::crc32c(&out).encode(&mut out);
        Ok((Bytes::from(out), (!last).then_some(Position { after: end, tally })))
    }

    /// Nothing is left out, but for a bug.
    fn is_left_out(&self, row: &Result<Row, EngineError>) -> bool {
        let is_of = |left_out: Space| row.as_ref().is_ok_and(|(space, ..)| *space == left_out);
        if planted!(self.bugs, CheckpointLosesSessions) {
            is_of(SESSIONS)
        } else {
            planted!(self.bugs, CheckpointLosesLeases) && is_of(LEASES)
        }
    }
}

fn encode_row((space, key, value): &Row, out: &mut Vec<u8>) {
    out.push(space.0);
    key.encode(out);
    value.encode(out);
}

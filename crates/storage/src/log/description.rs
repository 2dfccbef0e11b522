//! What a batch says about itself, written twice: before its records and after them.
//!
//! ```text
//!   ┌ head: description ┐┌ data: records, end to end ┐┌ tail: the same description ┐
//! ```
//!
//! Two copies, each of self-checking sectors: a damaged sector costs the records in it, but never the knowledge
//! of which slots there were, nor the meta record, which every description repeats.

use bytes::Bytes;
use types::{Reader, Slot, SlotState, Wire, WireError};

use super::sector::CONTENT_LEN;

/// How many batches back a description tells which slots they touched.
pub(super) const LOWS: usize = 16;

/// Touches no slot.
pub(super) const LOW_NONE: u64 = u64::MAX;

/// One batch without its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// Bytes of all records together.
    pub data_len: u32,
    /// The stamp of the batch before; 0 if there is none or it is lost.
    pub prev_stamp: u32,
    /// Before this batch: whether acknowledged slots above `last` may have been lost.
    pub tail_damaged: bool,
    /// The log's first slot before this batch.
    pub first: Slot,
    /// The log's last slot before this batch.
    pub last: Slot,
    /// The `low` of each of the batches before, the latest first.
    pub lows: [u64; LOWS],
    /// The meta record after this batch.
    pub meta: SlotState<Bytes>,
    /// In order.
    pub ops: Vec<BatchOp>,
}

/// One change, with the record's place in the data left to the order of the puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BatchOp {
    Put { slot: Slot, len: u32, crc: u32 },
    TruncateFrom(Slot),
    CompactTo(Slot),
    ResetTo(Slot),
}

/// How many sectors the parts of a batch take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    /// Of each copy of the description.
    pub head: u64,
    /// Of the records.
    pub data: u64,
}

impl Layout {
    pub fn new(description_len: u32, data_len: u32) -> Layout {
        let sectors = |len: u32| u64::from(len).div_ceil(CONTENT_LEN as u64);
        Layout { head: sectors(description_len), data: sectors(data_len) }
    }

    /// Reads the lengths that every description begins with.
    pub fn peek(content: &[u8]) -> Result<(u32, Layout), WireError> {
        let mut input = Reader::new(Bytes::copy_from_slice(&content[..8.min(content.len())]));
        let description_len = u32::decode(&mut input)?;
        Ok((description_len, Layout::new(description_len, u32::decode(&mut input)?)))
    }

    pub fn total(self) -> u64 {
        2 * self.head + self.data
    }
}

impl Description {
    /// The lowest slot whose record this batch writes or forgets by truncation. Compaction does not count: what
    /// it forgets is told by the next batch's `first`.
    pub fn low(&self) -> u64 {
        self.ops.iter().map(|op| op.low()).min().unwrap_or(LOW_NONE)
    }
}

impl BatchOp {
    pub fn low(self) -> u64 {
        match self {
            BatchOp::Put { slot, .. } | BatchOp::TruncateFrom(slot) => slot.0,
            BatchOp::CompactTo(_) => LOW_NONE,
            BatchOp::ResetTo(_) => 0,
        }
    }

    /// Bytes of its record.
    fn len(self) -> u64 {
        if let BatchOp::Put { len, .. } = self { u64::from(len) } else { 0 }
    }
}

impl Wire for Description {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        0u32.encode(out);
        self.data_len.encode(out);
        self.prev_stamp.encode(out);
        self.tail_damaged.encode(out);
        self.first.encode(out);
        self.last.encode(out);
        self.lows.iter().for_each(|low| low.encode(out));
        encode_meta(&self.meta, out);
        u32::try_from(self.ops.len()).expect("a batch is limited in bytes").encode(out);
        self.ops.iter().for_each(|op| op.encode(out));
        let len = u32::try_from(out.len() - start).expect("a batch is limited in bytes");
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let start = input.remaining();
        let len = u32::decode(input)?;
        let data_len = u32::decode(input)?;
        let prev_stamp = u32::decode(input)?;
        let tail_damaged = bool::decode(input)?;
        let (first, last) = (Slot::decode(input)?, Slot::decode(input)?);
        let mut lows = [LOW_NONE; LOWS];
        for low in &mut lows {
            *low = u64::decode(input)?;
        }
        let meta = decode_meta(input)?;
        let ops: Vec<BatchOp> = Vec::decode(input)?;
        if ops.iter().map(|op| op.len()).sum::<u64>() != u64::from(data_len) {
            return Err(WireError::Range { what: "length of records" });
        }
        if start - input.remaining() != len as usize {
            return Err(WireError::Range { what: "length of a description" });
        }
        if first == Slot::ZERO || last < first.prev() {
            return Err(WireError::Range { what: "first slot of a log" });
        }
        Ok(Description { data_len, prev_stamp, tail_damaged, first, last, lows, meta, ops })
    }
}

fn encode_meta(meta: &SlotState<Bytes>, out: &mut Vec<u8>) {
    match meta {
        SlotState::Missing => 0u8.encode(out),
        SlotState::Ok(meta) => {
            1u8.encode(out);
            meta.encode(out);
        }
        SlotState::Damaged => 2u8.encode(out),
    }
}

fn decode_meta(input: &mut Reader) -> Result<SlotState<Bytes>, WireError> {
    match u8::decode(input)? {
        0 => Ok(SlotState::Missing),
        1 => Ok(SlotState::Ok(Bytes::decode(input)?)),
        2 => Ok(SlotState::Damaged),
        tag => Err(WireError::Tag { what: "meta", tag }),
    }
}

impl Wire for BatchOp {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, slot) = match *self {
            BatchOp::Put { slot, .. } => (1u8, slot),
            BatchOp::TruncateFrom(slot) => (2, slot),
            BatchOp::CompactTo(slot) => (3, slot),
            BatchOp::ResetTo(slot) => (4, slot),
        };
        tag.encode(out);
        slot.encode(out);
        if let BatchOp::Put { len, crc, .. } = self {
            len.encode(out);
            crc.encode(out);
        }
    }

    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let (tag, slot) = (u8::decode(input)?, Slot::decode(input)?);
        match tag {
            1 => Ok(BatchOp::Put { slot, len: u32::decode(input)?, crc: u32::decode(input)? }),
            2 => Ok(BatchOp::TruncateFrom(slot)),
            3 => Ok(BatchOp::CompactTo(slot)),
            4 => Ok(BatchOp::ResetTo(slot)),
            tag => Err(WireError::Tag { what: "log operation", tag }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_reads_back_and_every_truncation_is_an_error() {
        let description = Description {
            data_len: 7,
            prev_stamp: 3,
            tail_damaged: true,
            first: Slot(2),
            last: Slot(9),
            lows: std::array::from_fn(|at| at as u64),
            meta: SlotState::Ok(Bytes::from_static(b"term 4")),
            ops: vec![
                BatchOp::TruncateFrom(Slot(8)),
                BatchOp::Put { slot: Slot(8), len: 7, crc: 1 },
                BatchOp::CompactTo(Slot(3)),
                BatchOp::ResetTo(Slot(20)),
            ],
        };
        let bytes = description.to_bytes();
        assert_eq!(Description::from_bytes(bytes.clone()), Ok(description.clone()));
        assert!((0..bytes.len()).all(|len| Description::from_bytes(bytes.slice(..len)).is_err()));
        let (len, layout) = Layout::peek(&bytes).unwrap();
        assert_eq!((len as usize, layout.total()), (bytes.len(), 3));
        assert_eq!(description.low(), 0);
    }
}

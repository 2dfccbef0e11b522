//! The self-checking sector: everything in a segment file is made of these.
//!
//! ```text
//!   0     1     4       8       16      24      28          508   512
//!   │part │ 0 0 │ index │ batch │  low  │ stamp │  content  │ crc │
//! ```
//!
//! Promises:
//! - K1  A sector of zeros is never valid: it was never written (its `part` would be 0).
//! - K2  A valid sector was written for this place: its checksum covers the segment's and its own number, so a
//!   misdirected sector is seen.
//! - K3  A valid sector says which writing of which batch it belongs to (`batch`, `stamp`), so a stale one is
//!   seen; and the lowest slot that its batch touches, so that the damage is bounded if it alone survives.

use types::Wire;

/// The unit that a disk writes whole or not at all.
pub(super) const SECTOR_LEN: usize = 512;

/// Bytes of a sector that are content.
pub(super) const CONTENT_LEN: usize = CRC_AT - CONTENT_AT;

/// No log has so many batches, so every batch has a next one.
const BATCH_END: u64 = 1 << 62;

const CONTENT_AT: usize = 28;
const CRC_AT: usize = 508;

/// What a sector is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Part {
    /// The segment's header.
    Header = 1,
    /// A batch's description, first copy.
    Head = 2,
    /// A batch's records.
    Data = 3,
    /// A batch's description, second copy.
    Tail = 4,
}

/// Where a sector belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub part: Part,
    /// Counts the sectors of the part from 0.
    pub index: u32,
    /// The batch's number; in a header the number of the segment's first batch.
    pub batch: u64,
    /// The lowest slot whose record the batch writes or forgets; `u64::MAX` if none.
    pub low: u64,
    /// Checksum of the batch's description; 0 in a header.
    pub stamp: u32,
}

/// What stands in a sector's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sector<'a> {
    /// Never written, or erased.
    Zero,
    /// Something that was not written for this place.
    Bad,
    /// An intact sector and its content.
    Valid(Label, &'a [u8]),
}

/// Appends a sector to `out`: `content`, at most `CONTENT_LEN` bytes, is padded with zeros.
pub(super) fn seal(segment: u64, number: u64, label: Label, content: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    (label.part as u8).encode(out);
    out.extend_from_slice(&[0; 3]);
    label.index.encode(out);
    label.batch.encode(out);
    label.low.encode(out);
    label.stamp.encode(out);
    out.extend_from_slice(&content[..content.len().min(CONTENT_LEN)]);
    out.resize(start + CRC_AT, 0);
    checksum(segment, number, &out[start..]).encode(out);
}

/// Reads the sector `number` of a segment from its `SECTOR_LEN` bytes.
pub(super) fn open(segment: u64, number: u64, bytes: &[u8]) -> Sector<'_> {
    if bytes.first() == Some(&0) && bytes.iter().all(|byte| *byte == 0) {
        return Sector::Zero;
    }
    let Some((payload, crc)) = bytes.split_at_checked(CRC_AT) else { return Sector::Bad };
    if checksum(segment, number, payload).to_le_bytes() != *crc {
        return Sector::Bad;
    }
    match label(payload) {
        Some(label) => Sector::Valid(label, &payload[CONTENT_AT..]),
        None => Sector::Bad,
    }
}

/// Makes the checksum of a whole sector true.
#[cfg(feature = "fuzzing")]
pub(super) fn renew_checksum(segment: u64, number: u64, sector: &mut [u8]) {
    let crc = checksum(segment, number, &sector[..CRC_AT]);
    sector[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
}

fn checksum(segment: u64, number: u64, payload: &[u8]) -> u32 {
    let mut place = [0; 16];
    place[..8].copy_from_slice(&segment.to_le_bytes());
    place[8..].copy_from_slice(&number.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c(&place), payload)
}

fn label(payload: &[u8]) -> Option<Label> {
    let part = match payload.first_chunk()? {
        [1, 0, 0, 0] => Part::Header,
        [2, 0, 0, 0] => Part::Head,
        [3, 0, 0, 0] => Part::Data,
        [4, 0, 0, 0] => Part::Tail,
        _ => return None,
    };
    let batch = u64::from_le_bytes(*payload.get(8..)?.first_chunk()?);
    if batch >= BATCH_END {
        return None;
    }
    Some(Label {
        part,
        index: u32::from_le_bytes(*payload.get(4..)?.first_chunk()?),
        batch,
        low: u64::from_le_bytes(*payload.get(16..)?.first_chunk()?),
        stamp: u32::from_le_bytes(*payload.get(24..)?.first_chunk()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: Label = Label { part: Part::Data, index: 3, batch: 77, low: 5, stamp: 0xabcd };

    #[test]
    fn a_sector_is_valid_only_as_written_and_where_written() {
        let mut bytes = Vec::new();
        seal(2, 9, LABEL, b"content", &mut bytes);
        assert_eq!(bytes.len(), SECTOR_LEN);
        let Sector::Valid(label, content) = open(2, 9, &bytes) else { panic!("not valid") };
        assert_eq!((label, &content[..8]), (LABEL, &b"content\0"[..]));

        assert_eq!(open(2, 10, &bytes), Sector::Bad, "misdirected within the segment");
        assert_eq!(open(3, 9, &bytes), Sector::Bad, "misdirected to another segment");
        assert_eq!(open(2, 9, &[0; SECTOR_LEN]), Sector::Zero);
        for bit in 0..SECTOR_LEN * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(2, 9, &flipped), Sector::Bad, "bit {bit}");
        }
    }

    #[test]
    fn a_batch_without_a_next_one_is_none() {
        for (batch, is_valid) in [(BATCH_END - 1, true), (BATCH_END, false), (u64::MAX, false)] {
            let mut bytes = Vec::new();
            seal(2, 9, Label { batch, ..LABEL }, b"content", &mut bytes);
            assert_eq!(matches!(open(2, 9, &bytes), Sector::Valid(..)), is_valid, "batch {batch}");
        }
    }
}

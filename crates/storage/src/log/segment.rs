//! A segment file: its name, its header, and how it is created and loaded.
//!
//! ```text
//!   log-0000000000000007:  │ header │ header, again │ batch │ batch │ … │ zeros, written ahead │
//! ```

use bytes::Bytes;
use types::{Buggify, NodeId, Reader, Wire, WireError, buggify};

use super::api::{Identity, LogOptions, OpenLogError};
use super::description::LOW_NONE;
use super::planted::plants;
use super::sector::{self, Label, Part, SECTOR_LEN, Sector};
use crate::{Disk, DiskError, DiskFile};

/// The first batch starts behind the two copies of the header.
pub(super) const HEADER_SECTORS: u64 = 2;

/// Files grow by so many bytes at a time, or by the size of a segment if that is less: a sync that changes a
/// file's size is slow, and so is writing a whole segment of zeros.
pub(super) const GROWTH_BYTES: u64 = 1 << 20;

/// No segment is longer; a longer file is not one.
pub(super) const SEGMENT_BYTES_MAX: u64 = 2 << 30;

/// The version of the format that this program writes and reads.
const FORMAT: u32 = 1;

const MAGIC: [u8; 8] = *b"ALTHING\n";

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;

/// An open segment file.
#[derive(Debug)]
pub(super) struct Segment<F> {
    pub file: F,
    pub bytes: u64,
    /// Behind its last batch; of the segment that is written, behind the last one that it had when it was opened.
    pub end_sector: u64,
}

/// The file name of a segment.
pub(super) fn name(number: u64) -> String {
    format!("log-{number:016x}")
}

/// The number of the segment of this name; `None` if it is no segment's name.
pub(super) fn number(file_name: &str) -> Option<u64> {
    let number = u64::from_str_radix(file_name.strip_prefix("log-")?, 16).ok()?;
    (name(number) == file_name).then_some(number)
}

/// Creates a segment, durably, without batches.
pub(super) fn create<D: Disk>(
    disk: &D,
    identity: Identity,
    number: u64,
    first_batch: u64,
    bytes: u64,
    options: &LogOptions,
) -> Result<Segment<D::File>, DiskError> {
    let mut file = disk.create(&name(number))?;
    if buggify!(options.buggify, "storage.create.name_first") {
        disk.sync_dir()?;
    }
    let bytes = bytes.max(HEADER_SECTORS * SECTOR_LEN as u64);
    file.allocate(bytes)?;
    if buggify!(options.buggify, "storage.create.room_first") {
        file.sync()?;
    }
    let mut header = header_sector(identity, number, first_batch, 0);
    if buggify!(options.buggify, "storage.create.copies_apart") {
        file.write_at(0, &header)?;
        file.sync()?;
    }
    header.extend(header_sector(identity, number, first_batch, 1));
    file.write_at(0, &header)?;
    if !plants!(options, HeaderIsNotSynced) {
        file.sync()?;
    }
    if !plants!(options, NameIsNotSynced) {
        disk.sync_dir()?;
    }
    Ok(Segment { file, bytes, end_sector: HEADER_SECTORS })
}

/// One copy of the header.
pub(super) fn header_sector(identity: Identity, number: u64, first_batch: u64, copy: u32) -> Vec<u8> {
    let mut content = MAGIC.to_vec();
    FORMAT.encode(&mut content);
    identity.cluster.encode(&mut content);
    identity.node.encode(&mut content);
    number.encode(&mut content);
    let label = Label { part: Part::Header, index: copy, batch: first_batch, low: LOW_NONE, stamp: 0 };
    let mut out = Vec::new();
    sector::seal(number, u64::from(copy), label, &content, &mut out);
    out
}

/// Checks a header's content against who opens it.
pub(super) fn check_header(content: &[u8], number: u64, identity: Identity) -> Result<(), OpenLogError> {
    let unreadable = |_: WireError| OpenLogError::Lost { fact: unreadable_header(number) };
    let mut input = Reader::new(Bytes::copy_from_slice(content));
    if input.array().map_err(unreadable)? != MAGIC {
        return Err(OpenLogError::Lost { fact: format!("{} is not a segment of a log", name(number)) });
    }
    let found = u32::decode(&mut input).map_err(unreadable)?;
    if found != FORMAT {
        return Err(OpenLogError::Format { segment: name(number), found, expected: FORMAT });
    }
    let found = u64::decode(&mut input).map_err(unreadable)?;
    if found != identity.cluster {
        return Err(OpenLogError::OtherCluster { found, expected: identity.cluster });
    }
    let found = NodeId::decode(&mut input).map_err(unreadable)?;
    if found != identity.node {
        return Err(OpenLogError::OtherMember { found, expected: identity.node });
    }
    Ok(())
}

/// Says that neither copy of a header can be read.
pub(super) fn unreadable_header(number: u64) -> String {
    format!("both copies of the header of {} are damaged", name(number))
}

/// A whole segment in memory, for recovery.
#[derive(Debug)]
pub(super) struct Image {
    pub number: u64,
    pub bytes: Vec<u8>,
}

impl Image {
    /// Reads a segment. Sectors that the disk cannot read are filled with what is no valid sector.
    pub fn load<F: DiskFile>(number: u64, file: &F, buggify: &Buggify) -> Result<Image, OpenLogError> {
        let size = file.size()?;
        if size > SEGMENT_BYTES_MAX {
            let fact = format!("{} is {size} bytes, longer than any segment", name(number));
            return Err(OpenLogError::Lost { fact });
        }
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        let read_bytes =
            if buggify!(buggify, "storage.open.reads_by_sector") { SECTOR_LEN } else { READ_BYTES };
        for (at, chunk) in bytes.chunks_mut(read_bytes).enumerate() {
            read_what_can_be_read(file, (at * read_bytes) as u64, chunk);
        }
        Ok(Image { number, bytes })
    }

    /// How many sectors the file has, counting a last one that is cut short.
    pub fn sectors(&self) -> u64 {
        (self.bytes.len() as u64).div_ceil(SECTOR_LEN as u64)
    }

    /// A sector; beyond the end of the file all are zero.
    pub fn sector(&self, at: u64) -> Sector<'_> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(SECTOR_LEN);
        match self.bytes.get(start..) {
            None => Sector::Zero,
            Some(rest) => sector::open(self.number, at, &rest[..rest.len().min(SECTOR_LEN)]),
        }
    }
}

/// A read error of one sector is damage of that sector, not of everything.
pub(super) fn read_what_can_be_read<F: DiskFile>(file: &F, offset: u64, chunk: &mut [u8]) {
    if file.read_at(offset, chunk).is_ok() {
        return;
    }
    for (at, sector) in chunk.chunks_mut(SECTOR_LEN).enumerate() {
        if file.read_at(offset + (at * SECTOR_LEN) as u64, sector).is_err() {
            sector.fill(0xff);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hexadecimal_and_nothing_else_is_a_segment() {
        assert_eq!(name(0x2a), "log-000000000000002a");
        assert_eq!(number("log-000000000000002a"), Some(0x2a));
        for other in [
            "log-2a",
            "log-000000000000002A",
            "log-00000000000000+a",
            "lock",
            "log-",
            "log-000000000000002a~",
        ] {
            assert_eq!(number(other), None, "{other}");
        }
    }
}

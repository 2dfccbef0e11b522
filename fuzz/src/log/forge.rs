//! Writes logs as `docs/storage-format.md` specifies them, with any numbers in them.

use crate::Input;

const SECTOR: usize = 512;
const CONTENT: usize = 480;
const HEADER: u8 = 1;
const HEAD: u8 = 2;
const DATA: u8 = 3;
const TAIL: u8 = 4;

/// A description and the records that it is about.
pub(super) struct Batch {
    description: Vec<u8>,
    low: u64,
    records: Vec<u8>,
}

impl Batch {
    pub(super) fn stamp(&self) -> u32 {
        crc32c::crc32c(&self.description)
    }
}

/// The two copies of a segment's header.
pub(super) fn header(segment: u64, first_batch: u64) -> Vec<u8> {
    let mut content = b"ALTHING\n".to_vec();
    content.extend_from_slice(&1u32.to_le_bytes());
    for number in [super::IDENTITY.cluster, super::IDENTITY.node.0, segment] {
        content.extend_from_slice(&number.to_le_bytes());
    }
    let mut out = Vec::new();
    for copy in 0..2 {
        sector(segment, (HEADER, copy), (first_batch, u64::MAX, 0), &content, &mut out);
    }
    out
}

/// A batch with any operations. Its lengths and checksums are mostly true.
pub(super) fn batch(input: &mut Input<'_>, prev_stamp: u32) -> Batch {
    let (mut operations, mut records) = (Vec::new(), Vec::new());
    let (mut low, count) = (u64::MAX, input.below(5) as u32);
    for _ in 0..count {
        let tag = 1 + input.byte() % 4;
        let slot = input.number();
        operations.push(tag);
        operations.extend_from_slice(&slot.to_le_bytes());
        if tag == 1 {
            let record = input.bytes(600);
            let (len, crc) = (record.len() as u32, crc32c::crc32c(record));
            let len = if input.byte() < 230 { len } else { input.number() as u32 };
            operations.extend_from_slice(&len.to_le_bytes());
            operations.extend_from_slice(&crc.to_le_bytes());
            records.extend_from_slice(record);
        }
        low = low.min(match tag {
            1 | 2 => slot,
            3 => u64::MAX,
            _ => 0,
        });
    }
    let data_len = if input.byte() < 230 { records.len() as u32 } else { input.number() as u32 };
    let prev_stamp = if input.byte() < 200 { prev_stamp } else { input.number() as u32 };
    let mut description = vec![0; 4];
    description.extend_from_slice(&data_len.to_le_bytes());
    description.extend_from_slice(&prev_stamp.to_le_bytes());
    description.push(input.byte() / 200);
    let first = input.number();
    let last = input.near(first);
    for bound in [first, last] {
        description.extend_from_slice(&bound.to_le_bytes());
    }
    let lows = if input.flag() { [0; 16].map(|_| input.number()) } else { [u64::MAX; 16] };
    lows.iter().for_each(|low| description.extend_from_slice(&low.to_le_bytes()));
    description.push(input.byte() % 3);
    if description.last() == Some(&1) {
        let meta = input.bytes(600);
        description.extend_from_slice(&(meta.len() as u32).to_le_bytes());
        description.extend_from_slice(meta);
    }
    description.extend_from_slice(&count.to_le_bytes());
    description.extend_from_slice(&operations);
    let len = description.len() as u32;
    description[..4].copy_from_slice(&len.to_le_bytes());
    Batch { description, low, records }
}

/// Appends a batch to a segment.
pub(super) fn append(segment: u64, number: u64, batch: &Batch, out: &mut Vec<u8>) {
    for (part, bytes) in [(HEAD, &batch.description), (DATA, &batch.records), (TAIL, &batch.description)] {
        for (index, content) in (0..).zip(bytes.chunks(CONTENT)) {
            sector(segment, (part, index), (number, batch.low, batch.stamp()), content, out);
        }
    }
}

fn sector(
    segment: u64,
    (part, index): (u8, u32),
    (batch, low, stamp): (u64, u64, u32),
    content: &[u8],
    out: &mut Vec<u8>,
) {
    let start = out.len();
    out.extend_from_slice(&[part, 0, 0, 0]);
    out.extend_from_slice(&index.to_le_bytes());
    out.extend_from_slice(&batch.to_le_bytes());
    out.extend_from_slice(&low.to_le_bytes());
    out.extend_from_slice(&stamp.to_le_bytes());
    out.extend_from_slice(content);
    out.resize(start + SECTOR, 0);
    seal(segment, (start / SECTOR) as u64, &mut out[start..]);
}

/// Makes the checksums of all whole sectors of a segment true, but for those that are zero.
pub(super) fn renew_checksums(segment: u64, bytes: &mut [u8]) {
    for (number, sector) in (0..).zip(bytes.chunks_exact_mut(SECTOR)) {
        if sector.iter().any(|byte| *byte != 0) {
            seal(segment, number, sector);
        }
    }
}

fn seal(segment: u64, number: u64, sector: &mut [u8]) {
    let (payload, crc) = sector.split_at_mut(SECTOR - 4);
    let place = crc32c::crc32c(&[segment.to_le_bytes(), number.to_le_bytes()].concat());
    crc.copy_from_slice(&crc32c::crc32c_append(place, payload).to_le_bytes());
}

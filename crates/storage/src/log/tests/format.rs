//! The bytes on disk are those of `docs/storage-format.md`, for ever.

use std::fmt::Write;

use bytes::Bytes;
use types::{Slot, SlotState};

use super::open_with;
use crate::log::sector::SECTOR_LEN;
use crate::log::segment;
use crate::{LogOp, SimDisk};

/// Sixteen bytes a line; lines of zeros are left out.
fn dump(bytes: &[u8]) -> String {
    let mut out = String::new();
    for (at, line) in bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0)) {
        if (at * 16).is_multiple_of(SECTOR_LEN) {
            writeln!(out, "sector {}", at * 16 / SECTOR_LEN).unwrap();
        }
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        writeln!(out, "  {:04x}  {}", at * 16, hex.join(" ")).unwrap();
    }
    out
}

fn sample() -> SimDisk {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, 8 << 10).unwrap();
    let put = |slot, text: &'static str| LogOp::Put(Slot(slot), Bytes::from_static(text.as_bytes()));
    log.append(&[LogOp::SetMeta(Bytes::from_static(b"meta")), put(1, "one"), put(2, "two")]).unwrap();
    log.sync().unwrap();
    log.append(&[LogOp::TruncateFrom(Slot(2)), put(2, "zwei"), LogOp::CompactTo(Slot(1))]).unwrap();
    log.sync().unwrap();
    log.append(&[LogOp::ResetTo { at: Slot(9) }]).unwrap();
    log.sync().unwrap();
    disk
}

#[test]
fn the_bytes_are_the_specified_ones() {
    insta::assert_snapshot!(dump(&sample().content(&segment::name(1)).unwrap()));
}

/// A small put must not cost more than one page.
#[test]
fn a_batch_of_one_small_record_takes_three_sectors() {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, 8 << 10).unwrap();
    log.append(&[LogOp::SetMeta(Bytes::from(vec![1; 64])), LogOp::Put(Slot(1), Bytes::from(vec![7; 400]))])
        .unwrap();
    let before = log.next_sector;
    log.sync().unwrap();
    assert_eq!(log.next_sector - before, 3);
}

#[test]
fn a_header_of_another_format_is_refused_by_its_number() {
    use crate::log::sector::{Label, Part, seal};
    let disk = sample();
    for copy in 0..2 {
        let mut content = b"ALTHING\n".to_vec();
        content.extend_from_slice(&2u32.to_le_bytes());
        let label = Label { part: Part::Header, index: copy, batch: 1, low: u64::MAX, stamp: 0 };
        let mut sector = Vec::new();
        seal(1, u64::from(copy), label, &content, &mut sector);
        disk.overwrite(&segment::name(1), u64::from(copy) * SECTOR_LEN as u64, &sector);
    }
    let error = open_with(&disk, 8 << 10).unwrap_err();
    assert_eq!(error.to_string(), "segment log-0000000000000001 is in format 2; this program reads format 1");
}

#[test]
fn the_sample_reads_back() {
    let (log, recovery) = open_with(&sample(), 8 << 10).unwrap();
    assert_eq!(recovery.meta, SlotState::Ok(Bytes::from_static(b"meta")));
    assert_eq!((log.first(), log.last()), (Slot(10), Slot(9)));
}

//! What a log does when nothing goes wrong, and when it is used or placed wrongly.

use bytes::Bytes;
use types::{NodeId, Slot, SlotState};

use super::{IDENTITY, open_with};
use crate::{Identity, Log, LogOp, LogOptions, OpenLogError, ReadLogError, Recovery, SimDisk, WriteLogError};

fn open(disk: &SimDisk) -> (Log<SimDisk>, Recovery) {
    open_with(disk, 16 << 10).unwrap()
}

fn record(slot: u64) -> Bytes {
    Bytes::from(format!("record {slot}").repeat(slot as usize % 200))
}

fn put(slot: u64) -> LogOp {
    LogOp::Put(Slot(slot), record(slot))
}

#[test]
fn what_is_synced_is_read_back_by_slot_and_after_reopening() {
    let disk = SimDisk::default();
    let (mut log, recovery) = open(&disk);
    assert!(recovery.created && recovery.meta == SlotState::Missing && recovery.records.is_empty());
    log.append(&[LogOp::SetMeta(Bytes::from_static(b"term 1")), put(1), put(2)]).unwrap();
    log.append(&[put(3)]).unwrap();
    assert_eq!(log.read(Slot(2), Slot(3), 1 << 20).unwrap(), [record(2), record(3)], "before the sync");
    log.sync().unwrap();
    assert_eq!(log.read(Slot(1), Slot(3), 1 << 20).unwrap(), [record(1), record(2), record(3)]);
    assert_eq!(log.read(Slot(2), Slot(3), 0).unwrap(), [record(2)], "at least one");
    assert!(matches!(log.read(Slot(4), Slot(4), 1), Err(ReadLogError::Missing { slot: Slot(4) })));

    let (log, recovery) = open(&disk);
    assert!(!recovery.created && !recovery.tail_damaged);
    assert_eq!(recovery.meta, SlotState::Ok(Bytes::from_static(b"term 1")));
    assert_eq!(recovery.records, [1, 2, 3].map(|slot| SlotState::Ok(record(slot))));
    assert_eq!(recovery.report, [""; 0]);
    assert_eq!((log.first(), log.last()), (Slot(1), Slot(3)));
}

#[test]
fn a_log_over_many_segments_compacts_by_removing_whole_ones() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk);
    for slot in 1..=300 {
        log.append(&[put(slot)]).unwrap();
        log.sync().unwrap();
    }
    let size = log.size_bytes();
    assert!(size > 20 * (16 << 10), "{size}");
    log.append(&[LogOp::CompactTo(Slot(290))]).unwrap();
    log.sync().unwrap();
    assert!(log.size_bytes() < size / 10);
    assert_eq!(log.size_bytes(), disk.used_bytes());
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.first, recovery.records.len()), (Slot(291), 10));
    assert_eq!(log.read(Slot(291), Slot(300), 1 << 20).unwrap(), (291..=300).map(record).collect::<Vec<_>>());
}

#[test]
fn truncation_and_rewriting_within_one_batch_keep_the_last_word() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&[put(1), put(2), put(3)]).unwrap();
    log.append(&[LogOp::TruncateFrom(Slot(2)), LogOp::Put(Slot(2), Bytes::from_static(b"new"))]).unwrap();
    log.sync().unwrap();
    log.append(&[LogOp::Put(Slot(1), Bytes::new())]).unwrap();
    log.sync().unwrap();
    let expected = vec![Bytes::new(), Bytes::from_static(b"new")];
    assert_eq!(log.read(Slot(1), Slot(2), 1 << 20).unwrap(), expected);
    let (_, recovery) = open(&disk);
    assert_eq!(recovery.records, expected.into_iter().map(SlotState::Ok).collect::<Vec<_>>());
}

#[test]
fn a_reset_starts_again_behind_the_checkpoint() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&[put(1), put(2)]).unwrap();
    log.sync().unwrap();
    log.append(&[LogOp::ResetTo { at: Slot(50) }, put(51)]).unwrap();
    log.sync().unwrap();
    let (log, recovery) = open(&disk);
    assert_eq!((recovery.first, log.last()), (Slot(51), Slot(51)));
    assert_eq!(recovery.records, [SlotState::Ok(record(51))]);
}

#[test]
fn a_put_that_leaves_a_gap_or_falls_below_the_first_slot_is_refused_without_effect() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk);
    log.append(&[LogOp::ResetTo { at: Slot(4) }, put(5)]).unwrap();
    for slot in [4, 7] {
        let refused = log.append(&[put(6), put(slot), put(slot + 2)]);
        assert!(matches!(refused, Err(WriteLogError::OutOfOrder { .. })), "{refused:?}");
    }
    assert_eq!(log.last(), Slot(5));
    log.sync().unwrap();
    assert_eq!(open(&disk).1.records.len(), 1);
}

#[test]
fn the_directory_of_another_cluster_or_member_is_refused_and_named() {
    let disk = SimDisk::default();
    drop(open(&disk));
    assert_eq!(IDENTITY, Identity { cluster: 0xc1, node: NodeId(7) });
    let other = |cluster, node| {
        Log::open(disk.clone(), Identity { cluster, node: NodeId(node) }, LogOptions::default()).unwrap_err()
    };
    assert!(matches!(other(0xc2, 7), OpenLogError::OtherCluster { found: 0xc1, expected: 0xc2 }));
    assert!(matches!(other(0xc1, 8), OpenLogError::OtherMember { found: NodeId(7), expected: NodeId(8) }));
}

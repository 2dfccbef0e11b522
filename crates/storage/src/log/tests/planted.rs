//! Each planted bug breaks a promise that its correct counterpart keeps, so a checker that misses it is at fault.

use bytes::Bytes;
use types::{Rng, Slot, SlotState};

use super::IDENTITY;
use crate::log::sector::SECTOR_LEN;
use crate::{Log, LogOp, LogOptions, Planted, Recovery, SimDisk};

fn open(disk: &SimDisk, planted: Option<Planted>) -> (Log<SimDisk>, Recovery) {
    let options = LogOptions { planted, ..LogOptions::with_segment_bytes(64 << 10) };
    Log::open(disk.clone(), IDENTITY, options).unwrap()
}

fn put(slot: u64) -> LogOp {
    LogOp::Put(Slot(slot), Bytes::from(slot.to_string()))
}

/// Writes three synced batches, each with a meta record of its slot.
fn write(disk: &SimDisk, planted: Option<Planted>) {
    let (mut log, _) = open(disk, planted);
    for slot in 1..=3 {
        log.append(&[LogOp::SetMeta(Bytes::from(slot.to_string())), put(slot)]).unwrap();
        log.sync().unwrap();
    }
}

/// A power cut that keeps nothing that was not synced.
fn cut_power(disk: &SimDisk) {
    let seed = (0..).find(|seed| *Rng::new(*seed).pick(&[0, 1, 2, 3, 4]).unwrap() == 0).unwrap();
    disk.crash(&mut Rng::new(seed));
}

fn slots_after_power_cut(planted: Option<Planted>) -> usize {
    let disk = SimDisk::default();
    write(&disk, planted);
    cut_power(&disk);
    open(&disk, None).1.records.len()
}

#[test]
fn a_sync_that_does_nothing_loses_what_it_confirmed() {
    assert_eq!(slots_after_power_cut(None), 3);
    assert_eq!(slots_after_power_cut(Some(Planted::SyncDoesNothing)), 0);
}

#[test]
fn a_failed_sync_that_is_retried_loses_what_it_confirmed() {
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk, Some(Planted::FailedSyncIsRetried));
    log.append(&[put(1)]).unwrap();
    disk.fail_next_sync();
    log.sync().unwrap();
    cut_power(&disk);
    assert_eq!(open(&disk, None).1.records, []);
}

#[test]
fn damage_that_is_truncated_shortens_the_log_silently() {
    let found = |planted| {
        let disk = SimDisk::default();
        write(&disk, None);
        // The record of slot 2: the middle one of the second batch's three sectors.
        disk.flip_bit("log-0000000000000001", 6 * SECTOR_LEN as u64 + 30, 0);
        open(&disk, planted).1.records
    };
    assert_eq!(found(None).iter().filter(|record| **record == SlotState::Damaged).count(), 1);
    assert_eq!(found(Some(Planted::DamageIsTruncated)), [SlotState::Ok(Bytes::from_static(b"1"))]);
}

#[test]
fn a_meta_record_that_is_written_late_is_lost_although_it_was_confirmed() {
    let meta = |planted| {
        let disk = SimDisk::default();
        write(&disk, planted);
        open(&disk, None).1.meta
    };
    assert_eq!(meta(None), SlotState::Ok(Bytes::from_static(b"3")));
    assert_eq!(meta(Some(Planted::MetaAfterRecords)), SlotState::Ok(Bytes::from_static(b"2")));
}

//! Each planted bug breaks a promise that its correct counterpart keeps, so a checker that misses it is at fault.

use bytes::Bytes;
use types::{Rng, Slot, SlotState};

use super::IDENTITY;
use crate::log::sector::SECTOR_LEN;
use crate::{Act, DiskFault, Log, LogOp, LogOptions, Plan, Planted, Recovery, SimDisk};

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
    disk.fail_next(Act::Sync, DiskFault::Error);
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

#[test]
fn a_log_that_forgets_its_failure_confirms_behind_a_hole() {
    let found = |planted| {
        let disk = SimDisk::default();
        let (mut log, _) = open(&disk, planted);
        log.append(&[put(1)]).unwrap();
        disk.fail_next(Act::Sync, DiskFault::Error);
        log.sync().unwrap_err();
        let goes_on = log.append(&[put(2)]).and_then(|()| log.sync()).is_ok();
        cut_power(&disk);
        (goes_on, open(&disk, None).1.records.contains(&SlotState::Damaged))
    };
    assert_eq!(found(None), (false, false));
    assert_eq!(found(Some(Planted::FailureIsForgotten)), (true, true));
}

#[test]
fn a_cache_that_is_trusted_after_a_failed_sync_loses_what_was_told() {
    let slots = |planted| {
        let disk = SimDisk::default();
        let (mut log, _) = open(&disk, planted);
        log.append(&[put(1)]).unwrap();
        disk.fail_next(Act::Sync, DiskFault::Error);
        log.sync().unwrap_err();
        disk.kill();
        let told = open(&disk, planted).1.records.len();
        cut_power(&disk);
        (told, open(&disk, None).1.records.len())
    };
    assert_eq!(slots(None), (1, 1));
    assert_eq!(slots(Some(Planted::CacheIsTrusted)), (1, 0));
}

/// Segments that hold three batches of one large record, so that every few batches begin one.
fn small(planted: Option<Planted>) -> LogOptions {
    LogOptions { planted, ..LogOptions::with_segment_bytes(8 << 10) }
}

fn large(slot: u64) -> LogOp {
    LogOp::Put(Slot(slot), Bytes::from(vec![slot as u8; 900]))
}

/// Appends records in batches of their own until the disk fails, and returns how many were confirmed.
fn write_large(log: &mut Log<SimDisk>, slots: std::ops::RangeInclusive<u64>) -> u64 {
    let mut confirmed = 0;
    for slot in slots {
        let meta = LogOp::SetMeta(Bytes::from_static(b"vote"));
        let ops = if slot == 1 { vec![meta, large(slot)] } else { vec![large(slot)] };
        if log.append(&ops).and_then(|()| log.sync()).is_err() {
            break;
        }
        confirmed = slot;
    }
    confirmed
}

/// Whether any power cut, at any effect, makes the log lose something confirmed, call it damaged, or not open.
fn some_power_cut_hurts(planted: Option<Planted>) -> bool {
    (1..60).flat_map(|effect| (0..6).map(move |seed| (effect, seed))).any(|(effect, seed)| {
        let disk = SimDisk::default();
        let (mut log, _) = Log::open(disk.clone(), IDENTITY, small(planted)).unwrap();
        disk.crash_at(disk.effects() + effect);
        let mut confirmed = write_large(&mut log, 1..=12);
        if confirmed == 12 && log.append(&[LogOp::CompactTo(Slot(11))]).and_then(|()| log.sync()).is_ok() {
            confirmed = write_large(&mut log, 13..=16).max(12);
        }
        disk.crash(&mut Rng::new(seed));
        let Ok((_, found)) = Log::open(disk.clone(), IDENTITY, small(None)) else { return true };
        let last = found.first.0 + found.records.len() as u64 - 1;
        let has_meta = found.meta == SlotState::Ok(Bytes::from_static(b"vote")) || confirmed == 0;
        last < confirmed || found.records.contains(&SlotState::Damaged) || !has_meta
    })
}

#[test]
fn power_cuts_hurt_a_log_that_misses_a_sync_or_does_things_in_the_wrong_order() {
    assert!(!some_power_cut_hurts(None));
    for planted in [
        Planted::SyncDoesNothing,
        Planted::NameIsNotSynced,
        Planted::HeaderIsNotSynced,
        Planted::RemovalLeavesGap,
        Planted::RemovalBeforeSync,
        Planted::MetaIsNotRepeated,
    ] {
        assert!(some_power_cut_hurts(Some(planted)), "{planted:?}");
    }
}

/// The case of `damage::a_stale_batch_is_not_taken_for_the_one_that_replaced_it`, without the chain.
#[test]
fn without_the_chain_a_stale_batch_counts() {
    let found = |planted| {
        let write = |record: &'static str| {
            let disk = SimDisk::default();
            let (mut log, _) = open(&disk, None);
            for (slot, record) in (1..).zip(["same", record, "after"]) {
                log.append(&[LogOp::Put(Slot(slot), Bytes::from_static(record.as_bytes()))]).unwrap();
                log.sync().unwrap();
            }
            disk
        };
        let (old, new) = (write("old"), write("new"));
        let name = "log-0000000000000001";
        let second = 5 * SECTOR_LEN..8 * SECTOR_LEN;
        new.overwrite(name, second.start as u64, &old.content(name).unwrap()[second]);
        open(&new, planted).1.records[1].clone()
    };
    assert_eq!(found(None), SlotState::Damaged);
    assert_eq!(found(Some(Planted::ChainIsNotChecked)), SlotState::Ok(Bytes::from_static(b"old")));
}

#[test]
fn a_torn_batch_that_is_not_erased_is_damage_to_the_next_reader() {
    let is_whole = |planted| {
        (0..40).all(|seed| {
            let disk = SimDisk::default();
            let (mut log, _) = open(&disk, planted);
            log.append(&[LogOp::Put(Slot(1), Bytes::from(vec![7; 4000]))]).unwrap();
            disk.set_plan(Plan::once(seed, disk.effects() + 1, DiskFault::Torn));
            log.sync().unwrap_err();
            disk.crash(&mut Rng::new(seed));
            let (mut log, _) = open(&disk, planted);
            log.append(&[put(log.last().next().0)]).unwrap();
            log.sync().unwrap();
            let found = open(&disk, None).1;
            !found.tail_damaged && found.meta == SlotState::Missing
        })
    };
    assert!(is_whole(None));
    assert!(!is_whole(Some(Planted::TornIsNotErased)));
}

#[test]
fn what_recovery_told_is_gone_if_it_is_not_synced() {
    let slots = |planted| {
        let disk = SimDisk::default();
        let (mut log, _) = open(&disk, None);
        log.append(&[put(1)]).unwrap();
        disk.fail_next(Act::Sync, DiskFault::CrashBefore);
        log.sync().unwrap_err();
        disk.kill();
        let told = open(&disk, planted).1.records.len();
        cut_power(&disk);
        (told, open(&disk, None).1.records.len())
    };
    assert_eq!(slots(None), (1, 1));
    assert_eq!(slots(Some(Planted::RecoveryIsNotSynced)), (1, 0));
}

#[test]
fn zeros_that_end_the_log_cut_off_what_stands_behind_them() {
    let slots = |planted| {
        let disk = SimDisk::default();
        write(&disk, None);
        disk.overwrite("log-0000000000000001", 6 * SECTOR_LEN as u64, &[0; SECTOR_LEN]);
        open(&disk, planted).1.records.len()
    };
    assert_eq!(slots(None), 3);
    assert_eq!(slots(Some(Planted::ZerosAreTheEnd)), 1);
}

#[test]
fn a_scrub_that_ignores_errors_finds_nothing() {
    let findings = |planted| {
        let disk = SimDisk::default();
        write(&disk, None);
        let (log, _) = open(&disk, planted);
        disk.make_unreadable("log-0000000000000001", 6 * SECTOR_LEN as u64);
        log.scrub(crate::ScrubCursor::default(), 1 << 20).damage.len()
    };
    assert_eq!(findings(None), 1);
    assert_eq!(findings(Some(Planted::ScrubIgnoresErrors)), 0);
}

//! The log on a disk that holds anything.

mod forge;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use storage::{Disk, DiskFile, Identity, Log, LogOp, LogOptions, ReadLogError, Recovery, SimDisk};
use types::{NodeId, Slot, SlotState};

use crate::Input;

const IDENTITY: Identity = Identity { cluster: 1, node: NodeId(2) };

/// Small, so that a log soon has several.
const SEGMENT_BYTES: u64 = 8 << 10;

/// Files of any content. Their checksums may be made true, and true headers put before it.
pub fn log_files(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = SimDisk::default();
    let files = 1 + input.below(3) as u64;
    let mode = input.byte();
    for number in 1..=files {
        let content = if number == files { input.rest() } else { input.bytes(usize::MAX) };
        let mut bytes = if mode & 1 == 1 { forge::header(number, number) } else { Vec::new() };
        bytes.extend_from_slice(content);
        if mode & 2 == 2 {
            forge::renew_checksums(number, &mut bytes);
        }
        store(&disk, number, &bytes);
    }
    open_and_use(&disk);
}

/// Batches that the log could have written, but for their numbers.
pub fn log_batches(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = SimDisk::default();
    let first = input.near(1);
    let mut bytes = forge::header(1, first);
    let (mut number, mut stamp) = (first, 0);
    while !input.is_empty() && bytes.len() < 1 << 15 {
        let batch = forge::batch(&mut input, stamp);
        stamp = batch.stamp();
        forge::append(1, number, &batch, &mut bytes);
        number = if input.byte() < 200 { number.wrapping_add(1) } else { input.near(number) };
    }
    store(&disk, 1, &bytes);
    open_and_use(&disk);
}

/// A log that was written properly, and then damaged.
pub fn log_mutations(data: &[u8]) {
    let mut input = Input::new(data);
    let disk = SimDisk::default();
    let (mut log, _) = open(&disk).expect("an empty directory becomes a log");
    let mut written: BTreeMap<Slot, BTreeSet<Bytes>> = BTreeMap::new();
    let mut metas = BTreeSet::new();
    for version in 0..=input.below(12) as u8 {
        for _ in 0..=input.below(3) {
            let op = operation(&mut input, (log.first(), log.last()), version);
            match &op {
                LogOp::Put(slot, record) => drop(written.entry(*slot).or_default().insert(record.clone())),
                LogOp::SetMeta(meta) => drop(metas.insert(meta.clone())),
                _ => {}
            }
            log.append(&[op]).expect("the operation fits");
        }
        log.sync().expect("the disk works");
    }
    drop(log);
    while !input.is_empty() {
        damage(&disk, &mut input);
    }
    let Some(recovery) = open_and_use(&disk) else { return };
    for (slot, record) in (recovery.first.0..=u64::MAX).map(Slot).zip(&recovery.records) {
        if let SlotState::Ok(record) = record {
            assert!(written[&slot].contains(record), "{slot:?} holds {record:?}");
        }
    }
    if let SlotState::Ok(meta) = recovery.meta {
        assert!(metas.contains(&meta), "{meta:?} was never written");
    }
}

fn open(disk: &SimDisk) -> Result<(Log<SimDisk>, Recovery), storage::OpenLogError> {
    // The process before is gone, and its files with it.
    disk.kill();
    Log::open(disk.clone(), IDENTITY, LogOptions::with_segment_bytes(SEGMENT_BYTES))
}

/// Opens what is there if it is a log, reads it, writes to it, and opens it again.
fn open_and_use(disk: &SimDisk) -> Option<Recovery> {
    let (log, found) = open(disk).ok()?;
    let count = log.last().0.wrapping_add(1).wrapping_sub(log.first().0);
    assert_eq!(found.records.len() as u64, count);
    for (slot, record) in (found.first.0..=u64::MAX).map(Slot).zip(&found.records).take(100) {
        match (record, log.read(slot, slot, u64::MAX)) {
            (SlotState::Ok(record), Ok(read)) => assert_eq!(read, std::slice::from_ref(record)),
            (SlotState::Damaged, Err(ReadLogError::Damaged { .. })) => {}
            (record, read) => panic!("{slot:?} was found {record:?}, and is read {read:?}"),
        }
    }
    drop(log);
    let (mut log, again) = open(disk).expect("what opened once opens again");
    assert_eq!(facts(&again), facts(&found), "{:#?} then {:#?}", found.report, again.report);
    let next = Slot(log.last().0.checked_add(1)?);
    let record = Bytes::from_static(b"written after recovery");
    log.append(&[LogOp::Put(next, record.clone())]).ok()?;
    log.sync().expect("the disk works");
    drop(log);
    let (log, again) = open(disk).expect("what took a write opens again");
    assert_eq!((again.first, log.last()), (found.first, next));
    assert_eq!(again.records.last(), Some(&SlotState::Ok(record)));
    assert_eq!(
        again.records[..found.records.len()],
        found.records,
        "{:#?} then {:#?}",
        found.report,
        again.report
    );
    assert_eq!(again.meta, found.meta);
    Some(found)
}

fn facts(recovery: &Recovery) -> (&SlotState<Bytes>, Slot, &[SlotState<Bytes>], bool) {
    (&recovery.meta, recovery.first, &recovery.records, recovery.tail_damaged)
}

fn store(disk: &SimDisk, number: u64, bytes: &[u8]) {
    let write = || {
        let mut file = disk.create(&name(number))?;
        file.write_at(0, bytes)?;
        file.sync()?;
        disk.sync_dir()
    };
    write().expect("the disk works");
}

fn name(number: u64) -> String {
    format!("log-{number:016x}")
}

fn operation(input: &mut Input<'_>, (first, last): (Slot, Slot), version: u8) -> LogOp {
    let room = (last.0 + 1 - first.0).min(255) as usize + 1;
    let slot = Slot(first.0 + input.below(room) as u64);
    match input.byte() % 16 {
        0 => LogOp::SetMeta(Bytes::from(vec![version; 1 + input.below(40)])),
        1 => LogOp::TruncateFrom(slot),
        2 => LogOp::CompactTo(slot.min(last)),
        3 => LogOp::ResetTo { at: last.plus(input.byte().into()) },
        4 => LogOp::Put(slot, record(slot, version, input)),
        _ => LogOp::Put(last.next(), record(last.next(), version, input)),
    }
}

/// Tells its slot and its version, so that no two are the same.
fn record(slot: Slot, version: u8, input: &mut Input<'_>) -> Bytes {
    let len = usize::from(input.byte()) * 8;
    let mut bytes = format!("slot {slot} version {version} ").into_bytes();
    bytes.resize(bytes.len() + len, version);
    Bytes::from(bytes)
}

fn damage(disk: &SimDisk, input: &mut Input<'_>) {
    let names = disk.list().expect("the disk works");
    let name = &names[input.below(names.len())];
    let sector = |input: &mut Input<'_>| u64::from(input.byte() % 64) * 512;
    let at = sector(input);
    match input.below(4) {
        0 => disk.overwrite(name, at, &vec![0; 512 * (1 + input.below(4))]),
        1 => disk.overwrite(name, at + u64::from(input.byte()), input.bytes(64)),
        2 => disk.flip_bit(name, at + u64::from(input.byte()) * 2, input.byte().into()),
        _ => {
            let other = &names[input.below(names.len())];
            let (from, content) = (sector(input) as usize, disk.content(other).expect("it is listed"));
            if let Some(stale) = content.get(from..from + 512) {
                disk.overwrite(name, at, stale);
            }
        }
    }
}

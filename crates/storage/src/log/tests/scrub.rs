//! L6: a scrub finds new damage, of whatever kind, and nothing else.

use bytes::Bytes;
use types::{Rng, Slot};

use super::{Model, open_with, random_ops};
use crate::log::sector::SECTOR_LEN;
use crate::{DiskFault, Log, LogOp, Plan, ScrubCursor, ScrubDamage, SimDisk};

const SEGMENT_BYTES: u64 = 8 << 10;

/// A whole round in pieces of so many bytes. Returns what was read and found.
pub(super) fn scrub(log: &Log<SimDisk>, piece_bytes: u64) -> (u64, Vec<ScrubDamage>) {
    let (mut cursor, mut bytes, mut damage) = (ScrubCursor::default(), 0, Vec::new());
    loop {
        let scrubbed = log.scrub(cursor, piece_bytes);
        bytes += scrubbed.bytes;
        damage.extend(scrubbed.damage);
        cursor = scrubbed.next;
        if scrubbed.finished {
            return (bytes, damage);
        }
    }
}

fn written(seed: u64) -> (SimDisk, Log<SimDisk>, Rng) {
    let mut rng = Rng::keyed(seed, &[6]);
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
    let mut model = Model::default();
    for _ in 0..rng.between(2, 30) {
        let ops = random_ops(&mut rng, &model);
        model.apply(&ops);
        log.append(&ops).unwrap();
        log.sync().unwrap();
    }
    (disk, log, rng)
}

#[test]
fn a_healthy_log_is_scrubbed_without_a_finding() {
    for seed in 0..200 {
        let (_, log, mut rng) = written(seed);
        let piece = rng.between(1, 9000);
        let (bytes, damage) = scrub(&log, piece);
        assert_eq!(damage, [], "seed {seed}, pieces of {piece}");
        assert!(bytes >= 2 * SECTOR_LEN as u64);
    }
}

#[test]
fn every_harmed_sector_is_found_and_names_its_slots() {
    let mut with_slots = 0;
    for seed in 0..600 {
        let (disk, log, mut rng) = written(seed);
        let names = disk.names();
        let name = rng.pick(&names).unwrap();
        let content = disk.content(name).unwrap();
        let used =
            content.chunks(SECTOR_LEN).rposition(|sector| sector.iter().any(|byte| *byte != 0)).unwrap();
        let at = rng.between(0, used as u64);
        match rng.below(4) {
            0 => disk.make_unreadable(name, at * SECTOR_LEN as u64),
            1 => disk.overwrite(name, at * SECTOR_LEN as u64, &[0; SECTOR_LEN]),
            _ => disk.flip_bit(name, at * SECTOR_LEN as u64 + rng.below(512), 3),
        }
        let (_, damage) = scrub(&log, rng.between(1, 5000));
        let places: Vec<(&str, u64)> =
            damage.iter().map(|damage| (&damage.file[..], damage.offset)).collect();
        assert_eq!(places, [(&name[..], at * SECTOR_LEN as u64)], "seed {seed}");
        for slot in &damage[0].slots {
            with_slots += 1;
            assert!(log.read(*slot, *slot, 0).is_err(), "seed {seed}: slot {slot} can be read");
        }
    }
    assert!(with_slots > 100, "{with_slots}");
}

#[test]
fn a_lost_write_is_found_while_the_cache_still_hides_it() {
    for fault in [DiskFault::Lost, DiskFault::Stale, DiskFault::Misdirected, DiskFault::Flip] {
        let disk = SimDisk::default();
        let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
        disk.set_plan(Plan::once(1, disk.effects() + 1, fault));
        log.append(&[LogOp::Put(Slot(1), Bytes::from(vec![7; 3000]))]).unwrap();
        log.sync().unwrap();
        assert_eq!(log.read(Slot(1), Slot(1), 0).unwrap(), [vec![7; 3000]], "{fault}: the cache hides it");
        let (_, damage) = scrub(&log, 1000);
        assert!(!damage.is_empty(), "{fault}");
    }
}

/// Else a member that cannot be repaired would end again and again.
#[test]
fn what_was_told_when_the_log_was_opened_is_not_told_again() {
    for seed in 0..300 {
        let (disk, log, mut rng) = written(seed);
        let names = disk.names();
        for _ in 0..rng.between(1, 5) {
            let name = rng.pick(&names).unwrap();
            let size = disk.content(name).unwrap().len() as u64;
            let page = rng.below(size) / 4096 * 4096;
            let noise = rng.next_u64();
            disk.overwrite(name, page, &noise.to_le_bytes().repeat(rng.below(512) as usize));
        }
        drop(log);
        let Ok((mut log, recovery)) = open_with(&disk, SEGMENT_BYTES) else { continue };
        assert_eq!(scrub(&log, 4096).1, [], "seed {seed}: {:?}", recovery.report);
        // What is written now stands behind it, and is judged as anything else.
        log.append(&[LogOp::Put(log.last().next(), Bytes::from_static(b"new"))]).unwrap();
        log.sync().unwrap();
        assert_eq!(scrub(&log, 4096).1, [], "seed {seed}: {:?}", recovery.report);
    }
}

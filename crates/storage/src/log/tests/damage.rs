//! L3 and L5: whatever a disk does to what was synced, the log never answers with anything else.

use std::collections::BTreeSet;

use bytes::Bytes;
use types::{Rng, Slot, SlotState};

use super::{Model, open_with, random_ops};
use crate::log::sector::SECTOR_LEN;
use crate::log::{Entry, HEADER_SECTORS, batch, segment};
use crate::{Log, LogOp, OpenLogError, ReadLogError, Recovery, SimDisk};

const SEGMENT_BYTES: u64 = 10 << 10;

/// A synced log, and what it should hold.
struct Subject {
    rng: Rng,
    disk: SimDisk,
    log: Log<SimDisk>,
    model: Model,
    /// Before the last batch.
    model_before: Model,
    /// The segment and first sector of the last batch.
    last_batch: (u64, u64),
}

/// One sector of one segment.
type Place = (u64, u64);

impl Subject {
    fn new(seed: u64) -> Subject {
        let mut rng = Rng::keyed(seed, &[2]);
        let disk = SimDisk::default();
        let (log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
        let batches = rng.between(2, 30);
        let (model, model_before) = (Model::default(), Model::default());
        let mut subject = Subject { rng, disk, log, model, model_before, last_batch: (0, 0) };
        for _ in 0..batches {
            let ops = random_ops(&mut subject.rng, &subject.model);
            subject.write(&ops);
        }
        subject
    }

    fn write(&mut self, ops: &[LogOp]) {
        self.model_before = self.model.clone();
        self.model.apply(ops);
        self.log.append(ops).unwrap();
        let before = (self.log.current, self.log.next_sector);
        self.log.sync().unwrap();
        let same_segment = before.0 == self.log.current;
        self.last_batch = (self.log.current, if same_segment { before.1 } else { HEADER_SECTORS });
    }

    /// Every sector that was ever written in the segments that are left.
    fn written(&self) -> Vec<Place> {
        let mut places = Vec::new();
        for number in self.log.segments.keys() {
            let bytes = self.disk.content(&segment::name(*number)).unwrap();
            let sectors = (0..).zip(bytes.chunks(SECTOR_LEN));
            let written = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
            places.extend(written.map(|(at, _)| (*number, at)));
        }
        places
    }

    fn sector(&self, place: Place) -> Vec<u8> {
        let start = place.1 as usize * SECTOR_LEN;
        self.disk.content(&segment::name(place.0)).unwrap()[start..start + SECTOR_LEN].to_vec()
    }

    fn overwrite(&self, place: Place, bytes: &[u8]) {
        self.disk.overwrite(&segment::name(place.0), place.1 * SECTOR_LEN as u64, bytes);
    }

    /// The slots of which a record lies in one of these sectors.
    fn slots_in(&self, places: &[Place]) -> BTreeSet<u64> {
        let hit = |entry: &Entry| {
            let Entry::Stored(at) = entry else { return false };
            batch::record_sectors(at).any(|index| places.contains(&(at.segment, at.data + u64::from(index))))
        };
        let records = self.log.state.records.iter();
        records.filter(|(_, entry)| hit(entry)).map(|(slot, _)| slot.0).collect()
    }

    fn reopen(&self) -> Result<(Log<SimDisk>, Recovery), OpenLogError> {
        open_with(&self.disk, SEGMENT_BYTES)
    }

    fn random_place(&mut self) -> Place {
        let places = self.written();
        *self.rng.pick(&places).unwrap()
    }

    /// Damages one sector in some way; says whether it is zero now.
    fn damage(&mut self, place: Place) -> bool {
        let offset = place.1 * SECTOR_LEN as u64 + self.rng.below(SECTOR_LEN as u64);
        let bytes = match self.rng.below(6) {
            0 => vec![0; SECTOR_LEN],
            1 => {
                let noise: Vec<u64> = (0..SECTOR_LEN / 8).map(|_| self.rng.next_u64() | 1).collect();
                noise.into_iter().flat_map(u64::to_le_bytes).collect()
            }
            // A write that was meant for here went elsewhere, or the other way round.
            2 => {
                let other = self.random_place();
                let bytes = self.sector(other);
                if other == place { vec![0xee; SECTOR_LEN] } else { bytes }
            }
            3 => {
                self.disk.make_unreadable(&segment::name(place.0), offset);
                return false;
            }
            _ => {
                let bit = self.rng.below(8) as u32;
                self.disk.flip_bit(&segment::name(place.0), offset, bit);
                return false;
            }
        };
        self.overwrite(place, &bytes);
        bytes.iter().all(|byte| *byte == 0)
    }
}

fn damaged_slots(recovery: &Recovery) -> BTreeSet<u64> {
    let slots = (recovery.first.0..).zip(&recovery.records);
    slots.filter(|(_, record)| **record == SlotState::Damaged).map(|(slot, _)| slot).collect()
}

fn last_slot(recovery: &Recovery) -> u64 {
    recovery.first.0 + recovery.records.len() as u64 - 1
}

/// Everything that is not damaged is what was written.
fn assert_sound(recovery: &Recovery, model: &Model, seed: u64) {
    for (slot, record) in (recovery.first.0..).zip(&recovery.records) {
        if let SlotState::Ok(record) = record {
            assert_eq!(Some(record), model.records.get(&slot), "seed {seed}, slot {slot}");
        }
    }
}

#[test]
fn one_damaged_sector_costs_exactly_the_records_in_it() {
    let mut hit = 0;
    for seed in 0..1000 {
        let mut subject = Subject::new(seed);
        let place = subject.random_place();
        let expected = subject.slots_in(&[place]);
        let zeroed = subject.damage(place);
        let (log, recovery) = subject.reopen().unwrap_or_else(|error| panic!("seed {seed}: {error}"));

        let is_only_batch = subject.log.segments.len() == 1 && subject.last_batch.1 == HEADER_SECTORS;
        let looks_torn = zeroed && place >= subject.last_batch && !is_only_batch;
        if looks_torn && recovery.report.iter().any(|fact| fact.contains("torn")) {
            // In the last batch zeros look like a write that never got there. What it compacted is gone.
            assert_sound(&recovery, &subject.model_before, seed);
            assert_eq!(
                (recovery.first.0, last_slot(&recovery)),
                subject.model_before.bounds(),
                "seed {seed}"
            );
            continue;
        }
        hit += u64::from(!expected.is_empty());
        assert_eq!(damaged_slots(&recovery), expected, "seed {seed}: {:?}", recovery.report);
        assert_sound(&recovery, &subject.model, seed);
        assert_eq!((recovery.first.0, last_slot(&recovery)), subject.model.bounds(), "seed {seed}");
        assert_eq!((&recovery.meta, recovery.tail_damaged), (&subject.model.meta, false), "seed {seed}");
        assert!(!recovery.report.is_empty(), "seed {seed}: damage at {place:?} was not reported");
        for slot in expected {
            let read = log.read(Slot(slot), Slot(slot), 0);
            assert!(matches!(read, Err(ReadLogError::Damaged { .. })), "seed {seed}");
        }
    }
    assert!(hit > 200, "only {hit} runs damaged a live record");
}

#[test]
fn damage_is_found_again_until_it_is_written_over() {
    for seed in 0..400 {
        let mut subject = Subject::new(seed);
        for _ in 0..subject.rng.between(1, 12) {
            let place = subject.random_place();
            subject.damage(place);
        }
        let Ok((mut log, first)) = subject.reopen() else { continue };
        drop(subject.reopen().unwrap());
        let (same, second) = subject.reopen().unwrap();
        assert_eq!(damaged_slots(&first), damaged_slots(&second), "seed {seed}");
        assert_eq!((&first.meta, first.tail_damaged), (&second.meta, second.tail_damaged), "seed {seed}");
        drop((log, same));

        // New batches behind the damage do not hide it.
        log = subject.reopen().unwrap().0;
        let next = log.last().next();
        log.append(&[LogOp::Put(next, Bytes::from_static(b"new"))]).unwrap();
        log.sync().unwrap();
        let (mut log, third) = subject.reopen().unwrap();
        assert_eq!(damaged_slots(&first), damaged_slots(&third), "seed {seed}: {:?}", third.report);
        assert_eq!((&first.meta, first.tail_damaged), (&third.meta, third.tail_damaged), "seed {seed}");
        assert_eq!(third.records.last(), Some(&SlotState::Ok(Bytes::from_static(b"new"))), "seed {seed}");

        // Its owner writes again what was lost.
        let mut ops = vec![LogOp::SetMeta(Bytes::from_static(b"meta")), LogOp::TruncateFrom(log.last())];
        ops.extend(damaged_slots(&third).iter().map(|slot| LogOp::Put(Slot(*slot), Bytes::new())));
        log.append(&ops).unwrap();
        log.sync().unwrap();
        let (_, repaired) = subject.reopen().unwrap();
        assert!(Model::of(&repaired).is_some(), "seed {seed}: {:?}", repaired.report);
    }
}

/// Pages of eight sectors, anywhere, also several: batches may be lost whole. Whatever cannot be told for sure is
/// damaged or refused, never wrong, and never silently shorter.
#[test]
fn lost_pages_never_yield_wrong_or_silently_missing_records() {
    let (mut whole_batches, mut tails, mut refused) = (0, 0, 0);
    for seed in 0..1000 {
        let mut subject = Subject::new(seed);
        for _ in 0..subject.rng.between(1, 2) {
            let (number, at) = subject.random_place();
            let page = at / 8 * 8;
            let noise = subject.rng.next_u64() | 0x0101;
            let garbage: Vec<u8> = (0..8 * SECTOR_LEN as u64 / 8).flat_map(|_| noise.to_le_bytes()).collect();
            subject.overwrite((number, page), &garbage);
        }
        let (_, recovery) = match subject.reopen() {
            Ok(opened) => opened,
            Err(OpenLogError::Lost { .. }) => {
                refused += 1;
                continue;
            }
            Err(other) => panic!("seed {seed}: {other}"),
        };
        assert_sound(&recovery, &subject.model, seed);
        if recovery.tail_damaged {
            tails += 1;
        } else if recovery.meta != SlotState::Damaged {
            assert_eq!(recovery.meta, subject.model.meta, "seed {seed}");
            assert_eq!((recovery.first.0, last_slot(&recovery)), subject.model.bounds(), "seed {seed}");
        }
        whole_batches += u64::from(recovery.report.iter().any(|fact| fact.contains("batches before")));
    }
    assert!(whole_batches > 50 && tails > 50, "{whole_batches} {tails} {refused}");
}

/// The disk confirmed a write and kept what was there before: here a batch of an earlier, torn attempt.
#[test]
fn a_stale_batch_is_not_taken_for_the_one_that_replaced_it() {
    let write = |record: &'static str| {
        let disk = SimDisk::default();
        let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
        for record in ["same", record, "after"] {
            let slot = log.last().next();
            log.append(&[LogOp::Put(slot, Bytes::from_static(record.as_bytes()))]).unwrap();
            log.sync().unwrap();
        }
        disk
    };
    let (old, new) = (write("old"), write("new"));
    let name = segment::name(1);
    let second = 5 * SECTOR_LEN..8 * SECTOR_LEN;
    new.overwrite(&name, second.start as u64, &old.content(&name).unwrap()[second]);
    let (_, recovery) = open_with(&new, SEGMENT_BYTES).unwrap();
    let expected = [
        SlotState::Ok(Bytes::from_static(b"same")),
        SlotState::Damaged,
        SlotState::Ok(Bytes::from_static(b"after")),
    ];
    assert_eq!(recovery.records, expected, "{:?}", recovery.report);
}

#[test]
fn a_missing_segment_is_an_error_that_names_it() {
    let subject = Subject::new(4);
    let numbers: Vec<u64> = subject.log.segments.keys().copied().collect();
    assert!(numbers.len() >= 3, "{numbers:?}");
    crate::Disk::remove(&subject.disk, &segment::name(numbers[1])).unwrap();
    let error = subject.reopen().unwrap_err();
    assert!(error.to_string().contains(&segment::name(numbers[0])), "{error}");
}

/// The proof that a batch was synced may be a torn batch behind it. That one is erased, the damage stays.
#[test]
fn lost_records_stay_damaged_when_the_proof_of_their_sync_is_erased() {
    let disk = SimDisk::default();
    let (mut log, _) = open_with(&disk, SEGMENT_BYTES).unwrap();
    for slot in 1..=3 {
        log.append(&[LogOp::Put(Slot(slot), Bytes::from(vec![7; 900]))]).unwrap();
        log.sync().unwrap();
    }
    let data_of = |slot| match log.state.records[&Slot(slot)] {
        Entry::Stored(place) => place.data * SECTOR_LEN as u64,
        Entry::Pending { .. } => panic!("slot {slot} is not synced"),
    };
    let zeros = vec![0; SECTOR_LEN * 2];
    disk.overwrite(&segment::name(1), data_of(2), &zeros);
    disk.overwrite(&segment::name(1), data_of(3), &zeros);
    for opened in 1..=3 {
        let (_, recovery) = open_with(&disk, SEGMENT_BYTES).unwrap();
        let found: Vec<bool> =
            recovery.records.iter().map(|record| matches!(record, SlotState::Ok(_))).collect();
        assert_eq!(found, [true, false], "slot 2 was acknowledged; opened {opened} times");
    }
}

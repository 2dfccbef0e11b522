//! Every fault of a disk at every moment of a log's life: it is a clean crash, it is reported as damage, or it is
//! nothing; what is answered is always what was written.

use std::collections::BTreeMap;

use types::{Rng, SlotState};

use super::{Model, open_with, random_ops};
use crate::{Act, DiskFault, Effect, Log, LogOp, Plan, Recovery, SimDisk};

const SEGMENT_BYTES: u64 = 8 << 10;
const BATCHES: u64 = 14;

/// A log that is written, closed, opened again and written on, and what it should hold.
struct Story {
    seed: u64,
    disk: SimDisk,
    /// After each batch that was confirmed.
    confirmed: Vec<Model>,
    /// After what was appended last, confirmed or not.
    appended: Model,
    /// The effects of the disk when the last batch was confirmed, before it and after it.
    last_batch: std::ops::RangeInclusive<u64>,
}

impl Story {
    fn new(seed: u64) -> Story {
        let (disk, appended) = (SimDisk::default(), Model::default());
        Story { seed, disk, confirmed: vec![Model::default()], appended, last_batch: 0..=0 }
    }

    /// Tells it to its end, or to the first error.
    fn tell(&mut self) -> Option<()> {
        for life in 0..2 {
            let (mut log, recovery) = open_with(&self.disk, SEGMENT_BYTES).ok()?;
            if Model::of(&recovery).as_ref() != self.confirmed.last() {
                return None;
            }
            for batch in 0..BATCHES / 2 {
                let mut rng = Rng::keyed(self.seed, &[life, batch]);
                let ops = random_ops(&mut rng, &self.appended);
                self.write(&mut log, &ops)?;
            }
            drop(log);
            if life == 0 {
                self.disk.kill();
            }
        }
        Some(())
    }

    fn write(&mut self, log: &mut Log<SimDisk>, ops: &[LogOp]) -> Option<()> {
        self.appended.apply(ops);
        log.append(ops).ok()?;
        let before = self.disk.effects() + 1;
        log.sync().ok()?;
        self.last_batch = before..=self.disk.effects();
        self.confirmed.push(self.appended.clone());
        Some(())
    }

    /// The power fails, and somebody looks.
    fn end(&self) -> Option<(Log<SimDisk>, Recovery)> {
        self.disk.set_plan(Plan::default());
        self.disk.crash(&mut Rng::keyed(self.seed, &[9]));
        open_with(&self.disk, SEGMENT_BYTES).ok()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// Everything confirmed is there.
    Kept,
    /// Something is called damaged.
    Damaged,
    /// The log does not open.
    Refused,
    /// The last batch is gone, and nothing can tell that it was ever there.
    Untold,
}

fn judge(story: &Story, effect: &Effect, fault: DiskFault) -> Verdict {
    let at = format!("seed {}, {fault} at {effect:?}", story.seed);
    let harms = fault.is_damage(effect.act);
    let Some((_, recovery)) = story.end() else {
        assert!(harms, "{at}: the log does not open");
        return Verdict::Refused;
    };
    let mut known: BTreeMap<u64, Vec<&bytes::Bytes>> = BTreeMap::new();
    let models = story.confirmed.iter().chain([&story.appended]);
    for (slot, record) in models.flat_map(|model| &model.records) {
        known.entry(*slot).or_default().push(record);
    }
    for (slot, record) in (recovery.first.0..).zip(&recovery.records) {
        let SlotState::Ok(record) = record else { continue };
        let is_known = known.get(&slot).is_some_and(|records| records.contains(&record));
        assert!(is_known, "{at}: slot {slot} holds what was never written there");
    }
    let found = Model::of(&recovery);
    let last = story.confirmed.last();
    if found.as_ref() == last || found.as_ref() == Some(&story.appended) {
        return Verdict::Kept;
    }
    let bounds = (last.map(Model::bounds), found.as_ref().map(Model::bounds));
    assert!(harms, "{at}: {bounds:?} was confirmed and found: {:?}", recovery.report);
    if found.is_none() {
        return Verdict::Damaged;
    }
    // Zeros where the last batch should be look like a power cut before its sync.
    let before_last = story.confirmed.len().checked_sub(2).map(|index| &story.confirmed[index]);
    assert!(story.last_batch.contains(&effect.number), "{at}: {bounds:?} was confirmed and silently found");
    assert!(found.as_ref() == before_last, "{at}: {bounds:?}");
    Verdict::Untold
}

#[test]
fn one_fault_at_any_effect_is_a_crash_or_damage_and_never_a_lie() {
    let mut verdicts: BTreeMap<(DiskFault, Verdict), u64> = BTreeMap::new();
    for seed in 0..3 {
        let mut quiet = Story::new(seed);
        quiet.disk.record_effects();
        quiet.tell().unwrap();
        for effect in quiet.disk.recorded_effects() {
            for fault in DiskFault::ALL.into_iter().filter(|fault| fault.fits(effect.act)) {
                let mut story = Story::new(seed);
                story.disk.set_plan(Plan::once(seed, effect.number, fault));
                story.tell();
                *verdicts.entry((fault, judge(&story, &effect, fault))).or_default() += 1;
            }
        }
    }
    let of = |fault, verdict| verdicts.get(&(fault, verdict)).copied().unwrap_or(0);
    for fault in DiskFault::ALL {
        assert!(of(fault, Verdict::Kept) > 10, "{fault}: {verdicts:?}");
    }
    for fault in [DiskFault::Lost, DiskFault::Stale, DiskFault::Misdirected, DiskFault::Flip] {
        assert!(of(fault, Verdict::Damaged) > 2, "{fault}: {verdicts:?}");
    }
    assert_eq!(of(DiskFault::Flip, Verdict::Untold), 0, "a flipped bit can always be told");
}

/// What a single fault cannot do, several may; but they never make the log answer with something else.
#[test]
fn many_faults_never_yield_what_was_not_written() {
    let rates = DiskFault::ALL.map(|fault| (fault, 15_000));
    let mut faults = 0;
    for seed in 0..150 {
        let mut story = Story::new(seed);
        story.disk.set_plan(Plan::random(seed, rates));
        for _ in 0..10 {
            let told = story.tell();
            faults += story.disk.faults().values().sum::<u64>();
            if told.is_some() {
                break;
            }
            story.disk.crash(&mut Rng::keyed(seed, &[8]));
            let Ok((_, recovery)) = open_with(&story.disk, SEGMENT_BYTES) else { break };
            for (slot, record) in (recovery.first.0..).zip(&recovery.records) {
                let SlotState::Ok(record) = record else { continue };
                let mut models = story.confirmed.iter().chain([&story.appended]);
                let is_known = models.any(|model| model.records.get(&slot) == Some(record));
                assert!(is_known, "seed {seed}: slot {slot} holds what was never written there");
            }
            let Some(model) = Model::of(&recovery) else { break };
            story.confirmed.push(model.clone());
            story.appended = model;
        }
    }
    assert!(faults > 300, "{faults}");
}

/// "Can Applications Recover from fsync Failures?" (USENIX ATC 2020). The process dies, the machine lives, and its
/// cache goes on showing what never reached the medium. What is told after opening must be durable all the same.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_before_it_is_told() {
    let mut accepted = 0;
    for seed in 0..60 {
        let mut story = Story::new(seed);
        let syncs = 1 + seed % 12;
        for _ in 0..syncs {
            // The nth sync fails.
            if story.confirmed.len() as u64 == syncs {
                story.disk.fail_next(Act::Sync, DiskFault::Error);
            }
            if story.tell().is_none() {
                break;
            }
        }
        story.disk.kill();
        let Ok((_, told)) = open_with(&story.disk, SEGMENT_BYTES) else { panic!("seed {seed}") };
        accepted += u64::from(Model::of(&told).as_ref() == Some(&story.appended));
        story.disk.crash(&mut Rng::new(seed));
        let (_, again) = open_with(&story.disk, SEGMENT_BYTES).unwrap();
        assert!(Model::of(&told) == Model::of(&again), "seed {seed}: {:?}", again.report);
    }
    assert!(accepted > 5, "{accepted}");
}

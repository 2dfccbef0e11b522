//! L1, L2 and L4: at whatever write the power fails, and whichever of its sectors survive.

use types::{Rng, Slot};

use super::{Model, open_with, random_ops};
use crate::{Log, Recovery, SimDisk};

/// A log that is written by seed, with power cuts at any operation.
struct Run {
    seed: u64,
    rng: Rng,
    disk: SimDisk,
    segment_bytes: u64,
    /// What the last successful sync made durable.
    synced: Model,
    /// With everything appended since.
    appended: Model,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut rng = Rng::keyed(seed, &[1]);
        let segment_bytes = *rng.pick(&[4 << 10, 10 << 10, 64 << 10]).unwrap();
        let (synced, appended) = (Model::default(), Model::default());
        Run { seed, rng, disk: SimDisk::default(), segment_bytes, synced, appended }
    }

    /// Writes until the power fails, at most so many batches.
    fn write(&mut self, log: &mut Log<SimDisk>, batches: u64) {
        for _ in 0..batches {
            for _ in 0..=self.rng.below(3) {
                let ops = random_ops(&mut self.rng, &self.appended);
                log.append(&ops).unwrap();
                self.appended.apply(&ops);
            }
            match log.sync() {
                Ok(()) => self.synced = self.appended.clone(),
                Err(error) => {
                    assert!(self.disk.is_off(), "seed {}: {error:?}", self.seed);
                    assert!(log.append(&[]).is_err() && log.sync().is_err(), "seed {}", self.seed);
                    return;
                }
            }
        }
    }

    fn cut_power_soon(&mut self, effects_max: u64) {
        self.disk.crash_at(self.disk.effects() + self.rng.between(1, effects_max));
    }

    /// Opens the log, with power cuts while it is being opened.
    fn open(&mut self) -> (Log<SimDisk>, Recovery) {
        loop {
            if self.rng.below(2) == 0 {
                self.cut_power_soon(6);
            }
            match open_with(&self.disk, self.segment_bytes) {
                Ok(opened) => return opened,
                Err(error) => assert!(self.disk.is_off(), "seed {}: {error}", self.seed),
            }
            self.disk.crash(&mut self.rng);
        }
    }

    fn check(&mut self, log: &Log<SimDisk>, recovery: &Recovery) {
        let seed = self.seed;
        let Some(found) = Model::of(recovery) else { panic!("seed {seed}: damage: {:?}", recovery.report) };
        let expected = [&self.synced, &self.appended];
        assert!(expected.contains(&&found), "seed {seed}: {found:?}\nis none of {expected:?}");
        for (slot, record) in &found.records {
            let read = log.read(Slot(*slot), Slot(*slot), 0);
            assert_eq!(read.unwrap(), std::slice::from_ref(record), "seed {seed}");
        }
        self.synced = found.clone();
        self.appended = found;
    }
}

fn run(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..4 {
        let (mut log, recovery) = run.open();
        run.check(&log, &recovery);
        if run.rng.below(8) > 0 {
            run.cut_power_soon(40);
        }
        let batches = run.rng.below(30);
        run.write(&mut log, batches);
        match run.rng.below(4) {
            0 if !run.disk.is_off() => run.disk.kill(),
            _ => run.disk.crash(&mut run.rng),
        }
    }
    let (log, recovery) = run.open();
    run.check(&log, &recovery);
}

#[test]
fn what_was_synced_is_there_and_the_rest_is_there_as_a_whole_or_not_at_all() {
    for seed in 0..1000 {
        run(seed);
    }
}

/// A killed process leaves batches that were written and not synced. If they are reported, a later power cut may
/// not take them away.
#[test]
fn what_recovery_reports_is_durable() {
    for seed in 0..300 {
        let mut run = Run::new(seed);
        let (mut log, _) = run.open();
        run.write(&mut log, 5);
        if !run.disk.is_off() {
            run.cut_power_soon(3);
            run.write(&mut log, 3);
        }
        run.disk.kill();
        let (_, recovery) = open_with(&run.disk, run.segment_bytes).unwrap();
        run.disk.crash(&mut run.rng);
        let (_, again) = open_with(&run.disk, run.segment_bytes).unwrap();
        assert_eq!(Model::of(&recovery), Model::of(&again), "seed {seed}");
    }
}

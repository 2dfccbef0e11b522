//! Reduces the weather of a failing run to what it needs to fail.
//!
//! ```text
//!   fewer nodes ─▶ fewer faults ─▶ calmer network ─▶ shorter, simpler, earlier faults ─┐
//!        ▲────────────────────── until nothing of this helps any more ────────────────┘
//! ```
//!
//! Every candidate is a whole run of the same seed, and is kept if it breaks the same promise. That works because
//! randomness is keyed: what is taken away changes nothing but its consequences.
//!
//! # Source
//! Zeller, Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", TSE 2002.

use std::time::Duration;

use storage::Armed;
use types::Time;

use crate::options::Options;
use crate::report::Failure;
use crate::run::{run_seed, schedule_of};
use crate::schedule::{CrashPoint, Fault, MemberChange, Schedule, Target, Timed, Weather};
use crate::setup::Setup;

/// A failing run with as little weather as it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The run's options, with its schedule and perhaps fewer nodes.
    pub options: Options,
    /// How it fails.
    pub failure: Failure,
    /// Runs that it took.
    pub runs: u64,
}

/// One candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Runs so far.
    pub runs: u64,
    /// What was tried: `fewer faults`.
    pub what: &'static str,
    /// Whether it still breaks the promise, and is the one to go on from.
    pub kept: bool,
    /// Faults of the least failing schedule so far.
    pub faults: u64,
}

/// Why there is nothing to shrink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed} breaks no promise")]
pub struct NothingFails {
    /// The seed.
    pub seed: u64,
}

/// Shrinks the weather of `seed`, in at most `runs_max` runs. The same options, seed and build give the same result.
///
/// # Errors
/// [`NothingFails`] if the run keeps every promise as it is.
pub fn shrink(
    options: &Options,
    seed: u64,
    runs_max: u64,
    watch: &mut dyn FnMut(&Tried),
) -> Result<Shrunk, NothingFails> {
    let schedule = options.schedule.clone().unwrap_or_else(|| schedule_of(options, seed));
    let options = Options { schedule: Some(schedule.clone()), ..options.clone() };
    let failure = run_seed(&options, seed).failure.ok_or(NothingFails { seed })?;
    let mut shrinker = Shrinker { seed, options, schedule, failure, runs: 1, runs_max, watch };
    while shrinker.pass() {}
    let Shrinker { options, schedule, failure, runs, .. } = shrinker;
    Ok(Shrunk { options: Options { schedule: Some(schedule), ..options }, failure, runs })
}

struct Shrinker<'a> {
    seed: u64,
    options: Options,
    schedule: Schedule,
    failure: Failure,
    runs: u64,
    runs_max: u64,
    watch: &'a mut dyn FnMut(&Tried),
}

/// Faults are not made shorter than this: what is left is a moment.
const MOMENT: Duration = Duration::from_millis(1);

impl Shrinker<'_> {
    /// Tries everything once. Returns whether anything helped.
    fn pass(&mut self) -> bool {
        let before = (self.options.nodes, self.schedule.clone());
        self.fewer_nodes();
        self.fewer_faults();
        self.calmer_network();
        for number in 0..self.schedule.faults.len() {
            self.simpler_fault(number);
        }
        self.earlier();
        before != (self.options.nodes, self.schedule.clone()) && self.runs < self.runs_max
    }

    /// Runs a candidate, and goes on from it if it breaks the same promise.
    fn keeps_failing(&mut self, what: &'static str, options: Options, schedule: Schedule) -> bool {
        if self.runs >= self.runs_max {
            return false;
        }
        self.runs += 1;
        let candidate = Options { schedule: Some(schedule.clone()), ..options.clone() };
        let failure = run_seed(&candidate, self.seed).failure;
        let same = failure.filter(|failure| failure.broken.check == self.failure.broken.check);
        let kept = same.is_some();
        if let Some(failure) = same {
            (self.options, self.schedule, self.failure) = (options, schedule, failure);
        }
        let faults = self.schedule.faults.len() as u64;
        (self.watch)(&Tried { runs: self.runs, what, kept, faults });
        kept
    }

    fn with(&mut self, what: &'static str, change: impl FnOnce(&mut Schedule)) -> bool {
        let mut schedule = self.schedule.clone();
        change(&mut schedule);
        schedule != self.schedule && self.keeps_failing(what, self.options.clone(), schedule)
    }

    fn fewer_nodes(&mut self) {
        let nodes = Setup::draw(self.seed, self.options.nodes).nodes;
        for fewer in 1..nodes {
            let options = Options { nodes: Some(fewer), ..self.options.clone() };
            if self.keeps_failing("fewer nodes", options, self.schedule.clone()) {
                return;
            }
        }
    }

    /// Takes out ever smaller parts of the list.
    fn fewer_faults(&mut self) {
        let mut size = self.schedule.faults.len();
        while size > 0 {
            let mut start = 0;
            while start < self.schedule.faults.len() {
                let end = (start + size).min(self.schedule.faults.len());
                let out = |schedule: &mut Schedule| drop(schedule.faults.drain(start..end));
                if !self.with("fewer faults", out) {
                    start = end;
                }
            }
            size /= 2;
        }
    }

    fn calmer_network(&mut self) {
        if self.with("a fair network", |schedule| schedule.net = Weather::FAIR) {
            return;
        }
        self.with("no loss", |schedule| schedule.net.loss_ppm = 0);
        self.with("no duplicates", |schedule| schedule.net.dup_ppm = 0);
        self.with("fair delays", |schedule| {
            (schedule.net.delay_min, schedule.net.delay_max) =
                (Weather::FAIR.delay_min, Weather::FAIR.delay_max);
        });
    }

    fn simpler_fault(&mut self, number: usize) {
        for simpler in simpler(&self.schedule.faults[number].fault) {
            if self.with("a simpler fault", |schedule| schedule.faults[number].fault = simpler) {
                break;
            }
        }
        while self.schedule.faults[number].lasts > MOMENT
            && self.with("a shorter fault", |schedule| halve(&mut schedule.faults[number].lasts))
        {}
    }

    /// Moves all faults towards the beginning, leaving the gaps between them.
    fn earlier(&mut self) {
        let Some(first) = self.schedule.faults.first().map(|timed| timed.at) else { return };
        let mut by = first.since(Time(0));
        while by > MOMENT {
            let sooner = |schedule: &mut Schedule| {
                schedule.faults.iter_mut().for_each(|timed: &mut Timed| timed.at = timed.at - by);
            };
            if self.with("earlier faults", sooner) {
                return;
            }
            halve(&mut by);
        }
    }
}

/// The text of a schedule knows no less than a microsecond.
fn halve(time: &mut Duration) {
    *time = Duration::from_micros(u64::try_from(time.as_micros() / 2).unwrap_or(u64::MAX));
}

/// The same kind of fault with less to it, the simplest first.
fn simpler(fault: &Fault) -> Vec<Fault> {
    match fault {
        Fault::Crash { who, point, rot } => {
            let now = (CrashPoint::Now, 0);
            let choices = [now, (*point, 0), (CrashPoint::Now, *rot), (*point, *rot / 2)];
            let less = choices.into_iter().filter(|choice| *choice != (*point, *rot));
            less.map(|(point, rot)| Fault::Crash { who: *who, point, rot }).collect()
        }
        Fault::Storm { shape, net } if *net != Weather::FAIR => {
            let (no_loss, no_dup) = (Weather { loss_ppm: 0, ..*net }, Weather { dup_ppm: 0, ..*net });
            let nets = [Weather::FAIR, no_loss, no_dup].into_iter().filter(|less| less != net);
            nets.map(|net| Fault::Storm { shape: shape.clone(), net }).collect()
        }
        Fault::Disk { who, armed } => {
            let Armed { skip, times, .. } = *armed;
            let choices = [(0, 1), (skip, 1), (0, times), (skip / 2, times), (skip, times / 2)];
            let less = choices.into_iter().filter(|choice| *choice != (skip, times) && choice.1 > 0);
            less.map(|(skip, times)| Fault::Disk { who: *who, armed: Armed { skip, times, ..*armed } })
                .collect()
        }
        Fault::Member { who, change: MemberChange::Replace(old) } => {
            let removed = Fault::Member { who: Target::Node(*old), change: MemberChange::Remove };
            vec![removed, Fault::Member { who: *who, change: MemberChange::Promote }]
        }
        Fault::Member { who, change: MemberChange::Add } => {
            vec![Fault::Member { who: *who, change: MemberChange::AddLearner }]
        }
        Fault::Transfer { to } if *to != Target::All => vec![Fault::Transfer { to: Target::All }],
        Fault::Drift { who, ppm } if ppm.abs() > 1 => vec![Fault::Drift { who: *who, ppm: ppm / 2 }],
        Fault::Clock { who, step_ms } if step_ms.abs() > 1 => {
            vec![Fault::Clock { who: *who, step_ms: step_ms / 2 }]
        }
        Fault::Suspend { who } => vec![Fault::Pause { who: *who }],
        Fault::Strobe { who, step_ms, .. } => vec![Fault::Clock { who: *who, step_ms: *step_ms }],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each step leads away from where it began, and each ends: no fault gets simpler for ever.
    #[test]
    fn whatever_is_made_simpler_ends_somewhere() {
        for seed in 0..100 {
            for timed in schedule_of(&Options::default(), seed).faults {
                let mut fault = timed.fault;
                let steps = std::iter::from_fn(|| {
                    fault = simpler(&fault).pop()?;
                    Some(fault.clone())
                });
                assert!(steps.take(100).count() < 100, "seed {seed}");
            }
        }
    }

    #[test]
    fn a_run_that_keeps_its_promises_is_not_shrunk() {
        let options = Options { nodes: Some(1), ..Options::default() };
        assert_eq!(shrink(&options, 3, 10, &mut |_| {}), Err(NothingFails { seed: 3 }));
    }

    /// The bug needs a failed sync at the right moment and little else: of dozens of faults less than a tenth is left, and
    /// what is left fails again when it is read back from its text.
    #[cfg(feature = "planted")]
    #[test]
    fn of_a_storm_only_what_the_bug_needs_is_left() {
        use crate::bugbank::Bug;
        let bug = Bug::Log(storage::Planted::FailedSyncIsRetried);
        let options = Options { planted: Some(bug), ..Options::default() };
        let caught = crate::bugbank::run(bug, 0, 200).expect("the bank catches it");
        let mut tried = Vec::new();
        let shrunk = shrink(&options, caught.seed, 80, &mut |it| tried.push(*it)).unwrap();
        let schedule = shrunk.options.schedule.clone().unwrap();
        let before = schedule_of(&options, caught.seed).faults.len();
        assert!(before > 20 && schedule.faults.len() * 10 <= before, "{before} faults became {schedule}");
        assert_eq!(shrunk.failure.broken.check, caught.broken.check);
        assert_eq!(schedule.to_string().parse().as_ref(), Ok(&schedule));
        assert_eq!(run_seed(&shrunk.options, caught.seed).failure.as_ref(), Some(&shrunk.failure));
        assert_eq!(tried.len() as u64 + 1, shrunk.runs);
        assert_eq!(shrink(&options, caught.seed, 80, &mut |_| {}), Ok(shrunk), "the same again");
    }
}

//! `althing sim sweep`: every disk fault at every disk effect of the scripted clusters (`sim::sweep`).

use std::collections::BTreeMap;
use std::num::NonZero;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use campaign::{Begun, Campaign, Cases, Failed, Kind};
use clap::Args;
use indicatif::ProgressBar;
use sim::sweep::{self, Case, Finding, Scenario, Verdict};
use sim::{DiskFault, Options};
use types::NodeId;

use super::interrupt;
use super::ledger::LedgerArgs;
use super::search::{lock, progress_bar};
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, good, table};

/// More findings than this help nobody.
const FINDINGS_MAX: usize = 20;

/// `althing sim sweep`.
#[derive(Clone, Debug, Args)]
pub struct SweepArgs {
    /// Only this scenario: single, steady, leader-crash, follower-restart, checkpoint, transfer, roll, repair,
    /// idle-restart, burst
    #[arg(long, value_name = "NAME")]
    scenario: Option<Scenario>,
    /// Only this effect of this node's disk: n2.57
    #[arg(long, value_name = "NODE.NUMBER", requires = "scenario")]
    effect: Option<Place>,
    /// Only this fault: crash-before, crash-after, torn, eio, enospc, erofs, lost, stale, misdirected, flip
    #[arg(long, value_name = "KIND")]
    fault: Option<DiskFault>,
    /// Only every so manyth case
    #[arg(long, value_name = "N", default_value = "1")]
    every: NonZero<usize>,
    /// Threads [default: one for each processor]
    #[arg(long, value_name = "N")]
    jobs: Option<NonZero<usize>>,
    /// Where the campaign is written down.
    #[command(flatten)]
    ledger: LedgerArgs,
}

/// One effect of one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    node: NodeId,
    effect: u64,
}

/// What all cases together came to.
#[derive(Default)]
struct Found {
    verdicts: BTreeMap<(Scenario, Verdict), u64>,
    faults: BTreeMap<String, u64>,
    findings: Vec<Finding>,
}

/// Runs the cases that were asked for. Succeeds if all of them end as they may.
///
/// # Errors
/// A promise was broken, or no case is meant.
pub fn run(args: &SweepArgs) -> Outcome {
    let begun = Begun::now();
    let cases = cases(args)?;
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let bar = progress_bar(cases.len() as u64, "cases");
    let stop = interrupt::flag();
    let found = sweep(&cases, jobs, &bar, &stop);
    bar.finish_and_clear();
    output::line(summary(&found))?;
    let runs = found.runs();
    output::line(format_args!("{runs} cases in {:.1} s", begun.elapsed().as_secs_f64()))?;
    args.ledger.append(&campaign(&found, jobs, &begun))?;
    for finding in found.findings.iter().take(FINDINGS_MAX) {
        output::line(format_args!("\n{finding}"))?;
    }
    match found.findings.len() {
        0 if stop.load(Ordering::Relaxed) => Ok(ExitCode::from(interrupt::CODE)),
        0 => Ok(ExitCode::SUCCESS),
        count => Err(Failure::new(format_args!("{count} of {runs} cases broke a promise"))),
    }
}

fn cases(args: &SweepArgs) -> Result<Vec<Case>, Failure> {
    let options = Options::default();
    let mut all = Vec::new();
    for scenario in Scenario::ALL.into_iter().filter(|name| args.scenario.is_none_or(|only| only == *name)) {
        let cases = sweep::cases(&options, scenario).map_err(|broken| {
            Failure::new(format_args!("scenario {scenario} breaks a promise without a fault: {broken}"))
        })?;
        all.extend(cases);
    }
    all.retain(|case| {
        let here = args.effect.is_none_or(|place| (place.node, place.effect) == (case.node, case.effect));
        here && args.fault.is_none_or(|fault| fault == case.fault)
    });
    let all: Vec<Case> = all.into_iter().step_by(args.every.get()).collect();
    if all.is_empty() {
        return Err(Failure::new("no case is meant: there is no such effect, or this fault does not fit it")
            .next("althing sim sweep --scenario NAME runs all of a scenario"));
    }
    Ok(all)
}

fn sweep(cases: &[Case], jobs: usize, bar: &ProgressBar, stop: &AtomicBool) -> Found {
    // A case that panics is a finding with its own report; the default hook would print it in the middle.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let ended = sweep::run(&Options::default(), case);
                    bar.inc(1);
                    let found = &mut *lock(&found);
                    *found.faults.entry(case.fault.to_string()).or_default() += 1;
                    match ended {
                        Ok(verdict) => *found.verdicts.entry((case.scenario, verdict)).or_default() += 1,
                        Err(finding) => found.findings.push(*finding),
                    }
                }
            });
        }
    });
    std::panic::set_hook(hook);
    std::mem::take(&mut *lock(&found))
}

impl Found {
    fn runs(&self) -> u64 {
        self.faults.values().sum()
    }
}

fn campaign(found: &Found, jobs: usize, begun: &Begun) -> Campaign {
    let failures = found.findings.iter().take(FINDINGS_MAX).map(|finding| {
        let Case { scenario, node, effect, fault } = &finding.case;
        Failed {
            case: format!("{scenario} n{}.{effect} {fault}", node.0),
            promise: finding.broken.check.to_owned(),
            replay: finding.case.replay_line(),
            closed: None,
        }
    });
    Campaign {
        cases: Cases { from: 0, count: found.runs() },
        faults: found.faults.clone(),
        threads: jobs as u64,
        failures: failures.collect(),
        promises: sim::PROMISES.map(str::to_owned).into(),
        ..Campaign::ended(Kind::Sweep, begun)
    }
}

fn summary(found: &Found) -> String {
    let mut rows = table(&["scenario", "whole", "refused", "halted", "forgot", "broken promises"]);
    for scenario in Scenario::ALL {
        let count = |verdict| found.verdicts.get(&(scenario, verdict)).copied().unwrap_or(0);
        let counts = [Verdict::Whole, Verdict::Refused, Verdict::Halted, Verdict::Forgot].map(count);
        let broken = found.findings.iter().filter(|finding| finding.case.scenario == scenario).count();
        if counts.iter().sum::<u64>() == 0 && broken == 0 {
            continue;
        }
        let broken = if broken == 0 { good("none") } else { bad(broken) };
        let counts = counts.map(|count| count.to_string());
        rows.add_row([&[scenario.to_string()][..], &counts[..], &[broken][..]].concat());
    }
    rows.to_string()
}

impl FromStr for Place {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Place, &'static str> {
        let parts = text.strip_prefix('n').and_then(|rest| rest.split_once('.'));
        let parsed = parts.and_then(|(node, effect)| Some((node.parse().ok()?, effect.parse().ok()?)));
        let (node, effect) = parsed.ok_or("expected a node and a number, such as n2.57")?;
        Ok(Place { node: NodeId(node), effect })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_run_once_and_a_replay_line_names_one() {
        let cases = sweep::cases(&Options::default(), Scenario::Single).unwrap();
        let cases: Vec<Case> = cases.into_iter().step_by(301).collect();
        let found = sweep(&cases, 2, &ProgressBar::hidden(), &AtomicBool::new(false));
        let counted = found.verdicts.values().sum::<u64>() as usize + found.findings.len();
        assert_eq!((counted, found.runs() as usize), (cases.len(), cases.len()));

        let line = cases[1].replay_line();
        let words: Vec<&str> = line.split(' ').collect();
        let value = |name: &str| words[words.iter().position(|word| *word == name).unwrap() + 1];
        let place: Place = value("--effect").parse().unwrap();
        assert_eq!((place.node, place.effect), (cases[1].node, cases[1].effect));
        assert_eq!(value("--fault").parse(), Ok(cases[1].fault));
        assert!("2.x".parse::<Place>().is_err());
    }
}

//! Many seeds on all cores, and what they found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use campaign::{Begun, Campaign, Cases, Failed, Kind, Operations};
use indicatif::{ProgressBar, ProgressStyle};
use sim::{Counters, Options, Report};

use super::ledger::LedgerArgs;
use super::{hashes, interrupt, replay};
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, good, table};

/// The search ends when it has found this many failures: more of the same would help nobody.
const FAILURES_MAX: usize = 10;

/// Which seeds are run, and what is wanted of them.
#[derive(Clone, Debug, Default)]
pub struct Search {
    /// What is run.
    pub options: Options,
    /// The first seed.
    pub from: u64,
    /// How many.
    pub count: u64,
    /// On how many threads.
    pub jobs: usize,
    /// Where the digests of their traces are written.
    pub hashes: Option<PathBuf>,
    /// Where the campaign is written down.
    pub ledger: LedgerArgs,
    /// Whether the summary is JSON.
    pub json: bool,
}

/// What all runs together did.
#[derive(Default)]
struct Found {
    runs: u64,
    counters: Counters,
    virtual_time: Duration,
    failures: Vec<Report>,
    hashes: BTreeMap<u64, u128>,
}

/// Runs the seeds. Succeeds if every promise held in all of them. Ctrl-C ends it early, with an account of what was run.
///
/// # Errors
/// A promise was broken, or the trace of a failure, the ledger or the digests cannot be written.
pub fn run(search: &Search) -> Outcome {
    let begun = Begun::now();
    let bar = progress_bar(search.count, "seeds");
    let stop = interrupt::flag();
    let found = search.run(&bar, &stop);
    bar.finish_and_clear();
    let campaign = search.campaign(&found, &begun);
    if search.json {
        let mut summary = serde_json::json!(campaign);
        summary["counters"] = serde_json::json!(found.counters);
        output::json(&summary)?;
    } else {
        output::line(summary(&found, begun.elapsed(), search.jobs))?;
    }
    search.ledger.append(&campaign)?;
    if let Some(path) = &search.hashes {
        hashes::write(&found.hashes, path)?;
    }
    match found.failures.is_empty() && stop.load(Ordering::Relaxed) {
        true => Ok(ExitCode::from(interrupt::CODE)),
        false => report_failures(search, &found),
    }
}

impl Search {
    fn run(&self, bar: &ProgressBar, stop: &AtomicBool) -> Found {
        // A run that panics is a finding with its own report; the default hook would print it in the middle.
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let next = AtomicU64::new(self.from);
        let found = Mutex::new(Found::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed - self.from >= self.count || lock(&found).failures.len() >= FAILURES_MAX {
                            return;
                        }
                        let (report, hash) = self.run_seed(seed);
                        bar.inc(1);
                        let mut found = lock(&found);
                        found.hashes.extend(hash.map(|hash| (seed, hash)));
                        found.add(report, bar);
                    }
                });
            }
        });
        std::panic::set_hook(hook);
        let mut found = std::mem::take(&mut *lock(&found));
        found.failures.sort_by_key(|report| report.seed);
        found
    }

    fn run_seed(&self, seed: u64) -> (Report, Option<u128>) {
        if self.hashes.is_none() {
            return (sim::run_seed(&self.options, seed), None);
        }
        let (report, hash) = hashes::run_hashed(&self.options, seed);
        (report, Some(hash))
    }

    fn campaign(&self, found: &Found, begun: &Begun) -> Campaign {
        let Counters { answered, unknown, ref faults, .. } = found.counters;
        let hours = campaign::hours(found.virtual_time);
        let failures = found.failures.iter().filter_map(|report| {
            let failure = report.failure.as_ref()?;
            Some(Failed {
                case: report.seed.to_string(),
                promise: failure.broken.check.to_owned(),
                replay: failure.replay.clone(),
                closed: None,
            })
        });
        Campaign {
            cases: Cases { from: self.from, count: found.runs },
            operations: Operations { answered, unknown },
            faults: faults.iter().map(|(class, count)| ((*class).to_owned(), *count)).collect(),
            simulated_hours: hours,
            cluster_hours: hours,
            threads: self.jobs as u64,
            failures: failures.collect(),
            promises: sim::PROMISES.map(str::to_owned).into(),
            ..Campaign::ended(Kind::Sim, begun)
        }
    }
}

/// A thread that panicked outside a run has said so; what was found until then still counts.
pub(super) fn lock<T>(found: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    found.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Found {
    fn add(&mut self, report: Report, bar: &ProgressBar) {
        self.runs += 1;
        self.counters.add(&report.counters);
        self.virtual_time += report.virtual_time;
        if !report.is_ok() {
            self.failures.push(report);
            bar.set_message(bad(format_args!("{} failed", self.failures.len())));
        }
    }
}

fn report_failures(search: &Search, found: &Found) -> Outcome {
    let Some(first) = found.failures.first() else { return Ok(ExitCode::SUCCESS) };
    for report in found.failures.iter().filter(|_| !search.json) {
        output::line(format_args!("\n{report}"))?;
    }
    let path = replay::trace_path(&search.options, first.seed);
    replay::write_trace(&search.options, first.seed, &path)?;
    let command = format!("althing sim show {}", path.display());
    Err(Failure::new(format_args!("{} of {} seeds broke a promise", found.failures.len(), found.runs))
        .next(format_args!("{command}   (the trace of seed {})", first.seed)))
}

fn summary(found: &Found, elapsed: Duration, jobs: usize) -> String {
    let Counters {
        events,
        asked,
        answered,
        unknown,
        messages,
        lost,
        syncs,
        crashes,
        leaders,
        changes,
        installs,
        ..
    } = found.counters;
    let seconds = elapsed.as_secs_f64();
    let mut rows = table(&["simulated", "count"]);
    let mut row = |name: &str, value: String| {
        rows.add_row([name.to_owned(), value]);
    };
    let threads = if jobs == 1 { "thread" } else { "threads" };
    row("seeds", format!("{} in {seconds:.1} s on {jobs} {threads}", found.runs));
    row("seeds a second", format!("{:.1}", found.runs as f64 / seconds));
    row("time in the worlds", format!("{:.1} h", found.virtual_time.as_secs_f64() / 3600.0));
    row("events", events.to_string());
    row("operations", format!("{asked}: {answered} answered, {unknown} unknown"));
    row("messages", format!("{messages}, {lost} lost"));
    row("disk syncs", syncs.to_string());
    row("faults", faults(&found.counters));
    row("crashes", crashes.to_string());
    row("leaders", leaders.to_string());
    row("memberships", changes.to_string());
    row("checkpoints installed", installs.to_string());
    if let Some(sites) = sites(&found.counters) {
        row("named sites", sites);
    }
    let failed = found.failures.len();
    row("broken promises", if failed == 0 { good("none") } else { bad(failed) });
    rows.to_string()
}

/// Which of the named sites fired; nothing in a build without them.
fn sites(counters: &Counters) -> Option<String> {
    let (fired, quiet) = counters.sites_by_firing();
    let all = fired.len() + quiet.len();
    let reached = counters.sites.iter().filter(|site| site.reached > 0).count();
    let least = counters.sites.iter().map(|site| site.fired).min()?;
    let mut text = format!("{} of {all} fired, {reached} reached; each at least {least} times", fired.len());
    if !quiet.is_empty() {
        text.push_str(&format!("; not {}", quiet.join(", ")));
    }
    Some(text)
}

fn faults(counters: &Counters) -> String {
    let kinds = counters.faults.iter().map(|(kind, count)| format!("{count} {kind}"));
    format!("{}: {}", counters.faults_total(), kinds.collect::<Vec<_>>().join(", "))
}

pub(super) fn progress_bar(count: u64, what: &str) -> ProgressBar {
    let template =
        format!("{{elapsed:>4}} {{wide_bar}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left {{msg}}");
    let style = ProgressStyle::with_template(&template);
    ProgressBar::new(count).with_style(style.expect("the template is one that it accepts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(jobs: usize) -> Search {
        let options = Options { nodes: Some(3), ..Options::default() };
        Search { options, from: 5, count: 4, jobs, ..Search::default() }
    }

    #[test]
    fn every_seed_is_run_once_whatever_the_number_of_threads() {
        let stop = AtomicBool::new(false);
        let one = search(1).run(&ProgressBar::hidden(), &stop);
        let two = search(2).run(&ProgressBar::hidden(), &stop);
        assert_eq!((one.runs, two.runs), (4, 4));
        assert_eq!(one.counters, two.counters);
    }

    #[test]
    fn the_ledger_is_told_what_was_run_and_not_what_was_meant() {
        let search = search(1);
        let found = search.run(&ProgressBar::hidden(), &AtomicBool::new(true));
        let campaign = search.campaign(&found, &Begun::now());
        assert_eq!(campaign.cases, Cases { from: 5, count: 0 });

        let found = search.run(&ProgressBar::hidden(), &AtomicBool::new(false));
        let campaign = search.campaign(&found, &Begun::now());
        assert_eq!(campaign.cases, Cases { from: 5, count: 4 });
        assert_eq!(campaign.faults.values().sum::<u64>(), found.counters.faults_total());
        assert_eq!(campaign.operations.answered, found.counters.answered);
    }
}

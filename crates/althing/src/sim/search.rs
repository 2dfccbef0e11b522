//! Many seeds on all cores, and what they found.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use sim::{Counters, Options, Report};

use super::replay;
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, good, table};

/// The search ends when it has found this many failures: more of the same would help nobody.
const FAILURES_MAX: usize = 10;

/// What all runs together did.
#[derive(Default)]
struct Found {
    runs: u64,
    counters: Counters,
    virtual_time: Duration,
    failures: Vec<Report>,
}

/// Runs the seeds `from..from + count`. Succeeds if every promise held in all of them.
///
/// # Errors
/// The trace of a failure cannot be written.
pub fn run(options: &Options, from: u64, count: u64, jobs: usize) -> Outcome {
    let started = Instant::now();
    let bar = progress_bar(count, "seeds");
    let found = search(options, from, count, jobs, &bar);
    bar.finish_and_clear();
    output::line(summary(&found, started.elapsed(), jobs))?;
    report_failures(options, &found)
}

fn search(options: &Options, from: u64, count: u64, jobs: usize, bar: &ProgressBar) -> Found {
    // A run that panics is a finding with its own report; the default hook would print it in the middle.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let next = AtomicU64::new(from);
    let found = Mutex::new(Found::default());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed - from >= count || lock(&found).failures.len() >= FAILURES_MAX {
                        return;
                    }
                    let report = sim::run_seed(options, seed);
                    bar.inc(1);
                    lock(&found).add(report, bar);
                }
            });
        }
    });
    std::panic::set_hook(hook);
    let mut found = std::mem::take(&mut *lock(&found));
    found.failures.sort_by_key(|report| report.seed);
    found
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

fn report_failures(options: &Options, found: &Found) -> Outcome {
    let Some(first) = found.failures.first() else { return Ok(std::process::ExitCode::SUCCESS) };
    for report in &found.failures {
        output::line(format_args!("\n{report}"))?;
    }
    let path = replay::trace_path(options, first.seed);
    replay::write_trace(options, first.seed, &path)?;
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
    let failed = found.failures.len();
    row("broken promises", if failed == 0 { good("none") } else { bad(failed) });
    rows.to_string()
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

    #[test]
    fn every_seed_is_run_once_whatever_the_number_of_threads() {
        let options = Options { nodes: Some(3), ..Options::default() };
        let one = search(&options, 5, 4, 1, &ProgressBar::hidden());
        let two = search(&options, 5, 4, 2, &ProgressBar::hidden());
        assert_eq!((one.runs, two.runs), (4, 4));
        assert_eq!(one.counters, two.counters);
    }
}

//! A run: the cluster, the clients, the plan carried out, recovery demanded, everything judged.
//!
//! ```text
//!   ──clients──┬─ fault ─ heal ─ recovered? ─┬─ fault ─ heal ─ recovered? ─┬── final reads ── checkers
//!   mixed:     └─ fault ──┬─ fault ─ heal ─ heal ──┬─ … ─┬─ heal all ─ recovered? ┘
//! ```

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use e2e::cluster::http_get;
use e2e::load::{Load, LoadOptions};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;

use crate::arena::{Arena, Building, CLIENT_PORT, Needs, address};
use crate::clients::{Clients, clock_bound};
use crate::judge::{self, Evidence};
use crate::plan::{Fault, Plan};
use crate::report::{Operations, Report};

/// After a fault has ended, writes must be acknowledged again, and through every node, within this time.
/// A process that met a fault may take so long to end.
const LAST_BREATH: Duration = Duration::from_secs(10);
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

/// How long a leader is looked for before victims are chosen without one.
const LEADER_LIMIT: Duration = Duration::from_secs(2);

/// The same in a mixture, where there is often none.
const LEADER_LIMIT_MIXED: Duration = Duration::from_millis(100);

/// A change of members that nothing hinders any more must be done within this time.
const CHANGE_LIMIT: Duration = Duration::from_secs(60);

/// What a process ends with whose member was removed.
const EXIT_REMOVED: i32 = 3;

/// How long clients go on after the last fault.
const SETTLE: Duration = Duration::from_secs(1);

/// How often processes, the progress bar and a request to stop are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// What to run.
pub struct Options {
    /// The program under test.
    pub althing: PathBuf,
    /// Where data, logs and the history go; emptied first.
    pub directory: PathBuf,
    /// The clients.
    pub load: LoadOptions,
    /// End when so many operations have been invoked, even if the plan goes on.
    pub operations: Option<usize>,
}

/// A run under way.
struct Run<'a> {
    arena: Arena,
    load: Load,
    clients: Clients,
    runtime: Runtime,
    plan: &'a Plan,
    operations_max: usize,
    started: Instant,
    stop: Arc<AtomicBool>,
    progress: ProgressBar,
    /// Faults that hold, and whom they struck.
    active: Vec<(&'a Fault, Vec<usize>)>,
    /// Whose processes faults may have ended that are over since then: they may still be about to end.
    lately: Vec<(Instant, Vec<usize>)>,
    report: Report,
}

/// What may happen next.
#[derive(Clone, Copy)]
enum Step<'a> {
    End(&'a Fault),
    Begin(&'a Fault),
}

/// Carries `plan` out, and leaves history, plan, report and logs in the directory.
///
/// # Errors
/// The run could not take place, or nothing came of it. What speaks against the server is in the report.
pub fn run(options: &Options, plan: &Plan) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let stop = stop_on_signals(&runtime)?;
    std::fs::write(options.directory.join("plan.txt"), plan.to_string())?;
    let building = Building {
        althing: &options.althing,
        nodes: plan.nodes,
        directory: &options.directory,
        needs: Needs::of(plan.faults.iter().map(|fault| fault.kind))?,
        runtime: runtime.handle(),
        seed: plan.seed,
    };
    let arena = Arena::build(&building)?;
    let load = runtime.block_on(Load::start(arena.endpoints(), options.load.clone()))?;
    let clients =
        Clients::start(runtime.handle(), &load, arena.endpoints(), options.load.keys, options.load.seed);
    let mut run = Run {
        arena,
        load,
        clients,
        runtime,
        plan,
        operations_max: options.operations.unwrap_or(usize::MAX),
        started: Instant::now(),
        stop,
        progress: progress_bar(plan)?,
        active: Vec::new(),
        lately: Vec::new(),
        report: Report::new(plan),
    };
    if let Err(error) = run.carry_out() {
        run.find(format!("{error:#}"));
    }
    run.report.seconds = run.started.elapsed().as_secs_f64();
    run.report.corruption = run.arena.tally.clone();
    let (mut report, evidence) = run.finish();
    evidence
        .history
        .write_json(&mut BufWriter::new(File::create(options.directory.join("history.jsonl"))?))?;
    report.operations = Operations::of(&evidence.history);
    report.checks = judge::judge(&evidence);
    Ok(report)
}

impl<'a> Run<'a> {
    fn carry_out(&mut self) -> anyhow::Result<()> {
        // What took longer than planned, recovery above all, makes everything after it later.
        let mut late = Duration::ZERO;
        for (at, step) in steps(self.plan) {
            if self.plan.mixed && at + late >= self.plan.length {
                // What still holds at the end is healed with everything else.
                break;
            }
            if !self.wait_until(at + late) {
                break;
            }
            match step {
                Step::Begin(fault) if self.started.elapsed() < self.plan.length => self.begin(fault)?,
                // A run that is late leaves out the rest.
                Step::Begin(_) => {}
                Step::End(fault) => self.end(fault)?,
            }
            late = late.max(self.started.elapsed().saturating_sub(at));
        }
        self.wait_until(self.plan.length);
        self.heal_all()?;
        if self.plan.mixed && !self.failed() {
            self.recover("mixture");
        }
        Ok(())
    }

    fn begin(&mut self, fault: &'a Fault) -> anyhow::Result<()> {
        if fault.kind.changes_members && self.arena.is_changing(None) {
            // One voter may be missing, not two.
            self.report.skip(fault.kind.name);
            return Ok(());
        }
        let limit = if self.plan.mixed { LEADER_LIMIT_MIXED } else { LEADER_LIMIT };
        let leader = self.runtime.block_on(self.load.leader(limit));
        let victims = fault.victims.resolve(leader, self.plan.nodes);
        self.progress.println(format!("{fault}  on {}", names(&victims)));
        self.report.count(fault.kind.name);
        self.active.push((fault, victims.clone()));
        (fault.kind.inject)(&mut self.arena, &victims, fault.amount)
            .with_context(|| format!("cannot bring about: {fault}"))
    }

    fn end(&mut self, fault: &'a Fault) -> anyhow::Result<()> {
        let held = self.active.iter().any(|(active, _)| std::ptr::eq(*active, fault));
        self.heal(fault)?;
        if held && !self.plan.mixed && !self.failed() {
            self.finish_changes(fault.kind.name)?;
            self.recover(fault.kind.name);
        }
        Ok(())
    }

    /// Waits until members are what they are to be.
    fn finish_changes(&mut self, after: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        while self.arena.is_changing(None) {
            self.look_for_ends();
            self.arena.tend()?;
            if started.elapsed() > CHANGE_LIMIT {
                let left = self.arena.waits_for().join("; ");
                self.find(format!("after {after} members are not what they should be: {left}"));
                self.keep_metrics();
                return Ok(());
            }
            std::thread::sleep(GLANCE);
        }
        Ok(())
    }

    fn heal(&mut self, fault: &'a Fault) -> anyhow::Result<()> {
        // What ended because of the fault is no surprise later.
        self.look_for_ends();
        let Some(at) = self.active.iter().position(|(active, _)| std::ptr::eq(*active, fault)) else {
            return Ok(());
        };
        let (_, victims) = self.active.remove(at);
        if fault.kind.ends_process {
            self.lately.push((Instant::now(), victims.clone()));
        }
        (fault.kind.heal)(&mut self.arena, &victims, fault.amount)
            .with_context(|| format!("cannot heal: {fault}"))?;
        victims.iter().try_for_each(|&node| self.arena.revive(node))
    }

    fn heal_all(&mut self) -> anyhow::Result<()> {
        while let Some((fault, _)) = self.active.first() {
            self.heal(fault)?;
        }
        (0..self.plan.nodes).try_for_each(|node| self.arena.revive(node))?;
        self.finish_changes("the end")
    }

    /// Waits until the cluster serves again, and through every node.
    fn recover(&mut self, after: &'static str) {
        let healed = Instant::now();
        let resumed = self.load.next_acknowledged_write(RECOVERY_LIMIT).map(|()| healed.elapsed());
        let left = RECOVERY_LIMIT.saturating_sub(healed.elapsed());
        let silent = self.runtime.block_on(self.load.silent_nodes(left));
        match resumed {
            Some(resumed) if silent.is_empty() => {
                return self.report.recovered(after, resumed, healed.elapsed());
            }
            Some(_) => {
                self.find(format!("{} did not serve within {RECOVERY_LIMIT:?} of {after}", names(&silent)))
            }
            None => self.find(format!("no write was acknowledged within {RECOVERY_LIMIT:?} of {after}")),
        }
        self.keep_metrics();
    }

    /// What the nodes say of themselves while they do not recover, beside their logs.
    fn keep_metrics(&self) {
        for (node, process) in self.arena.nodes.iter().enumerate() {
            let metrics = http_get((address(node), CLIENT_PORT), "/metrics");
            // A node that does not answer that either has nothing to say.
            std::fs::write(process.log.with_extension("metrics"), metrics.unwrap_or_default()).ok();
        }
    }

    /// Waits for the moment; `false` if the run is to end before.
    fn wait_until(&mut self, at: Duration) -> bool {
        loop {
            self.look_for_ends();
            if let Err(error) = self.arena.tend() {
                self.find(format!("cannot change members: {error:#}"));
            }
            let elapsed = self.started.elapsed();
            let operations = self.load.operations();
            self.progress.set_position(elapsed.as_secs());
            let faults: Vec<&str> = self.active.iter().map(|(fault, _)| fault.kind.name).collect();
            self.progress.set_message(format!("{operations} operations  {}", faults.join(" ")));
            if self.failed() || self.stop.load(Ordering::Acquire) || operations >= self.operations_max {
                return false;
            }
            if elapsed >= at {
                return true;
            }
            std::thread::sleep(GLANCE.min(at - elapsed));
        }
    }

    /// Notes processes that ended, and starts them again unless a fault that holds may have ended them.
    fn look_for_ends(&mut self) {
        for (node, status) in self.arena.ended_by_themselves() {
            let expected =
                self.active.iter().any(|(fault, victims)| fault.kind.ends_process && victims.contains(&node));
            if expected {
                self.arena.tally.ended += u64::from(self.is_damaged(node));
                continue;
            }
            if self.lately.iter().any(|(at, victims)| at.elapsed() < LAST_BREATH && victims.contains(&node)) {
                if let Err(error) = self.arena.revive(node) {
                    self.find(format!("{error:#}"));
                }
                continue;
            }
            if self.arena.is_changing(Some(node)) {
                let is_mending = self.arena.is_mending(node);
                self.arena.tally.ended += u64::from(is_mending);
                if !is_mending && status.code() != Some(EXIT_REMOVED) {
                    let name = &self.arena.nodes[node].name;
                    self.report
                        .notes
                        .push(format!("{name} ended with {status} while it was removed or added"));
                }
                continue;
            }
            let process = &self.arena.nodes[node];
            self.find(format!("{} ended by itself with {status}:\n{}", process.name, process.log_tail()));
            if let Err(error) = self.arena.revive(node) {
                self.find(format!("{error:#}"));
            }
        }
    }

    /// Ends all clients and takes the arena down. Returns what is known, but for what checkers say.
    fn finish(mut self) -> (Report, Evidence) {
        std::thread::sleep(SETTLE);
        self.progress.finish_and_clear();
        self.look_for_panics();
        if self.stop.load(Ordering::Acquire) {
            self.find("interrupted".to_owned());
        }
        let clock = clock_bound(self.plan.faults.iter().any(|fault| fault.kind.name == "clock-rate"));
        let stopped = self.clients.stop();
        let last = self.runtime.block_on(self.load.end_clients());
        let heard = stopped.and_then(|stopped| self.clients.listen(last.as_ref().ok().copied(), stopped));
        // Last of all, those who see everything: a straggler that somebody heard of is then in what they saw.
        let recorded = match last.and_then(|_| self.runtime.block_on(self.load.end_watchers())) {
            Ok(recorded) => recorded,
            Err(error) => {
                self.find(format!("{error:#}"));
                self.load.abandon()
            }
        };
        self.report.findings.extend(recorded.watch_findings.iter().cloned());
        let evidence = heard.map(|heard| heard.with(recorded, clock)).unwrap_or_else(|error| {
            self.find(format!("{error:#}"));
            Evidence::default()
        });
        (self.report, evidence)
    }

    fn is_damaged(&self, node: usize) -> bool {
        self.active.iter().any(|(fault, victims)| fault.kind.damages && victims.contains(&node))
    }

    fn look_for_panics(&mut self) {
        for node in 0..self.arena.nodes.len() {
            let log = std::fs::read(&self.arena.nodes[node].log).unwrap_or_default();
            let log = String::from_utf8_lossy(&log);
            if let Some(line) = log.lines().find(|line| line.contains("panicked at")) {
                self.find(format!("{}: {line}", self.arena.nodes[node].name));
            }
        }
    }

    fn find(&mut self, finding: String) {
        match self.progress.is_hidden() {
            true => eprintln!("finding: {finding}"),
            false => self.progress.println(format!("finding: {finding}")),
        }
        self.report.findings.push(finding);
    }

    fn failed(&self) -> bool {
        !self.report.findings.is_empty()
    }
}

/// Begins and ends in the order of time.
fn steps(plan: &Plan) -> Vec<(Duration, Step<'_>)> {
    let begins = plan.faults.iter().map(|fault| (fault.at, Step::Begin(fault)));
    let ends = plan.faults.iter().map(|fault| (fault.at + fault.hold, Step::End(fault)));
    // A fault without duration ends after it began: the sort is stable.
    let mut steps: Vec<(Duration, Step<'_>)> = begins.chain(ends).collect();
    steps.sort_by_key(|(at, _)| *at);
    steps
}

fn names(nodes: &[usize]) -> String {
    let names: Vec<String> = nodes.iter().map(|node| format!("n{}", node + 1)).collect();
    names.join(", ")
}

fn progress_bar(plan: &Plan) -> anyhow::Result<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}")?;
    Ok(ProgressBar::new(plan.length.as_secs()).with_style(style))
}

/// Turns Ctrl-C and SIGTERM into a request, so that a run ends with everything cleaned up.
fn stop_on_signals(runtime: &Runtime) -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let _inside = runtime.enter();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    let stopping = stop.clone();
    runtime.spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopping.store(true, Ordering::Release);
    });
    Ok(stop)
}

//! The single-fault sweep: every disk fault, at every effect of every disk of some scripted clusters.
//!
//! ```text
//!   scenario ──run quietly──▶ effects of each disk, numbered
//!       └──── for each effect, for each fault that fits it: run again with exactly that fault ──▶ verdict
//! ```
//!
//! One fault is what most systems do not survive ("Redundancy Does Not Imply Fault Tolerance", FAST'17). Here, every
//! case must end in one of three ways: nothing is lost and everybody answers; or the one member whose disk was hit
//! refuses to serve, with a reason, while the others go on; or the only member of a group does so. Everything else is
//! a broken promise. Near the end the power of the member fails, so that what its cache still hid comes to light.

mod scenario;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use consensus::Role;
use storage::{DiskFault, Effect, Plan};
use trace::Recorder;
use types::{NodeId, Time};

use crate::options::{Options, Protocol};
use crate::oracle::Broken;
use crate::run::{judge_core, judge_history, make_well, panic_text};
use crate::shared::Stop;
use crate::subject::Subject;
use crate::world::World;
pub use scenario::{Scenario, UnknownScenario};

/// One fault at one effect of one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// What the cluster does.
    pub scenario: Scenario,
    /// Whose disk is hit.
    pub node: NodeId,
    /// Which of its effects, from 1.
    pub effect: u64,
    /// By what.
    pub fault: DiskFault,
}

/// How a case may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Nothing is lost, and everybody answers.
    Whole,
    /// The member whose disk was hit refuses to go on, and the others answer.
    Refused,
    /// The only member of its group refuses to go on: there is nobody to repair it.
    Halted,
    /// The disk confirmed its last write before a power cut and never did it. Nothing on it can tell ("What cannot be
    /// told" in `docs/storage-format.md`); the others answer.
    Forgot,
}

/// A case that ended otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The case.
    pub case: Case,
    /// What was broken.
    pub broken: Broken,
}

/// After the storm, until the member whose power failed has begun to catch up, while clients go on.
const AFTERMATH: Duration = Duration::from_millis(150);
/// How long a member of a group of one may take to find out that it is damaged.
const SETTLE: Duration = Duration::from_millis(400);

/// Runs a scenario without a fault and lists every case of it.
///
/// # Errors
/// What is broken without any fault.
pub fn cases(options: &Options, scenario: Scenario) -> Result<Vec<Case>, Broken> {
    let mut cases = Vec::new();
    for node in scenario.setup().ids() {
        for Effect { number, act, .. } in effects(options, scenario, node)? {
            let fitting = DiskFault::ALL
                .into_iter()
                .filter(|fault| fault.fits(act) && (!fault.is_damage(act) || scenario.may_be_damaged(node)));
            cases.extend(fitting.map(|fault| Case { scenario, node, effect: number, fault }));
        }
    }
    Ok(cases)
}

/// The effects of one disk in a scenario in which only the power of this member fails.
fn effects(options: &Options, scenario: Scenario, node: NodeId) -> Result<Vec<Effect>, Broken> {
    match options.protocol {
        Protocol::Raft => {
            let mut world = begin::<raft::Raft>(options, scenario);
            let Some(victim) = world.nodes.get_mut(&node) else { return Ok(Vec::new()) };
            victim.machine_survives = true;
            let disk = victim.disk.clone();
            disk.record_effects();
            play(&mut world, node)?;
            Ok(disk.recorded_effects())
        }
    }
}

/// Runs one case.
///
/// # Errors
/// The promise that was broken.
pub fn run(options: &Options, case: &Case) -> Result<Verdict, Box<Finding>> {
    match options.protocol {
        Protocol::Raft => run_case::<raft::Raft>(options, case),
    }
}

fn run_case<P: Subject>(options: &Options, case: &Case) -> Result<Verdict, Box<Finding>> {
    let mut world = begin::<P>(options, case.scenario);
    if let Some(node) = world.nodes.get_mut(&case.node) {
        // The machine goes on after an error, and with it what a failed sync left in its cache.
        node.machine_survives = true;
        node.disk.keep_last_write(false);
        node.disk.set_plan(Plan::once(case.effect, case.effect, case.fault));
    }
    // A core asserts what only its own bug could break: that is a finding, not the end of the sweep.
    let ended = catch_unwind(AssertUnwindSafe(|| play(&mut world, case.node)));
    let broken = match ended {
        Ok(Ok(verdict)) => return Ok(verdict),
        Ok(Err(broken)) => broken,
        Err(panic) => Broken { check: "no panic", detail: panic_text(panic.as_ref()) },
    };
    Err(Box::new(Finding { case: case.clone(), broken }))
}

fn begin<P: Subject>(options: &Options, scenario: Scenario) -> World<P> {
    World::new(options, scenario.seed(), scenario.setup(), scenario.schedule(), Recorder::off())
}

/// Storm, power cut of one member, calm, judgement.
fn play<P: Subject>(world: &mut World<P>, victim: NodeId) -> Result<Verdict, Broken> {
    let storm = Time(0) + world.shared.setup.storm;
    world.run_until(storm, |_| false)?;
    world.with_node(victim, |node, _| {
        node.power_fails = true;
        if node.life.is_some() { Err(Stop::Crash("power cut")) } else { Ok(()) }
    })?;
    let aftermath = world.run_until(storm + AFTERMATH, |_| false);
    if aftermath.is_err() && world.nodes.len() == 1 && world.shared.oracle.forgot(victim) {
        return Ok(Verdict::Forgot); // there was no other copy of what it promised
    }
    aftermath?;
    world.stormy = false;
    let mut core: BTreeSet<NodeId> = world.nodes.keys().copied().collect();
    world.shared.net.heal(&core);
    core.iter().for_each(|id| make_well(world, *id));
    world.run_until(storm + AFTERMATH + SETTLE, |_| false)?;
    // The member whose log the scenario itself lets rot may be beyond reading; the others go on without it.
    core.retain(|id| *id == victim || world.nodes.get(id).is_some_and(|node| !node.lost));
    let mut excuse = excuse_of(world, victim);
    if excuse.is_none() {
        match judge_core(world, &core) {
            // It may also have found out meanwhile.
            Err(broken) if broken.check == "liveness" => {
                excuse = excuse_of(world, victim);
                excuse.is_some().then_some(()).ok_or(broken)?;
            }
            judged => return judged.map(|()| Verdict::Whole),
        }
    }
    let verdict = excuse.unwrap_or(Verdict::Whole);
    // Whoever only forgot is sent what it misses.
    if verdict != Verdict::Forgot || world.nodes.len() == 1 {
        core.remove(&victim);
    }
    match (core.is_empty(), verdict) {
        (true, Verdict::Forgot) => {}
        (true, _) => judge_history(world, &core)?,
        (false, _) => judge_core(world, &core)?,
    }
    Ok(verdict)
}

/// Why a member need not answer.
fn excuse_of<P: Subject>(world: &World<P>, victim: NodeId) -> Option<Verdict> {
    let is_lost = world.nodes.get(&victim).is_some_and(|node| node.lost);
    match world.nodes.len() {
        1 if is_lost || is_halted(world, victim) => Some(Verdict::Halted),
        _ if is_lost => Some(Verdict::Refused),
        _ => world.shared.oracle.forgot(victim).then_some(Verdict::Forgot),
    }
}

/// Whether a member says that its disk is damaged, and that it cannot go on without being repaired.
fn is_halted<P: Subject>(world: &World<P>, id: NodeId) -> bool {
    world.nodes.get(&id).is_some_and(|node| {
        let recovering = node.life.as_ref().is_some_and(|life| life.core.status().role == Role::Recovering);
        recovering && node.was_rotten()
    })
}

impl Case {
    /// The command that repeats it.
    pub fn replay_line(&self) -> String {
        let Case { scenario, node, effect, fault } = self;
        format!("althing sim sweep --scenario {scenario} --effect n{}.{effect} --fault {fault}", node.0)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED: {}\nreplay: {}", self.broken, self.case.replay_line())
    }
}

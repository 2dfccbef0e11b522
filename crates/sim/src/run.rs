//! A whole run: storm, liveness, final reads, judgement.
//!
//! ```text
//!   0 ───── storm ─────▶ heal a core ── progress? ──▶ final reads ──▶ equal replicas ──▶ checkers
//!      clients, faults      other faults become permanent
//! ```

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use checker::{Call, ClientId, FinalState, Level, Outcome, Verdict};
use storage::MemEngine;
use trace::{Details, Kind, OpId, Recorder, Stamp};
use types::{Buggify, NodeId, Time};

use crate::convert;
use crate::explain::{Aim, explain};
use crate::keys::{self, Purpose};
use crate::network::Disturbance;
use crate::options::{Options, Protocol, idles};
use crate::oracle::Broken;
use crate::report::{Failure, Report, add_coverage};
use crate::schedule::{self, Schedule, Weather};
use crate::setup::Setup;
use crate::shared::Shared;
use crate::subject::Subject;
use crate::workload::{Client, Question, key};
use crate::world::World;

/// Twice as many as an overtaken chunk waits for.
const HEARTBEATS_PER_CHUNK: u32 = 10;

/// A healed core must answer new writes through each of its nodes within this time, besides two hundred of the
/// protocol's election time-outs, and what the chunks of checkpoints may take.
pub const PROGRESS_MIN: Duration = Duration::from_secs(20);
/// Steps that the search for an order may take in one run. Small, because the revisions that every answer names
/// have already been judged; the search needs many steps only where many writes stay unanswered.
const STEPS_MAX: u64 = 20_000;
/// After the storm, until every node of the core has tried to start.
const SETTLE: Duration = Duration::from_millis(5);
/// The number of the cut that stays between two nodes of the core.
const APART: u64 = u64::MAX - 1_000;
/// The client that probes node `n` in the liveness phase is this and `n`.
const PROBE: u64 = 1_000;

/// Runs one seed.
pub fn run_seed(options: &Options, seed: u64) -> Report {
    run_recorded(options, seed, Recorder::off())
}

/// Runs one seed and records what happens. The recorder changes nothing about the run.
pub fn run_recorded(options: &Options, seed: u64, recorder: Recorder) -> Report {
    match options.protocol {
        Protocol::Raft => run::<raft::Raft>(options, seed, recorder),
    }
}

/// The weather that `seed` draws, to be printed, edited and handed in again.
pub fn schedule_of(options: &Options, seed: u64) -> Schedule {
    schedule::generate(seed, &Setup::draw(seed, options.nodes))
}

/// The header of a trace of this run.
pub fn trace_header(options: &Options, seed: u64, build: &str) -> trace::Header {
    let setup = Setup::draw(seed, options.nodes);
    let schedule = options.schedule.clone().unwrap_or_else(|| schedule::generate(seed, &setup));
    trace::Header::new(seed, options.protocol.to_string(), setup.ids(), build)
        .option("setup", format!("{setup:?}"))
        .option("schedule", schedule.to_string())
}

/// Runs one seed of one protocol.
pub fn run<P: Subject>(options: &Options, seed: u64, recorder: Recorder) -> Report {
    let setup = Setup::draw(seed, options.nodes);
    let mut schedule = options.schedule.clone().unwrap_or_else(|| schedule::generate(seed, &setup));
    if idles!(options, InjectsNothing) {
        schedule = Schedule { net: Weather::FAIR, faults: Vec::new() };
    }
    let nodes = setup.nodes;
    let mut world = World::<P>::new(options, seed, setup, schedule, recorder);
    // A core asserts what only its own bug could break: that is a finding, not the end of the search.
    let ended = catch_unwind(AssertUnwindSafe(|| judge(&mut world)));
    let broken = match ended {
        _ if idles!(options, ChecksNothing) => None,
        Ok(Ok(())) => None,
        Ok(Err(broken)) => Some(broken),
        Err(panic) => Some(Broken { check: "no panic", detail: panic_text(panic.as_ref()) }),
    };
    let coverage = world.buggified().map(Buggify::coverage).fold(Vec::new(), add_coverage);
    let shared = &mut world.shared;
    shared.counters.committed = shared.oracle.committed_last().0;
    shared.counters.leaders = shared.oracle.epochs_led();
    shared.counters.changes = shared.oracle.register.changes;
    shared.counters.sites = coverage;
    let virtual_time = shared.now().since(Time(0));
    if let Some(broken) = &broken {
        shared.record(None, Stamp::NONE, Kind::Violation, || Details::named(broken.to_string()));
    }
    Report {
        seed,
        protocol: P::NAME,
        nodes,
        counters: shared.counters.clone(),
        virtual_time,
        hash: shared.hash(),
        failure: broken.map(|broken| Failure { broken, at: virtual_time, replay: options.replay_line(seed) }),
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
}

fn judge<P: Subject>(world: &mut World<P>) -> Result<(), Broken> {
    let storm = Time(0) + world.shared.setup.storm;
    world.run_until(storm, |_| false)?;
    let mut core = heal(world);
    world.run_until(storm + SETTLE, |_| false)?;
    core.retain(|id| world.nodes.get(id).is_some_and(|node| !node.lost));
    if let Some((one, other)) = keep_apart(world, &core) {
        core.remove(&one);
        core.remove(&other);
    }
    judge_core(world, &core)
}

/// A healed core answers, ends up in one state, and its clients have seen nothing that cannot be.
pub(crate) fn judge_core<P: Subject>(world: &mut World<P>, core: &BTreeSet<NodeId>) -> Result<(), Broken> {
    let healed = world.shared.now();
    final_operations(world, core, healed)?;
    converge(world, core, healed)?;
    for id in core {
        world.with_life(*id, |life, shared| life.compare(shared))?;
    }
    last_watches(world, core);
    judge_history(world, core)
}

/// Every watcher hears the end of the history, from whoever of the core knows it.
fn last_watches<P: Subject>(world: &mut World<P>, core: &BTreeSet<NodeId>) {
    let members = world.shared.oracle.register.members();
    let is_up = |id: &&NodeId| world.nodes.get(id).is_some_and(|node| node.life.is_some());
    let Some(id) = core.intersection(&members).find(is_up).copied() else { return };
    for watcher in world.shared.watchers.numbers() {
        world.watch_at(watcher, id);
    }
    if let Some(life) = world.nodes.get(&id).and_then(|node| node.life.as_ref()) {
        world.shared.watchers.await_all((id, life.number), life.kv.revision());
    }
}

/// Whether a node's disk has turned out to be beyond reading. Harm that nobody had met may show at any time; the atlas
/// sees to it that the others can do without the node.
fn is_lost<P: Subject>(world: &World<P>, id: NodeId) -> bool {
    world.nodes.get(&id).is_some_and(|node| node.lost)
}

/// How long a core may take to answer again. Who needs a checkpoint needs all its chunks, and one that was overtaken on its
/// way is not sent again before some heartbeats, of a leader whose clock may be slow.
fn progress_limit(shared: &Shared) -> Duration {
    let tuning = &shared.setup.tuning;
    PROGRESS_MIN
        + tuning.election * 200
        + tuning.heartbeat.saturating_mul(HEARTBEATS_PER_CHUNK.saturating_mul(shared.chunks))
}

/// Ends the storm: a majority gets well, and what is wrong with the others stays wrong for ever.
fn heal<P: Subject>(world: &mut World<P>) -> BTreeSet<NodeId> {
    world.stormy = false;
    world.buggified().for_each(Buggify::rest);
    let core = choose_core(world);
    world.shared.net.heal(&core);
    let ids: Vec<NodeId> = world.nodes.keys().copied().collect();
    for id in ids {
        if core.contains(&id) {
            make_well(world, id);
        } else {
            make_ill(world, id, &core);
        }
    }
    core
}

/// In some worlds two nodes of the core never hear each other again, while both hear all the others: connectivity that is
/// not transitive. Whoever hears everybody must still answer; the two may or may not.
fn keep_apart<P: Subject>(world: &mut World<P>, core: &BTreeSet<NodeId>) -> Option<(NodeId, NodeId)> {
    let mut rng = keys::rng(world.shared.seed, Purpose::Liveness, [0, 1, 0]);
    let mut ids: Vec<NodeId> = core.iter().copied().collect();
    if ids.len() < 3 || rng.below(3) > 0 || needs_all(world) {
        return None;
    }
    let one = ids.remove(rng.below(ids.len() as u64) as usize);
    let other = *rng.pick(&ids)?;
    // Each of them with all the others must be enough, or only a node that lags behind might be able to lead.
    let register = &world.shared.oracle.register;
    if [one, other].iter().any(|out| !register.can_do_with(|id| core.contains(&id) && id != *out)) {
        return None;
    }
    world.shared.net.disturb(APART, BTreeSet::from([(one, other), (other, one)]), Disturbance::Cut);
    Some((one, other))
}

/// A group is founded by all of its voters, and a node whose disk has rotted is repaired from all of the others. And while
/// the membership may still change, nobody can say who will be needed.
fn needs_all<P: Subject>(world: &World<P>) -> bool {
    let register = &world.shared.oracle.register;
    !register.is_founded()
        || world.nodes.values().any(|node| node.was_rotten())
        || register.is_busy(world.shared.now(), world.errand_patience())
}

fn choose_core<P: Subject>(world: &World<P>) -> BTreeSet<NodeId> {
    let mut rng = keys::rng(world.shared.seed, Purpose::Liveness, [0; 3]);
    let mut core: BTreeSet<NodeId> =
        world.nodes.values().filter(|node| !node.lost).map(|node| node.id).collect();
    let register = &world.shared.oracle.register;
    let all_are_needed = needs_all(world);
    while !all_are_needed && rng.below(2) == 0 {
        let ids: Vec<NodeId> = core.iter().copied().collect();
        let Some(out) = rng.pick(&ids) else { break };
        if !register.can_do_with(|id| core.contains(&id) && id != *out) {
            break;
        }
        core.remove(out);
    }
    core
}

pub(crate) fn make_well<P: Subject>(world: &mut World<P>, id: NodeId) {
    let shared = &mut world.shared;
    let Some(node) = world.nodes.get_mut(&id) else { return };
    node.paused_until = None;
    node.disk.disarm_all();
    node.dies_in_recovery = false;
    (node.extra_sync, node.extra_apply, node.extra_step) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    match &mut node.life {
        Some(life) => {
            life.armed = None;
            (life.extra_sync, life.extra_apply) = (Duration::ZERO, Duration::ZERO);
            life.extra_step = Duration::ZERO;
        }
        None => node.plan_start(Duration::ZERO, shared),
    }
}

/// Down for ever, or deaf, or mute, or both. It is so towards the whole core: a node that keeps a leader alive
/// for some, while others cannot hear it, is beyond what the protocols promise to survive.
fn make_ill<P: Subject>(world: &mut World<P>, id: NodeId, core: &BTreeSet<NodeId>) {
    let shared = &mut world.shared;
    let mut rng = keys::rng(shared.seed, Purpose::Liveness, [id.0, 0, 0]);
    let Some(node) = world.nodes.get_mut(&id) else { return };
    node.stays_down();
    if node.life.is_some() && rng.below(2) == 0 {
        let (mute, deaf) = *rng.pick(&[(true, false), (false, true), (true, true)]).unwrap_or(&(true, true));
        let links = core.iter().flat_map(|other| {
            [mute.then_some((id, *other)), deaf.then_some((*other, id))].into_iter().flatten()
        });
        let links = links.collect();
        shared.net.disturb(u64::MAX - id.0, links, Disturbance::Cut);
    } else {
        node.crash("for ever", shared);
        node.stays_down();
    }
}

/// Through every node of the core: a write, and a linearizable read of every key.
fn final_operations<P: Subject>(
    world: &mut World<P>,
    core: &BTreeSet<NodeId>,
    healed: Time,
) -> Result<(), Broken> {
    for id in core {
        let mut calls = vec![Call::put(key(0), format!("probe{}", id.0)), Call::range("k", "l")];
        calls.extend((0..world.shared.setup.workload.keys).map(|number| Call::get(key(number))));
        let client = ClientId(PROBE + id.0);
        world.shared.clients.insert(client, Client::new(client, *id));
        for (number, call) in calls.into_iter().enumerate() {
            insist(world, client, *id, call, number as u64, core, healed)?;
        }
    }
    Ok(())
}

/// Asks until there is an answer, or the time is up.
fn insist<P: Subject>(
    world: &mut World<P>,
    client: ClientId,
    at: NodeId,
    call: Call,
    number: u64,
    core: &BTreeSet<NodeId>,
    healed: Time,
) -> Result<(), Broken> {
    for attempt in 0.. {
        if !world.shared.oracle.register.members().contains(&at) || is_lost(world, at) {
            return Ok(()); // it takes no part (any more)
        }
        let op = world.put_question(client, at, attempt_of(&call, number, attempt))?;
        let ended =
            world.run_until(healed + progress_limit(&world.shared), |world| !world.shared.is_open(op))?;
        if ended && is_answered(world, op) {
            return Ok(());
        }
        let pause = world.shared.now() + world.shared.setup.tuning.heartbeat;
        world.run_until(pause, |_| false)?;
        let patience = progress_limit(&world.shared);
        if world.shared.now() >= healed + patience {
            let aim = if call.may_write() { Aim::Write(at) } else { Aim::Read(at) };
            let Broken { check, detail } = explain(world, core, &aim);
            let detail = format!(
                "the core {core:?} has been well for {patience:?}, and {at:?} has not answered {call:?}: {detail}"
            );
            return Err(Broken { check, detail });
        }
    }
    Ok(())
}

/// A write that is tried again gets another value: each is written once only.
fn attempt_of(call: &Call, number: u64, attempt: u64) -> Question {
    let call = match call {
        Call::One(checker::Step::Put(key, value)) => {
            let value = [&value[..], format!(".{number}.{attempt}").as_bytes()].concat();
            Call::put(key.clone(), value)
        }
        other => other.clone(),
    };
    Question { call, level: Level::Linearizable }
}

fn is_answered<P: Subject>(world: &World<P>, op: OpId) -> bool {
    let operation = world.shared.history.get(op);
    operation.is_some_and(|operation| matches!(operation.outcome, Outcome::Answered { .. }))
}

/// Waits until all of the core have applied all that is committed.
fn converge<P: Subject>(world: &mut World<P>, core: &BTreeSet<NodeId>, healed: Time) -> Result<(), Broken> {
    let equal = |world: &mut World<P>| {
        let applied = |id: &NodeId| {
            world.nodes.get(id).and_then(|node| node.life.as_ref()).map(|life| life.kv.applied().0)
        };
        let members = world.shared.oracle.register.members();
        let committed = Some(world.shared.oracle.committed_last());
        core.intersection(&members).all(|id| applied(id) == committed || is_lost(world, *id))
    };
    loop {
        let limit = healed + progress_limit(&world.shared);
        if world.run_until(limit, equal)? {
            return Ok(());
        }
        if healed + progress_limit(&world.shared) <= limit {
            break;
        }
    }
    let committed = world.shared.oracle.committed_last();
    let Broken { check, detail } = explain(world, core, &Aim::Applied(committed));
    Err(Broken { check, detail: format!("not all of {core:?} have applied slot {committed}: {detail}") })
}

pub(crate) fn judge_history<P: Subject>(world: &mut World<P>, core: &BTreeSet<NodeId>) -> Result<(), Broken> {
    let members = world.shared.oracle.register.members();
    let reader = core.intersection(&members).find_map(|id| {
        let life = world.nodes.get(id)?.life.as_ref()?;
        Some(life.kv.reader())
    });
    world.shared.history.changes = reader.as_ref().map(changes).transpose()?.unwrap_or_default();
    let last = reader.as_ref().map(final_state).transpose()?;
    let history = &world.shared.history;
    let acknowledged = last.map(|last| ("acknowledged writes", checker::check_ledger(history, &last)));
    let checks = [
        ("revisions", checker::check_revisions(history)),
        ("linearizability", checker::check_linearizable(history, STEPS_MAX)),
        ("cycles", checker::check_history_cycles(history)),
        ("watches", world.shared.watchers.judge(history)),
    ];
    for (check, verdict) in checks.into_iter().chain(acknowledged) {
        match verdict {
            Verdict::Violated(violation) => {
                return Err(Broken { check, detail: violation.explain(history).to_string() });
            }
            Verdict::Holds => {}
            // What the search cannot decide in its budget the revisions have judged.
            Verdict::Undecided { .. } => world.shared.counters.undecided += 1,
        }
    }
    Ok(())
}

/// Everything that ever happened to the store, as a replica remembers it.
fn changes(reader: &kv::Reader<MemEngine>) -> Result<Vec<checker::Change>, Broken> {
    let mut changes = Vec::new();
    let mut from = 1;
    let upto = reader.revision().map_err(|error| unreadable(&error))?;
    while from <= upto {
        let page = reader.events(b"\0", b"\0", from, upto, 1_000).map_err(|error| unreadable(&error))?;
        for revision in page.events {
            changes.extend(revision.events.into_iter().map(|event| checker::Change {
                revision: revision.revision,
                key: event.kv.key,
                value: (event.kind == kv::EventKind::Put).then_some(event.kv.value),
            }));
        }
        if page.next <= from {
            return Err(Broken { check: "history can be read", detail: format!("stuck at revision {from}") });
        }
        from = page.next;
    }
    Ok(changes)
}

/// What is left in the end.
fn final_state(reader: &kv::Reader<MemEngine>) -> Result<FinalState, Broken> {
    let (revision, response) = reader.range(&convert::everything()).map_err(|error| unreadable(&error))?;
    let items = response.kvs.iter().map(|kv| (kv.key.clone(), convert::item(kv))).collect();
    Ok(FinalState { revision, items })
}

fn unreadable(error: &dyn std::fmt::Display) -> Broken {
    Broken { check: "history can be read", detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seed 302089478: a joiner needed three hundred chunks, each overtaken in turn.
    #[test]
    fn a_healed_core_is_given_time_for_each_chunk_of_a_checkpoint() {
        let mut chunks_max = 0;
        for seed in 0..60 {
            let (options, setup) = (Options::default(), Setup::draw(seed, None));
            let schedule = schedule::generate(seed, &setup);
            let mut world = World::<raft::Raft>::new(&options, seed, setup, schedule, Recorder::off());
            let before = progress_limit(&world.shared);
            judge(&mut world).unwrap();
            let Shared { chunks, setup, .. } = &world.shared;
            let more = progress_limit(&world.shared) - before;
            assert_eq!(more, setup.tuning.heartbeat * HEARTBEATS_PER_CHUNK * *chunks, "seed {seed}");
            chunks_max = chunks_max.max(*chunks);
        }
        assert!(chunks_max > 0, "nobody needed a checkpoint");
    }

    /// A site that nothing reaches, or that does not fire, is a claim that nobody tests.
    #[cfg(feature = "buggify")]
    #[test]
    fn every_named_site_fires_in_some_seeds() {
        let mut counters = crate::report::Counters::default();
        for seed in 0..12_000 {
            let report = run_seed(&Options { buggify: true, ..Options::default() }, seed);
            assert!(report.is_ok(), "{report}");
            counters.add(&report.counters);
            if seed >= 20 && counters.sites_by_firing().1.is_empty() {
                return;
            }
        }
        panic!("never fired: {:?}", counters.sites_by_firing().1);
    }
}

//! The world: nodes, clients and faults, one thing after another.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use checker::{ClientId, Outcome};
use consensus::{Input, Role};
use trace::{Details, Kind, OpId, Recorder, Stamp};
use types::{Buggify, NodeId, Time, buggify};

use crate::convert;
use crate::keys::{self, Purpose};
use crate::life::Incoming;
use crate::network::{Disturbance, Network};
use crate::node::Node;
use crate::options::Options;
use crate::oracle::Broken;
use crate::schedule::{Fault, Schedule, Shape, Target, Timed};
use crate::setup::Setup;
use crate::shared::{Coming, Shared, Stop};
use crate::subject::Subject;
use crate::workload::{Client, Question};

/// A cluster, its clients and its weather.
pub(crate) struct World<P: Subject> {
    pub(crate) shared: Shared,
    pub(crate) nodes: BTreeMap<NodeId, Node<P>>,
    options: Options,
    schedule: Schedule,
    /// Whether clients go on asking and faults go on happening.
    pub(crate) stormy: bool,
    /// Things that happened at the same moment, in a row.
    same_moment: (Time, u64),
}

/// More events than this at one moment are a loop that goes nowhere.
const SAME_MOMENT_MAX: u64 = 100_000;
/// And more than these in a run are an avalanche: each message is the reason for more than one.
const EVENTS_MAX: u64 = 5_000_000;
/// A watcher listens to a node for so long, at most.
const WATCH_FOR: Duration = Duration::from_millis(1_000);
/// Clients still wait a little when the node should have given up: it may stand still.
const GRACE: Duration = Duration::from_millis(50);

impl<P: Subject> World<P> {
    pub(crate) fn new(
        options: &Options,
        seed: u64,
        setup: Setup,
        schedule: Schedule,
        recorder: Recorder,
    ) -> Self {
        let net = Network::new(seed, schedule.net);
        let mut shared = Shared::new(seed, setup, net, recorder, options.buggify);
        let mut nodes = BTreeMap::new();
        for id in shared.setup.ids() {
            let mut node = Node::new(id, &shared);
            let wait = keys::rng(seed, Purpose::Node, [id.0, 0, 2]).between(0, 20);
            node.plan_start(Duration::from_millis(wait), &mut shared);
            nodes.insert(id, node);
        }
        for (number, timed) in schedule.faults.iter().enumerate() {
            shared.queue.at(timed.at, Coming::FaultBegins { fault: number });
        }
        for number in 1..=shared.setup.workload.clients {
            let id = ClientId(number);
            let at = NodeId((number - 1) % shared.setup.nodes + 1);
            shared.clients.insert(id, Client::new(id, at));
            shared.queue.at(Time(0), Coming::Ask { client: id });
        }
        for watcher in shared.watchers.numbers() {
            shared.queue.at(Time(0) + WATCH_FOR, Coming::Watch { watcher });
        }
        World { shared, nodes, options: options.clone(), schedule, stormy: true, same_moment: (Time(0), 0) }
    }

    /// All that decides about named sites.
    pub(crate) fn buggified(&self) -> impl Iterator<Item = &Buggify> {
        self.nodes.values().map(|node| &node.buggify).chain([&self.shared.buggify])
    }

    /// Lets time go on until `limit`, or until `done` says so; returns whether it did.
    pub(crate) fn run_until(
        &mut self,
        limit: Time,
        mut done: impl FnMut(&mut World<P>) -> bool,
    ) -> Result<bool, Broken> {
        while !done(self) {
            let Some(coming) = self.shared.queue.next_before(limit) else { return Ok(false) };
            self.shared.counters.events += 1;
            self.guard_progress()?;
            self.happen(coming)?;
            self.clients_go_on();
        }
        Ok(true)
    }

    fn guard_progress(&mut self) -> Result<(), Broken> {
        let now = self.shared.now();
        if self.same_moment.0 != now {
            self.same_moment = (now, 0);
        }
        self.same_moment.1 += 1;
        let events = self.shared.counters.events;
        if self.same_moment.1 <= SAME_MOMENT_MAX && events <= EVENTS_MAX {
            return Ok(());
        }
        let detail = format!("{} things happened at {now:?}, {events} so far", self.same_moment.1);
        Err(Broken { check: "time goes on", detail })
    }

    fn happen(&mut self, coming: Coming) -> Result<(), Broken> {
        match coming {
            Coming::Message { from, to, message, bytes, cause } => {
                if let Some(until) = self.paused(to) {
                    self.shared.queue.at(until, Coming::Message { from, to, message, bytes, cause });
                    return Ok(());
                }
                let details = || Details::none().peer(from).message(message);
                let up = self.nodes.get(&to).is_some_and(|node| node.life.is_some());
                if !up || self.shared.net.is_cut((from, to)) {
                    self.shared.counters.lost += 1;
                    self.shared.record(to, cause, Kind::Drop, details);
                    return Ok(());
                }
                self.shared.note(8, to, message.0);
                let cause = self.shared.record(to, cause, Kind::Deliver, details);
                self.with_life(to, |life, shared| life.receive(from, bytes, cause, shared))
            }
            Coming::Work { node, life, work } => {
                if let Some(until) = self.paused(node) {
                    self.shared.queue.at(until, Coming::Work { node, life, work });
                    return Ok(());
                }
                self.with_life(
                    node,
                    |current, shared| {
                        if current.number == life { current.work(work, shared) } else { Ok(()) }
                    },
                )
            }
            Coming::Start { node, restart } => {
                let options = self.options.clone();
                self.with_node(node, |node, shared| node.start(restart, &options, shared))
            }
            Coming::Resume { node } => {
                let now = self.shared.now();
                if let Some(node) = self.nodes.get_mut(&node).filter(|node| node.paused_until == Some(now)) {
                    node.paused_until = None;
                    self.shared.record(node.id, Stamp::NONE, Kind::Resume, Details::none);
                }
                Ok(())
            }
            Coming::WallStep { node, step_ms } => {
                self.step_wall_clock(node, step_ms);
                Ok(())
            }
            Coming::Strobe { node, step_ms, every, until } => {
                self.strobe(node, step_ms, every, until);
                Ok(())
            }
            Coming::FaultBegins { fault } => self.begin_fault(fault),
            Coming::FaultEnds { fault } => {
                self.end_fault(fault);
                Ok(())
            }
            Coming::Watch { watcher } => {
                self.watch(watcher);
                Ok(())
            }
            Coming::Ask { client } => {
                if self.stormy {
                    self.ask(client)
                } else {
                    Ok(())
                }
            }
            Coming::GiveUp { op } => {
                self.shared.finish(op, Outcome::Unknown);
                Ok(())
            }
        }
    }

    /// When a node that stands still goes on; `None` if it runs.
    fn paused(&self, node: NodeId) -> Option<Time> {
        self.nodes.get(&node).and_then(|node| node.paused_until)
    }

    pub(crate) fn with_life(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut crate::life::Life<P>, &mut Shared) -> Result<(), Stop>,
    ) -> Result<(), Broken> {
        self.with_node(id, |node, shared| node.life.as_mut().map_or(Ok(()), |life| act(life, shared)))
    }

    pub(crate) fn with_node(
        &mut self,
        id: NodeId,
        act: impl FnOnce(&mut Node<P>, &mut Shared) -> Result<(), Stop>,
    ) -> Result<(), Broken> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match act(node, &mut self.shared) {
            Ok(()) => Ok(()),
            Err(Stop::Broken(broken)) => Err(broken),
            Err(Stop::Crash(why)) => {
                node.crash(why, &mut self.shared);
                Ok(())
            }
        }
    }

    /// Clients whose operation has ended think, and ask again.
    fn clients_go_on(&mut self) {
        for (op, client) in std::mem::take(&mut self.shared.finished) {
            let shared = &mut self.shared;
            let Some(asker) = shared.clients.get_mut(&client) else { continue };
            let mut rng = keys::rng(shared.seed, Purpose::Client, [client.0, op.0, 1]);
            let failed = shared.history.get(op).is_none_or(|operation| operation.outcome.answer().is_none());
            if failed || rng.chance_ppm(shared.setup.workload.roam_ppm) {
                asker.at = NodeId(rng.between(1, shared.setup.nodes + shared.setup.spares));
            }
            if buggify!(shared.buggify, "client.moves") {
                asker.at = NodeId(rng.between(1, shared.setup.nodes + shared.setup.spares));
            }
            let mut think = rng.below(shared.setup.workload.think.as_micros() as u64 + 1);
            if buggify!(shared.buggify, "client.asks_at_once") {
                think = 1;
            }
            let at = shared.now() + Duration::from_micros(think);
            shared.queue.at(at, Coming::Ask { client });
        }
    }

    fn ask(&mut self, client: ClientId) -> Result<(), Broken> {
        let shared = &mut self.shared;
        let Some(asker) = shared.clients.get_mut(&client) else { return Ok(()) };
        let mut rng = asker.rng(shared.seed);
        let question = asker.ask(&mut rng, &shared.setup.workload);
        let at = asker.at;
        self.put_question(client, at, question).map(|_| ())
    }

    /// Hands a client's question to a node.
    pub(crate) fn put_question(
        &mut self,
        client: ClientId,
        at: NodeId,
        question: Question,
    ) -> Result<OpId, Broken> {
        let shared = &mut self.shared;
        let now = shared.now();
        shared.counters.asked += 1;
        let op = shared.history.invoke_at_level(client, now, question.call, question.level);
        shared.opened(op, client);
        shared.record(None, Stamp::NONE, Kind::Invoke, || Details::none().peer(at).op(op));
        let mut patience = now + shared.setup.workload.patience + GRACE;
        if buggify!(shared.buggify, "client.gives_up_early") {
            patience = now + GRACE / 10;
        }
        if self.nodes.get(&at).is_none_or(|node| node.life.is_none()) {
            self.shared.finish(op, Outcome::Refused);
            return Ok(op);
        }
        self.shared.queue.at(patience, Coming::GiveUp { op });
        self.with_life(at, |life, shared| {
            life.take(Incoming::Ask(op), shared);
            Ok(())
        })?;
        Ok(op)
    }

    /// A watcher turns to some node, and to another one later.
    fn watch(&mut self, watcher: usize) {
        if !self.stormy {
            return;
        }
        let mut rng = self.shared.watchers.rng(watcher, self.shared.now());
        let again = Duration::from_micros(rng.between(1, WATCH_FOR.as_micros() as u64));
        let at = self.shared.now() + again;
        self.shared.queue.at(at, Coming::Watch { watcher });
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        rng.pick(&ids).into_iter().for_each(|id| self.watch_at(watcher, *id));
    }

    pub(crate) fn watch_at(&mut self, watcher: usize, id: NodeId) {
        let now = self.shared.now();
        if let Some(life) = self.nodes.get(&id).and_then(|node| node.life.as_ref()) {
            self.shared.watchers.attach(watcher, (id, life.number), &life.kv.reader(), now);
        }
    }

    /// Whoever leads in the highest epoch.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let lives = self.nodes.values().filter_map(|node| node.life.as_ref());
        let leaders = lives.map(|life| (life.core.status(), life.id));
        let leaders = leaders.filter(|(status, _)| status.role == Role::Leader);
        leaders.max_by_key(|(status, _)| status.epoch).map(|(_, id)| id)
    }

    pub(crate) fn resolve(&self, target: Target) -> Vec<NodeId> {
        let all = || self.nodes.keys().copied().collect::<Vec<_>>();
        match target {
            Target::All => all(),
            Target::Node(node) => vec![node],
            Target::Leader => self.leader().into_iter().collect(),
            Target::Follower => {
                let Some(leader) = self.leader() else { return Vec::new() };
                let ids = all();
                let after = ids.iter().cycle().skip_while(|id| **id != leader).skip(1).take(ids.len() - 1);
                let running = |id: &&NodeId| self.nodes.get(id).is_some_and(|node| node.life.is_some());
                after.copied().find(|id| running(&id)).into_iter().collect()
            }
        }
    }

    fn links(&self, shape: &Shape) -> BTreeSet<(NodeId, NodeId)> {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        shape.links(&nodes, |target| self.resolve(target))
    }

    fn begin_fault(&mut self, number: usize) -> Result<(), Broken> {
        let Some(timed) = self.schedule.faults.get(number).filter(|_| self.stormy).cloned() else {
            return Ok(());
        };
        let Timed { at, lasts, fault } = timed;
        *self.shared.counters.faults.entry(fault.kind()).or_default() += 1;
        self.shared.record(None, Stamp::NONE, Kind::Net, || Details::named(fault.to_string()));
        self.shared.queue.at(at + lasts, Coming::FaultEnds { fault: number });
        let key = number as u64;
        match fault {
            Fault::Cut { shape } => self.disturb(key, &shape, Disturbance::Cut),
            Fault::Clog { shape } => self.disturb(key, &shape, Disturbance::Clog(at + lasts)),
            Fault::Storm { shape, net } => self.disturb(key, &shape, Disturbance::Storm(net)),
            Fault::Crash { who, point, rot } => {
                for id in self.resolve(who) {
                    let rot = if self.may_rot(id) { rot } else { 0 };
                    self.with_node(id, |node, shared| {
                        if node.life.is_none() {
                            return Ok(());
                        }
                        (node.down_for, node.rot) = (lasts, rot);
                        node.arm(point, key, shared)
                    })?;
                }
            }
            Fault::Wipe { who } => {
                for id in self.resolve(who) {
                    if !self.may_rot(id) || !self.is_missed_by_founders(id) {
                        continue;
                    }
                    self.with_node(id, |node, _| {
                        if node.life.is_none() {
                            return Ok(());
                        }
                        (node.down_for, node.disk_is_lost) = (lasts, true);
                        Err(Stop::Crash("lost disk"))
                    })?;
                }
            }
            Fault::Disk { who, armed } => {
                for id in self.resolve(who) {
                    let harms = armed.fault.is_damage(armed.act);
                    if (!harms || self.may_rot(id))
                        && let Some(node) = self.nodes.get_mut(&id)
                    {
                        node.at_risk |= harms;
                        node.disk.arm(key, armed);
                    }
                }
            }
            Fault::Drift { who, ppm } => self.drift(who, Some(ppm)),
            Fault::Member { who, change } => self.change_members(key, who, change)?,
            Fault::Transfer { to } => self.transfer_leadership(key, to)?,
            Fault::Pause { who } => self.pause(who, at + lasts),
            Fault::Reset { shape } => self.reset(&shape)?,
            Fault::Poison { who } => self.poison(key, who)?,
            Fault::SlowCpu { who, extra } => self.slow(who, extra, |node| &mut node.extra_step),
            Fault::SlowDisk { who, extra } => self.slow(who, extra, |node| &mut node.extra_sync),
            Fault::SlowApply { who, extra } => self.slow(who, extra, |node| &mut node.extra_apply),
            Fault::Clock { who, step_ms } => {
                self.resolve(who).into_iter().for_each(|id| self.step_wall_clock(id, step_ms));
            }
            Fault::Suspend { who } => {
                self.pause(who, at + lasts);
                self.disturb(key, &Shape::Around { who, says: false, hears: true }, Disturbance::Cut);
            }
            Fault::Strobe { who, step_ms, every } => {
                for id in self.resolve(who) {
                    self.strobe(id, step_ms, every, at + lasts);
                }
            }
        }
        Ok(())
    }

    fn end_fault(&mut self, number: usize) {
        if !self.stormy {
            return;
        }
        match self.schedule.faults.get(number).map(|timed| timed.fault.clone()) {
            Some(Fault::Cut { .. } | Fault::Clog { .. } | Fault::Storm { .. } | Fault::Suspend { .. }) => {
                self.shared.net.calm(number as u64)
            }
            // A slow leader may be nobody's leader any more: all are made fast again.
            Some(Fault::SlowCpu { .. }) => {
                self.slow(Target::All, Duration::ZERO, |node| &mut node.extra_step)
            }
            Some(Fault::SlowDisk { .. }) => {
                self.slow(Target::All, Duration::ZERO, |node| &mut node.extra_sync)
            }
            Some(Fault::SlowApply { .. }) => {
                self.slow(Target::All, Duration::ZERO, |node| &mut node.extra_apply)
            }
            Some(Fault::Drift { .. }) => self.drift(Target::All, None),
            Some(Fault::Disk { .. }) => self.nodes.values().for_each(|node| node.disk.disarm(number as u64)),
            _ => {}
        }
    }

    fn drift(&mut self, who: Target, ppm: Option<i64>) {
        for id in self.resolve(who) {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.set_drift(ppm, &mut self.shared);
            }
        }
    }

    fn disturb(&mut self, fault: u64, shape: &Shape, what: Disturbance) {
        let links = self.links(shape);
        self.shared.net.disturb(fault, links, what);
    }

    /// Tells everybody at whom a link ends that its other end cannot be reached. What was on its way may still arrive.
    fn reset(&mut self, shape: &Shape) -> Result<(), Broken> {
        for (peer, told) in self.links(shape) {
            self.with_life(told, |life, shared| {
                life.take(Incoming::Input(Input::Unreachable { peer }), shared);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Has somebody propose the beginning of a command, or noise.
    fn poison(&mut self, fault: u64, who: Target) -> Result<(), Broken> {
        for id in self.resolve(who) {
            let mut rng = keys::rng(self.shared.seed, Purpose::Client, [u64::MAX, fault + 1, id.0]);
            let bytes = convert::poison(&mut rng);
            self.with_life(id, |life, shared| {
                life.take(Incoming::Poison(bytes), shared);
                Ok(())
            })?;
        }
        Ok(())
    }

    fn pause(&mut self, who: Target, until: Time) {
        for id in self.resolve(who) {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            if node.paused_until.is_none_or(|set| set < until) {
                node.paused_until = Some(until);
                self.shared.queue.at(until, Coming::Resume { node: id });
                self.shared.record(id, Stamp::NONE, Kind::Pause, Details::none);
            }
        }
    }

    fn step_wall_clock(&mut self, id: NodeId, step_ms: i64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.wall_skew_ms = node.wall_skew_ms.saturating_add(step_ms);
        if let Some(life) = &mut node.life {
            life.skew(node.wall_skew_ms);
        }
    }

    /// Jumps there and back again, and so on until the end; there and back are a pair, so that it ends where it began.
    fn strobe(&mut self, node: NodeId, step_ms: i64, every: Duration, until: Time) {
        let there = self.shared.now();
        if there >= until {
            return;
        }
        let (back, again) = (there + every, there + every * 2);
        self.step_wall_clock(node, step_ms);
        self.shared.queue.at(back, Coming::WallStep { node, step_ms: step_ms.saturating_neg() });
        self.shared.queue.at(again, Coming::Strobe { node, step_ms, every, until });
    }

    fn slow(&mut self, who: Target, extra: Duration, what: fn(&mut Node<P>) -> &mut Duration) {
        for id in self.resolve(who) {
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            *what(node) = extra;
            if let Some(life) = &mut node.life {
                (life.extra_sync, life.extra_apply) = (node.extra_sync, node.extra_apply);
                life.extra_step = node.extra_step;
            }
        }
    }

    /// How long something that the operator asked for may be on its way.
    pub(crate) fn errand_patience(&self) -> Duration {
        self.shared.setup.climate.fault_max * 2 + Duration::from_secs(1)
    }

    /// Whether another founder is whole: founders that all lost their disks, or a single one, may found what they like.
    fn is_missed_by_founders(&self, id: NodeId) -> bool {
        let is_whole = |other: &NodeId| self.nodes.get(other).is_some_and(|node| !node.was_rotten());
        self.shared.setup.voters().iter().any(|founder| *founder != id && is_whole(founder))
    }

    /// The atlas of faults: damage never reaches more nodes at once than a correct cluster survives.
    fn may_rot(&self, id: NodeId) -> bool {
        let register = &self.shared.oracle.register;
        let is_well =
            |other: NodeId| other != id && self.nodes.get(&other).is_some_and(|node| !node.was_rotten());
        register.is_founded()
            && register.can_do_with(is_well)
            && !register.is_busy(self.shared.now(), self.errand_patience())
    }
}

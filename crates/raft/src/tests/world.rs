//! A whole cluster in one value: machines, a bag of messages, a clock that stands still until it is moved.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Action, Change, CommittedEntry, Consensus, Entry, EntryKind, Event, Input, Membership, Out, Protocol,
    ReadLevel, Request, Role, Token,
};
use types::{Batch, Command, NodeId, Now, Rng, SessionId, Slot, SlotState, Time, WallTime, Wire};

use super::machine::{Held, Machine, commands, n};
use crate::{Config, Message, Meta, Raft, Record};

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Envelope {
    pub from: NodeId,
    pub to: NodeId,
    pub message: Message,
}

pub struct World {
    pub machines: BTreeMap<NodeId, Machine>,
    pub bag: VecDeque<Envelope>,
    pub now: Time,
    /// How fast the clocks of some nodes run.
    pub rates_ppm: BTreeMap<u64, u64>,
    /// Links that lose everything, by direction.
    cut: BTreeSet<(NodeId, NodeId)>,
    inputs: VecDeque<(NodeId, Input<Raft>)>,
    tokens: u64,
    boots: u64,
    /// What was committed anywhere, by slot.
    committed: BTreeMap<Slot, CommittedEntry>,
    leaders: BTreeMap<u64, NodeId>,
    /// What a read must at least see: everything that anybody had applied when it was asked for.
    floors: BTreeMap<Token, Slot>,
    /// The first promise that was broken.
    pub violation: Option<String>,
}

impl World {
    /// `nodes` replicas with default times, ids from 1.
    pub fn new(nodes: u64) -> World {
        World::with(nodes, |_| {})
    }

    pub fn with(nodes: u64, adjust: impl Fn(&mut Config)) -> World {
        World::with_spares(nodes, 0, adjust)
    }

    /// `nodes` voters, and `spares` that are no members yet.
    pub fn with_spares(nodes: u64, spares: u64, adjust: impl Fn(&mut Config)) -> World {
        let mut world = World {
            machines: BTreeMap::new(),
            bag: VecDeque::new(),
            now: Time(1),
            rates_ppm: BTreeMap::new(),
            cut: BTreeSet::new(),
            inputs: VecDeque::new(),
            tokens: 0,
            boots: 100,
            committed: BTreeMap::new(),
            leaders: BTreeMap::new(),
            floors: BTreeMap::new(),
            violation: None,
        };
        for number in 1..=nodes + spares {
            let voters = if number <= nodes { nodes } else { 0 };
            let mut config = Config::new(n(number), []);
            // A group that is founded: every disk has the number of its node.
            config.membership = Membership::of_disks((1..=voters).map(|node| (NodeId(node), node)));
            adjust(&mut config);
            let mut out = Out::default();
            let machine = Machine::new(config, world.clock(number), &mut out);
            world.machines.insert(n(number), machine);
            world.perform(n(number), out);
        }
        world
    }

    /// The clocks of `id`.
    fn clock(&self, id: u64) -> Now {
        let rate_ppm = self.rates_ppm.get(&id).copied().unwrap_or(1_000_000);
        let mono = u128::from(self.now.0) * u128::from(rate_ppm) / 1_000_000;
        Now { mono: Time(mono as u64), wall: WallTime((self.now.0 / 1_000_000) as i64) }
    }

    /// When the clock of `id` shows `time`.
    fn world_time(&self, id: u64, time: Time) -> Time {
        let rate_ppm = self.rates_ppm.get(&id).copied().unwrap_or(1_000_000);
        Time((u128::from(time.0) * 1_000_000).div_ceil(u128::from(rate_ppm)) as u64)
    }

    pub fn machine(&mut self, id: u64) -> &mut Machine {
        self.machines.get_mut(&n(id)).expect("a node of this world")
    }

    pub fn raft(&self, id: u64) -> &Raft {
        &self.machines[&n(id)].raft
    }

    pub fn role(&self, id: u64) -> Role {
        self.raft(id).status().role
    }

    /// The leader of the latest term among those that are up, as a number.
    pub fn leader(&self) -> Option<u64> {
        let up = self.machines.iter().filter(|(_, machine)| machine.is_up);
        let leaders = up.filter(|(_, machine)| machine.raft.status().role == Role::Leader);
        leaders.max_by_key(|(_, machine)| machine.raft.status().epoch).map(|(id, _)| id.0)
    }

    // ---- inputs

    /// One step and its flush.
    pub fn step(&mut self, id: u64, input: Input<Raft>) {
        self.batch(id, vec![input]);
    }

    /// Several steps before one flush.
    pub fn batch(&mut self, id: u64, inputs: Vec<Input<Raft>>) {
        let clock = self.clock(id);
        let machine = self.machine(id);
        if !machine.is_up {
            return;
        }
        let mut out = Out::default();
        inputs.into_iter().for_each(|input| machine.raft.step(clock, input, &mut out));
        machine.raft.flush(clock, &mut out);
        self.perform(n(id), out);
        while let Some((id, input)) = self.inputs.pop_front() {
            self.step(id.0, input);
        }
    }

    pub fn request(&mut self, id: u64, request: Request) {
        self.step(id, Input::Request(request));
    }

    /// Proposes one command with this text.
    pub fn propose(&mut self, id: u64, text: &str) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.request(id, Request::Propose { token, commands: vec![command(self.tokens, text)] });
        token
    }

    pub fn read(&mut self, id: u64) -> Token {
        self.read_with(id, ReadLevel::ReadIndex)
    }

    pub fn read_with(&mut self, id: u64, level: ReadLevel) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.floors.insert(token, self.committed_last().unwrap_or_default());
        self.request(id, Request::Read { token, level });
        token
    }

    /// Asks `id` to change the membership.
    pub fn reconfigure(&mut self, id: u64, changes: &[Change]) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.request(id, Request::Reconfigure { token, changes: changes.to_vec() });
        token
    }

    /// Asks `id` to let somebody else lead.
    pub fn transfer(&mut self, id: u64, to: Option<u64>) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        self.request(id, Request::TransferLeadership { token, to: to.map(n) });
        token
    }

    /// Who votes, as `id` sees it.
    pub fn voters(&self, id: u64) -> Vec<u64> {
        self.raft(id).membership().voters().map(|node| node.0).collect()
    }

    pub fn timer(&mut self, id: u64) {
        self.step(id, Input::Timer);
    }

    /// Moves the clock to the time-out of `id` and lets it happen, without delivering anything.
    pub fn time_out(&mut self, id: u64) {
        let deadline = self.raft(id).deadline().expect("a node that waits for something");
        self.now = self.now.max(self.world_time(id, deadline));
        self.timer(id);
    }

    /// Lets `id` win an election, and its no-op be committed, if the others can be made to vote for it.
    pub fn elect(&mut self, id: u64) {
        self.elect_silently(id);
        self.deliver_all();
    }

    /// Lets `id` win an election, but nothing that it says as a leader arrives.
    pub fn elect_silently(&mut self, id: u64) {
        // It may have to learn of a later term first.
        for _ in 0..3 {
            // Long enough for everybody to have forgotten the last leader.
            self.now = self.now + Duration::from_secs(1);
            self.time_out(id);
            while self.role(id) != Role::Leader
                && let Some(envelope) = self.bag.pop_front()
            {
                self.deliver(envelope);
            }
            if self.role(id) == Role::Leader {
                return;
            }
        }
    }

    /// Writes a log of one record per term given to the disk of each node, in order, and restarts it.
    pub fn give_logs(&mut self, logs: &[&[u64]], term: u64) {
        for (id, terms) in (1..).zip(logs) {
            self.crash(id);
            let disk = &mut self.machine(id).disk;
            disk.log = (1..).map(Slot).zip(terms.iter().map(|term| SlotState::Ok(record(*term)))).collect();
            self.set_term(id, term);
        }
    }

    /// Restarts a node in `term`, in which it has not voted.
    pub fn set_term(&mut self, id: u64, term: u64) {
        self.crash(id);
        self.machine(id).disk.meta = SlotState::Ok(Meta { term, incarnation: id, ..Meta::default() });
        self.restart(id);
    }

    /// Moves the clock on, with every timer and message on the way.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.deliver_all();
        while let Some((at, id)) =
            self.next_deadline().filter(|(at, _)| *at <= end && self.violation.is_none())
        {
            self.now = self.now.max(at);
            self.timer(id.0);
            self.deliver_all();
        }
        self.now = end;
    }

    fn next_deadline(&self) -> Option<(Time, NodeId)> {
        let up = self.machines.iter().filter(|(_, machine)| machine.is_up);
        up.filter_map(|(id, machine)| Some((self.world_time(id.0, machine.raft.deadline()?), *id))).min()
    }

    /// This read may return old data.
    pub fn exempt_from_freshness(&mut self, token: Token) {
        self.floors.insert(token, Slot::ZERO);
    }

    /// Lets a lazy machine do the first thing of its backlog. Returns whether there was one.
    pub fn work(&mut self, id: u64) -> bool {
        let Some(event) = self.machine(id).backlog.pop_front() else { return false };
        let answers = self.obey(n(id), event);
        answers.into_iter().for_each(|answer| self.step(id, answer));
        true
    }

    // ---- network

    pub fn deliver_all(&mut self) {
        for _ in 0..20_000 {
            let Some(envelope) = self.bag.pop_front().filter(|_| self.violation.is_none()) else { return };
            self.deliver(envelope);
        }
        self.violation.get_or_insert("messages never end".to_owned());
    }

    pub fn deliver(&mut self, envelope: Envelope) {
        let Envelope { from, to, message } = envelope;
        if !self.cut.contains(&(from, to)) {
            self.step(to.0, Input::Recv { from, message });
        }
    }

    /// Delivers until a message that matches is next.
    pub fn deliver_until(&mut self, matches: impl Fn(&Envelope) -> bool) {
        while self.bag.front().is_some_and(|next| !matches(next))
            && let Some(envelope) = self.bag.pop_front()
        {
            self.deliver(envelope);
        }
    }

    /// Takes the first message that matches out of the bag.
    pub fn take_first(&mut self, matches: impl Fn(&Envelope) -> bool) -> Option<Envelope> {
        let at = self.bag.iter().position(matches)?;
        self.bag.remove(at)
    }

    /// Takes the messages that match out of the bag.
    pub fn take(&mut self, matches: impl Fn(&Envelope) -> bool) -> Vec<Envelope> {
        let (taken, left) = std::mem::take(&mut self.bag).into_iter().partition(|it| matches(it));
        self.bag = left;
        taken.into()
    }

    pub fn isolate(&mut self, id: u64) {
        for other in self.machines.keys().copied().filter(|other| *other != n(id)) {
            self.cut.insert((n(id), other));
            self.cut.insert((other, n(id)));
        }
    }

    pub fn cut(&mut self, a: u64, b: u64) {
        self.cut.extend([(n(a), n(b)), (n(b), n(a))]);
    }

    pub fn cut_one_way(&mut self, from: u64, to: u64) {
        self.cut.insert((n(from), n(to)));
    }

    pub fn heal(&mut self) {
        self.cut.clear();
    }

    // ---- disks and crashes

    /// Makes everything that `id` has written durable.
    pub fn sync(&mut self, id: u64) {
        if let Some(upto) = self.machine(id).disk.sync() {
            self.durable(id, upto);
        }
    }

    fn durable(&mut self, id: u64, upto: consensus::WriteSeq) {
        let released: Vec<Held> = self.machine(id).gates.open(upto).collect();
        for held in released {
            self.release(n(id), held);
        }
        self.step(id, Input::Durable { upto });
    }

    pub fn crash(&mut self, id: u64) {
        self.machine(id).crash();
    }

    /// Restarts a node on a new disk.
    pub fn wipe(&mut self, id: u64) {
        self.crash(id);
        self.machine(id).wipe();
        self.restart(id);
    }

    pub fn restart(&mut self, id: u64) {
        self.boots += 1;
        let (boots, clock) = (self.boots, self.clock(id));
        let mut out = Out::default();
        self.machine(id).restart(boots, clock, &mut out);
        self.perform(n(id), out);
    }

    // ---- outputs

    fn perform(&mut self, id: NodeId, out: Out<Raft>) {
        for action in out.actions {
            self.perform_one(id, action);
        }
        let machine = &self.machines[&id];
        if let Err(broken) = machine.raft.check_invariants() {
            self.violation.get_or_insert(format!("{id:?}: {broken}"));
        }
        let status = machine.raft.status();
        if status.role == Role::Leader {
            let first = *self.leaders.entry(status.epoch.number).or_insert(id);
            if first != id {
                self.violation.get_or_insert(format!("{first:?} and {id:?} lead {:?}", status.epoch));
            }
            let term = status.epoch.number;
            if self.machines[&id].disk.promised().is_some_and(|it| it.term < term) {
                self.violation.get_or_insert(format!("{id:?} leads term {term} before it is durable"));
            }
        }
        if self.machines[&id].disk_is_fast {
            self.sync(id.0);
        }
    }

    fn perform_one(&mut self, id: NodeId, action: Action<Raft>) {
        let machine = self.machine(id.0);
        match action {
            Action::Persist { seq, ops } => machine.disk.pending.push_back((seq, ops)),
            Action::Send { to, message, after, .. } => {
                if let Some(held) = machine.gates.admit(after, Held::Send(to, message)) {
                    self.release(id, held);
                }
            }
            Action::Event { event, after } => {
                if let Some(held) = machine.gates.admit(after, Held::Event(event)) {
                    self.release(id, held);
                }
            }
            Action::ReadLog { first, last, bytes_max } => {
                let answer = machine.read_log(first, last, bytes_max);
                self.inputs.push_back((id, answer));
            }
        }
    }

    fn release(&mut self, id: NodeId, held: Held) {
        match held {
            Held::Send(to, message) => {
                to.nodes().iter().for_each(|to| self.judge_send(id, *to, &message));
                let envelope = |to: &NodeId| Envelope { from: id, to: *to, message: message.clone() };
                self.bag.extend(to.nodes().iter().map(envelope));
            }
            Held::Event(event) => {
                self.judge(id, &event);
                let machine = self.machine(id.0);
                if machine.is_lazy || !machine.backlog.is_empty() {
                    return machine.backlog.push_back(event);
                }
                let answers = self.obey(id, event);
                self.inputs.extend(answers.into_iter().map(|input| (id, input)));
            }
        }
    }

    /// Lets the state machine do what an event asks for. No checkpoint takes it back (R5).
    fn obey(&mut self, id: NodeId, event: Event) -> Vec<Input<Raft>> {
        let machine = self.machine(id.0);
        let applied = machine.standing().0;
        let goes_back =
            matches!(&event, Event::InstallCheckpoint { meta, .. } if meta.at <= applied).then_some(applied);
        let answers = machine.obey(event);
        if let Some(applied) = goes_back {
            self.violation.get_or_insert(format!("{id:?} had applied {applied:?}, and its state goes back"));
        }
        answers
    }

    /// Nothing that leaves rests on what a crash could still take back (R3).
    fn judge_send(&mut self, id: NodeId, to: NodeId, message: &Message) {
        let disk = &self.machines[&id].disk;
        let Some(promised) = disk.promised() else { return };
        let is_only_proposed = matches!(
            message,
            Message::RequestVote { pre: true, .. } | Message::Vote { pre: true, granted: true, .. }
        );
        let is_kept = match message {
            _ if is_only_proposed => true,
            _ if message.term().is_some_and(|term| term > promised.term) => false,
            Message::Vote { term, pre: false, granted: true, .. } if *term == promised.term => {
                promised.vote == Some(to)
            }
            Message::Appended { matched, .. } => *matched <= disk.last(),
            _ => true,
        };
        if !is_kept {
            self.violation.get_or_insert(format!("{id:?} says {message:?} before it is durable"));
        }
    }

    /// All replicas commit the same entries, and reads see everything that was applied before them (R6).
    fn judge(&mut self, id: NodeId, event: &Event) {
        if let Event::ReadReady { token, at } = event
            && *at < self.floors[token]
        {
            let broken = format!("{id:?} reads at {at:?}, {:?} was applied before", self.floors[token]);
            self.violation.get_or_insert(broken);
        }
        let Event::Committed { first, entries } = event else { return };
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            let agreed = self.committed.entry(slot).or_insert_with(|| entry.clone());
            if agreed != entry {
                let broken = format!("{id:?} commits {entry:?} at {slot:?}, elsewhere {agreed:?}");
                self.violation.get_or_insert(broken);
            }
        }
    }

    // ---- claims

    /// The last slot that anybody has applied.
    pub fn committed_last(&self) -> Option<Slot> {
        self.committed.keys().last().copied()
    }

    pub fn assert_sound(&self) {
        assert_eq!(self.violation, None);
    }

    /// The commands that `id` has applied, in order.
    pub fn applied(&self, id: u64) -> Vec<String> {
        self.machines[&n(id)].state.iter().flat_map(|it| commands(&it.entry)).collect()
    }

    /// The answer to a read, or the refusal of an attempt.
    pub fn answer(&self, id: u64, wanted: Token) -> Option<&Event> {
        self.machines[&n(id)].events.iter().find(|event| match event {
            Event::ReadReady { token, .. } | Event::Refused { token, .. } => *token == wanted,
            Event::Reconfigured { token, .. } => *token == wanted,
            _ => false,
        })
    }

    /// The terms of the log of `id`, slot by slot from the first one it still has.
    pub fn terms(&self, id: u64) -> Vec<u64> {
        let log = &self.raft(id).log;
        (log.first().0..=log.last().0).filter_map(|slot| log.term_at(Slot(slot))).collect()
    }

    /// Picks one of the messages on their way.
    pub fn pick_message(&mut self, rng: &mut Rng) -> Option<Envelope> {
        let at = rng.below(self.bag.len() as u64) as usize;
        self.bag.remove(at)
    }
}

/// A command of term `term`.
pub fn record(term: u64) -> Record {
    let batch = Batch { wall: WallTime(0), commands: vec![command(term, &format!("of term {term}"))] };
    Record { term, entry: Entry { kind: EntryKind::Commands, payload: batch.to_bytes() } }
}

pub fn command(number: u64, text: &str) -> Command {
    let body = Bytes::copy_from_slice(text.as_bytes());
    Command { session: SessionId(1), number, acked_below: 0, body }
}

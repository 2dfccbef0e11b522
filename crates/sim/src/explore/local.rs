//! One node of the model: a core, its disk, what waits behind gates, and a clock that moves only when it is told to.
//!
//! Time has two values, "just now" and "at least an election time-out ago": every time-out is one nanosecond. Messages
//! take none, a timer moves its node's clock to its deadline, and a node may lose a nanosecond in between ([`Input`]
//! `Elapse`), so that it hears nobody any more or that a leader misses its followers. Clocks of different nodes have
//! nothing to do with each other.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Action, CommittedEntry, Dest, Event, GateQueue, Input, Membership, Out, ReadLevel, Request, Status,
    Token, WriteSeq,
};
use types::{Buggify, Command, Epoch, Fingerprinter, NodeId, Now, SessionId, Slot, Time, WallTime, Wire};

use super::Bounds;
use super::store::{Pending, Store};
use super::table::{print, print_bytes};
use crate::options::{Mutation, Options};
use crate::oracle::Broken;
use crate::run::panic_text;
use crate::setup::{Setup, Tuning};
use crate::subject::Subject;

/// Every time-out.
const UNIT: Duration = Duration::from_nanos(1);
/// Where clocks start: late enough for "long ago" to be a moment.
const START: Time = Time(1_000);
/// Appends under way to one peer: two can overtake each other.
const WINDOW: u64 = 2;
/// Moments further apart than this are the same to the core.
const HORIZON_NS: u64 = 2;

/// What can happen to a node.
#[derive(Clone, Debug)]
pub(super) enum Stimulus<P: Subject> {
    /// A message arrives.
    Receive(NodeId, P::Message),
    /// The oldest write under way becomes durable.
    Durable,
    /// Its deadline passes.
    Timer,
    /// Time passes and it notices nothing yet.
    Elapse,
    /// A client proposes the command of this number.
    Propose(u64),
    /// A client asks for a read point under this token.
    Read(Token),
    /// It dies, the first so many of its writes under way having reached the disk, and starts again.
    Crash(usize),
}

/// What others see of what a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It handed an entry to its state machine.
    Committed { slot: Slot, entry: u128, record: u128, epoch: Epoch },
    /// It let a client read at a slot.
    ReadReady { token: Token, at: Slot },
}

/// What comes of one step.
#[derive(Debug)]
pub(super) struct Effects<P: Subject> {
    pub(super) sent: Vec<(NodeId, P::Message)>,
    pub(super) seen: Vec<Seen>,
}

#[derive(Clone, Debug)]
enum Held<P: Subject> {
    Send(Dest, P::Message),
    Event(Event),
}

/// A node.
#[derive(Clone, Debug)]
pub(super) struct Local<P: Subject> {
    id: NodeId,
    config: P::Config,
    mutation: Mutation,
    core: P,
    store: Store<P>,
    pending: Pending<P>,
    gates: GateQueue<Held<P>>,
    now: Time,
    boots: u64,
}

impl<P: Subject> Local<P> {
    /// A node with a disk that has nothing but its number.
    pub(super) fn new(
        id: NodeId,
        bounds: &Bounds,
        options: &Options,
    ) -> Result<(Local<P>, Effects<P>), Broken> {
        // A group that is founded: the disk of every node has its number.
        let voters = (1..=u64::from(bounds.nodes)).map(|node| (NodeId(node), node));
        let founders = Membership::of_disks(voters);
        let config = P::config(id, founders, &tuning(bounds), options, &Buggify::default());
        Local::start(id, config, options.mutation(), Store::of(P::numbered(id.0)), 0)
    }

    fn start(
        id: NodeId,
        config: P::Config,
        mutation: Mutation,
        store: Store<P>,
        boots: u64,
    ) -> Result<(Local<P>, Effects<P>), Broken> {
        let mut out = Out::default();
        let now = Now { mono: START, wall: WallTime(0) };
        let core = P::recover(config.clone(), boots, store.recovered(), now, &mut out);
        let (pending, gates) = (Pending(VecDeque::new()), GateQueue::default());
        let mut local = Local { id, config, mutation, core, store, pending, gates, now: START, boots };
        let mut effects = Effects { sent: Vec::new(), seen: Vec::new() };
        let mut inputs = VecDeque::new();
        local.act(out.actions, &mut inputs, &mut effects)?;
        local.run(inputs, &mut effects)?;
        Ok((local, effects))
    }

    /// Lets something happen to a copy of this node.
    ///
    /// # Errors
    /// A promise that the node breaks on its own; a panic counts as one.
    pub(super) fn after(&self, stimulus: Stimulus<P>) -> Result<(Local<P>, Effects<P>), Broken> {
        let stepped = catch_unwind(AssertUnwindSafe(|| self.clone().stimulated(stimulus)));
        stepped.unwrap_or_else(|panic| {
            let detail = format!("{:?}: {}", self.id, panic_text(panic.as_ref()));
            Err(Broken { check: "no panic", detail })
        })
    }

    fn stimulated(mut self, stimulus: Stimulus<P>) -> Result<(Local<P>, Effects<P>), Broken> {
        let mut effects = Effects { sent: Vec::new(), seen: Vec::new() };
        let mut inputs = VecDeque::new();
        match stimulus {
            Stimulus::Receive(from, message) => inputs.push_back(Input::Recv { from, message }),
            Stimulus::Timer => {
                self.now = self.core.deadline().map_or(self.now, |deadline| deadline.max(self.now));
                inputs.push_back(Input::Timer);
            }
            Stimulus::Elapse => self.now = self.now + UNIT,
            Stimulus::Propose(number) => inputs.push_back(Input::Request(proposal(number))),
            Stimulus::Read(token) => {
                let level = ReadLevel::ReadIndex;
                inputs.push_back(Input::Request(Request::Read { token, level }));
            }
            Stimulus::Durable => self.make_durable(&mut inputs, &mut effects)?,
            Stimulus::Crash(kept) => return self.restarted(kept),
        }
        self.run(inputs, &mut effects)?;
        Ok((self, effects))
    }

    fn make_durable(
        &mut self,
        inputs: &mut VecDeque<Input<P>>,
        effects: &mut Effects<P>,
    ) -> Result<(), Broken> {
        let Some((upto, ops)) = self.pending.0.pop_front() else { return Ok(()) };
        self.store.apply(&ops);
        let free: Vec<Held<P>> = self.gates.open(upto).collect();
        free.into_iter().try_for_each(|held| self.release(held, inputs, effects))?;
        inputs.push_back(Input::Durable { upto });
        Ok(())
    }

    fn restarted(mut self, kept: usize) -> Result<(Local<P>, Effects<P>), Broken> {
        for (_, ops) in self.pending.0.iter().take(kept) {
            self.store.apply(ops);
        }
        Local::start(self.id, self.config, self.mutation, self.store, self.boots + 1)
    }

    /// Each input is a batch of its own.
    fn run(&mut self, mut inputs: VecDeque<Input<P>>, effects: &mut Effects<P>) -> Result<(), Broken> {
        while let Some(input) = inputs.pop_front() {
            let now = Now { mono: self.now, wall: WallTime(0) };
            let mut out = Out::default();
            self.core.step(now, input, &mut out);
            self.core.flush(now, &mut out);
            self.act(out.actions, &mut inputs, effects)?;
        }
        let checked = self.core.check_invariants();
        checked.map_err(|broken| self.broken("invariant of the core", broken))
    }

    fn act(
        &mut self,
        actions: Vec<Action<P>>,
        inputs: &mut VecDeque<Input<P>>,
        effects: &mut Effects<P>,
    ) -> Result<(), Broken> {
        for action in actions {
            match action {
                Action::Persist { seq, ops } => self.pending.0.push_back((seq, ops)),
                Action::Send { to, message, after, lane: _ } => {
                    let held = Held::Send(to, message);
                    self.admit(self.mutation.send_gate(after), held, inputs, effects)?;
                }
                Action::Event { event, after } => {
                    self.admit(self.mutation.event_gate(after), Held::Event(event), inputs, effects)?;
                }
                Action::ReadLog { first, last, .. } => {
                    let records = self.store.with(&self.pending).read(first, last);
                    inputs.push_back(Input::LogRead { first, records });
                }
            }
        }
        Ok(())
    }

    fn admit(
        &mut self,
        after: WriteSeq,
        held: Held<P>,
        inputs: &mut VecDeque<Input<P>>,
        effects: &mut Effects<P>,
    ) -> Result<(), Broken> {
        match self.gates.admit(after, held) {
            Some(free) => self.release(free, inputs, effects),
            None => Ok(()),
        }
    }

    fn release(
        &mut self,
        held: Held<P>,
        inputs: &mut VecDeque<Input<P>>,
        effects: &mut Effects<P>,
    ) -> Result<(), Broken> {
        match held {
            Held::Send(to, message) => {
                effects.sent.extend(to.nodes().iter().map(|node| (*node, message.clone())));
            }
            Held::Event(Event::Committed { first, entries }) => {
                let upto = first.prev().plus(entries.len() as u64);
                self.see_committed(first, &entries, effects)?;
                inputs.push_back(Input::Request(Request::Applied { upto }));
            }
            Held::Event(Event::ReadReady { token, at }) => effects.seen.push(Seen::ReadReady { token, at }),
            // Checkpoints are never due in so small a world.
            Held::Event(_) => {}
        }
        Ok(())
    }

    fn see_committed(
        &self,
        first: Slot,
        entries: &[CommittedEntry],
        effects: &mut Effects<P>,
    ) -> Result<(), Broken> {
        let durable = self.store.digests();
        let epoch = self.core.status().epoch;
        for (slot, entry) in (first.0..).map(Slot).zip(entries) {
            let Some(record) = durable.get(&slot).copied() else {
                let detail = format!("slot {slot} is handed out and not durable here");
                return Err(self.broken("apply after durable", detail));
            };
            effects.seen.push(Seen::Committed { slot, entry: print(entry), record, epoch });
        }
        Ok(())
    }

    fn broken(&self, check: &'static str, detail: impl std::fmt::Display) -> Broken {
        Broken { check, detail: format!("{:?}: {detail}", self.id) }
    }

    // ---- views

    pub(super) fn status(&self) -> Status {
        self.core.status()
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.core.deadline().is_some()
    }

    /// Writes under way.
    pub(super) fn pending(&self) -> usize {
        self.pending.0.len()
    }

    /// What each durable record is.
    pub(super) fn durable(&self) -> BTreeMap<Slot, u128> {
        self.store.digests()
    }

    /// What each record of its log is, durable or not.
    pub(super) fn log(&self) -> BTreeMap<Slot, u128> {
        self.store.with(&self.pending).digests()
    }

    /// The digest of all that its future depends on: moments relative to now, writes relative to the durable ones.
    pub(super) fn fingerprint(&self) -> u128 {
        let mut into = Fingerprinter::relative_to(self.now, HORIZON_NS);
        into.write_u64(self.id.0);
        into.write_u64(self.boots);
        self.core.digest(&mut into);
        self.store.digest(&mut into);
        let durable = self.gates.durable();
        self.pending.digest(durable, &mut into);
        for (gate, held) in self.gates.held() {
            into.write_u64(gate.0 - durable.0);
            into.write_u128(match held {
                Held::Send(to, message) => print(to.nodes()) ^ print_bytes(&message.to_bytes()),
                Held::Event(event) => print_bytes(format!("{event:?}").as_bytes()),
            });
        }
        into.finish128()
    }
}

/// Time-outs of one unit, heartbeats at any moment, and messages of one entry each, so that entries travel apart.
fn tuning(bounds: &Bounds) -> Tuning {
    Tuning {
        heartbeat: Duration::ZERO,
        election: UNIT,
        message_bytes: 1,
        window_messages: WINDOW,
        checkpoint_entries: u64::MAX,
        cache_bytes: u64::MAX,
        batch_bytes: 1,
        ..Setup::draw(0, Some(bounds.nodes.into())).tuning
    }
}

fn proposal(number: u64) -> Request {
    let body = Bytes::from(format!("c{number}"));
    let command = Command { session: SessionId(1), number, acked_below: 0, body };
    Request::Propose { token: Token(number), commands: vec![command] }
}

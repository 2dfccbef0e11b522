//! One life of a node, from recovery to crash: the simulated driver around a protocol core.
//!
//! ```text
//!   inbox ──batch──▶ core.step* ──▶ flush ──┬─▶ Persist ──▶ disk queue ──append──sync──▶ Durable
//!   (messages, clients,                     ├─▶ Send, Event ──▶ gates ──▶ network, apply queue
//!    Durable, Applied …)                    └─▶ ReadLog ──▶ disk queue
//! ```
//!
//! It follows the contract C1–C10 of the `consensus` crate, as the real driver does; only time, the network and
//! the disk are made up. A crash can fall between any two of these arrows.

mod apply;
mod clients;
mod clock;
mod disk;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use consensus::{Action, Dest, Errand, GateQueue, Input, Out, Request, Submitter, TransferId, WriteSeq};
use kv::{CheckpointWriter, Kv};
use storage::{Log, MemEngine, MemView, ScrubCursor, SimDisk};
use trace::{Details, Kind, OpId, Stamp};
use types::{Buggify, NodeId, Now, Slot, Time, WallTime, Wire, buggify};

use crate::explain::Waiting;
use crate::keys::{self, Purpose};
use crate::options::Mutation;
use crate::schedule::CrashPoint;
use crate::shared::{Coming, Shared, Stop, Work};
use crate::subject::Subject;
use apply::Job;
use clock::Clock;

/// What waits for the next batch.
#[derive(Debug)]
pub(crate) enum Incoming<P: Subject> {
    /// Something for the core.
    Input(Input<P>),
    /// A client's question; its call stands in the history.
    Ask(OpId),
    /// What the operator wants.
    Errand(Errand),
    /// Bytes that are no command, to be proposed as one.
    Poison(Bytes),
}

/// What waits behind a gate.
#[derive(Debug)]
pub(crate) enum Held<P: Subject> {
    Send { to: Dest, bytes: Bytes, text: String, cause: Stamp },
    Event(P::Event),
}

/// What waits for the disk, in order.
#[derive(Debug)]
enum DiskJob {
    Write { seq: WriteSeq, ops: Vec<storage::LogOp> },
    Read { first: Slot, last: Slot, bytes_max: u64 },
}

/// A running process.
pub(crate) struct Life<P: Subject> {
    pub(crate) id: NodeId,
    /// Which life of the node this is, from 1.
    pub(crate) number: u64,
    pub(crate) core: P,
    pub(crate) kv: Kv<MemEngine>,
    clock: Clock,
    wall_skew_ms: i64,
    submitter: Submitter,
    gates: GateQueue<Held<P>>,
    mutation: Mutation,
    buggify: Buggify,
    inbox: VecDeque<Incoming<P>>,
    batch_due: bool,
    timer_at: Option<Time>,
    /// What the inputs of the next batch were caused by.
    cause: Stamp,
    /// Where this life is to end.
    pub(crate) armed: Option<CrashPoint>,
    pub(crate) extra_sync: Duration,
    pub(crate) extra_apply: Duration,
    pub(crate) extra_step: Duration,

    engine: MemEngine,
    log: Log<SimDisk>,
    disk: SimDisk,
    disk_queue: VecDeque<DiskJob>,
    disk_busy: Vec<DiskJob>,
    scrub_next: ScrubCursor,

    jobs: VecDeque<Job>,
    applying: bool,
    committed: Slot,
    checkpoint_wanted: Option<Slot>,
    transfers: BTreeMap<TransferId, CheckpointWriter<MemView>>,
    staged: Vec<Bytes>,

    /// Which operation each of the submitter's tickets serves.
    tickets: BTreeMap<u64, OpId>,
    /// Reads that wait until their slot is applied.
    reads: Vec<(Slot, OpId)>,
}

/// What a life begins with.
pub(crate) struct Birth<P: Subject> {
    pub(crate) id: NodeId,
    pub(crate) number: u64,
    pub(crate) config: P::Config,
    pub(crate) log: Log<SimDisk>,
    pub(crate) disk: SimDisk,
    pub(crate) engine: MemEngine,
    pub(crate) kv: Kv<MemEngine>,
    pub(crate) recovered: consensus::Recovered<P>,
    pub(crate) submitter: Submitter,
    pub(crate) wall_skew_ms: i64,
    pub(crate) drift_ppm: i64,
    pub(crate) mutation: Mutation,
    pub(crate) buggify: Buggify,
    pub(crate) armed: Option<CrashPoint>,
}

/// How late a starved thread may be.
const LATE: Duration = Duration::from_millis(5);
/// The Unix time, in milliseconds, at which worlds begin.
const EPOCH_MS: i64 = 1_700_000_000_000;

impl<P: Subject> Life<P> {
    /// Recovers a replica and carries out its first actions.
    pub(crate) fn begin(birth: Birth<P>, shared: &mut Shared) -> (Life<P>, Result<(), Stop>) {
        let clock = Clock::start(shared.now(), birth.drift_ppm);
        let now = now(clock, shared.now(), birth.wall_skew_ms);
        let seed = keys::rng(shared.seed, Purpose::Node, [birth.id.0, birth.number, 0]).next_u64();
        let mut out = Out::default();
        let committed = birth.recovered.applied.0;
        let core = P::recover(birth.config, seed, birth.recovered, now, &mut out);
        let mut life = Life {
            id: birth.id,
            number: birth.number,
            core,
            kv: birth.kv,
            clock,
            wall_skew_ms: birth.wall_skew_ms,
            submitter: birth.submitter,
            gates: GateQueue::default(),
            mutation: birth.mutation,
            buggify: birth.buggify,
            inbox: VecDeque::new(),
            batch_due: false,
            timer_at: None,
            cause: Stamp::NONE,
            armed: birth.armed,
            extra_sync: Duration::ZERO,
            extra_apply: Duration::ZERO,
            extra_step: Duration::ZERO,
            engine: birth.engine,
            log: birth.log,
            disk: birth.disk,
            disk_queue: VecDeque::new(),
            disk_busy: Vec::new(),
            scrub_next: ScrubCursor::default(),
            jobs: VecDeque::new(),
            applying: false,
            committed,
            checkpoint_wanted: None,
            transfers: BTreeMap::new(),
            staged: Vec::new(),
            tickets: BTreeMap::new(),
            reads: Vec::new(),
        };
        let began = life.begin_actions(out, shared);
        (life, began)
    }

    fn begin_actions(&mut self, out: Out<P>, shared: &mut Shared) -> Result<(), Stop> {
        self.act(out.actions, shared)?;
        self.crash_point(CrashPoint::Recovery)?;
        self.look(shared)?;
        self.set_timer(shared);
        Ok(())
    }

    /// Does what has come due.
    pub(crate) fn work(&mut self, work: Work, shared: &mut Shared) -> Result<(), Stop> {
        match work {
            Work::Batch => self.batch(shared),
            Work::Timer { at } if self.timer_at == Some(at) => {
                self.timer_at = None;
                self.batch(shared)
            }
            Work::Timer { .. } => Ok(()),
            Work::Disk => self.disk_done(shared),
            Work::Apply => self.apply_done(shared),
            Work::Die { .. } if self.armed.is_some() => Err(Stop::Crash("patience")),
            Work::Die { .. } => Ok(()),
        }
    }

    /// Takes a message from the network.
    ///
    /// # Errors
    /// If it cannot be decoded, which only our own encoder could be to blame for.
    pub(crate) fn receive(
        &mut self,
        from: NodeId,
        bytes: Bytes,
        cause: Stamp,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        let message = P::Message::from_bytes(bytes)
            .map_err(|error| Stop::broken("messages can be decoded", error.to_string()))?;
        self.cause = cause;
        self.take(Incoming::Input(Input::Recv { from, message }), shared);
        Ok(())
    }

    /// Puts something into the inbox.
    pub(crate) fn take(&mut self, incoming: Incoming<P>, shared: &mut Shared) {
        self.inbox.push_back(incoming);
        self.wake(shared);
    }

    /// Changes the wall clock.
    pub(crate) fn skew(&mut self, wall_skew_ms: i64) {
        self.wall_skew_ms = wall_skew_ms;
    }

    /// Changes the speed of the monotonic clock.
    pub(crate) fn drift(&mut self, drift_ppm: i64, shared: &mut Shared) {
        self.clock.set_drift(shared.now(), drift_ppm);
        self.timer_at = None;
        self.set_timer(shared);
    }

    /// What has come in and is not finished.
    pub(crate) fn waiting(&self) -> Waiting {
        Waiting {
            writes: self.submitter.writes_outstanding() as u64,
            reads: self.reads.len() as u64,
            jobs: self.jobs.len() as u64,
            disk: (self.disk_queue.len() + self.disk_busy.len()) as u64,
        }
    }

    fn request(&mut self, request: Request, shared: &mut Shared) {
        self.take(Incoming::Input(Input::Request(request)), shared);
    }

    fn wake(&mut self, shared: &mut Shared) {
        if !self.batch_due {
            self.batch_due = true;
            let step = shared.setup.pace.step;
            let mut after = self.latency(step, 0, shared) + self.extra_step;
            if buggify!(self.buggify, "driver.batch.late") {
                after += LATE;
            }
            self.later(after, Work::Batch, shared);
        }
    }

    fn later(&self, after: Duration, work: Work, shared: &mut Shared) {
        let at = shared.now() + after;
        shared.queue.at(at, Coming::Work { node: self.id, life: self.number, work });
    }

    fn latency(&self, range: (Duration, Duration), kind: u64, shared: &Shared) -> Duration {
        let mut rng = keys::rng(shared.seed, Purpose::Latency, [self.id.0, shared.now().0, kind]);
        Duration::from_nanos(rng.between(range.0.as_nanos() as u64, range.1.as_nanos() as u64))
    }

    fn now(&self, shared: &Shared) -> Now {
        now(self.clock, shared.now(), self.wall_skew_ms)
    }

    /// One batch: `step*`, then `flush` (contract C6).
    fn batch(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        self.batch_due = false;
        let now = self.now(shared);
        let mut out = Out::default();
        let mut outcomes = Vec::new();
        for incoming in self.take_inbox(shared) {
            match incoming {
                Incoming::Input(input) => self.core.step(now, input, &mut out),
                Incoming::Ask(op) => self.ask(op, now.mono, shared)?,
                Incoming::Errand(errand) => self.run_errand(errand, now.mono, shared),
                Incoming::Poison(bytes) => self.propose_poison(bytes, now.mono, shared),
            }
        }
        let is_due = self.core.deadline().is_some_and(|deadline| deadline <= now.mono);
        if is_due || buggify!(self.buggify, "driver.batch.timer_unasked") {
            self.core.step(now, Input::Timer, &mut out);
        }
        self.submitter.timer(now.mono, &mut outcomes);
        for request in self.submitter.poll(now.mono) {
            self.core.step(now, Input::Request(request), &mut out);
        }
        self.core.flush(now, &mut out);
        self.settle(outcomes, shared)?;
        self.act(out.actions, shared)?;
        self.look(shared)?;
        self.set_timer(shared);
        Ok(())
    }

    /// What the next batch takes: everything, as a rule, in the order in which it came.
    fn take_inbox(&mut self, shared: &mut Shared) -> VecDeque<Incoming<P>> {
        let mut inbox = std::mem::take(&mut self.inbox);
        if buggify!(self.buggify, "driver.batch.messages_last") {
            let is_message = |it: &Incoming<P>| matches!(it, Incoming::Input(Input::Recv { .. }));
            inbox.make_contiguous().sort_by_key(is_message);
        }
        if inbox.len() > 1 && buggify!(self.buggify, "driver.batch.one_input") {
            self.inbox = inbox.split_off(1);
            self.wake(shared);
        }
        inbox
    }

    /// Carries out the actions of a batch, in order.
    fn act(&mut self, actions: Vec<Action<P>>, shared: &mut Shared) -> Result<(), Stop> {
        let half = actions.len() / 2;
        for (number, action) in actions.into_iter().enumerate() {
            if number >= half && number > 0 {
                self.crash_point(CrashPoint::Send)?;
            }
            match action {
                Action::Persist { seq, ops } => {
                    let ops = ops.iter().map(disk::encode::<P>).collect();
                    self.disk_queue.push_back(DiskJob::Write { seq, ops });
                }
                Action::ReadLog { first, last, bytes_max } => {
                    self.disk_queue.push_back(DiskJob::Read { first, last, bytes_max });
                }
                Action::Send { to, message, after, lane: _ } => {
                    let text = describe(&message, shared);
                    let held = Held::Send { to, bytes: message.to_bytes(), text, cause: self.cause };
                    self.admit(self.mutation.send_gate(after), held, shared)?;
                }
                Action::Event { event, after } => {
                    self.admit(self.mutation.event_gate(after), Held::Event(event), shared)?;
                }
            }
        }
        self.start_disk(shared)
    }

    /// Lets something through its gate, or keeps it there (contract C1).
    fn admit(&mut self, after: WriteSeq, held: Held<P>, shared: &mut Shared) -> Result<(), Stop> {
        match self.gates.admit(after, held) {
            Some(free) => self.release(free, shared),
            None => Ok(()),
        }
    }

    fn release(&mut self, free: Held<P>, shared: &mut Shared) -> Result<(), Stop> {
        match free {
            Held::Send { to, bytes, text, cause } => {
                for node in to.nodes() {
                    self.send(*node, &bytes, &text, cause, shared);
                }
                Ok(())
            }
            Held::Event(event) => self.event(event, shared),
        }
    }

    fn send(&mut self, to: NodeId, bytes: &Bytes, text: &str, cause: Stamp, shared: &mut Shared) {
        if buggify!(self.buggify, "driver.send.not") {
            return;
        }
        shared.send(self.id, to, bytes.clone(), text, cause);
        if buggify!(self.buggify, "driver.send.twice") {
            shared.send(self.id, to, bytes.clone(), text, cause);
        }
        if buggify!(self.buggify, "driver.send.connection_breaks") {
            self.take(Incoming::Input(Input::Unreachable { peer: to }), shared);
        }
    }

    /// Checks the core's promises and shows the cluster's oracle where it stands (contract C10).
    fn look(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        self.core.check_invariants().map_err(|broken| Stop::broken("invariant of the core", broken))?;
        shared.oracle.observe(self.id, &self.core.status())?;
        shared.oracle.runs_on(self.id, self.core.disk());
        if self.core.is_founded() {
            shared.oracle.register.knows_founded(self.id);
        }
        Ok(())
    }

    fn set_timer(&mut self, shared: &mut Shared) {
        let deadlines = [self.core.deadline(), self.submitter.deadline()];
        let Some(next) = deadlines.into_iter().flatten().min() else { return };
        let mut at = self.clock.when(next).max(shared.now());
        if buggify!(self.buggify, "driver.timer.late") {
            at = at + LATE;
        }
        if self.timer_at.is_none_or(|set| at < set) {
            self.timer_at = Some(at);
            let work = Work::Timer { at };
            shared.queue.at(at, Coming::Work { node: self.id, life: self.number, work });
        }
    }

    /// Dies here if that is where this life is to end.
    fn crash_point(&mut self, point: CrashPoint) -> Result<(), Stop> {
        if self.armed == Some(point) { Err(Stop::Crash("crash point")) } else { Ok(()) }
    }
}

fn now(clock: Clock, now: Time, wall_skew_ms: i64) -> Now {
    let wall = WallTime(EPOCH_MS + (now.0 / 1_000_000) as i64 + wall_skew_ms);
    Now { mono: clock.mono(now), wall }
}

/// A message as the trace shows it; nothing if there is none.
fn describe(message: &impl std::fmt::Debug, shared: &Shared) -> String {
    if shared.recorder.is_on() { format!("{message:?}") } else { String::new() }
}

/// How a role or another short word shows in a trace.
fn word(value: &impl std::fmt::Debug) -> Details {
    Details::named(format!("{value:?}").to_lowercase())
}

/// The kind of a trace event that says what a replica executed.
const APPLY: Kind = Kind::Apply;

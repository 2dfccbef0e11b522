//! One replica whose peers say anything and whose driver is honest.
//!
//! ```text
//!   input ──▶ a peer's message, a timer, a write that is durable, an answer of the state machine, a crash
//!                │
//!             replica ──▶ check_invariants; what it writes has no gap, what it hands over is in order
//! ```
//!
//! Peers that lie can make a replica believe anything about the cluster: what is claimed is only what a replica owes
//! whatever it hears.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{
    Action, Change, CheckpointMeta, Consensus, Entry, EntryKind, Event, GateQueue, Input as Step, Member,
    Membership, Out, Protocol, ReadLevel, Recovered, Request, Standing, StoreOp, Token, TransferId, WriteSeq,
};
use raft::{Config, Integrity, Message, Meta, Raft, Record, Stamp};
use types::{Batch, Command, Epoch, NodeId, Now, SessionId, Slot, SlotState, Time, WallTime, Wire};

use crate::Input;

/// More steps of one input tell nothing new.
const STEPS_MAX: usize = 300;

/// Numbers beyond this are nowhere: at a million writes a second it takes a hundred thousand years.
const NUMBER_MAX: u64 = 1 << 62;

const ME: NodeId = NodeId(1);

/// Messages, timers, crashes and whatever else happens to a replica, in any order.
pub fn raft_steps(data: &[u8]) {
    let mut input = Input::new(data);
    let mut replica = Replica::fresh();
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        replica.turn(&mut input);
    }
}

/// A replica starts from what a disk holds, and then hears something.
pub fn raft_recovery(data: &[u8]) {
    let mut input = Input::new(data);
    let found = Recovered {
        meta: slot_state(&mut input, meta),
        first: Slot(input.number() % NUMBER_MAX),
        log: (0..input.below(12))
            .map(|_| {
                slot_state(&mut input, |input| {
                    let term = input.near(3);
                    record(input, term)
                })
            })
            .collect(),
        tail_damaged: input.flag(),
        applied: (Slot(input.number() % NUMBER_MAX), Epoch::of(input.number() % NUMBER_MAX)),
        membership: if input.flag() { membership(&mut input) } else { Membership::default() },
    };
    let mut out = Out::default();
    let mut now = Now::default();
    let mut raft = Raft::recover(config(), 7, found, now, &mut out);
    raft.check_invariants().expect("a replica keeps its promises from the start");
    for _ in 0..8 {
        now.mono = raft.deadline().unwrap_or(now.mono).max(now.mono);
        let (term, last) = (raft.status().epoch.number, raft.status().last.0);
        let sight = Sight { term, slot: last, terms: BTreeMap::new() };
        let step = match input.below(3) {
            0 => Step::Timer,
            _ => Step::Recv { from: NodeId(2), message: sight.message(&mut input) },
        };
        raft.step(now, step, &mut out);
        raft.flush(now, &mut out);
        raft.check_invariants().expect("a replica keeps its promises");
    }
}

fn config() -> Config {
    Config {
        checkpoint_entries: 4,
        retained_entries: 2,
        cache_bytes_max: 200,
        entry_bytes_max: 200,
        append_bytes_max: 400,
        unapplied_bytes_max: 2000,
        inflight_messages_max: 3,
        // A group that is founded: lies would never be counted otherwise.
        membership: Membership::of_disks([1, 2, 3].map(|node| (NodeId(node), node))),
        ..Config::new(ME, [])
    }
}

/// The replica, and an honest driver around it.
struct Replica {
    raft: Raft,
    now: Now,
    disk: Disk,
    unsynced: VecDeque<(WriteSeq, Vec<StoreOp<Raft>>)>,
    issued: WriteSeq,
    gates: GateQueue<Event>,
    /// Events that the state machine and its checkpoints have not obeyed yet, in order.
    events: VecDeque<Event>,
    reads: VecDeque<(Slot, Slot)>,
    /// Where the state machine stands, now and after a crash.
    state: (Slot, Epoch),
    state_durable: (Slot, Epoch),
    boots: u64,
    tokens: u64,
}

/// What has been synced.
struct Disk {
    meta: SlotState<Meta>,
    first: Slot,
    log: BTreeMap<Slot, Record>,
}

impl Disk {
    fn end(&self) -> Slot {
        self.log.last_key_value().map_or(self.first, |(last, _)| last.next())
    }

    fn write(&mut self, op: StoreOp<Raft>) {
        match op {
            StoreOp::SetMeta(meta) => self.meta = SlotState::Ok(meta),
            StoreOp::Put(slot, record) => {
                let room = self.first..=self.end();
                assert!(room.contains(&slot), "{slot:?} is written where {room:?} have room");
                self.log.insert(slot, record);
            }
            StoreOp::TruncateFrom(slot) => drop(self.log.split_off(&slot)),
            StoreOp::CompactTo(slot) => {
                self.log = self.log.split_off(&slot.next());
                self.first = self.first.max(slot.next());
            }
            StoreOp::ResetTo { at } => (self.first, self.log) = (at.next(), BTreeMap::new()),
        }
    }
}

impl Replica {
    fn fresh() -> Replica {
        let meta = SlotState::Ok(Meta { incarnation: ME.0, ..Meta::default() });
        let disk = Disk { meta: meta.clone(), first: Slot(1), log: BTreeMap::new() };
        let nowhere = (Slot::ZERO, Epoch::default());
        let mut out = Out::default();
        let found = Recovered {
            meta,
            first: Slot(1),
            log: Vec::new(),
            tail_damaged: false,
            applied: nowhere,
            membership: Membership::default(),
        };
        let raft = Raft::recover(config(), 1, found, Now::default(), &mut out);
        let mut replica = Replica {
            raft,
            now: Now::default(),
            disk,
            unsynced: VecDeque::new(),
            issued: WriteSeq::NONE,
            gates: GateQueue::default(),
            events: VecDeque::new(),
            reads: VecDeque::new(),
            state: nowhere,
            state_durable: nowhere,
            boots: 1,
            tokens: 0,
        };
        replica.dispatch(out);
        replica
    }

    fn turn(&mut self, input: &mut Input<'_>) {
        let step = match input.byte() % 20 {
            0..=7 => {
                let from = NodeId(1 + input.below(4) as u64);
                let message = self.sight(input).message(input);
                Some(Step::Recv { from, message })
            }
            8 => {
                self.now.mono = self.raft.deadline().unwrap_or(self.now.mono).max(self.now.mono);
                Some(Step::Timer)
            }
            9 => {
                self.now.mono.0 += u64::from(input.byte()) * 10_000_000;
                self.now.wall.0 = input.signed();
                Some(Step::Timer)
            }
            10 | 11 => self.sync(input),
            12..=14 => self.obey(input),
            15 => self.reads.pop_front().map(|(first, last)| self.read(first, last, input)),
            16 => Some(Step::Unreachable { peer: NodeId(1 + input.below(4) as u64) }),
            17 => Some(Step::Request(Request::Propose { token: self.token(), commands: commands(input) })),
            18 => {
                let level = input.pick(&[ReadLevel::Local, ReadLevel::ReadIndex]);
                Some(Step::Request(Request::Read { token: self.token(), level }))
            }
            _ => return self.crash(input),
        };
        let mut out = Out::default();
        if let Some(step) = step {
            self.raft.step(self.now, step, &mut out);
        }
        // Several steps may come before a flush.
        if !input.flag() {
            self.raft.flush(self.now, &mut out);
        }
        self.dispatch(out);
    }

    fn sight(&self, input: &mut Input<'_>) -> Sight {
        let status = self.raft.status();
        let mut disk = Disk { meta: SlotState::Missing, first: self.disk.first, log: self.disk.log.clone() };
        self.unsynced.iter().flat_map(|(_, ops)| ops.clone()).for_each(|op| disk.write(op));
        Sight {
            term: status.epoch.number,
            slot: if input.flag() { status.last.0 } else { status.committed.0 },
            terms: disk.log.into_iter().map(|(slot, record)| (slot.0, record.term)).collect(),
        }
    }

    fn dispatch(&mut self, out: Out<Raft>) {
        for action in out.actions {
            match action {
                Action::Persist { seq, ops } => {
                    assert!(seq > self.issued, "{seq:?} after {:?}", self.issued);
                    self.issued = seq;
                    self.unsynced.push_back((seq, ops));
                }
                Action::Send { message, after, .. } => {
                    // A gate that nobody will ever open holds its message for ever.
                    assert!(after <= self.issued.next(), "{after:?} gates {message:?}");
                    assert!(message.to_bytes().len() < 1 << 20);
                }
                Action::ReadLog { first, last, .. } => self.reads.push_back((first, last)),
                Action::Event { event, after } => self.events.extend(self.gates.admit(after, event)),
            }
        }
        if let Err(broken) = self.raft.check_invariants() {
            panic!("{broken}");
        }
    }

    /// Some of the writes are durable now.
    fn sync(&mut self, input: &mut Input<'_>) -> Option<Step<Raft>> {
        let count = (1 + input.below(3)).min(self.unsynced.len());
        let upto = self.unsynced.get(count.checked_sub(1)?)?.0;
        self.unsynced.drain(..count).flat_map(|(_, ops)| ops).for_each(|op| self.disk.write(op));
        self.events.extend(self.gates.open(upto));
        Some(Step::Durable { upto })
    }

    fn read(&self, first: Slot, last: Slot, input: &mut Input<'_>) -> Step<Raft> {
        let held = self.disk.log.range(first..=last.max(first)).take(1 + input.below(4));
        let consecutive = (first.0..).map(Slot).zip(held).take_while(|(slot, (held, _))| slot == *held);
        Step::LogRead { first, records: consecutive.map(|(_, (_, record))| record.clone()).collect() }
    }

    /// The state machine obeys the next event.
    fn obey(&mut self, input: &mut Input<'_>) -> Option<Step<Raft>> {
        let request = match self.events.pop_front()? {
            Event::Committed { first, entries } => {
                assert_eq!(first, self.state.0.next(), "entries are handed over in order");
                let epoch = entries.last().map_or(self.state.1, |entry| entry.epoch);
                self.state = (self.state.0.plus(entries.len() as u64), epoch);
                Request::Applied { upto: self.state.0 }
            }
            Event::TakeCheckpoint { .. } => {
                self.state_durable = self.state;
                Request::CheckpointDurable { at: self.state.0 }
            }
            Event::ReadChunk { transfer, index } => {
                let (at, epoch) = self.state;
                let (chunk, last) = (input.owned(20), input.flag());
                match input.below(4) {
                    0 => Request::ChunkLost { transfer },
                    _ => Request::ChunkRead {
                        transfer,
                        at,
                        epoch,
                        membership: membership(input),
                        index,
                        chunk,
                        last,
                    },
                }
            }
            Event::StageChunk { transfer, index, .. } => Request::ChunkStaged { transfer, index },
            Event::InstallCheckpoint { transfer, meta } => {
                let installed = input.flag();
                if installed {
                    assert!(meta.at > self.state.0, "the state goes back to {:?}", meta.at);
                    self.state = (meta.at, meta.epoch);
                    self.state_durable = self.state;
                }
                Request::CheckpointInstalled { transfer, installed }
            }
            Event::CloseTransfer { .. } | Event::ReadReady { .. } => return None,
            Event::Refused { .. } | Event::Leadership { .. } => return None,
            Event::Reconfigured { .. } | Event::MembershipChanged { .. } => return None,
        };
        Some(Step::Request(request))
    }

    /// The power fails and comes back. A disk may have lost something besides.
    fn crash(&mut self, input: &mut Input<'_>) {
        let survivors = input.below(self.unsynced.len().min(255) + 1);
        self.unsynced.drain(..survivors).flat_map(|(_, ops)| ops).for_each(|op| self.disk.write(op));
        self.unsynced.clear();
        (self.gates, self.issued) = (GateQueue::default(), WriteSeq::NONE);
        self.events.clear();
        self.reads.clear();
        self.state = self.state_durable;
        self.boots += 1;
        let damage = input.byte();
        let slots = (self.disk.first.0..self.disk.end().0).map(Slot);
        let log = slots.map(|slot| match self.disk.log.get(&slot) {
            Some(_) if damage & 3 == 3 && input.byte() & 7 == 7 => SlotState::Damaged,
            Some(record) => SlotState::Ok(record.clone()),
            None => SlotState::Damaged,
        });
        let log = log.collect();
        if damage & 12 == 12 {
            self.disk.meta = SlotState::Damaged;
        }
        let found = Recovered {
            meta: self.disk.meta.clone(),
            first: self.disk.first,
            log,
            tail_damaged: damage & 48 == 48,
            applied: self.state,
            membership: Membership::default(),
        };
        let mut out = Out::default();
        self.raft = Raft::recover(config(), self.boots, found, self.now, &mut out);
        self.dispatch(out);
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }
}

/// What a peer that lies knows of the replica, so that its lies are not seen through at once.
struct Sight {
    term: u64,
    /// The last slot, or the last committed one.
    slot: u64,
    /// The terms of the log.
    terms: BTreeMap<u64, u64>,
}

impl Sight {
    /// Any message, mostly of this term or the next, and about slots that are close.
    fn message(&self, input: &mut Input<'_>) -> Message {
        let kind = input.byte() % 23;
        let term = match input.byte() {
            0..=159 => self.term,
            160..=219 => self.term.saturating_add(1),
            _ => input.near(self.term),
        };
        match kind {
            0 => {
                let (pre, last, last_term) = (input.flag(), self.slot(input), input.near(self.term));
                let (told, incarnation) = (input.flag(), disk(input));
                Message::RequestVote { term, pre, told, incarnation, last, last_term }
            }
            1 | 2 => {
                let (pre, incarnation) = (input.flag(), disk(input));
                Message::Vote { term, pre, incarnation, granted: input.byte() < 200 }
            }
            3..=5 => self.append(term, input),
            6 | 7 => Message::Appended { term, by: stamp(input), matched: self.slot(input) },
            8 => {
                let (by, prev, hint) = (stamp(input), self.slot(input), self.slot(input));
                Message::Rejected { term, by, prev, hint, hint_term: input.near(self.term) }
            }
            9 => Message::Commit { term, commit: self.slot(input) },
            10 => {
                let (sent, incarnation, commit) = (Time(input.number()), disk(input), self.slot(input));
                Message::Heartbeat {
                    term,
                    incarnation,
                    commit,
                    round: input.number(),
                    sent,
                    rest: input.flag(),
                }
            }
            11 => {
                let (sent, clock) = (Time(input.number()), Time(input.number()));
                let (by, round, verified) = (stamp(input), input.number(), self.slot(input));
                Message::HeartbeatAck { term, by, round, verified, sent, clock, priority: input.number() }
            }
            12 => Message::Forward { commands: commands(input) },
            13 => Message::ReadAsk { ask: input.number() },
            14 => Message::ReadAnswer { ask: input.number(), at: self.slot(input) },
            15 | 16 => self.chunk(term, input),
            17 => {
                let (transfer, next) = (TransferId(input.number()), input.number());
                Message::ChunkAck { term, transfer, next, failed: input.flag() }
            }
            18 if input.flag() => {
                let (by, sent) = (stamp(input), Time(input.number()));
                Message::Repair { term, by, sent, meta_lost: input.flag() }
            }
            18 => Message::RepairGoal { term, session: input.number(), upto: self.slot(input) },
            19 => Message::TimeoutNow { term },
            20 => Message::ReconfigureAsk { ask: input.number(), changes: changes(input) },
            21 => Message::Reconfigured { ask: input.number(), at: self.slot(input) },
            _ => Message::from_bytes(input.owned(100)).unwrap_or(Message::ReadAsk { ask: 0 }),
        }
    }

    /// Entries that mostly go on from where the log matches.
    fn append(&self, term: u64, input: &mut Input<'_>) -> Message {
        let prev = self.slot(input);
        let known = self.terms.get(&prev.0).copied().unwrap_or(0);
        let prev_term = if input.byte() < 200 { known } else { input.near(self.term) };
        let mut last_term = prev_term;
        let mut entries = Vec::new();
        for _ in 0..input.below(6) {
            last_term = match input.byte() {
                0..=119 => last_term,
                120..=219 => term,
                _ => input.near(last_term),
            };
            entries.push(record(input, last_term));
        }
        let incarnation = disk(input);
        Message::Append { term, incarnation, prev, prev_term, commit: self.slot(input), entries }
    }

    /// A piece of a checkpoint; few transfers, so that pieces follow each other.
    fn chunk(&self, term: u64, input: &mut Input<'_>) -> Message {
        let number = input.near(self.term);
        Message::Chunk {
            term,
            incarnation: disk(input),
            transfer: TransferId(input.number() % 2),
            meta: CheckpointMeta {
                at: self.slot(input),
                epoch: Epoch { number, proposer: NodeId(input.below(2) as u64) },
                membership: membership(input),
            },
            wall: WallTime(input.signed()),
            index: input.number() % 4,
            chunk: input.owned(20),
            last: input.flag(),
        }
    }

    fn slot(&self, input: &mut Input<'_>) -> Slot {
        Slot(input.near(self.slot))
    }
}

/// The disk of a peer: mostly one that may be pinned.
fn disk(input: &mut Input<'_>) -> u64 {
    if input.byte() < 200 { 1 + input.below(3) as u64 } else { input.number() }
}

fn stamp(input: &mut Input<'_>) -> Stamp {
    Stamp { incarnation: disk(input), session: if input.flag() { 0 } else { input.number() } }
}

fn record(input: &mut Input<'_>, term: u64) -> Record {
    let kind = input.pick(&[EntryKind::Noop, EntryKind::Commands, EntryKind::Membership]);
    let payload = match (kind, input.flag()) {
        (EntryKind::Noop, _) => Bytes::new(),
        (EntryKind::Membership, true) => membership(input).to_bytes(),
        (_, true) => input.owned(30),
        _ => Batch { wall: WallTime(input.signed()), commands: commands(input) }.to_bytes(),
    };
    Record { term, entry: Entry { kind, payload } }
}

fn membership(input: &mut Input<'_>) -> Membership {
    let nodes = 1 + input.below(4) as u64;
    let mut membership = Membership::of((1..=nodes).map(NodeId));
    for node in 1..=nodes {
        let standing = input.pick(&[
            Standing::Voter,
            Standing::Voter,
            Standing::Learner,
            Standing::Joining,
            Standing::Leaving,
        ]);
        membership.members.insert(NodeId(node), Member::new(standing, input.owned(3)));
        if input.byte() < 60 {
            membership.outgoing.insert(NodeId(node));
        }
    }
    membership
}

fn changes(input: &mut Input<'_>) -> Vec<Change> {
    let change = |input: &mut Input<'_>| {
        let (node, context) = (NodeId(1 + input.below(5) as u64), input.owned(3));
        match input.byte() % 5 {
            0 => Change::AddLearner { node, context },
            1 => Change::AddVoter { node, context },
            2 => Change::Promote { node },
            3 => Change::Remove { node },
            _ => Change::Describe { node, context },
        }
    };
    (0..input.below(3)).map(|_| change(input)).collect()
}

fn commands(input: &mut Input<'_>) -> Vec<Command> {
    let command = |input: &mut Input<'_>| Command {
        session: SessionId(u128::from(input.byte())),
        number: input.number(),
        acked_below: input.number(),
        body: input.owned(40),
    };
    (0..input.below(4)).map(|_| command(input)).collect()
}

fn meta(input: &mut Input<'_>) -> Meta {
    Meta {
        term: input.number() % NUMBER_MAX,
        vote: input.flag().then(|| NodeId(1 + input.below(3) as u64)),
        wall: WallTime(input.signed()),
        integrity: input.pick(&[Integrity::Intact, Integrity::LogLost, Integrity::MetaLost]),
        incarnation: disk(input),
        founded: input.flag(),
    }
}

fn slot_state<T>(input: &mut Input<'_>, value: impl Fn(&mut Input<'_>) -> T) -> SlotState<T> {
    match input.byte() % 8 {
        0 => SlotState::Missing,
        1 => SlotState::Damaged,
        _ => SlotState::Ok(value(input)),
    }
}

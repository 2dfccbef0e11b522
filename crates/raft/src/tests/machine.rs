//! What surrounds one replica: its disk, its gates and its state machine.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use consensus::{
    CommittedEntry, Dest, Entry, Event, GateQueue, Input, Membership, Out, Protocol, Recovered, Request,
    StoreOp, TransferId, WriteSeq,
};
use types::{Epoch, NodeId, Now, Slot, SlotState, Wire};

use crate::{Config, Message, Meta, Raft, Record};

/// What is held behind a gate.
#[derive(Debug)]
pub enum Held {
    Send(Dest, Message),
    Event(Event),
}

/// A disk that keeps writes in memory until it is told to sync.
#[derive(Clone, Debug)]
pub struct Disk {
    pub meta: SlotState<Meta>,
    pub first: Slot,
    pub log: BTreeMap<Slot, SlotState<Record>>,
    pub tail_damaged: bool,
    pub pending: VecDeque<(WriteSeq, Vec<StoreOp<Raft>>)>,
}

impl Disk {
    fn new(incarnation: u64) -> Disk {
        let meta = SlotState::Ok(Meta { incarnation, ..Meta::default() });
        Disk { meta, pending: VecDeque::new(), first: Slot(1), log: BTreeMap::new(), tail_damaged: false }
    }

    /// Makes everything durable; returns the last write.
    pub fn sync(&mut self) -> Option<WriteSeq> {
        let mut last = None;
        while let Some(seq) = self.sync_one() {
            last = Some(seq);
        }
        last
    }

    /// Makes the oldest write durable.
    pub fn sync_one(&mut self) -> Option<WriteSeq> {
        let (seq, ops) = self.pending.pop_front()?;
        for op in ops {
            match op {
                StoreOp::SetMeta(meta) => self.meta = SlotState::Ok(meta),
                StoreOp::Put(slot, record) => self.put(slot, record),
                StoreOp::TruncateFrom(slot) => {
                    self.log.split_off(&slot);
                    self.tail_damaged = false;
                }
                StoreOp::CompactTo(slot) => {
                    self.log = self.log.split_off(&slot.next());
                    self.first = slot.next();
                }
                StoreOp::ResetTo { at } => {
                    self.log.clear();
                    self.first = at.next();
                    self.tail_damaged = false;
                }
            }
        }
        Some(seq)
    }

    fn put(&mut self, slot: Slot, record: Record) {
        let end = self.log.keys().last().map_or(self.first, |last| last.next());
        assert!((self.first..=end).contains(&slot), "{slot:?} written with a gap after {end:?}");
        self.log.insert(slot, SlotState::Ok(record));
    }

    /// The term and vote that a crash cannot take back; `None` if they are unreadable.
    pub fn promised(&self) -> Option<Meta> {
        match &self.meta {
            SlotState::Ok(meta) => Some(meta.clone()),
            SlotState::Missing => Some(Meta::default()),
            SlotState::Damaged => None,
        }
    }

    /// The last durable slot.
    pub fn last(&self) -> Slot {
        self.log.keys().last().copied().unwrap_or(self.first.prev())
    }

    /// Turns a durable record into an unreadable one.
    pub fn damage(&mut self, slot: u64) {
        assert!(self.log.insert(Slot(slot), SlotState::Damaged).is_some(), "slot {slot} was never written");
    }

    fn read(&self, first: Slot, last: Slot, bytes_max: u64) -> Vec<Record> {
        let mut bytes = 0;
        let range = self.log.range(first..=last).filter_map(|(_, record)| record.clone().ok());
        let fits = |record: &Record| {
            let is_first = bytes == 0;
            bytes += record.cost_bytes();
            is_first || bytes <= bytes_max
        };
        range.take_while(fits).collect()
    }
}

/// One replica and what surrounds it.
pub struct Machine {
    pub config: Config,
    pub raft: Raft,
    pub gates: GateQueue<Held>,
    pub disk: Disk,
    /// The state machine: every entry that it applied, from slot 1 on.
    pub state: Vec<CommittedEntry>,
    /// What survives a crash of it.
    pub state_durable: usize,
    pub events: Vec<Event>,
    /// Writes become durable as soon as they are issued.
    pub disk_is_fast: bool,
    pub is_up: bool,
    /// Events wait in `backlog` until somebody calls `World::work`.
    pub is_lazy: bool,
    pub backlog: VecDeque<Event>,
    snapshots: BTreeMap<TransferId, Vec<CommittedEntry>>,
    staged: Vec<Bytes>,
}

/// Entries per chunk of a checkpoint.
const CHUNK_ENTRIES: usize = 2;

impl Machine {
    pub fn new(config: Config, now: Now, out: &mut Out<Raft>) -> Machine {
        let disk = Disk::new(config.id.0);
        let raft = Raft::recover(config.clone(), config.id.0, found(&disk, &[]), now, out);
        Machine {
            config,
            raft,
            gates: GateQueue::default(),
            disk,
            state: Vec::new(),
            state_durable: 0,
            events: Vec::new(),
            disk_is_fast: true,
            is_up: true,
            is_lazy: false,
            backlog: VecDeque::new(),
            snapshots: BTreeMap::new(),
            staged: Vec::new(),
        }
    }

    /// Power loss: what was not synced is gone.
    pub fn crash(&mut self) {
        self.is_up = false;
        self.disk.pending.clear();
        self.gates = GateQueue::default();
        self.state.truncate(self.state_durable);
        self.snapshots.clear();
        self.staged.clear();
        self.backlog.clear();
    }

    /// Puts an empty disk in the place of this one.
    pub fn wipe(&mut self) {
        self.disk = Disk { meta: SlotState::Missing, ..Disk::new(0) };
        self.state.clear();
        self.state_durable = 0;
    }

    pub fn restart(&mut self, boot: u64, now: Now, out: &mut Out<Raft>) {
        self.is_up = true;
        let disk = found(&self.disk, &self.state);
        self.raft = Raft::recover(self.config.clone(), boot, disk, now, out);
    }

    /// Does what an event asks for; returns the inputs that answer it.
    pub fn obey(&mut self, event: Event) -> Vec<Input<Raft>> {
        self.events.push(event.clone());
        let request = match event {
            Event::Committed { first, entries } => {
                assert_eq!(
                    first.0,
                    self.state.len() as u64 + 1,
                    "{:?}: a gap in committed entries",
                    self.config.id
                );
                self.state.extend(entries);
                Request::Applied { upto: self.standing().0 }
            }
            Event::TakeCheckpoint { .. } => {
                self.state_durable = self.state.len();
                Request::CheckpointDurable { at: self.standing().0 }
            }
            Event::ReadChunk { transfer, index } => self.read_chunk(transfer, index),
            Event::CloseTransfer { transfer } => {
                self.snapshots.remove(&transfer);
                return Vec::new();
            }
            Event::StageChunk { transfer, index, chunk, .. } => {
                self.staged.truncate(index as usize);
                self.staged.push(chunk);
                Request::ChunkStaged { transfer, index }
            }
            Event::InstallCheckpoint { transfer, meta } => {
                let decoded = self.staged.drain(..).map(|chunk| decode(&chunk)).collect::<Option<Vec<_>>>();
                let state = decoded.map(|chunks| chunks.concat());
                let state = state.filter(|state| state.len() as u64 == meta.at.0);
                let installed = state.is_some();
                if let Some(state) = state {
                    self.state = state;
                    self.state_durable = self.state.len();
                }
                Request::CheckpointInstalled { transfer, installed }
            }
            Event::ReadReady { .. } | Event::Refused { .. } | Event::Leadership { .. } => return Vec::new(),
            Event::Reconfigured { .. } | Event::MembershipChanged { .. } => return Vec::new(),
        };
        vec![Input::Request(request)]
    }

    pub fn read_log(&self, first: Slot, last: Slot, bytes_max: u64) -> Input<Raft> {
        Input::LogRead { first, records: self.disk.read(first, last, bytes_max) }
    }

    /// Where the state machine stands.
    pub fn standing(&self) -> (Slot, Epoch) {
        standing(&self.state)
    }

    fn read_chunk(&mut self, transfer: TransferId, index: u64) -> Request {
        let snapshot = self.snapshots.entry(transfer).or_insert_with(|| self.state.clone());
        let (at, epoch) = standing(snapshot);
        let start = index as usize * CHUNK_ENTRIES;
        let end = (start + CHUNK_ENTRIES).min(snapshot.len());
        let chunk = encode(&snapshot[start..end]);
        let last = end == snapshot.len();
        let membership = membership(&snapshot[..]);
        Request::ChunkRead { transfer, at, epoch, membership, index, chunk, last }
    }
}

fn standing(state: &[CommittedEntry]) -> (Slot, Epoch) {
    (Slot(state.len() as u64), state.last().map_or(Epoch::default(), |entry| entry.epoch))
}

/// Who takes part, as the applied entries say.
fn membership(state: &[CommittedEntry]) -> Membership {
    state.iter().rev().find_map(|it| it.entry.membership()).unwrap_or_default()
}

pub fn encode(entries: &[CommittedEntry]) -> Bytes {
    let pairs = entries.iter().map(|it| Record { term: it.epoch.number, entry: it.entry.clone() });
    pairs.collect::<Vec<_>>().to_bytes()
}

fn decode(chunk: &Bytes) -> Option<Vec<CommittedEntry>> {
    let records = Vec::<Record>::from_bytes(chunk.clone()).ok()?;
    let entry = |it: Record| CommittedEntry { epoch: Epoch::of(it.term), entry: it.entry };
    Some(records.into_iter().map(entry).collect())
}

/// What a restart finds.
fn found(disk: &Disk, state: &[CommittedEntry]) -> Recovered<Raft> {
    let slots = (disk.first.0..=disk.last().0).map(Slot);
    Recovered {
        meta: disk.meta.clone(),
        first: disk.first,
        log: slots.map(|slot| disk.log.get(&slot).cloned().unwrap_or(SlotState::Missing)).collect(),
        tail_damaged: disk.tail_damaged,
        applied: standing(state),
        membership: membership(state),
    }
}

/// The commands of an entry, as text.
pub fn commands(entry: &Entry) -> Vec<String> {
    let batch = types::Batch::from_bytes(entry.payload.clone()).unwrap_or_default();
    batch.commands.iter().map(|it| String::from_utf8_lossy(&it.body).into_owned()).collect()
}

/// The id of the `n`th node.
pub fn n(number: u64) -> NodeId {
    NodeId(number)
}

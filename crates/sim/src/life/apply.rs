//! The node's state machine: committed entries, checkpoints and their transfer, one job after another.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use checker::Outcome;
use consensus::{CheckpointMeta, CommittedEntry, EntryKind, Event, Request, TransferId};
use kv::{Content, Executed, InstallError};
use storage::Engine;
use trace::Details;
use types::{Batch, Epoch, Slot, WallTime, Wire, buggify};

use super::{APPLY, Life};
use crate::convert;
use crate::keys::{self, Purpose};
use crate::schedule::CrashPoint;
use crate::shared::{Shared, Stop, Work};
use crate::subject::Subject;

/// What the state machine has to do.
#[derive(Debug)]
pub(super) enum Job {
    Entries { first: Slot, entries: VecDeque<CommittedEntry> },
    Checkpoint { at: Slot },
    Install { transfer: TransferId, meta: CheckpointMeta },
}

impl<P: Subject> Life<P> {
    /// Takes an event of the core.
    pub(super) fn event(&mut self, event: P::Event, shared: &mut Shared) -> Result<(), Stop> {
        self.event_to_submitter(&event, shared)?;
        match event {
            Event::Committed { first, entries } => self.committed(first, entries, shared),
            Event::TakeCheckpoint { at } => {
                self.jobs.push_back(Job::Checkpoint { at });
                self.start_apply(shared);
                Ok(())
            }
            Event::InstallCheckpoint { transfer, meta } => {
                self.committed = self.committed.max(meta.at);
                if !self.mutation.waits_for_installs() {
                    self.request(Request::CheckpointInstalled { transfer, installed: true }, shared);
                }
                self.jobs.push_back(Job::Install { transfer, meta });
                self.start_apply(shared);
                Ok(())
            }
            Event::ReadChunk { transfer, index } => self.read_chunk(transfer, index, shared),
            Event::CloseTransfer { transfer } => {
                self.transfers.remove(&transfer);
                Ok(())
            }
            Event::StageChunk { transfer, index, chunk, .. } => {
                self.stage(transfer, index, chunk, shared);
                Ok(())
            }
            Event::ReadReady { .. } | Event::Refused { .. } | Event::Leadership { .. } => Ok(()),
            Event::Reconfigured { .. } => Ok(()),
            Event::MembershipChanged { at, membership } => {
                shared.oracle.register.announce(at, &membership);
                Ok(())
            }
        }
    }

    fn committed(
        &mut self,
        first: Slot,
        entries: Vec<CommittedEntry>,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        if first != self.committed.next() {
            let detail = format!("slot {first} is handed out after slot {}", self.committed);
            return Err(Stop::broken("committed in order", detail));
        }
        self.committed = first.prev().plus(entries.len() as u64);
        shared.note(4, self.id, self.committed.0);
        shared.oracle.commit(self.id, self.core.status().epoch, first, &entries)?;
        self.jobs.push_back(Job::Entries { first, entries: entries.into() });
        self.start_apply(shared);
        Ok(())
    }

    fn start_apply(&mut self, shared: &mut Shared) {
        if !self.applying && !self.jobs.is_empty() {
            self.applying = true;
            let pace = shared.setup.pace.apply;
            let mut after = self.latency(pace, 2, shared) + self.extra_apply;
            if buggify!(self.buggify, "driver.apply.slow") {
                after *= 10;
            }
            if buggify!(self.buggify, "driver.apply.at_once") {
                after = Duration::ZERO;
            }
            self.later(after, Work::Apply, shared);
        }
    }

    /// The state machine finishes one job, or as many entries as it takes at once.
    pub(super) fn apply_done(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        self.applying = false;
        match self.jobs.pop_front() {
            Some(Job::Entries { first, entries }) => self.apply(first, entries, shared)?,
            Some(Job::Checkpoint { at }) => self.checkpoint_wanted = Some(at),
            Some(Job::Install { transfer, meta }) => self.install(transfer, meta, shared)?,
            None => {}
        }
        self.checkpoint(shared)?;
        self.start_apply(shared);
        Ok(())
    }

    fn apply(
        &mut self,
        first: Slot,
        mut entries: VecDeque<CommittedEntry>,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        self.crash_point(CrashPoint::Apply)?;
        let compare_every = shared.setup.pace.compare_every;
        let to_compare = compare_every - first.prev().0 % compare_every;
        let mut at_once = shared.setup.tuning.apply_entries;
        if buggify!(self.buggify, "driver.apply.one") {
            at_once = 1;
        }
        if buggify!(self.buggify, "driver.apply.all") {
            at_once = u64::MAX;
        }
        let count = at_once.min(to_compare).min(entries.len() as u64);
        let stamp = (!self.mutation.keeps_time()).then(|| self.now(shared).wall);
        let group = entries.drain(..count as usize).map(|entry| content(entry, stamp));
        let group: Vec<(Epoch, Content)> = group.collect();
        if !entries.is_empty() {
            self.jobs.push_front(Job::Entries { first: first.plus(count), entries });
        }
        let output = self.kv.apply(first, &group).map_err(|_| Stop::Crash("failed apply"))?;
        let applied = self.kv.applied().0;
        shared.record(self.id, self.cause, APPLY, || Details::none().field("upto", applied.0));
        if let Some(slot) = output.undecodable.first() {
            return Err(Stop::broken("entries can be decoded", format!("slot {slot}")));
        }
        shared.watchers.applied(
            (self.id, self.number),
            &output.events,
            self.kv.revision(),
            shared.queue.now(),
        );
        for events in &output.events {
            shared.oracle.told(self.id, events)?;
        }
        for executed in output.executed {
            self.answer_write(executed, shared)?;
        }
        self.background_persist(applied, shared)?;
        self.applied(shared)
    }

    /// The state has moved: compare it, tell the core, serve who waited.
    fn applied(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        let upto = self.kv.applied().0;
        if upto.0.is_multiple_of(shared.setup.pace.compare_every) {
            self.compare(shared)?;
        }
        let goes_on = matches!(self.jobs.front(), Some(Job::Entries { .. }));
        if !goes_on || !buggify!(self.buggify, "driver.applied.told_later") {
            self.request(Request::Applied { upto }, shared);
        }
        self.serve_reads(shared)
    }

    /// Shows the oracle the state of this replica.
    pub(crate) fn compare(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        let digest = self.kv.digest().map_err(|_| Stop::Crash("failed digest"))?;
        shared.oracle.state(self.id, self.kv.applied().0, digest)?;
        Ok(())
    }

    fn answer_write(&mut self, executed: Executed, shared: &mut Shared) -> Result<(), Stop> {
        let Executed { slot, session, number, outcome } = executed;
        match outcome {
            kv::Outcome::Done { result, revision } => {
                let Some(op) = self.executed(session, number) else { return Ok(()) };
                shared.oracle.acknowledge(slot)?;
                let response = result.map_err(|error| {
                    Stop::broken(
                        "valid commands are executed",
                        format!("operation {} at {slot}: {error}", op.0),
                    )
                })?;
                let call = shared.history.get(op).map(|operation| &operation.call);
                let answer = call.and_then(|call| convert::answer(call, &response)).ok_or_else(|| {
                    Stop::broken("answers fit their questions", format!("operation {}: {response:?}", op.0))
                })?;
                shared.finish(op, Outcome::Answered { revision: Some(revision), answer });
            }
            kv::Outcome::SessionOpened => {
                self.executed(session, number);
            }
            kv::Outcome::SessionMissing => {
                self.submitter.session_missing(session);
                self.wake(shared);
            }
            kv::Outcome::Duplicate => {}
        }
        Ok(())
    }

    /// An engine may make itself durable whenever it likes.
    fn background_persist(&mut self, applied: Slot, shared: &mut Shared) -> Result<(), Stop> {
        let ppm = shared.setup.pace.engine_persist_ppm;
        let is_drawn = keys::rng(shared.seed, Purpose::Engine, [self.id.0, applied.0, 0]).chance_ppm(ppm);
        if is_drawn || buggify!(self.buggify, "driver.persist.now") {
            self.persist(shared)?;
        }
        Ok(())
    }

    fn persist(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        self.engine.persist().map_err(|_| Stop::Crash("failed persist"))?;
        shared.oracle.persisted(self.id, self.kv.applied().0);
        Ok(())
    }

    /// Takes the checkpoint that the core asked for, as soon as enough is applied.
    fn checkpoint(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        let applied = self.kv.applied().0;
        if self.checkpoint_wanted.is_none_or(|at| applied < at) {
            return Ok(());
        }
        if !self.jobs.is_empty() && buggify!(self.buggify, "driver.checkpoint.later") {
            return Ok(());
        }
        self.checkpoint_wanted = None;
        if shared.now().0.is_multiple_of(2) {
            self.crash_point(CrashPoint::Checkpoint)?;
        }
        if self.mutation.persists() {
            self.persist(shared)?;
        }
        self.crash_point(CrashPoint::Checkpoint)?;
        self.request(Request::CheckpointDurable { at: applied }, shared);
        Ok(())
    }

    fn read_chunk(&mut self, transfer: TransferId, index: u64, shared: &mut Shared) -> Result<(), Stop> {
        shared.chunks = shared.chunks.max(u32::try_from(index + 1).unwrap_or(u32::MAX));
        if index == 0 && !self.kv.is_incomplete() && !self.transfers.contains_key(&transfer) {
            let writer = self.kv.checkpoint().map_err(|_| Stop::Crash("failed checkpoint"))?;
            self.transfers.insert(transfer, writer);
        }
        if buggify!(self.buggify, "driver.chunk.lost") {
            self.transfers.remove(&transfer);
        }
        let chunk = match self.transfers.get_mut(&transfer) {
            Some(writer) => writer.chunk(index).map_err(|_| Stop::Crash("failed checkpoint"))?,
            None => None,
        };
        let answer = match (chunk, self.transfers.get(&transfer)) {
            (Some((chunk, last)), Some(writer)) => {
                let (at, epoch) = writer.at();
                let membership = writer.membership().map_err(|_| Stop::Crash("failed checkpoint"))?;
                let membership = crate::node::membership(membership);
                Request::ChunkRead { transfer, at, epoch, membership, index, chunk, last }
            }
            _ => Request::ChunkLost { transfer },
        };
        self.request(answer, shared);
        Ok(())
    }

    fn stage(&mut self, transfer: TransferId, index: u64, chunk: Bytes, shared: &mut Shared) {
        if index == 0 {
            self.staged.clear();
        }
        if index == self.staged.len() as u64 {
            self.staged.push(chunk);
        }
        self.request(Request::ChunkStaged { transfer, index }, shared);
    }

    fn install(
        &mut self,
        transfer: TransferId,
        meta: CheckpointMeta,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        let before = self.kv.applied().0;
        if meta.at <= before {
            let detail = format!("a checkpoint at {} replaces a state at {before}", meta.at);
            return Err(Stop::broken("state never goes back", detail));
        }
        let mut staged = std::mem::take(&mut self.staged);
        if buggify!(self.buggify, "driver.install.incomplete") {
            staged.pop();
        }
        let read = |index: u64| staged.get(usize::try_from(index).ok()?).cloned();
        match self.kv.install((meta.at, meta.epoch), read) {
            Ok(()) => self.installed(meta.at, shared)?,
            Err(InstallError::Refused(_)) => {
                self.committed = before;
                self.request(Request::CheckpointInstalled { transfer, installed: false }, shared);
                return Ok(());
            }
            Err(_) => return Err(Stop::Crash("failed install")),
        }
        self.crash_point(CrashPoint::Checkpoint)?;
        self.request(Request::CheckpointInstalled { transfer, installed: true }, shared);
        self.applied(shared)
    }

    fn installed(&mut self, at: Slot, shared: &mut Shared) -> Result<(), Stop> {
        shared.counters.installs += 1;
        shared.note(5, self.id, at.0);
        shared.oracle.persisted(self.id, at);
        let now = shared.now();
        shared.watchers.jumped((self.id, self.number), &self.kv.reader(), self.kv.revision(), now);
        let mut outcomes = Vec::new();
        self.submitter.skipped_entries(&mut outcomes);
        self.settle(outcomes, shared)
    }
}

/// An entry as the state machine takes it. `stamp` replaces its time, which no correct driver ever does.
fn content(committed: CommittedEntry, stamp: Option<WallTime>) -> (Epoch, Content) {
    let payload = committed.entry.payload;
    let content = match committed.entry.kind {
        EntryKind::Noop => Content::Nothing,
        EntryKind::Commands if stamp.is_some() => {
            let batch = Batch::from_bytes(payload).unwrap_or_default();
            Content::Commands(Batch { wall: stamp.unwrap_or(batch.wall), ..batch }.to_bytes())
        }
        EntryKind::Commands => Content::Commands(payload),
        EntryKind::Membership => Content::Membership(payload),
    };
    (committed.epoch, content)
}

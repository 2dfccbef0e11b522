//! The thread that owns the state machine: entries in, one engine write a group, results and events out.
//!
//! ```text
//!   [Committed 7-9, Committed 10, Leading, Lease …] ──▶ apply 7-10 as one group ──▶ events ──▶ subscribers
//!                                                             │                                    (first)
//!                                                             └──▶ AppliedReport ──▶ core ──▶ clients
//! ```
//!
//! - Y1  Entries are applied in slot order, each once; what comes twice is skipped.
//! - Y2  A revision's events are published before anyone is told of the revision.
//! - Y3  The leader's lessor proposes revokes and never deletes anything itself.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use consensus::{CommittedEntry, Entry, EntryKind};
use kv::{CheckpointWriter, Content, Executed, Kv, LeaseChange, Lessor, Outcome};
use types::{Epoch, NodeId, SessionId, Slot, Time, Wire};

use crate::checkpoints::Checkpoints;
use crate::config::NodeError;
use crate::disk_thread::with_sources;
use crate::handle::Applied;
use crate::inputs::{
    AppliedReport, ApplyInput, ClientInput, CoreInput, Fate, LeaseAsk, Mailboxes, OwnOutcome, WriteReply,
};
use crate::node::Driven;
use crate::peers::Peers;
use crate::shared::{AppliedEvents, Published, Shared};
use crate::stores;
use crate::waiters::answer_lease;
use crate::{StateEngine, StateView};

/// The apply thread's state.
pub(crate) struct ApplyThread<P: Driven> {
    kv: Kv<StateEngine>,
    lessor: Lessor,
    /// In which epoch this node leads, as far as this thread has heard.
    leads_in: Option<Epoch>,
    checkpoints: Checkpoints<P>,
    /// The session that this run of the node began with; it may have moved on to the ids right above.
    session: SessionId,
    group: Group,
    mailboxes: Mailboxes<P>,
    peers: Arc<Peers>,
    shared: Arc<Shared>,
    /// Who compares states; `None`: nobody.
    audits: Option<Audits>,
    /// Where the state is, for messages.
    path: String,
}

/// When the state is digested, and who does it.
pub(crate) struct Audits {
    /// At the slots that are multiples of this.
    pub(crate) every: u64,
    pub(crate) to: SyncSender<CheckpointWriter<StateView>>,
}

/// Consecutive entries that wait to be applied together.
#[derive(Default)]
struct Group {
    first: Slot,
    entries: Vec<(Epoch, Content)>,
    bytes: u64,
}

/// Sessions of this run have ids in this many above the first: one more for each that expired.
const SESSIONS_OF_A_RUN: u128 = 1 << 32;

/// Leases revoked at a time, and the pause before the next ones.
const REVOKES_MAX: usize = 100;
const REVOKES_PAUSE: Duration = Duration::from_millis(100);

/// How long the lessor waits for a revoke before the attempt is given up; it then reports the lease again.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(3);

impl<P: Driven> ApplyThread<P> {
    pub(crate) fn new(
        kv: Kv<StateEngine>,
        checkpoints: Checkpoints<P>,
        session: SessionId,
        mailboxes: Mailboxes<P>,
        peers: Arc<Peers>,
        shared: Arc<Shared>,
        path: String,
    ) -> ApplyThread<P> {
        let lessor = Lessor::new();
        ApplyThread {
            kv,
            lessor,
            leads_in: None,
            checkpoints,
            session,
            group: Group::default(),
            mailboxes,
            peers,
            shared,
            audits: None,
            path,
        }
    }

    /// Hands over states to be compared.
    pub(crate) fn audited(self, audits: Option<Audits>) -> ApplyThread<P> {
        ApplyThread { audits, ..self }
    }

    /// Works until the inbox is closed and empty, or the engine fails.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.fail(error);
        }
        self.checkpoints.stop();
    }

    fn work(&mut self) -> Result<(), NodeError> {
        let mut inputs = Vec::new();
        let mut revoke_after = Time(0);
        loop {
            let deadline = self.lessor.deadline().map(|due| due.max(revoke_after));
            let deadline = deadline.and_then(|time| self.shared.clock.instant(time));
            if !self.mailboxes.apply.take(&mut inputs, deadline) {
                return Ok(());
            }
            for input in inputs.drain(..) {
                self.input(input)?;
            }
            self.apply_group()?;
            let now = self.shared.clock.mono();
            if self.lessor.deadline().is_some_and(|due| due.max(revoke_after) <= now) {
                self.revoke_expired(now);
                revoke_after = now + REVOKES_PAUSE;
            }
        }
    }

    fn input(&mut self, input: ApplyInput) -> Result<(), NodeError> {
        match input {
            ApplyInput::Committed { first, entries } => return self.collect(first, entries),
            other => {
                self.apply_group()?;
                match other {
                    ApplyInput::Committed { .. } => {}
                    ApplyInput::Checkpoint(event) => self.checkpoint(event)?,
                    ApplyInput::Leading(epoch) => self.lead(epoch)?,
                    ApplyInput::Lease(ask) => self.lease(ask),
                }
            }
        }
        Ok(())
    }

    /// Adds entries to the group. What has been applied before is skipped (Y1).
    fn collect(&mut self, first: Slot, entries: Vec<CommittedEntry>) -> Result<(), NodeError> {
        let next = match self.group.entries.len() {
            0 => self.kv.applied().0.next(),
            len => self.group.first.plus(len as u64),
        };
        if first > next {
            return Err(self.failed(format!("entries from slot {first} on follow slot {}", next.prev())));
        }
        for (entry, slot) in entries.into_iter().zip(first.0..) {
            self.group.bytes += entry.entry.payload.len() as u64;
            if slot >= next.0 {
                if self.group.entries.is_empty() {
                    self.group.first = Slot(slot);
                }
                self.group.entries.push((entry.epoch, content(entry.entry)));
                self.audit_at(Slot(slot))?;
            }
        }
        Ok(())
    }

    /// Hands the state over to be compared if this is a slot where all replicas do so.
    fn audit_at(&mut self, slot: Slot) -> Result<(), NodeError> {
        if !self.audits.as_ref().is_some_and(|audits| slot.0.is_multiple_of(audits.every)) {
            return Ok(());
        }
        self.apply_group()?;
        let state = self.kv.checkpoint().map_err(|error| self.failed(error.to_string()))?;
        if let Some(audits) = &self.audits {
            audits.to.try_send(state).ok(); // or it is busy with an earlier one
        }
        Ok(())
    }

    fn apply_group(&mut self) -> Result<(), NodeError> {
        let group = std::mem::take(&mut self.group);
        if group.entries.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let output =
            self.kv.apply(group.first, &group.entries).map_err(|error| self.failed(error.to_string()))?;
        self.shared.metrics.state_write.record(started.elapsed());
        let (slot, _) = self.kv.applied();
        for undecodable in &output.undecodable {
            tracing::error!(slot = %undecodable, "a committed entry cannot be decoded and changed nothing");
        }
        self.note_leases(&output.leases);
        let is_removed = output.members_changed && self.tell_members()?;
        if !output.events.is_empty() && self.shared.events.receiver_count() > 0 {
            let events = Arc::new(AppliedEvents { revisions: output.events, slot });
            // Without receivers by now, nobody misses it.
            self.shared.events.send(Published::Events(events)).ok();
        }
        self.shared.set_revision(self.kv.revision());
        let own = output.executed.into_iter().filter_map(|executed| self.own(executed)).collect();
        let report = AppliedReport { upto: slot, bytes: group.bytes, own, skipped: false };
        self.mailboxes.core.post(CoreInput::Applied(report));
        self.checkpoints.applied(slot);
        if is_removed {
            self.shared.removed(); // whoever asked for it gets an answer before the core ends
        }
        Ok(())
    }

    fn own(&self, executed: Executed) -> Option<OwnOutcome> {
        let Executed { slot, session, number, outcome } = executed;
        if session.0.wrapping_sub(self.session.0) >= SESSIONS_OF_A_RUN {
            return None;
        }
        let fate = match outcome {
            Outcome::Done { result, revision } => Fate::Done(Applied { result, revision, slot }),
            Outcome::Duplicate => Fate::Duplicate,
            Outcome::SessionMissing => Fate::SessionMissing,
            Outcome::SessionOpened => Fate::SessionOpened,
        };
        Some(OwnOutcome { session, number, fate })
    }

    fn checkpoint(&mut self, event: consensus::Event) -> Result<(), NodeError> {
        let installed =
            self.checkpoints.event(event, &mut self.kv).map_err(|error| self.failed(with_sources(&error)))?;
        let Some(answer) = installed else { return Ok(()) };
        let is_removed = self.tell_members()?;
        let (upto, _) = self.kv.applied();
        self.shared.set_revision(self.kv.revision());
        // Without receivers, nobody missed anything.
        self.shared.events.send(Published::Jumped).ok();
        self.shared.metrics.checkpoints_installed.add(1);
        let report = AppliedReport { upto, bytes: 0, own: Vec::new(), skipped: true };
        self.mailboxes.core.post_all([CoreInput::Reply(answer), CoreInput::Applied(report)]);
        if is_removed {
            self.shared.removed();
        }
        Ok(())
    }

    /// Before anyone is told that the change is applied. Returns whether this node was removed.
    fn tell_members(&self) -> Result<bool, NodeError> {
        let (membership, published) =
            stores::members(&self.kv).map_err(|error| self.failed(with_sources(&error)))?;
        Ok(self.peers.apply(&membership, published.iter().map(|member| NodeId(member.id)).collect()))
    }

    fn lead(&mut self, epoch: Option<Epoch>) -> Result<(), NodeError> {
        self.leads_in = epoch;
        if epoch.is_some() {
            let leases = self.kv.reader().leases().map_err(|error| self.failed(with_sources(&error)))?;
            self.lessor.promote(self.shared.clock.mono(), leases);
        } else {
            self.lessor.demote();
        }
        Ok(())
    }

    fn lease(&mut self, ask: LeaseAsk) {
        let answer = ask.question.answer(&mut self.lessor, self.shared.clock.mono());
        answer_lease(ask.reply, answer, &self.peers);
    }

    fn note_leases(&mut self, changes: &[LeaseChange]) {
        if changes.is_empty() || !self.lessor.is_leading() {
            return;
        }
        let now = self.shared.clock.mono();
        for change in changes {
            match *change {
                LeaseChange::Granted { id, ttl_seconds } => self.lessor.granted(now, id, ttl_seconds),
                LeaseChange::Revoked { id } => self.lessor.revoked(id),
            }
        }
    }

    /// Y3.
    fn revoke_expired(&mut self, now: Time) {
        let Some(epoch) = self.leads_in else { return };
        let revoke = |id| {
            CoreInput::Client(ClientInput::Write {
                body: kv::Command::LeaseRevoke { id }.to_bytes(),
                timeout: REVOKE_TIMEOUT,
                reply: WriteReply::Revoke(epoch),
            })
        };
        self.mailboxes.core.post_all(self.lessor.expired(now, REVOKES_MAX).into_iter().map(revoke));
    }

    fn failed(&self, reason: String) -> NodeError {
        NodeError::State { path: self.path.clone(), reason }
    }
}

/// What the state machine makes of an entry.
fn content(entry: Entry) -> Content {
    match entry.kind {
        EntryKind::Noop => Content::Nothing,
        EntryKind::Commands => Content::Commands(entry.payload),
        EntryKind::Membership => Content::Membership(entry.payload),
    }
}

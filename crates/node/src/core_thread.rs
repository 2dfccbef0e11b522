//! The thread that owns the protocol core: inputs in batches, one flush each, outputs to where they belong.
//!
//! ```text
//!   take everything ──▶ step each ──▶ poll submitter, step each ──▶ flush ──▶ dispatch
//!                                          ▲                                     │ a new leader, say
//!                                          └─────────────────────────────────────┘
//! ```
//!
//! - T1  The core sees nothing but `Input`s, the clocks and its seed.
//! - T2  Of one batch, what needs no gate leaves first, to peers and to the apply thread; then the disk gets its work.
//! - T3  What the apply thread gets arrives in the order in which the core emitted it. An item may have to go
//!   through the disk thread although its gate is open by now: an earlier one may still be on its way there.
//!   And because the disk thread knows of a finished write before this thread does, it may let go at once of what it is
//!   handed: what goes directly has to be with the apply thread by then (T2).
//! - T4  Every wish of a client gets exactly one answer, also when the node stops.
//! - T5  The core is asked for a revoke only while it leads, in the epoch in which the lessor decided it: any other leader
//!   may have renewed the lease. What it has appended by then may be committed; its successor sees it before it renews.
//!   The lessor hears of a deposition after the core, and this thread's own view (T2) is a batch old: the core is asked.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use consensus::{
    Action, CommittedEntry, Errand, Event, GateQueue, Input, Membership, Out, Outcome, ReadLevel, Request,
    Role, Standing, Status, SubmitRequest, Submitter, WriteSeq,
};
use tokio::sync::oneshot;
use types::{Epoch, Now, Slot, Time};

use crate::handle::{ErrandError, ProposeError, ReadError};
use crate::inputs::{
    AppliedReport, ApplyInput, ClientInput, CoreInput, DiskInput, ErrandReply, Fate, Gated, LeaseAsk,
    Mailboxes, OwnOutcome, WriteReply,
};
use crate::leases::LeaseAnswer;
use crate::node::Driven;
use crate::peers::{Outbox, Peers, protocol_frame};
use crate::shared::Shared;
use crate::waiters::{Ended, ErrandWaiter, ReadReply, ReadWaiter, Waiters, answer_lease, refuse_read};

/// The core thread's state.
pub(crate) struct CoreThread<P: Driven> {
    core: P,
    out: Out<P>,
    submitter: Submitter,
    waiters: Waiters,
    outcomes: Vec<Outcome>,
    /// Events that wait for a write, except entries to apply: those wait at the disk thread.
    gated: GateQueue<Event>,
    outbox: Outbox,
    peers: Arc<Peers>,
    mailboxes: Mailboxes<P>,
    shared: Arc<Shared>,
    /// The last write known to be durable.
    durable: WriteSeq,
    /// The latest gate of anything for the apply thread, and how much for it went to the disk thread and has
    /// not been passed on yet (T3).
    apply_gate: WriteSeq,
    apply_held: u64,
    /// The last applied slot.
    applied: Slot,
    /// Bytes of entries that the apply thread has and has not reported.
    applying_bytes: u64,
    applying_paused: bool,
    /// This member's publication of itself, encoded.
    publication: Bytes,
    /// When to publish again, if that is outstanding.
    publish_at: Option<Time>,
    /// Clients are refused: the node stops.
    draining: bool,
    /// Who waits for the last outcome.
    drained: Option<oneshot::Sender<()>>,
    was_leading: bool,
    was_role: Role,
    /// The disks of the voters were not settled when last heard of.
    was_founding: bool,
    /// Work for the other threads, collected over a batch.
    disk: Vec<DiskInput<P>>,
    apply: Vec<ApplyInput>,
}

/// Commands of this node's clients that may be outstanding; beyond this they are told to try again.
const WRITES_OUTSTANDING_MAX: usize = 16_384;

/// Bytes of entries that may wait to be applied before peers' bulk connections are paused, and when to resume.
const APPLYING_BYTES_MAX: u64 = 32 << 20;
const APPLYING_BYTES_RESUME: u64 = 8 << 20;

/// How often reads that wait for their point to be applied are looked over for time-outs.
const PLACED_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How long one attempt to publish may take, and the pause after a failed one.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(5);
const PUBLISH_PAUSE: Duration = Duration::from_millis(100);

/// What a core thread starts from.
pub(crate) struct CoreStart<P: Driven> {
    pub(crate) core: P,
    /// What recovery put out.
    pub(crate) out: Out<P>,
    pub(crate) submitter: Submitter,
    pub(crate) outbox: Outbox,
    pub(crate) peers: Arc<Peers>,
    pub(crate) mailboxes: Mailboxes<P>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) publication: Bytes,
}

impl<P: Driven> CoreThread<P> {
    pub(crate) fn new(start: CoreStart<P>) -> CoreThread<P> {
        let applied = start.core.status().applied;
        CoreThread {
            core: start.core,
            out: start.out,
            submitter: start.submitter,
            waiters: Waiters::default(),
            outcomes: Vec::new(),
            gated: GateQueue::default(),
            outbox: start.outbox,
            peers: start.peers,
            mailboxes: start.mailboxes,
            shared: start.shared,
            durable: WriteSeq::NONE,
            apply_gate: WriteSeq::NONE,
            apply_held: 0,
            applied,
            applying_bytes: 0,
            applying_paused: false,
            publication: start.publication,
            publish_at: Some(Time(0)),
            draining: false,
            drained: None,
            was_leading: false,
            was_role: Role::Follower,
            was_founding: false,
            disk: Vec::new(),
            apply: Vec::new(),
        }
    }

    /// Works until the inbox is closed and empty.
    pub(crate) fn run(mut self) {
        self.on_membership(&self.core.status().membership);
        self.settle(self.shared.clock.now());
        let mut inputs = Vec::new();
        loop {
            let deadline = self.deadline().and_then(|time| self.shared.clock.instant(time));
            if !self.mailboxes.core.take(&mut inputs, deadline) {
                break;
            }
            let now = self.shared.clock.now();
            for input in inputs.drain(..) {
                self.input(now, input);
            }
            self.timers(now);
            self.settle(now);
        }
        self.waiters.stop(&self.peers);
    }

    fn deadline(&self) -> Option<Time> {
        let placed = self.waiters.has_placed().then(|| self.shared.clock.mono() + PLACED_CHECK_INTERVAL);
        [self.core.deadline(), self.submitter.deadline(), self.publish_at, placed].into_iter().flatten().min()
    }

    fn timers(&mut self, now: Now) {
        if self.core.deadline().is_some_and(|deadline| deadline <= now.mono) {
            self.step(now, Input::Timer);
        }
        self.submitter.timer(now.mono, &mut self.outcomes);
        if self.waiters.has_placed() {
            self.waiters.expire(now.mono, &self.peers);
        }
        if self.publish_at.is_some_and(|at| at <= now.mono) {
            self.publish_at = None;
            self.write(now, self.publication.clone(), PUBLISH_TIMEOUT, WriteReply::Publication);
        }
    }

    fn input(&mut self, now: Now, input: CoreInput<P>) {
        match input {
            CoreInput::Recv { from, message } => self.step(now, Input::Recv { from, message }),
            CoreInput::Client(input) => self.client(now, input),
            CoreInput::Asked(ask) => self.lease(now, ask),
            CoreInput::Durable { upto, passed } => self.on_durable(now, upto, passed),
            CoreInput::LogRead { first, records } => self.step(now, Input::LogRead { first, records }),
            CoreInput::Unreachable { peer } => self.step(now, Input::Unreachable { peer }),
            CoreInput::Applied(report) => self.on_applied(now, report),
            CoreInput::Reply(request) => self.step(now, Input::Request(request)),
        }
    }

    fn step(&mut self, now: Now, input: Input<P>) {
        self.core.step(now, input, &mut self.out);
    }

    fn client(&mut self, now: Now, input: ClientInput) {
        match input {
            ClientInput::Write { body, timeout, reply } => self.write(now, body, timeout, reply),
            ClientInput::Read { timeout, reply } => self.read(now, timeout, ReadReply::Client(reply)),
            ClientInput::Lease(ask) => self.lease(now, ask),
            ClientInput::Errand { errand, timeout, reply } => self.errand(now, errand, timeout, reply),
            ClientInput::Drain { drained } => {
                self.draining = true;
                self.drained = Some(drained);
            }
        }
    }

    fn write(&mut self, now: Now, body: Bytes, timeout: Duration, reply: WriteReply) {
        let full = self.waiters.writes() >= WRITES_OUTSTANDING_MAX;
        if let (WriteReply::Client(_), true) = (&reply, full || self.draining) {
            let error = if full { ProposeError::Busy } else { ProposeError::Stopped };
            if let WriteReply::Client(reply) = reply {
                drop(reply.send(Err(error))); // a client that went away misses nothing
            }
            return;
        }
        let deadline = now.mono + timeout;
        let ticket = self.submitter.submit(now.mono, SubmitRequest::Write(body), deadline);
        self.waiters.add_write(ticket, reply);
    }

    fn read(&mut self, now: Now, timeout: Duration, reply: ReadReply) {
        if self.draining {
            return refuse_read(reply, ReadError::Stopped, &self.peers);
        }
        let deadline = now.mono + timeout;
        let ticket = self.submitter.submit(now.mono, SubmitRequest::Read(ReadLevel::ReadIndex), deadline);
        self.waiters.add_read(ticket, ReadWaiter { deadline, reply });
    }

    fn errand(&mut self, now: Now, errand: Errand, timeout: Duration, reply: ErrandReply) {
        if self.draining {
            reply.send(Err(ErrandError::Stopped)).ok(); // a client that went away misses nothing
            return;
        }
        let deadline = now.mono + timeout;
        let ticket = self.submitter.submit(now.mono, SubmitRequest::Once(errand), deadline);
        self.waiters.add_errand(ticket, ErrandWaiter { deadline, reply });
    }

    /// Only the leader goes on to ask itself; see [`crate::leases`].
    fn lease(&mut self, now: Now, ask: LeaseAsk) {
        if self.was_leading {
            self.read(now, ask.timeout, ReadReply::Lease(ask));
        } else {
            answer_lease(ask.reply, LeaseAnswer::NotLeader, &self.peers);
        }
    }

    fn on_durable(&mut self, now: Now, upto: WriteSeq, passed: u64) {
        self.apply_held -= passed;
        if upto <= self.durable {
            return;
        }
        self.durable = upto;
        self.step(now, Input::Durable { upto });
        let open: Vec<Event> = self.gated.open(upto).collect();
        open.iter().for_each(|event| self.event(event));
    }

    fn on_applied(&mut self, now: Now, report: AppliedReport) {
        self.applying_bytes = self.applying_bytes.saturating_sub(report.bytes);
        if self.applying_paused && self.applying_bytes <= APPLYING_BYTES_RESUME {
            self.applying_paused = false;
            self.mailboxes.core.pause(false);
        }
        self.applied = self.applied.max(report.upto);
        self.step(now, Input::Request(Request::Applied { upto: report.upto }));
        for outcome in report.own {
            self.own_outcome(now, outcome);
        }
        if report.skipped {
            self.submitter.skipped_entries(&mut self.outcomes);
        }
        for reply in self.waiters.reached(self.applied) {
            self.serve_read(reply);
        }
    }

    fn own_outcome(&mut self, now: Now, outcome: OwnOutcome) {
        let OwnOutcome { session, number, fate } = outcome;
        let answer = match fate {
            Fate::SessionMissing => return self.submitter.session_missing(session),
            Fate::SessionOpened => {
                self.submitter.executed(session, 0);
                return;
            }
            Fate::Done(applied) => Ok(applied),
            // Executed, but where the answer was seen nobody can say any more.
            Fate::Duplicate => Err(ProposeError::Unknown),
        };
        if let Some(ticket) = self.submitter.executed(session, number) {
            let ended = self.waiters.applied(ticket, answer);
            self.ended(now, ended);
        }
    }

    fn serve_read(&mut self, reply: ReadReply) {
        match reply {
            ReadReply::Client(reply) => drop(reply.send(Ok(()))), // a client that went away misses nothing
            ReadReply::Lease(ask) => self.apply.push(ApplyInput::Lease(ask)),
            ReadReply::Errand(reply) => drop(reply.send(Ok(()))), // likewise
        }
    }

    fn ended(&mut self, now: Now, ended: Ended) {
        match ended {
            Ended::Answered => {}
            Ended::PublicationFailed => self.publish_at = Some(now.mono + PUBLISH_PAUSE),
            Ended::Published => drop(self.shared.published.send_replace(true)),
        }
    }

    /// Ends a batch.
    fn settle(&mut self, now: Now) {
        loop {
            self.abandon_revokes();
            for request in self.submitter.poll(now.mono) {
                self.step(now, Input::Request(request));
            }
            self.core.flush(now, &mut self.out);
            self.dispatch();
            self.finish_outcomes(now);
            if !self.submitter.has_due() {
                break;
            }
        }
        self.publish_status();
        if self.waiters.writes() == 0
            && let Some(drained) = self.drained.take()
        {
            drained.send(()).ok();
        }
    }

    /// T5.
    fn abandon_revokes(&mut self) {
        if !self.waiters.has_revokes() {
            return;
        }
        let Status { role, epoch, .. } = self.core.status();
        for ticket in self.waiters.forget_revokes((role == Role::Leader).then_some(epoch)) {
            self.submitter.abandon(ticket);
        }
    }

    /// T2.
    fn dispatch(&mut self) {
        let mut actions = std::mem::take(&mut self.out.actions);
        for action in actions.drain(..) {
            self.action(action);
        }
        self.out.actions = actions; // keeps its memory
        self.outbox.flush();
        if !self.apply.is_empty() {
            self.mailboxes.apply.post_all(self.apply.drain(..));
        }
        if !self.disk.is_empty() {
            self.mailboxes.disk.post_all(self.disk.drain(..));
        }
    }

    fn action(&mut self, action: Action<P>) {
        match action {
            Action::Persist { seq, ops } => self.disk.push(DiskInput::Write { seq, ops }),
            Action::ReadLog { first, last, bytes_max } => {
                self.disk.push(DiskInput::Read { first, last, bytes_max });
            }
            Action::Send { to, message, after, lane } => {
                let frame = protocol_frame(&message);
                if after <= self.durable {
                    self.outbox.push(&to, lane, &frame);
                } else {
                    self.disk.push(DiskInput::Hold { after, item: Gated::Frame { to, lane, frame } });
                }
            }
            Action::Event { event: Event::Committed { first, entries }, after } => {
                self.count_applying(&entries);
                self.pass_to_apply(ApplyInput::Committed { first, entries }, after);
            }
            Action::Event { event, after } if is_for_checkpoints(&event) => {
                self.pass_to_apply(ApplyInput::Checkpoint(event), after);
            }
            Action::Event { event, after } => {
                if let Some(event) = self.gated.admit(after, event) {
                    self.event(&event);
                }
            }
        }
    }

    fn count_applying(&mut self, entries: &[CommittedEntry]) {
        self.applying_bytes += entries.iter().map(|entry| entry.entry.payload.len() as u64).sum::<u64>();
        if !self.applying_paused && self.applying_bytes > APPLYING_BYTES_MAX {
            self.applying_paused = true;
            self.mailboxes.core.pause(true);
        }
    }

    /// T3.
    fn pass_to_apply(&mut self, input: ApplyInput, after: WriteSeq) {
        self.apply_gate = self.apply_gate.max(after);
        if self.apply_held == 0 && self.apply_gate <= self.durable {
            self.apply.push(input);
        } else {
            self.apply_held += 1;
            self.disk.push(DiskInput::Hold { after: self.apply_gate, item: Gated::Apply(input) });
        }
    }

    fn event(&mut self, event: &Event) {
        self.submitter.event(event, &mut self.outcomes);
        match event {
            Event::Leadership { role, epoch, .. } => self.on_leadership(*role, *epoch),
            Event::MembershipChanged { membership, .. } => self.on_membership(membership),
            _ => {}
        }
    }

    fn on_membership(&mut self, membership: &Membership) {
        let is_founding = !membership.is_pinned();
        if is_founding != self.was_founding {
            self.was_founding = is_founding;
            if is_founding {
                let founders: Vec<u64> = membership.voters().map(|node| node.0).collect();
                tracing::warn!(
                    ?founders,
                    "the cluster is new: nothing is committed until every one of its founders has been heard"
                );
            } else {
                tracing::info!("every founder of the cluster has been heard");
            }
        }
        let is_learner = membership.standing(self.shared.id) == Some(Standing::Learner);
        self.shared.is_learner.store(is_learner, Ordering::Relaxed);
        self.peers.put_in_force(membership);
    }

    fn on_leadership(&mut self, role: Role, epoch: Epoch) {
        if role == Role::Recovering && self.was_role != role {
            tracing::warn!(
                "this member does not vote: its disk has lost something, or is not the one that it joined with; if \
                 this does not pass, replace it (`althing members remove`, then `add`)"
            );
        }
        self.was_role = role;
        let leading = role == Role::Leader;
        if leading == self.was_leading {
            return;
        }
        self.was_leading = leading;
        self.apply.push(ApplyInput::Leading(leading.then_some(epoch)));
    }

    fn finish_outcomes(&mut self, now: Now) {
        let mut outcomes = std::mem::take(&mut self.outcomes);
        for outcome in outcomes.drain(..) {
            let (ticket, refusal) = match outcome {
                Outcome::ReadAt { ticket, at } => {
                    if let Some(reply) = self.waiters.place(ticket, at, self.applied) {
                        self.serve_read(reply);
                    }
                    continue;
                }
                Outcome::Done { ticket, at } => {
                    if let Some(reply) = self.waiters.done(ticket, at, self.applied) {
                        self.serve_read(reply);
                    }
                    continue;
                }
                Outcome::Refused { ticket, refusal } => (ticket, Some(refusal)),
                Outcome::Unknown { ticket } => (ticket, None),
            };
            let ended = self.waiters.failed(ticket, refusal, &self.peers, &self.shared.metrics);
            self.ended(now, ended);
        }
        self.outcomes = outcomes;
        if !self.apply.is_empty() {
            self.mailboxes.apply.post_all(self.apply.drain(..));
        }
    }

    fn publish_status(&self) {
        let status = self.core.status();
        let metrics = &self.shared.metrics;
        metrics.proposals_committed.set(status.committed.0);
        metrics.proposals_applied.set(status.applied.0);
        metrics.proposals_pending.set(self.waiters.writes() as u64);
        let mut published = self.shared.status();
        let moved = (published.role, published.leader) != (status.role, status.leader);
        let leader = status.leader;
        let leading = status.role == Role::Leader;
        *published = status;
        drop(published);
        if moved {
            self.shared.leadership(leader, leading);
        }
    }
}

/// Whether an event is about a checkpoint: the apply thread's business.
fn is_for_checkpoints(event: &Event) -> bool {
    matches!(
        event,
        Event::TakeCheckpoint { .. }
            | Event::ReadChunk { .. }
            | Event::CloseTransfer { .. }
            | Event::StageChunk { .. }
            | Event::InstallCheckpoint { .. }
    )
}

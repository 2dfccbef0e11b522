//! The front-end of a node: clients' operations in, outcomes out.

use bytes::Bytes;
use checker::{Level, Outcome};
use consensus::{Errand, Event, Outcome as Attempt, ReadLevel, SubmitRequest};
use kv::ReadError;
use trace::{Kind, OpId};
use types::{Slot, Time, Wire};

use super::{Incoming, Life, word};
use crate::convert;
use crate::shared::{Shared, Stop};
use crate::subject::Subject;

impl<P: Subject> Life<P> {
    /// Takes a client's operation.
    pub(super) fn ask(&mut self, op: OpId, mono: Time, shared: &mut Shared) -> Result<(), Stop> {
        let Some(operation) = shared.history.get(op).filter(|_| shared.is_open(op)) else { return Ok(()) };
        let request = if operation.call.may_write() {
            SubmitRequest::Write(convert::command(&operation.call).to_bytes())
        } else if operation.level == Level::Serializable || !self.mutation.asks_for_reads() {
            return self.answer_read(op, shared);
        } else if shared.setup.tuning.lease_drift_ppm.is_some() && op.0.is_multiple_of(2) {
            SubmitRequest::Read(ReadLevel::Lease)
        } else {
            SubmitRequest::Read(ReadLevel::ReadIndex)
        };
        let deadline = mono + shared.setup.workload.patience;
        let ticket = self.submitter.submit(mono, request, deadline);
        self.tickets.insert(ticket, op);
        Ok(())
    }

    /// Takes what the operator wants; what becomes of it shows in the membership.
    pub(super) fn run_errand(&mut self, errand: Errand, mono: Time, shared: &Shared) {
        self.submitter.submit(mono, SubmitRequest::Once(errand), mono + shared.setup.workload.patience);
    }

    /// Proposes what is no command. Nobody waits for an answer; the replicas' states must stay equal.
    pub(super) fn propose_poison(&mut self, bytes: Bytes, mono: Time, shared: &Shared) {
        self.submitter.submit(mono, SubmitRequest::Write(bytes), mono + shared.setup.workload.patience);
    }

    /// Shows an event of the core to the submitter.
    pub(super) fn event_to_submitter(&mut self, event: &Event, shared: &mut Shared) -> Result<(), Stop> {
        let mut outcomes = Vec::new();
        self.submitter.event(event, &mut outcomes);
        if let Event::Leadership { role, epoch, .. } = event {
            shared.note(3, self.id, epoch.number << 8 | *role as u64);
            shared.record(self.id, self.cause, Kind::Role, || word(role).field("epoch", epoch.number));
        }
        self.settle(outcomes, shared)
    }

    /// Passes on what became of attempts.
    pub(super) fn settle(&mut self, outcomes: Vec<Attempt>, shared: &mut Shared) -> Result<(), Stop> {
        for outcome in outcomes {
            match outcome {
                Attempt::ReadAt { ticket, at } => {
                    let Some(op) = self.tickets.remove(&ticket) else { continue };
                    self.reads.push((if self.mutation.waits_for_apply() { at } else { Slot::ZERO }, op));
                }
                Attempt::Done { .. } => {}
                Attempt::Refused { ticket, .. } => self.end(ticket, Outcome::Refused, shared),
                Attempt::Unknown { ticket } => self.end(ticket, Outcome::Unknown, shared),
            }
        }
        if self.submitter.has_due() {
            self.wake(shared);
        }
        self.serve_reads(shared)
    }

    fn end(&mut self, ticket: u64, outcome: Outcome, shared: &mut Shared) {
        if let Some(op) = self.tickets.remove(&ticket) {
            shared.finish(op, outcome);
        }
    }

    /// The operation of a command that was executed here, if it is one of ours.
    pub(super) fn executed(&mut self, session: types::SessionId, number: u64) -> Option<OpId> {
        self.submitter.executed(session, number).and_then(|ticket| self.tickets.remove(&ticket))
    }

    /// Serves the reads whose slot has been applied.
    pub(super) fn serve_reads(&mut self, shared: &mut Shared) -> Result<(), Stop> {
        let applied = self.kv.applied().0;
        let (due, later) = std::mem::take(&mut self.reads).into_iter().partition(|(at, _)| *at <= applied);
        self.reads = later;
        let due: Vec<(Slot, OpId)> = due;
        due.into_iter().try_for_each(|(_, op)| self.answer_read(op, shared))
    }

    fn answer_read(&mut self, op: OpId, shared: &mut Shared) -> Result<(), Stop> {
        let Some(call) = shared.history.get(op).map(|operation| operation.call.clone()) else {
            return Ok(());
        };
        let Some(request) = convert::range_request(&call) else { return Ok(()) };
        let outcome = match self.kv.reader().range(&request) {
            Ok((revision, response)) => {
                let answer = convert::range_answer(&call, &response)
                    .ok_or_else(|| Stop::broken("answers fit their questions", format!("{response:?}")))?;
                Outcome::Answered { revision: Some(revision), answer }
            }
            Err(ReadError::Incomplete) => Outcome::Refused,
            Err(error) => return Err(Stop::broken("the state machine serves reads", error.to_string())),
        };
        shared.finish(op, outcome);
        Ok(())
    }

    /// What becomes of everybody who waits for this node when it dies.
    pub(crate) fn abandon(&mut self, shared: &mut Shared) {
        for incoming in std::mem::take(&mut self.inbox) {
            if let Incoming::Ask(op) = incoming {
                shared.finish(op, Outcome::Refused);
            }
        }
        let submitted = std::mem::take(&mut self.tickets).into_values();
        let reads = std::mem::take(&mut self.reads).into_iter().map(|(_, op)| op);
        for op in submitted.chain(reads) {
            let writes = shared.history.get(op).is_some_and(|operation| operation.call.may_write());
            shared.finish(op, if writes { Outcome::Unknown } else { Outcome::Refused });
        }
    }
}

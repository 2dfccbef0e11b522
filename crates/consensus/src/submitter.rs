//! The client half of replication: one submitter's writes and reads, from first attempt to known outcome.
//!
//! ```text
//!   submit, read ──▶ waiting ──poll──▶ attempt ──▶ applied here / read point known ──▶ answered
//!                       ▲                 │
//!                       └─ refused, new leader, no answer in time
//! ```
//!
//! Each node runs one for all of its clients, in the server and in the simulator alike. Promises:
//!
//! - S1  A command is executed at most once, however often it is sent: every attempt carries the same
//!   `(session, number)`.
//! - S2  `Outcome::Refused` is said of a command only if no attempt of it can ever execute.
//! - S3  A read's point is obtained after the read was asked for, and no token is ever used twice.
//!
//! Not here: replies. The driver sees its command applied by its own state machine, and tells
//! [`Submitter::executed`].

mod api;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use types::{Command, SessionId, Time, buggify};

pub use api::{Outcome, SubmitRequest, SubmitterConfig};

use crate::errands::Errands;
use crate::pacing::Pacing;
use crate::{Event, ReadLevel, Refusal, Request, Token};

/// One submitter: a session, its outstanding commands, and its outstanding reads.
#[derive(Debug)]
pub struct Submitter {
    config: SubmitterConfig,
    session: SessionId,
    session_opened: bool,
    number_next: u64,
    ticket_next: u64,
    token_next: u64,
    writes: BTreeMap<u64, Write>,
    reads: BTreeMap<u64, Read>,
    /// Write numbers to be sent by the next poll, in order.
    writes_due: Vec<u64>,
    pacing: Pacing,
    /// The latest poll kept `writes_due` back.
    held: bool,
    /// Read tickets to be sent by the next poll.
    reads_due: Vec<u64>,
    /// What each `Propose` of the latest poll carried; refusals arrive before the next poll.
    proposed: BTreeMap<Token, Vec<u64>>,
    /// Which reads wait for each read token.
    read_rounds: BTreeMap<Token, Vec<u64>>,
    errands: Errands,
    /// When to look for time-outs; set while anything is outstanding.
    check_at: Option<Time>,
}

#[derive(Debug)]
struct Write {
    ticket: u64,
    body: Bytes,
    deadline: Time,
    /// When the latest attempt was made; `None` if it was refused, or none was made.
    sent_at: Option<Time>,
    /// Attempts that were not refused: each may still execute.
    attempts_open: u32,
    /// Why the latest refused attempt went nowhere.
    refusal: Refusal,
}

#[derive(Debug)]
struct Read {
    level: ReadLevel,
    deadline: Time,
    asked_at: Option<Time>,
    refusal: Refusal,
}

/// How often outstanding requests are looked over for time-outs.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl Submitter {
    /// Starts a session. `session` must never have been used before by anyone: draw it at random.
    pub fn new(session: SessionId, config: SubmitterConfig) -> Submitter {
        Submitter {
            pacing: Pacing::new(config.hold_max),
            held: false,
            config,
            session,
            session_opened: false,
            number_next: 1,
            ticket_next: 1,
            token_next: 1,
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            writes_due: Vec::new(),
            reads_due: Vec::new(),
            proposed: BTreeMap::new(),
            read_rounds: BTreeMap::new(),
            errands: Errands::default(),
            check_at: None,
        }
    }

    /// Takes a request and returns its ticket. The next [`poll`](Submitter::poll) sends it.
    pub fn submit(&mut self, now: Time, request: SubmitRequest, deadline: Time) -> u64 {
        let ticket = self.ticket_next;
        self.ticket_next += 1;
        match request {
            SubmitRequest::Write(body) => {
                let refusal = Refusal::NoLeader;
                self.enqueue_write(Write {
                    ticket,
                    body,
                    deadline,
                    sent_at: None,
                    attempts_open: 0,
                    refusal,
                });
            }
            SubmitRequest::Read(level) => {
                self.reads
                    .insert(ticket, Read { level, deadline, asked_at: None, refusal: Refusal::NoLeader });
                self.reads_due.push(ticket);
            }
            SubmitRequest::Once(errand) => self.errands.submit(ticket, errand, deadline),
        }
        self.check_at.get_or_insert(now + CHECK_INTERVAL);
        ticket
    }

    /// Returns what to ask of the core now. Call it once per batch, before `flush`, and hand every
    /// [`Event`] of that batch to [`event`](Submitter::event) before the next poll.
    pub fn poll(&mut self, now: Time) -> Vec<Request> {
        let mut requests = Vec::new();
        self.proposed.clear();
        self.poll_writes(now, &mut requests);
        self.poll_reads(now, &mut requests);
        if buggify!(self.config.buggify, "submitter.errand.later") {
            return requests;
        }
        let token_next = &mut self.token_next;
        requests.extend(self.errands.poll(|| next_token(token_next)));
        requests
    }

    /// Takes an event of the core and appends what it decides to `outcomes`.
    pub fn event(&mut self, event: &Event, outcomes: &mut Vec<Outcome>) {
        self.errands.event(event, outcomes);
        match event {
            Event::ReadReady { token, at } => {
                for ticket in self.read_rounds.remove(token).unwrap_or_default() {
                    if self.reads.remove(&ticket).is_some() {
                        outcomes.push(Outcome::ReadAt { ticket, at: *at });
                    }
                }
            }
            Event::Refused { token, refusal } => self.refused(*token, *refusal, outcomes),
            Event::Leadership { leader: Some(_), .. }
                if !buggify!(self.config.buggify, "submitter.leader.not_noticed") =>
            {
                self.attempt_everything_again();
            }
            _ => {}
        }
    }

    /// A command of `session` was executed here; returns its ticket if it is one of ours and still wanted.
    pub fn executed(&mut self, session: SessionId, number: u64) -> Option<u64> {
        if session != self.session {
            return None;
        }
        if number == 0 {
            self.session_opened = true;
            return None;
        }
        self.writes.remove(&number).map(|write| write.ticket)
    }

    /// Nobody wants the outcome of a command any more: it is not attempted again, although an attempt that is
    /// under way may still execute.
    pub fn abandon(&mut self, ticket: u64) {
        self.writes.retain(|_, write| write.ticket != ticket);
    }

    /// The state machine refused a command because its session is not open (never opened, or expired).
    /// If the session is ours and was seen open, everything outstanding starts again under a session of its own.
    ///
    /// A session that was never seen open is not given up: an attempt that opens it may be on its way, and would
    /// then execute what has been started again under another name.
    pub fn session_missing(&mut self, session: SessionId) {
        if session != self.session || !self.session_opened {
            return;
        }
        // A fresh id, so that a copy of an old attempt still on its way can never execute (S1).
        self.session = SessionId(self.session.0.wrapping_add(1));
        self.session_opened = false;
        self.number_next = 1;
        self.pacing.reset();
        self.writes_due.clear();
        for (_, write) in std::mem::take(&mut self.writes) {
            // Attempts under the old session can only be refused from now on.
            self.enqueue_write(Write { sent_at: None, attempts_open: 0, ..write });
        }
    }

    /// The state machine jumped over entries by installing a checkpoint: commands that may have been among
    /// them can no longer be observed.
    pub fn skipped_entries(&mut self, outcomes: &mut Vec<Outcome>) {
        let lost: Vec<u64> = self
            .writes
            .iter()
            .filter(|(_, write)| write.attempts_open > 0)
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if let Some(write) = self.writes.remove(&number) {
                outcomes.push(Outcome::Unknown { ticket: write.ticket });
            }
        }
    }

    /// Repeats attempts that got no answer, and gives up requests whose time is up. Harmless if early.
    pub fn timer(&mut self, now: Time, outcomes: &mut Vec<Outcome>) {
        if self.check_at.is_none_or(|at| now < at) {
            return;
        }
        if !buggify!(self.config.buggify, "submitter.expire.later") {
            self.expire(now, outcomes);
            self.errands.expire(now, outcomes);
        }
        let mut retry_after = self.config.retry_after;
        if buggify!(self.config.buggify, "submitter.retry.sooner") {
            retry_after /= 8;
        }
        if buggify!(self.config.buggify, "submitter.retry.later") {
            retry_after *= 10;
        }
        let late = |at: Option<Time>| at.is_none_or(|at| now >= at + retry_after);
        self.writes_due =
            self.writes.iter().filter(|(_, write)| late(write.sent_at)).map(|(number, _)| *number).collect();
        self.reads_due =
            self.reads.iter().filter(|(_, read)| late(read.asked_at)).map(|(ticket, _)| *ticket).collect();
        self.read_rounds.retain(|_, tickets| tickets.iter().any(|ticket| self.reads.contains_key(ticket)));
        let idle = self.writes.is_empty() && self.reads.is_empty() && self.errands.is_empty();
        let soon = buggify!(self.config.buggify, "submitter.check.soon");
        let interval = if soon { Duration::from_millis(1) } else { CHECK_INTERVAL };
        self.check_at = (!idle).then(|| now + interval);
    }

    /// When [`timer`](Submitter::timer) must be called next.
    pub fn deadline(&self) -> Option<Time> {
        let held_until = if self.held { self.pacing.deadline() } else { None };
        [self.check_at, held_until].into_iter().flatten().min()
    }

    /// Whether the next poll has something to send.
    pub fn has_due(&self) -> bool {
        (!self.writes_due.is_empty() && !self.held) || !self.reads_due.is_empty() || self.errands.has_due()
    }

    /// How many commands are outstanding.
    pub fn writes_outstanding(&self) -> usize {
        self.writes.len()
    }

    fn enqueue_write(&mut self, write: Write) {
        let number = self.number_next;
        self.number_next += 1;
        self.writes.insert(number, write);
        self.writes_due.push(number);
    }

    fn poll_writes(&mut self, now: Time, requests: &mut Vec<Request>) {
        let mut acked_below = self.writes.keys().next().copied().unwrap_or(self.number_next);
        let may_send = self.pacing.may_send(now, acked_below)
            || buggify!(self.config.buggify, "submitter.hold.not_at_all");
        let waits = !may_send || buggify!(self.config.buggify, "submitter.hold.for_nothing");
        self.held = !self.writes_due.is_empty() && waits;
        if self.held || self.writes_due.is_empty() {
            return;
        }
        let mut due = std::mem::take(&mut self.writes_due);
        if let Some(last) = due.last() {
            self.pacing.sent(now, *last);
        }
        if buggify!(self.config.buggify, "submitter.batch.backwards") {
            due.reverse();
        }
        if buggify!(self.config.buggify, "submitter.acked.unsaid") {
            acked_below = 1;
        }
        let mut commands = Vec::with_capacity(due.len());
        let mut numbers = Vec::with_capacity(due.len());
        let mut bytes = 0;
        for number in due {
            let number = if planted!(self, RetriesAreNew) { self.renumbered(number) } else { number };
            let Some(write) = self.writes.get_mut(&number) else { continue };
            write.sent_at = Some(now);
            write.attempts_open += 1;
            let body = write.body.clone();
            let is_full = bytes + body.len() as u64 > self.config.batch_bytes_max
                || buggify!(self.config.buggify, "submitter.batch.ends_early");
            if !numbers.is_empty() && is_full {
                self.propose(&mut commands, &mut numbers, requests);
                bytes = 0;
            }
            bytes += body.len() as u64;
            // Every proposal opens the session until that is seen: proposals overtake each other.
            let opens =
                !self.session_opened || buggify!(self.config.buggify, "submitter.session.opened_again");
            if commands.is_empty() && opens {
                commands.push(self.command(0, acked_below, Bytes::new()));
            }
            commands.push(self.command(number, acked_below, body));
            numbers.push(number);
        }
        if !numbers.is_empty() {
            self.propose(&mut commands, &mut numbers, requests);
        }
    }

    /// Another number for an outstanding command (`RetriesAreNew`).
    fn renumbered(&mut self, number: u64) -> u64 {
        let next = self.number_next;
        match self.writes.remove(&number) {
            Some(write) => self.writes.insert(next, write),
            None => return number,
        };
        self.number_next += 1;
        next
    }

    fn propose(&mut self, commands: &mut Vec<Command>, numbers: &mut Vec<u64>, requests: &mut Vec<Request>) {
        if buggify!(self.config.buggify, "submitter.batch.twice") {
            let token = self.token();
            for number in numbers.iter() {
                self.writes.get_mut(number).into_iter().for_each(|write| write.attempts_open += 1);
            }
            self.proposed.insert(token, numbers.clone());
            requests.push(Request::Propose { token, commands: commands.clone() });
        }
        let token = self.token();
        self.proposed.insert(token, std::mem::take(numbers));
        requests.push(Request::Propose { token, commands: std::mem::take(commands) });
    }

    fn poll_reads(&mut self, now: Time, requests: &mut Vec<Request>) {
        let due = std::mem::take(&mut self.reads_due);
        let mut by_level: BTreeMap<ReadLevel, Vec<u64>> = BTreeMap::new();
        for ticket in due {
            let Some(read) = self.reads.get_mut(&ticket) else { continue };
            read.asked_at = Some(now);
            let mut level = read.level;
            if buggify!(self.config.buggify, "submitter.read.without_lease") {
                level = ReadLevel::ReadIndex;
            }
            if buggify!(self.config.buggify, "submitter.read.alone") {
                let token = self.token();
                self.read_rounds.insert(token, vec![ticket]);
                requests.push(Request::Read { token, level });
                continue;
            }
            by_level.entry(level).or_default().push(ticket);
        }
        for (level, tickets) in by_level {
            let token = if planted!(self, ReusesReadTokens) { Token(u64::MAX) } else { self.token() };
            self.read_rounds.insert(token, tickets);
            requests.push(Request::Read { token, level });
        }
    }

    fn refused(&mut self, token: Token, refusal: Refusal, outcomes: &mut Vec<Outcome>) {
        self.pacing.reset();
        self.held = false;
        let is_hasty = planted!(self, RefusesTooEarly);
        for number in self.proposed.remove(&token).unwrap_or_default() {
            let Some(write) = self.writes.get_mut(&number) else { continue };
            write.sent_at = None;
            write.attempts_open -= 1;
            write.refusal = refusal;
            // Having no leader passes; and while an earlier attempt is on its way only it can decide (S2).
            let is_final = write.attempts_open == 0 && refusal != Refusal::NoLeader;
            if is_final || is_hasty {
                let ticket = write.ticket;
                self.writes.remove(&number);
                outcomes.push(Outcome::Refused { ticket, refusal });
            }
        }
        for ticket in self.read_rounds.remove(&token).unwrap_or_default() {
            let Some(read) = self.reads.get_mut(&ticket) else { continue };
            read.asked_at = None;
            read.refusal = refusal;
            if refusal != Refusal::NoLeader {
                self.reads.remove(&ticket);
                outcomes.push(Outcome::Refused { ticket, refusal });
            }
        }
    }

    fn attempt_everything_again(&mut self) {
        self.pacing.reset();
        self.held = false;
        self.writes_due = self.writes.keys().copied().collect();
        self.reads_due = self.reads.keys().copied().collect();
        self.read_rounds.clear();
    }

    fn expire(&mut self, now: Time, outcomes: &mut Vec<Outcome>) {
        let over: Vec<u64> = self
            .writes
            .iter()
            .filter(|(_, write)| now >= write.deadline)
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            let Some(write) = self.writes.remove(&number) else { continue };
            let ticket = write.ticket;
            outcomes.push(match write.attempts_open {
                0 => Outcome::Refused { ticket, refusal: write.refusal },
                _ => Outcome::Unknown { ticket },
            });
        }
        let over: Vec<u64> =
            self.reads.iter().filter(|(_, read)| now >= read.deadline).map(|(ticket, _)| *ticket).collect();
        for ticket in over {
            let Some(read) = self.reads.remove(&ticket) else { continue };
            outcomes.push(match read.asked_at {
                None => Outcome::Refused { ticket, refusal: read.refusal },
                Some(_) => Outcome::Unknown { ticket },
            });
        }
    }

    fn command(&self, number: u64, acked_below: u64, body: Bytes) -> Command {
        Command { session: self.session, number, acked_below, body }
    }

    fn token(&mut self) -> Token {
        next_token(&mut self.token_next)
    }
}

fn next_token(next: &mut u64) -> Token {
    *next += 1;
    Token(*next - 1)
}

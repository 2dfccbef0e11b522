//! The follower's side of replication.
//!
//! ```text
//!   Append{prev} ── prev matches? ──no──▶ Rejected{hint}: the leader can match at most up to there
//!                        │yes
//!         skip what is here already ──▶ first difference: cut off, append the rest ──▶ Appended, once durable
//! ```
//!
//! Only a real difference cuts anything off: an old append that ends below this log's end says nothing about
//! what comes after it (R7).

use std::collections::VecDeque;

use consensus::{Out, Token, WriteSeq};
use types::{Command, NodeId, Now, Slot, Time, buggify};

use crate::install::Incoming;
use crate::read::Asking;
use crate::{Message, Raft, Record};

/// What a replica knows as a follower in its term.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Following {
    /// This log is the leader's log up to here.
    pub verified: Slot,
    /// The next flush acknowledges `verified`.
    pub ack_due: bool,
    /// Commands for the leader, for the next flush.
    pub forwards: Vec<Command>,
    /// Reads that wait for the leader's answer.
    pub asking: Asking,
    /// Changes of membership that wait for the leader's answer, oldest first.
    pub reconfiguring: VecDeque<(u64, Token)>,
    /// A checkpoint on its way here.
    pub incoming: Option<Incoming>,
}

impl Following {
    pub fn new(commit: Slot, asking: Asking) -> Following {
        let (forwards, reconfiguring) = (Vec::new(), VecDeque::new());
        Following { verified: commit, ack_due: false, forwards, asking, reconfiguring, incoming: None }
    }

    /// The leader changed, or there is none.
    pub fn restart(&mut self) {
        self.ack_due = false;
        self.forwards.clear();
        self.asking.forget();
        self.reconfiguring.clear();
        // What is being installed cannot be stopped any more; what is only staged can.
        self.incoming.take_if(|incoming| !incoming.is_installing());
    }
}

impl Raft {
    pub(crate) fn on_append(
        &mut self,
        from: NodeId,
        (prev, prev_term): (Slot, u64),
        commit: Slot,
        mut entries: Vec<Record>,
        out: &mut Out<Raft>,
    ) {
        if buggify!(self.config.buggify, "raft.append.takes_one") {
            entries.truncate(1);
        }
        let end = prev.plus(entries.len() as u64);
        let mut first = prev.next();
        if prev < self.commit {
            // Everything committed matches any leader's log, and may be compacted here.
            let known = (self.commit.above(prev) as usize).min(entries.len());
            entries.drain(..known);
            first = self.commit.next();
            let term = self.log.term_at(self.commit);
            if entries.first().is_some_and(|record| Some(record.term) < term) {
                return; // no leader's log goes on like that (R8)
            }
        } else if planted!(self, AcksGap) && self.log.last() == Slot::ZERO && prev > Slot::ZERO {
            self.log = crate::log::Log::new(prev, prev_term);
            self.writes.reset_to(prev);
        } else if self.log.term_at(prev) != Some(prev_term) {
            return self.reject(from, prev, prev_term, out);
        }
        if !self.append_new(first, entries) {
            return; // a leader does not contradict what it said in the same term (R2)
        }
        self.following.verified = self.following.verified.max(end.min(self.log.last()));
        self.following.ack_due = true;
        self.learn_commit(commit);
    }

    /// Appends `records` from `first` on, except those that are here already. Returns false, and does nothing, if
    /// they differ from what is known to match this term's leader.
    fn append_new(&mut self, first: Slot, mut records: Vec<Record>) -> bool {
        let is_here = |(slot, record): &(Slot, &Record)| self.log.term_at(*slot) == Some(record.term);
        let slots = (0..).map(|offset| first.plus(offset));
        let known = slots.zip(&records).take_while(is_here).count();
        if known == records.len() {
            let end = first.plus(known as u64).max(self.commit.next());
            if planted!(self, OldAppendTruncates) && end <= self.log.last() {
                self.log.truncate_from(end);
                self.writes.truncate_from(end);
                self.following.verified = self.following.verified.min(end.prev());
            }
            return true;
        }
        let first = first.plus(known as u64);
        if first <= self.log.last() {
            if first <= self.following.verified {
                return false;
            }
            assert!(first > self.commit, "cutting off {first:?}, committed up to {:?}", self.commit);
            self.log.truncate_from(first);
            self.writes.truncate_from(first);
            if !planted!(self, KeepsTruncatedMembership) {
                self.configurations.truncate_from(first);
            }
        }
        self.cut_lost_tail();
        for record in records.drain(known..) {
            self.append_record(record);
        }
        true
    }

    /// Appends a record in memory and to the next write.
    pub(crate) fn append_record(&mut self, record: Record) {
        if let Some(wall) = record.wall() {
            self.wall = self.wall.max(wall);
        }
        let slot = self.log.append(record.clone());
        if let Some(membership) = record.entry.membership() {
            self.configurations.append(slot, membership);
        }
        self.writes.put(slot, record);
    }

    fn reject(&self, from: NodeId, prev: Slot, prev_term: u64, out: &mut Out<Raft>) {
        let from_base = buggify!(self.config.buggify, "raft.reject.hints_at_base");
        let below = if from_base { self.log.base() } else { prev };
        let (hint, hint_term) = self.log.highest_at_most(below, prev_term);
        let (term, by) = (self.term, self.stamp);
        let message = Message::Rejected { term, by, prev, hint, hint_term };
        self.send_control(from, message, gated!(self, RejectsEarly, self.gate_meta()), out);
    }

    /// The leader has committed up to `commit`; so has this replica, as far as its log is known to match.
    pub(crate) fn learn_commit(&mut self, commit: Slot) {
        if buggify!(self.config.buggify, "raft.commit.not_learned") {
            return;
        }
        let known = if planted!(self, TrustsCommitIndex) { self.log.last() } else { self.following.verified };
        self.commit = self.commit.max(commit.min(known));
        self.configurations.commit(self.commit);
    }

    pub(crate) fn on_heartbeat(
        &mut self,
        now: Now,
        from: NodeId,
        commit: Slot,
        (round, sent, rest): (u64, Time, bool),
        out: &mut Out<Raft>,
    ) {
        self.learn_commit(commit);
        self.resting = rest && self.commit == commit && self.config.quiesce_after.is_some();
        self.promise_to(now, from);
        self.ask_for_repair(from, sent, out);
        if self.counts_in_quorums() && !buggify!(self.config.buggify, "raft.heartbeat.not_answered") {
            let verified = self.following.verified;
            let (term, by, clock, priority) = (self.term, self.stamp, now.mono, self.config.priority);
            let message = Message::HeartbeatAck { term, by, round, verified, sent, clock, priority };
            let after = gated!(self, AnswersHeartbeatsEarly, self.gate_meta());
            self.send_control(from, message, after, out);
        }
    }

    /// One acknowledgement a flush, for everything that matched since the last one.
    pub(crate) fn send_acknowledgement(&mut self, out: &mut Out<Raft>) {
        if !std::mem::take(&mut self.following.ack_due) || buggify!(self.config.buggify, "raft.ack.not_said")
        {
            return;
        }
        let Some(leader) = self.leader else { return };
        let (matched, after) = self.acknowledgement();
        let message = Message::Appended { term: self.term, by: self.stamp, matched };
        if buggify!(self.config.buggify, "raft.ack.twice") {
            self.send_control(leader, message.clone(), after, out);
        }
        self.send_control(leader, message, after, out);
    }

    /// What may be acknowledged, and the write that must be durable first (R3, R7).
    fn acknowledgement(&self) -> (Slot, WriteSeq) {
        let in_part = buggify!(self.config.buggify, "raft.ack.in_part");
        let matched = if in_part { self.following.verified.prev() } else { self.following.verified };
        let gate = gated!(self, AcksBeforeDurable, self.writes.gate_slot(matched));
        (matched, gate.max(self.gate_meta()))
    }

    /// What an answer waits for that rests on this replica's term and vote (R3).
    pub(crate) fn gate_meta(&self) -> WriteSeq {
        gated!(self, AnswersBeforeMeta, self.writes.gate_meta())
    }
}

//! Elections: time-outs, pre-votes, votes, and stepping down.
//!
//! ```text
//!   no leader for [T, 2T) ──▶ pre-vote: "would you?"  nobody's term changes
//!                               └─ majority ──▶ term + 1, own vote durable ──▶ "vote for me"
//!                                                  └─ majority ──▶ leader: a no-op of its own term
//! ```
//!
//! A voter answers yes to a pre-vote only if it hears no leader itself. Saying yes changes nothing at the voter:
//! if it put off its own time-out, two candidates with old logs could keep a third from ever standing.

use std::collections::BTreeSet;
use std::time::Duration;

use consensus::{Entry, EntryKind, Out};
use types::{NodeId, Now, Slot, Time, Wire, buggify};

use crate::lease::Promise;
use crate::raft::{State, dest};
use crate::replicate::Leading;
use crate::{Integrity, Message, Raft, Record};

/// When to stand for election, and how long ago there was a leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Election {
    /// Stand at this time.
    pub deadline: Time,
    /// The wait that was drawn for this round, from `[T, 2T)`.
    pub wait: Duration,
    /// When the leader of this term was last heard.
    pub contact: Option<Time>,
    /// Nobody else is elected for a while; only if there are leases.
    pub promise: Option<Promise>,
}

/// Heartbeat intervals after which a leader whose connection broke is given up, at least.
const LOST_LEADER_HEARTBEATS: u32 = 2;

/// Answers so far to a (pre-)candidate.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Votes {
    pub granted: BTreeSet<NodeId>,
    pub refused: BTreeSet<NodeId>,
}

impl Raft {
    /// Whether this replica may stand: it votes, as far as that is settled, remembers everything that it promised
    /// (R9), and shall lead at all. Not while a checkpoint takes the place of its log: a leader never rewrites that (R2).
    pub(crate) fn may_campaign(&self) -> bool {
        let is_able = self.config.priority > 0 && self.integrity == Integrity::Intact && !self.is_estranged();
        self.configurations.may_matter(self.config.id) && is_able && !self.is_installing()
    }

    pub(crate) fn on_timer(&mut self, now: Now, out: &mut Out<Raft>) {
        match self.state {
            _ if self.resting => {}
            State::Leader(_) => self.on_leader_timer(now, out),
            _ if planted!(self, FollowsWhoeverStands) && now.mono >= self.election.deadline => {
                self.stand(now, false, out);
            }
            _ if self.may_campaign() && now.mono + self.impatience() >= self.election.deadline => {
                match self.election.promise.filter(|_| self.is_promised_to_other(now, self.config.id)) {
                    Some(promise) => self.election.deadline = promise.until,
                    None => self.ask_for_pre_votes(now, out),
                }
            }
            _ if self.must_ask_for_leader() && now.mono >= self.election.deadline => {
                self.ask_for_leader(now, out);
            }
            _ => {}
        }
    }

    /// How much of its wait for a leader it does without: nothing, unless a simulator asks for it.
    fn impatience(&self) -> Duration {
        let is_spurious = buggify!(self.config.buggify, "raft.election.spurious");
        if is_spurious { self.election.wait / 2 } else { Duration::ZERO }
    }

    /// Brings this replica to the term of a message. Returns whether the message should be looked at.
    pub(crate) fn enter_term(
        &mut self,
        now: Now,
        from: NodeId,
        message: &Message,
        out: &mut Out<Raft>,
    ) -> bool {
        let Some(term) = message.term() else { return true };
        if term < self.term {
            self.answer_old_term(from, message, out);
            return false;
        }
        if term == self.term {
            return true;
        }
        match message {
            // The terms of pre-votes are only proposed.
            Message::RequestVote { pre: true, .. } | Message::Vote { pre: true, granted: true, .. } => true,
            // R10: whoever hears a leader ignores candidates, so that they cannot disturb it.
            Message::RequestVote { told: false, .. }
                if self.is_loyal(now, from) || self.is_promised_to_other(now, from) =>
            {
                false
            }
            _ => {
                let leader = message.is_from_leader().then_some(from);
                self.follow(now, term, leader, out);
                true
            }
        }
    }

    /// Tells a sender from an older term that its time is over, if it waits for an answer.
    fn answer_old_term(&mut self, from: NodeId, message: &Message, out: &mut Out<Raft>) {
        let (term, by) = (self.term, self.stamp);
        let answer = match message {
            Message::RequestVote { pre: true, .. } if planted!(self, PreVoteHidesTerm) => return,
            Message::RequestVote { pre, .. } => {
                Message::Vote { term, pre: *pre, incarnation: by.incarnation, granted: false }
            }
            Message::Append { .. } | Message::Heartbeat { .. } | Message::Chunk { .. } => {
                let (verified, sent, clock, priority) = (self.commit, Time(0), Time(0), self.config.priority);
                Message::HeartbeatAck { term, by, round: 0, verified, sent, clock, priority }
            }
            _ => return,
        };
        self.send_control(from, answer, self.gate_meta(), out);
    }

    /// A message of this term's leader arrived. Returns whether it can be believed.
    pub(crate) fn hear_leader(&mut self, now: Now, from: NodeId, out: &mut Out<Raft>) -> bool {
        let is_contradiction =
            matches!(self.state, State::Leader(_)) || self.leader.is_some_and(|leader| leader != from);
        if is_contradiction {
            return false; // R1 says that this cannot be; believe the first.
        }
        if self.leader.is_none() || !matches!(self.state, State::Follower) {
            self.follow(now, self.term, Some(from), out);
        }
        self.resting = false;
        self.election.contact = Some(now.mono);
        self.election.deadline = now.mono + self.election.wait;
        true
    }

    /// Whether a leader other than `from` was heard within the least election timeout. The leader itself may
    /// stand again: if it asks, it no longer leads.
    pub(crate) fn hears_other_leader(&self, now: Now, from: NodeId) -> bool {
        match self.state {
            State::Leader(_) => true,
            _ => {
                let is_recent = |contact: Time| now.mono.since(contact) < self.config.election_timeout;
                self.leader.is_some_and(|leader| leader != from)
                    && self.election.contact.is_some_and(is_recent)
            }
        }
    }

    fn is_loyal(&self, now: Now, candidate: NodeId) -> bool {
        self.hears_other_leader(now, candidate) && !planted!(self, FollowsWhoeverStands)
    }

    /// Follows in `term`, which is this replica's own or a later one.
    pub(crate) fn follow(&mut self, now: Now, term: u64, leader: Option<NodeId>, out: &mut Out<Raft>) {
        if term > self.term {
            self.term = term;
            self.vote = None;
            self.repair.enter_term();
            self.save_meta();
            self.following.verified = Slot::ZERO;
        }
        // Whatever is committed matches any later leader's log.
        self.following.verified = self.following.verified.max(self.commit);
        self.resign(out);
        self.resting = false;
        self.state = State::Follower;
        self.leader = leader;
        self.election.contact = None;
        self.following.restart();
        self.draw_deadline(now);
    }

    /// Lets go of what only a leader has.
    fn resign(&mut self, out: &mut Out<Raft>) {
        self.proposals.clear();
        self.proposals_bytes = 0;
        self.abandon_transfers(out);
        self.refuse_reads(out);
    }

    pub(crate) fn draw_deadline(&mut self, now: Now) {
        self.election.wait = self.draw(self.config.election_timeout);
        self.election.deadline = now.mono + self.election.wait;
    }

    /// Draws from `[least, 2 * least)`.
    fn draw(&mut self, least: Duration) -> Duration {
        if buggify!(self.config.buggify, "raft.election.early") {
            return least;
        }
        let least = if buggify!(self.config.buggify, "raft.election.late") { least * 3 } else { least };
        let nanos = u64::try_from(least.as_nanos()).unwrap_or(u64::MAX / 4);
        Duration::from_nanos(nanos.saturating_add(self.rng.below(nanos)))
    }

    /// The connection to the leader broke. If a majority lost theirs, the leader is probably gone: then there is
    /// no need to wait for an election timeout. If it is heard again before, nothing has happened; and whoever
    /// still hears it refuses.
    pub(crate) fn lose_leader(&mut self, now: Now) {
        let wait = self.draw(self.config.heartbeat_interval * LOST_LEADER_HEARTBEATS);
        if self.is_promised_to_other(now, self.config.id) {
            return; // and it would have to wait anyway
        }
        self.election.contact = None;
        self.election.deadline = self.election.deadline.min(now.mono + wait);
    }

    fn ask_for_pre_votes(&mut self, now: Now, out: &mut Out<Raft>) {
        self.follow(now, self.term, None, out);
        self.state = State::PreCandidate(Votes { granted: [self.config.id].into(), ..Votes::default() });
        self.ask_for_votes(self.term + 1, (true, false), out);
        self.count_votes(now, out);
    }

    /// Begins an election; `told` if this term's leader asked for it.
    pub(crate) fn stand(&mut self, now: Now, told: bool, out: &mut Out<Raft>) {
        self.follow(now, self.term + 1, None, out);
        self.vote = Some(self.config.id);
        self.save_meta();
        self.state = State::Candidate(Votes::default());
        self.ask_for_votes(self.term, (false, told), out);
        if planted!(self, CountsOwnVoteEarly) {
            self.count_own_vote(now, out);
        }
    }

    /// A pre-vote may leave at once; a real candidate's term and vote for itself must be durable first (R1).
    fn ask_for_votes(&mut self, term: u64, (pre, told): (bool, bool), out: &mut Out<Raft>) {
        let (last, last_term) = (self.log.last(), self.log.last_term());
        let incarnation = self.stamp.incarnation;
        let message = Message::RequestVote { term, pre, told, incarnation, last, last_term };
        let after = gated!(self, StandsEarly, self.writes.gate_meta());
        let (me, membership) = (self.config.id, self.membership());
        let voters: BTreeSet<NodeId> =
            membership.voters().chain(membership.outgoing.iter().copied()).collect();
        if let Some(to) = dest(voters.into_iter().filter(|node| *node != me).collect()) {
            let lane = consensus::Lane::Control;
            out.actions.push(consensus::Action::Send { to, message, after, lane });
        }
    }

    pub(crate) fn on_request_vote(
        &mut self,
        now: Now,
        from: NodeId,
        (term, pre, told): (u64, bool, bool),
        last: (u64, Slot),
        out: &mut Out<Raft>,
    ) {
        let is_up_to_date = self.is_up_to_date(last);
        let is_withheld = buggify!(self.config.buggify, "raft.vote.withheld");
        let is_able = self.integrity == Integrity::Intact && !self.is_estranged();
        let may_vote = is_able && is_up_to_date && !is_withheld;
        if pre && term == self.term && planted!(self, PreVoteHidesTerm) {
            return;
        }
        let granted = if self.is_promised_to_other(now, from) && !told {
            false
        } else if pre {
            may_vote && term > self.term && !self.hears_other_leader(now, from)
        } else {
            may_vote && self.vote.is_none_or(|vote| vote == from) && self.leader.is_none()
        };
        if granted && !pre {
            self.cast_vote(now, from);
        }
        let term = if granted { term } else { self.term };
        let incarnation = self.stamp.incarnation;
        let after = gated!(self, VotesEarly, self.gate_meta());
        self.send_control(from, Message::Vote { term, pre, incarnation, granted }, after, out);
    }

    /// Whether a log that ends like this lacks nothing that may be committed (Raft §5.4.1).
    fn is_up_to_date(&self, last: (u64, Slot)) -> bool {
        let own = (self.log.last_term(), self.log.last());
        let is_anybody = planted!(self, ElectsAnybody);
        let is_as_long = planted!(self, ComparesLength) && last.1 >= own.1;
        let is_as_new = planted!(self, ComparesTerm) && last.0 >= own.0;
        last >= own || is_anybody || is_as_long || is_as_new
    }

    fn cast_vote(&mut self, now: Now, candidate: NodeId) {
        if self.vote.is_none() {
            self.vote = Some(candidate);
            self.save_meta();
        }
        self.draw_deadline(now);
    }

    pub(crate) fn on_vote(
        &mut self,
        now: Now,
        (from, incarnation): (NodeId, u64),
        (term, pre): (u64, bool),
        granted: bool,
        out: &mut Out<Raft>,
    ) {
        let is_other = self.is_other_disk(from, incarnation);
        let counts_pre = planted!(self, CountsPreVotes) && matches!(self.state, State::Candidate(_));
        let asked = if pre && !counts_pre { self.term + 1 } else { self.term };
        let is_twice = planted!(self, CountsVotesTwice);
        let voters = self.configurations.current();
        let votes = match &mut self.state {
            State::PreCandidate(votes) if pre => votes,
            State::Candidate(votes) if !pre || counts_pre => votes,
            _ => return,
        };
        if !granted || is_other {
            votes.refused.insert(from);
        } else if term == asked && !votes.granted.insert(from) && is_twice {
            votes.granted.extend(voters.voters().find(|node| !votes.granted.contains(node)));
        }
        self.count_votes(now, out);
    }

    /// A candidate's vote for itself counts once it is durable, like everybody else's.
    pub(crate) fn count_own_vote(&mut self, now: Now, out: &mut Out<Raft>) {
        let gate = gated!(self, CountsOwnVoteEarly, self.writes.gate_meta());
        let is_durable = gate == consensus::WriteSeq::NONE;
        if let State::Candidate(votes) = &mut self.state
            && is_durable
            && votes.granted.insert(self.config.id)
        {
            self.count_votes(now, out);
        }
    }

    fn count_votes(&mut self, now: Now, out: &mut Out<Raft>) {
        let (State::PreCandidate(votes) | State::Candidate(votes)) = &self.state else { return };
        let is_won = self.is_quorum(|node| votes.granted.contains(&node));
        let is_lost = !self.is_quorum(|node| !votes.refused.contains(&node));
        match self.state {
            State::PreCandidate(_) if is_won => self.stand(now, false, out),
            State::Candidate(_) if is_won => self.lead(now),
            _ if is_lost => self.state = State::Follower,
            _ => {}
        }
    }

    fn lead(&mut self, now: Now) {
        let last = self.log.last();
        let leading = Leading::new(&self.config, (self.commit, last), now.mono);
        self.state = State::Leader(Box::new(leading));
        self.leader = Some(self.config.id);
        // Nothing inherited can be committed by counting (R4): an entry of its own term commits it all. The first
        // leader of a group writes down who takes part, so that the log says it from its beginning.
        let entry = match self.configurations.slot() > Slot::ZERO {
            true => Entry { kind: EntryKind::Noop, payload: bytes::Bytes::new() },
            false => Entry { kind: EntryKind::Membership, payload: self.founded().to_bytes() },
        };
        self.append_own(Record { term: self.term, entry });
        self.follow_membership(now);
    }

    /// R10: steps down if no quorum answered for an election timeout. Returns whether it still leads.
    pub(crate) fn keep_leading(&mut self, now: Now, out: &mut Out<Raft>) -> bool {
        let (me, timeout) = (self.config.id, self.config.election_timeout);
        let is_unheard = planted!(self, LeadsUnheard);
        let steps_down = buggify!(self.config.buggify, "raft.leader.steps_down");
        let State::Leader(leading) = &self.state else { return false };
        if steps_down {
            self.follow(now, self.term, None, out);
            return false;
        }
        if now.mono < leading.check_at {
            return true;
        }
        let contact = |node: NodeId| match leading.progress.get(&node) {
            _ if node == me || is_unheard => now.mono,
            Some(progress) if self.counts(node, progress) => progress.contact,
            _ => Time(0),
        };
        let check_at = self.quorum_value(contact).unwrap_or(now.mono) + timeout;
        if let Some(leading) = self.leading()
            && now.mono < check_at
        {
            leading.check_at = check_at;
            return true;
        }
        self.follow(now, self.term, None, out);
        false
    }
}

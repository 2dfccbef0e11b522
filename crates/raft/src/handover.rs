//! Leadership transfer: the leader chooses who leads next.
//!
//! ```text
//!   TransferLeadership ──▶ no new proposals ──▶ target holds the whole log ──TimeoutNow──▶ it stands at once
//!                                 └── not within an election timeout: go on as before
//! ```
//!
//! The target's request for votes says that its leader sent it, so that voters who hear that leader answer it all the
//! same. A `TimeoutNow` may arrive at any later time; hence a leader that has sent one counts on no lease for the rest of
//! its term.
//!
//! A leader also does it by itself when its own disk stalls, and when a voter with a higher priority could take over.
//!
//! # Source
//! Ongaro's dissertation §3.10.

use consensus::{Dest, Lane, Out, Refusal, Token};
use types::{NodeId, Now, Slot, Time, buggify};

use crate::progress::Progress;
use crate::raft::State;
use crate::{Message, Raft};

/// Leadership on its way to a voter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handover {
    to: NodeId,
    /// Go on leading if it has not happened by then.
    pub until: Time,
    /// `TimeoutNow` has left.
    sent: bool,
}

impl Raft {
    pub(crate) fn on_transfer_leadership(
        &mut self,
        now: Now,
        token: Token,
        to: Option<NodeId>,
        out: &mut Out<Raft>,
    ) {
        let to = to.or_else(|| self.furthest_voter(now));
        let refusal = match (&self.state, to) {
            (State::Leader(leading), _) if leading.handover.is_some() => Refusal::Transferring,
            (State::Leader(_), Some(to)) if to == self.config.id => return,
            (State::Leader(_), Some(to)) if self.may_lead(now, to) => return self.hand_over(now, to),
            (State::Leader(_), _) => Refusal::NoLeader,
            _ => Refusal::NotLeader,
        };
        self.refuse(token, refusal, out);
    }

    fn hand_over(&mut self, now: Now, to: NodeId) {
        let until = now.mono + self.config.election_timeout;
        if let Some(leading) = self.leading() {
            leading.handover = Some(Handover { to, until, sent: false });
        }
    }

    /// A leader whose disk has finished nothing for an election timeout slows everybody down: its copies are missing in
    /// every quorum, and nobody's time-out notices, because heartbeats need no disk. It looks for somebody better.
    pub(crate) fn leave_stalled_disk(&mut self, now: Now) {
        let is_stalled = self.writes.stalled_for(now.mono) >= self.config.election_timeout
            || buggify!(self.config.buggify, "raft.handover.unasked");
        if is_stalled
            && !self.is_handing_over()
            && let Some(to) = self.furthest_voter(now)
        {
            self.hand_over(now, to);
        }
    }

    /// Leadership goes where it is wanted: to a voter with a higher priority that lacks nothing. If it does not take over,
    /// the next attempt comes ten time-outs later, because commands wait meanwhile.
    pub(crate) fn make_room(&mut self, now: Now) {
        let (last, own, later) = (self.log.last(), self.config.priority, self.config.election_timeout * 10);
        let State::Leader(leading) = &self.state else { return };
        if now.mono < leading.yield_at || leading.handover.is_some() || self.commit < leading.term_start {
            return;
        }
        let priority = |node: &NodeId| leading.progress.get(node).and_then(|it| it.priority).unwrap_or(0);
        let lacks_nothing = |node: &NodeId| leading.progress.get(node).is_some_and(|it| it.matched == last);
        let is_wanted =
            |node: &NodeId| priority(node) > own && lacks_nothing(node) && self.may_lead(now, *node);
        let wanted = self.membership().voters().filter(is_wanted).max_by_key(priority);
        if let Some(to) = wanted {
            self.hand_over(now, to);
            self.leading().into_iter().for_each(|leading| leading.yield_at = now.mono + later);
        }
    }

    pub(crate) fn note_priority(&mut self, peer: NodeId, priority: u64) {
        if let Some(progress) = self.progress(peer) {
            progress.priority = Some(priority);
        }
    }

    /// A voter that answers, and shall lead at all.
    fn may_lead(&self, now: Now, node: NodeId) -> bool {
        let State::Leader(leading) = &self.state else { return false };
        let is_recent = |it: &Progress| now.mono.since(it.contact) < self.config.election_timeout;
        let is_alive = |it: &Progress| self.counts(node, it) && is_recent(it) && it.priority != Some(0);
        let is_voter = self.membership().voters().any(|voter| voter == node);
        is_voter && leading.progress.get(&node).is_some_and(is_alive)
    }

    /// The voter, other than this one, that could take over soonest.
    fn furthest_voter(&self, now: Now) -> Option<NodeId> {
        let State::Leader(leading) = &self.state else { return None };
        let matched = |node: &NodeId| leading.progress.get(node).map_or(Slot::ZERO, |it| it.matched);
        let mut able = self.membership().voters().filter(|node| self.may_lead(now, *node));
        if buggify!(self.config.buggify, "raft.handover.to_the_first") {
            return able.next();
        }
        able.max_by_key(matched)
    }

    /// Tells the target to stand as soon as it holds everything; gives up when it takes too long.
    pub(crate) fn advance_handover(&mut self, now: Now, out: &mut Out<Raft>) {
        let last = self.log.last();
        let gives_up = buggify!(self.config.buggify, "raft.handover.given_up");
        let Some(leading) = self.leading() else { return };
        let Some(handover) = &mut leading.handover else { return };
        let matched = leading.progress.get(&handover.to).map_or(Slot::ZERO, |it| it.matched);
        let is_over = now.mono >= handover.until || gives_up;
        if is_over {
            leading.handover = None;
        } else if matched == last && !handover.sent {
            handover.sent = true;
            leading.has_told_another_to_stand = true;
            let to = Dest::Node(handover.to);
            if buggify!(self.config.buggify, "raft.handover.said_twice") {
                self.send_now(to.clone(), Message::TimeoutNow { term: self.term }, Lane::Control, out);
            }
            self.send_now(to, Message::TimeoutNow { term: self.term }, Lane::Control, out);
        }
    }

    /// The leader is not in the configuration that it has just committed: it makes room.
    pub(crate) fn retire(&mut self, now: Now, out: &mut Out<Raft>) {
        if let Some(to) = self.furthest_voter(now) {
            self.send_now(Dest::Node(to), Message::TimeoutNow { term: self.term }, Lane::Control, out);
        }
        self.send_commits(out);
        self.follow(now, self.term, None, out);
    }

    /// This term's leader wants this replica to lead.
    pub(crate) fn on_timeout_now(&mut self, now: Now, out: &mut Out<Raft>) {
        if self.may_campaign() && !buggify!(self.config.buggify, "raft.handover.not_heard") {
            self.stand(now, true, out);
        }
    }

    /// New commands would keep the target from ever being level.
    pub(crate) fn is_handing_over(&self) -> bool {
        matches!(&self.state, State::Leader(leading) if leading.handover.is_some())
    }
}

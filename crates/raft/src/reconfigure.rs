//! Changes of membership.
//!
//! ```text
//!   Reconfigure ──▶ C_old,new appended: in force ──both majorities──▶ committed ──▶ C_new appended ──▶ committed: answered
//!        │                                                                                   └─ leader not in it: hands over
//!        └─ learners, descriptions: one step        Joining member caught up ──▶ as if somebody had asked to promote it
//! ```
//!
//! R11  One change at a time: none begins before the configuration in force, and an entry of the leader's own term, are
//! committed. Changes of a single voter in one step need the second half (Ongaro on raft-dev, 2015); joint ones would be
//! safe without, but a leader that does not know yet what is committed should not change who decides it.
//!
//! A member that is added never holds up a quorum: it is a learner until it holds what the leader holds.
//!
//! # Source
//! Raft §6; Ongaro's dissertation §4.2 (catching up, removing the leader, disruptive servers).

use consensus::{
    Change, ChangeRefusal, Dest, Entry, EntryKind, Event, Lane, Membership, Out, Refusal, Standing,
};
use consensus::{Token, WriteSeq};
use types::{NodeId, Now, Slot, Wire, buggify};

use crate::progress::{Flow, Progress};
use crate::raft::State;
use crate::{Message, Raft, Record};

/// Who asked for a change of membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asker {
    Local(Token),
    Peer(NodeId, u64),
}

/// Changes that a follower has asked the leader for are forgotten beyond this many.
const ASKED_MAX: usize = 64;

impl Raft {
    pub(crate) fn on_reconfigure(
        &mut self,
        now: Now,
        token: Token,
        changes: Vec<Change>,
        out: &mut Out<Raft>,
    ) {
        match (&self.state, self.leader) {
            (State::Leader(_), _) => self.reconfigure(now, Asker::Local(token), &changes, out),
            (_, None) => self.refuse(token, Refusal::NoLeader, out),
            (_, Some(leader)) => {
                let ask = self.following.asking.number();
                let asked = &mut self.following.reconfiguring;
                if asked.len() >= ASKED_MAX {
                    asked.pop_front();
                }
                asked.push_back((ask, token));
                let message = Message::ReconfigureAsk { ask, changes };
                self.send_now(Dest::Node(leader), message, Lane::Control, out);
            }
        }
    }

    pub(crate) fn on_reconfigure_ask(
        &mut self,
        now: Now,
        from: NodeId,
        ask: u64,
        changes: &[Change],
        out: &mut Out<Raft>,
    ) {
        if matches!(self.state, State::Leader(_)) {
            self.reconfigure(now, Asker::Peer(from, ask), changes, out);
        }
    }

    pub(crate) fn on_reconfigure_answer(
        &mut self,
        ask: u64,
        answer: Result<Slot, ChangeRefusal>,
        out: &mut Out<Raft>,
    ) {
        let asked = &mut self.following.reconfiguring;
        let Some(at) = asked.iter().position(|(number, _)| *number == ask) else { return };
        let Some((_, token)) = asked.remove(at) else { return };
        self.tell_asker(Asker::Local(token), answer, out);
    }

    fn tell_asker(&self, asker: Asker, answer: Result<Slot, ChangeRefusal>, out: &mut Out<Raft>) {
        match (asker, answer) {
            (Asker::Local(token), Ok(at)) => {
                self.emit(Event::Reconfigured { token, at }, WriteSeq::NONE, out)
            }
            (Asker::Local(token), Err(refusal)) => self.refuse(token, refusal.into(), out),
            (Asker::Peer(peer, ask), Ok(at)) => {
                self.send_now(Dest::Node(peer), Message::Reconfigured { ask, at }, Lane::Control, out);
            }
            (Asker::Peer(peer, ask), Err(refusal)) => {
                let message = Message::ReconfigureRefused { ask, refusal };
                self.send_now(Dest::Node(peer), message, Lane::Control, out);
            }
        }
    }

    fn reconfigure(&mut self, now: Now, asker: Asker, changes: &[Change], out: &mut Out<Raft>) {
        match self.next_membership(now, changes) {
            Err(refusal) => self.tell_asker(asker, Err(refusal), out),
            Ok(next) => {
                self.append_membership(now, &next);
                if let Some(leading) = self.leading() {
                    leading.reconfiguring = Some(asker);
                }
            }
        }
    }

    /// Whether a change may begin (R11), and the configuration that it begins with.
    fn next_membership(&self, now: Now, changes: &[Change]) -> Result<Membership, ChangeRefusal> {
        let State::Leader(leading) = &self.state else { return Err(ChangeRefusal::Pending) };
        let is_settled =
            self.founded && self.commit >= leading.term_start && self.commit >= self.configurations.slot();
        let is_refused = buggify!(self.config.buggify, "raft.member.pending");
        if (!is_settled && !planted!(self, SkipsJoint)) || leading.handover.is_some() || is_refused {
            return Err(ChangeRefusal::Pending);
        }
        let next = self.membership().changed(changes)?;
        let mut next = if planted!(self, SkipsJoint) { next.settled() } else { next };
        let is_new = |node: &NodeId| !self.membership().votes(*node);
        for node in next.voters().filter(is_new).collect::<Vec<_>>() {
            let stamp = leading.progress.get(&node).and_then(|progress| progress.stamp);
            match (stamp, next.members.get_mut(&node)) {
                (Some(stamp), Some(member)) if self.has_caught_up(now, node) => {
                    member.incarnation = stamp.incarnation;
                }
                _ => return Err(ChangeRefusal::NotCaughtUp(node)),
            }
        }
        let is_reachable = |node| node == self.config.id || self.is_reachable(now, node);
        if next.is_joint() && !next.is_quorum(is_reachable) {
            return Err(ChangeRefusal::Unhealthy);
        }
        Ok(next)
    }

    fn is_reachable(&self, now: Now, node: NodeId) -> bool {
        let State::Leader(leading) = &self.state else { return false };
        let is_heard = |it: &Progress| now.mono.since(it.contact) < self.config.election_timeout;
        leading.progress.get(&node).is_some_and(is_heard)
    }

    /// The promotion rule: it answers, and lacks no more than what the windows hold on an ordinary day.
    fn has_caught_up(&self, now: Now, node: NodeId) -> bool {
        let State::Leader(leading) = &self.state else { return false };
        let Some(progress) = leading.progress.get(&node) else { return false };
        let lag = self.log.last().above(progress.matched);
        let is_level = matches!(progress.flow, Flow::Replicate) && progress.matched >= leading.term_start;
        self.counts(node, progress)
            && is_level
            && lag <= self.config.promotion_lag_max
            && self.is_reachable(now, node)
    }

    /// Appends a configuration, which is in force from here on.
    pub(crate) fn append_membership(&mut self, now: Now, membership: &Membership) {
        let entry = Entry { kind: EntryKind::Membership, payload: membership.to_bytes() };
        self.append_own(Record { term: self.term, entry });
        self.follow_membership(now);
    }

    /// A leader replicates to everybody in the configuration in force. Whoever is no longer in it is kept until the
    /// configuration without it is committed, so that it hears that it has been removed.
    pub(crate) fn follow_membership(&mut self, now: Now) {
        let (me, last) = (self.config.id, self.log.last());
        let is_settled = self.commit >= self.configurations.slot();
        let State::Leader(leading) = &mut self.state else { return };
        let membership = self.configurations.current();
        for node in membership.members.keys().filter(|node| **node != me) {
            leading.progress.entry(*node).or_insert_with(|| Progress::new(last, now.mono));
        }
        if is_settled {
            leading.progress.retain(|node, _| membership.members.contains_key(node));
        }
    }

    /// Goes on with a change once its latest configuration is committed; else looks for one that is due.
    pub(crate) fn advance_membership(&mut self, now: Now, out: &mut Out<Raft>) {
        self.advance_founding(now);
        let slot = self.configurations.slot();
        let State::Leader(leading) = &mut self.state else { return };
        let waits = buggify!(self.config.buggify, "raft.member.advances_later");
        if self.commit < slot || self.commit < leading.term_start || waits {
            return;
        }
        let membership = self.configurations.current();
        if membership.is_joint() {
            let settled = membership.settled();
            return self.append_membership(now, &settled);
        }
        if let Some(asker) = leading.reconfiguring.take() {
            self.tell_asker(asker, Ok(slot), out);
        }
        if self.membership().standing(self.config.id) != Some(Standing::Voter) {
            return self.retire(now, out);
        }
        self.promote_joining(now);
    }

    /// Forgets whom the committed configuration removed, once they have been told so.
    pub(crate) fn drop_removed(&mut self, now: Now, out: &mut Out<Raft>) {
        let State::Leader(leading) = &self.state else { return };
        let membership = self.configurations.current();
        // There is progress for every member but the leader itself, so that fewer than the members means nobody else.
        let waits = self.commit < self.configurations.slot()
            || buggify!(self.config.buggify, "raft.member.dropped_later");
        if waits || leading.progress.len() < membership.members.len() {
            return;
        }
        let is_gone = |node: &&NodeId| !membership.members.contains_key(*node);
        let gone: Vec<NodeId> = leading.progress.keys().filter(is_gone).copied().collect();
        for node in &gone {
            self.close_transfer(*node, out);
        }
        self.follow_membership(now);
    }

    fn promote_joining(&mut self, now: Now) {
        if buggify!(self.config.buggify, "raft.member.promoted_later") {
            return;
        }
        let joining = self.membership().with(Standing::Joining).find(|node| self.has_caught_up(now, *node));
        if let Some(node) = joining
            && let Ok(next) = self.next_membership(now, &[Change::Promote { node }])
        {
            self.append_membership(now, &next);
        }
    }
}

//! Quiescence: a group that has nothing to do falls silent, and costs nothing.
//!
//! ```text
//!   leader: idle for `quiesce_after`, everybody level ──Heartbeat{rest}──▶ follower: no time-out
//!   a request, a candidate, a broken connection ──▶ whoever it reaches stirs: the leader speaks, a follower waits for it
//!   a member that starts, and may not stand ──ReadAsk──▶ everybody: the leader speaks
//! ```
//!
//! Nobody's safety rests on a time-out, so that silence costs only what time-outs are for: a leader that dies without its
//! connections breaking is missed by the first who wants something, and replaced an election time-out later.
//!
//! # Source
//! CockroachDB's quiescent replicas; Dragonboat's `Quiesce`.

use consensus::{Input, Lane, Out, ReadLevel, Request};
use types::Now;

use crate::progress::{Flow, Progress};
use crate::raft::{State, dest};
use crate::{Message, Raft};

impl Raft {
    /// Ends a rest, if this input is a reason to.
    pub(crate) fn stir(&mut self, now: Now, input: &Input<Raft>) {
        if self.config.quiesce_after.is_none() || !stirs(input) {
            return;
        }
        let was_resting = std::mem::take(&mut self.resting);
        let wait = self.election.wait;
        let State::Leader(leading) = &mut self.state else {
            if was_resting {
                // As if the leader had just been heard: it gets its chance to speak.
                self.election.contact = self.leader.is_some().then_some(now.mono);
                self.election.deadline = now.mono + wait;
            }
            return;
        };
        leading.active = now.mono;
        if was_resting {
            leading.heartbeat_due = true;
            leading.heartbeat_at = now.mono + self.config.heartbeat_interval;
            leading.check_at = now.mono + self.config.election_timeout;
            leading.progress.values_mut().for_each(|progress| progress.contact = now.mono);
        }
    }

    /// Whether this leader has had nothing to do for long enough, and nobody lacks anything.
    pub(crate) fn may_rest(&self, now: Now) -> bool {
        let (Some(after), State::Leader(leading)) = (self.config.quiesce_after, &self.state) else {
            return false;
        };
        let last = self.log.last();
        let is_level = |it: &Progress| {
            matches!(it.flow, Flow::Replicate) && it.matched == last && it.commit_sent == last
        };
        let is_settled = self.commit == last && !self.membership().is_joint() && self.founded;
        let is_idle = leading.rounds.is_idle() && leading.handover.is_none() && self.proposals.is_empty();
        let is_long = now.mono.since(leading.active) >= after;
        is_long && is_settled && is_idle && leading.progress.values().all(is_level)
    }
}

impl Raft {
    /// Whether this replica misses a leader and may not stand for election, which would wake one: it has to ask. A leader that
    /// does not rest needs no waking.
    pub(crate) fn must_ask_for_leader(&self) -> bool {
        let is_member = self.membership().members.contains_key(&self.config.id);
        self.config.quiesce_after.is_some() && self.leader.is_none() && is_member && !self.may_campaign()
    }

    /// Asks everybody anything that only a leader takes: it will speak.
    pub(crate) fn ask_for_leader(&mut self, now: Now, out: &mut Out<Raft>) {
        let me = self.config.id;
        let others = self.membership().members.keys().copied().filter(|node| *node != me).collect();
        let ask = self.following.asking.number();
        if let Some(to) = dest(others) {
            self.send_now(to, Message::ReadAsk { ask }, Lane::Control, out);
        }
        self.draw_deadline(now);
    }
}

/// Whether somebody wants something. Answers, and what a leader says by itself, are no news.
fn stirs(input: &Input<Raft>) -> bool {
    match input {
        Input::Request(Request::Read { level, .. }) => *level != ReadLevel::Local,
        Input::Request(request) => matches!(
            request,
            Request::Propose { .. } | Request::Reconfigure { .. } | Request::TransferLeadership { .. }
        ),
        Input::Recv { message, .. } => !matches!(
            message,
            Message::Heartbeat { .. }
                | Message::HeartbeatAck { .. }
                | Message::Commit { .. }
                | Message::Appended { .. }
                | Message::ReadAnswer { .. }
        ),
        Input::Unreachable { .. } => true,
        Input::Timer | Input::Durable { .. } | Input::LogRead { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use consensus::{Protocol, Role};

    use crate::tests::world::World;

    fn silent() -> World {
        let mut world = World::with(3, |config| config.quiesce_after = Some(Duration::from_secs(2)));
        world.elect(1);
        world.run_for(Duration::from_secs(5));
        world
    }

    #[test]
    fn an_idle_group_says_nothing_and_waits_for_nothing() {
        let mut world = silent();
        assert!((1..=3).all(|node| world.raft(node).deadline().is_none()));
        world.run_for(Duration::from_secs(3600));
        assert_eq!((world.leader(), world.raft(1).term), (Some(1), 1));
        world.assert_sound();
    }

    #[test]
    fn whoever_asks_wakes_it() {
        for node in 1..=3 {
            let mut world = silent();
            world.propose(node, "after an hour");
            world.run_for(Duration::from_secs(1));
            assert!((1..=3).all(|node| world.applied(node) == ["after an hour"]), "asked at {node}");
            let mut world = silent();
            let token = world.read(node);
            world.run_for(Duration::from_secs(1));
            assert!(world.answer(node, token).is_some(), "read at {node}");
            assert_eq!(world.raft(1).term, 1, "by the same leader");
        }
    }

    #[test]
    fn a_leader_that_died_unnoticed_is_replaced_when_somebody_wants_something() {
        let mut world = silent();
        world.crash(1);
        world.run_for(Duration::from_secs(60));
        assert!([2, 3].iter().all(|node| world.role(*node) == Role::Follower), "nobody knows");
        world.propose(2, "lost with the leader");
        world.run_for(Duration::from_secs(6));
        let leader = world.leader().expect("a new leader");
        world.propose(leader, "x");
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.applied(2), ["x"]);
        world.assert_sound();
    }

    #[test]
    fn a_member_that_starts_is_told_who_leads() {
        let mut world = silent();
        world.crash(3);
        world.restart(3);
        world.run_for(Duration::from_secs(5));
        assert_eq!((world.leader(), world.raft(1).term), (Some(1), 1));
        assert_eq!(world.raft(3).leader, Some(types::NodeId(1)));
        world.run_for(Duration::from_secs(10));
        assert!((1..=3).all(|node| world.raft(node).deadline().is_none()), "silent again");
    }

    /// Found by the simulator: nobody woke the leader, because whoever is damaged does not stand.
    #[test]
    fn a_member_that_starts_and_may_not_stand_is_told_who_leads() {
        let mut world = silent();
        world.crash(3);
        world.run_for(Duration::from_secs(10));
        world.machine(3).disk.tail_damaged = true;
        world.restart(3);
        world.run_for(Duration::from_secs(5));
        assert_eq!(
            (world.raft(3).leader, world.role(3)),
            (Some(types::NodeId(1)), Role::Follower),
            "repaired"
        );
        world.run_for(Duration::from_secs(10));
        assert!((1..=3).all(|node| world.raft(node).deadline().is_none()), "silent again");
    }

    #[test]
    fn nobody_rests_while_a_member_is_missing() {
        let mut world = World::with(3, |config| config.quiesce_after = Some(Duration::from_secs(2)));
        world.elect(1);
        world.crash(3);
        world.propose(1, "a");
        world.run_for(Duration::from_secs(60));
        assert!(world.raft(1).deadline().is_some());
    }
}

//! Who leads, and who must not.

use std::time::Duration;

use consensus::{Consensus, Input, Protocol, Role};
use types::{Epoch, Slot, Time};

use super::machine::n;
use super::world::World;
use crate::Message;

fn term(world: &World, id: u64) -> u64 {
    world.raft(id).status().epoch.number
}

#[test]
fn three_nodes_elect_a_leader_and_replicate() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(1, "a");
    world.deliver_all();
    for node in 1..=3 {
        assert_eq!(world.raft(node).status().leader, Some(n(1)));
        assert_eq!(world.applied(node), ["a"], "node {node}");
    }
    world.assert_sound();
}

#[test]
fn two_nodes_commit_together_and_one_of_them_alone_does_not() {
    let mut world = World::new(2);
    world.elect(1);
    world.propose(1, "a");
    world.deliver_all();
    assert_eq!((world.applied(1), world.applied(2)), (vec!["a".into()], vec!["a".into()]));
    world.crash(2);
    world.propose(1, "b");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.applied(1), ["a"]);
    assert_eq!(world.leader(), None, "it stepped down");
    world.assert_sound();
}

#[test]
fn one_node_leads_itself_at_once_and_then_sleeps() {
    let mut world = World::new(1);
    assert_eq!(world.raft(1).deadline(), Some(world.now));
    world.timer(1);
    assert_eq!(world.role(1), Role::Leader);
    assert_eq!(world.raft(1).deadline(), None);
    assert!(world.bag.is_empty());
}

/// Dissertation §9.6: without pre-votes the node would come back with a high term and depose the leader.
#[test]
fn a_node_that_was_cut_off_does_not_disturb() {
    let mut world = World::new(3);
    world.elect(1);
    world.isolate(3);
    world.run_for(Duration::from_secs(20));
    let before = term(&world, 1);
    assert_eq!((term(&world, 3), world.role(3)), (before, Role::PreCandidate));
    world.heal();
    world.run_for(Duration::from_secs(2));
    assert_eq!((world.leader(), term(&world, 1), world.role(3)), (Some(1), before, Role::Follower));
    world.assert_sound();
}

/// Dissertation §4.2.3: even a real candidate is ignored while a leader lives.
#[test]
fn a_follower_that_hears_its_leader_ignores_candidates() {
    let mut world = World::new(3);
    world.elect(1);
    let (incarnation, last, last_term) = (3, Slot(99), 8);
    let vote = Message::RequestVote { term: 9, pre: false, told: false, incarnation, last, last_term };
    for node in [1, 2] {
        world.step(node, Input::Recv { from: n(3), message: vote.clone() });
        assert_eq!(term(&world, node), 1);
    }
    world.isolate(2);
    world.now = world.now + Duration::from_secs(1);
    world.step(2, Input::Recv { from: n(3), message: vote });
    assert_eq!(term(&world, 2), 9, "an election timeout later it listens");
}

/// Dissertation §6.2: clients of a leader that is cut off must not wait for ever.
#[test]
fn a_leader_without_a_quorum_steps_down_within_an_election_timeout() {
    let mut world = World::new(5);
    world.elect(1);
    world.crash(2);
    world.crash(3);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.leader(), Some(1), "three of five are enough");
    world.crash(4);
    world.run_for(Duration::from_millis(1000));
    assert_eq!(world.role(1), Role::Follower);
    world.assert_sound();
}

/// hashicorp/raft #605: the followers still remember the leader that has just restarted.
#[test]
fn a_leader_that_restarts_may_be_elected_again_at_once() {
    let mut world = World::new(3);
    world.elect(1);
    world.crash(1);
    world.restart(1);
    // Its own wait is over before its followers have given it up.
    let deadline = world.raft(1).deadline().expect("it waits");
    let step = |world: &mut World, node| world.step(node, Input::Timer);
    for node in [2, 3] {
        world.now = world.now + Duration::from_millis(1);
        let (verified, round) = (Slot(0), 0);
        let (term, incarnation) = (1, 1);
        let alive =
            Message::Heartbeat { term, incarnation, commit: verified, round, sent: Time(0), rest: false };
        world.step(node, Input::Recv { from: n(1), message: alive });
    }
    world.now = world.now.max(deadline);
    step(&mut world, 1);
    world.deliver_all();
    assert_eq!(world.leader(), Some(1));
}

#[test]
fn a_shorter_or_older_log_does_not_win() {
    for (other, wins) in [(&[1, 1][..], true), (&[1][..], true), (&[1, 1, 1][..], false), (&[2][..], false)] {
        let mut world = World::new(3);
        world.give_logs(&[&[1, 1], other, other], 2);
        world.elect(1);
        assert_eq!(world.leader() == Some(1), wins, "against {other:?}");
        world.assert_sound();
    }
}

#[test]
fn nothing_that_reveals_a_vote_leaves_before_it_is_durable() {
    let mut world = World::new(3);
    for node in 1..=3 {
        world.machine(node).disk_is_fast = false;
    }
    world.time_out(1);
    world.deliver_all();
    assert_eq!(world.role(1), Role::Candidate, "everybody would vote for it");
    assert!(world.bag.is_empty(), "but its own vote is not durable");
    world.sync(1);
    world.deliver_all();
    assert_eq!(world.role(1), Role::Candidate, "and then theirs are not");
    world.sync(2);
    world.deliver_all();
    assert_eq!(world.role(1), Role::Leader);
}

#[test]
fn waits_are_drawn_from_the_seed_between_one_and_two_timeouts() {
    let waits = |world: &World| (1..=5).map(|node| world.raft(node).election.wait).collect::<Vec<_>>();
    let (first, again) = (World::new(5), World::new(5));
    assert_eq!(waits(&first), waits(&again));
    let range = Duration::from_secs(1)..Duration::from_secs(2);
    assert!(waits(&first).iter().all(|wait| range.contains(wait)), "{:?}", waits(&first));
    assert!(waits(&first).windows(2).all(|pair| pair[0] != pair[1]));
}

/// A process that ends closes its connections; there is no need to wait for an election timeout then.
#[test]
fn a_leader_that_everybody_lost_is_replaced_soon() {
    let mut world = World::new(3);
    world.elect(1);
    world.run_for(Duration::from_millis(500));
    world.crash(1);
    for node in [2, 3] {
        world.step(node, Input::Unreachable { peer: n(1) });
    }
    world.run_for(Duration::from_millis(400));
    assert!(world.leader().is_some());
    world.assert_sound();
}

#[test]
fn a_leader_that_only_one_node_lost_stays() {
    let mut world = World::new(3);
    world.elect(1);
    world.run_for(Duration::from_millis(500));
    world.cut(1, 3);
    for _ in 0..5 {
        world.step(3, Input::Unreachable { peer: n(1) });
        world.run_for(Duration::from_millis(500));
        assert_eq!((world.leader(), term(&world, 1)), (Some(1), 1));
    }
    world.assert_sound();
}

/// A long chain of hopeless candidacies must not move anybody's term.
#[test]
fn a_minority_never_raises_the_term() {
    let mut world = World::new(5);
    world.crash(3);
    world.crash(4);
    world.crash(5);
    world.run_for(Duration::from_secs(60));
    assert_eq!((term(&world, 1), term(&world, 2)), (0, 0));
}

#[test]
fn every_change_of_leadership_is_announced_once() {
    let mut world = World::new(3);
    world.elect(1);
    world.isolate(1);
    world.run_for(Duration::from_secs(5));
    let announced = |id: u64| {
        let events = world.machines[&n(id)].events.iter();
        let leaderships = events.filter_map(|event| match event {
            consensus::Event::Leadership { role, epoch, leader } => Some((*role, *epoch, *leader)),
            _ => None,
        });
        leaderships.collect::<Vec<_>>()
    };
    assert_eq!(
        announced(1)[..5],
        [
            (Role::Follower, Epoch::of(0), None),
            (Role::PreCandidate, Epoch::of(0), None),
            (Role::Candidate, Epoch::of(1), None),
            (Role::Leader, Epoch::of(1), Some(n(1))),
            (Role::Follower, Epoch::of(1), None),
        ]
    );
}

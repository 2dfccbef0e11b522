//! Restarts of replicas that lost something.

use std::time::Duration;

use consensus::{Consensus, Event, Input, Role};
use types::{Slot, SlotState};

use super::machine::n;
use super::world::World;
use crate::{Integrity, Message};

/// Three nodes that have all applied ten commands; slot 1 is the no-op. Nothing of the state machine is durable.
fn settled() -> World {
    let mut world = World::new(3);
    world.elect(1);
    for number in 0..10 {
        world.propose(1, &format!("{number}"));
        world.deliver_all();
    }
    world
}

#[test]
fn an_intact_replica_replays_its_log() {
    let mut world = settled();
    for node in 1..=3 {
        world.crash(node);
        world.restart(node);
        assert!(world.applied(node).is_empty());
    }
    world.run_for(Duration::from_secs(5));
    assert!((1..=3).all(|node| world.applied(node).len() == 10));
    world.assert_sound();
}

/// etcd #14370's smaller sister: nobody else can tell it what is committed.
#[test]
fn a_group_of_one_replays_its_log() {
    let mut world = World::new(1);
    world.timer(1);
    world.propose(1, "a");
    world.crash(1);
    world.restart(1);
    world.timer(1);
    assert_eq!(world.applied(1), ["a"]);
}

#[test]
fn a_long_replay_comes_in_pieces() {
    let mut world = World::new(1);
    world.timer(1);
    let text = "x".repeat(1 << 20);
    for _ in 0..6 {
        world.propose(1, &text);
    }
    world.crash(1);
    world.machine(1).events.clear();
    world.restart(1);
    world.timer(1);
    assert_eq!(world.applied(1).len(), 6);
    let is_committed = |event: &&Event| matches!(event, Event::Committed { .. });
    assert_eq!(world.machine(1).events.iter().filter(is_committed).count(), 2, "of 4 MiB at most");
}

#[test]
fn a_damaged_follower_is_repaired_by_the_leader_and_then_votes_again() {
    for damaged in [&[2][..], &[5, 9], &[11]] {
        let mut world = settled();
        world.crash(3);
        damaged.iter().for_each(|slot| world.machine(3).disk.damage(*slot));
        world.restart(3);
        assert_eq!((world.role(3), world.raft(3).status().last), (Role::Recovering, Slot(damaged[0] - 1)));
        world.run_for(Duration::from_secs(1));
        assert_eq!((world.role(3), world.raft(3).integrity), (Role::Follower, Integrity::Intact));
        assert_eq!(world.applied(3), world.applied(1));
        assert!(world.machines[&n(3)].disk.log.values().all(|record| *record != SlotState::Damaged));

        world.crash(1);
        world.run_for(Duration::from_secs(5));
        assert!(world.leader().is_some(), "two healthy nodes of three");
        world.assert_sound();
    }
}

#[test]
fn a_lost_tail_is_repaired_likewise() {
    let mut world = settled();
    world.crash(3);
    let disk = &mut world.machine(3).disk;
    disk.log.split_off(&Slot(7));
    disk.tail_damaged = true;
    world.restart(3);
    assert_eq!(world.role(3), Role::Recovering);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.role(3), world.applied(3).len()), (Role::Follower, 10));
    world.assert_sound();
}

/// A crash between the cut and the end of the repair must not leave a log that merely looks whole.
#[test]
fn a_repair_that_is_interrupted_goes_on_after_the_restart() {
    let mut world = settled();
    world.crash(3);
    world.machine(3).disk.damage(4);
    world.restart(3);
    world.time_out(1);
    // Entries are on their way back, but not all of them, and not the leader's goal.
    world.deliver_until(|it| matches!(it.message, Message::RepairGoal { .. }));
    world.bag.retain(|it| !matches!(it.message, Message::RepairGoal { .. }));
    world.propose(1, "more");
    world.deliver_all();
    world.crash(3);
    world.restart(3);
    assert_eq!(world.role(3), Role::Recovering);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.role(3), world.applied(3)), (Role::Follower, world.applied(1)));
    world.assert_sound();
}

/// The leader of the term counts only acknowledgements that bear the session of the repair.
#[test]
fn a_repaired_replica_that_restarts_in_the_same_term_still_counts() {
    let mut world = settled();
    world.crash(3);
    world.machine(3).disk.damage(4);
    world.restart(3);
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.role(3), world.raft(3).integrity), (Role::Follower, Integrity::Intact));
    let term = world.raft(3).status().epoch;
    world.crash(3);
    world.restart(3);
    world.isolate(2);
    world.propose(1, "more");
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.leader(), world.raft(3).status().epoch), (Some(1), term));
    assert_eq!((world.applied(1).len(), world.applied(3).len()), (11, 11), "without node 2");
    world.assert_sound();
}

/// The heart of the repair's argument: an acknowledgement from before the damage, still on its way, must not
/// commit what the replica no longer has.
#[test]
fn an_acknowledgement_from_before_the_damage_does_not_count() {
    let mut world = World::new(3);
    world.elect(1);
    world.isolate(2);
    world.propose(1, "a");
    world.deliver_until(|it| matches!(it.message, Message::Appended { .. }));
    let late = world.bag.pop_front().expect("node 3 acknowledges");
    world.crash(3);
    world.machine(3).disk.damage(2);
    world.restart(3);
    // The leader learns of the loss first. It sends the entry again, but that is lost.
    world.step(1, Input::Timer);
    world.now = world.now + Duration::from_millis(100);
    world.time_out(1);
    world.deliver_until(|it| matches!(it.message, Message::RepairGoal { .. }));
    world.bag.clear();
    world.deliver(late);
    assert!(world.applied(1).is_empty(), "nobody but node 1 has it");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(1), ["a"], "now node 3 has it again");
    world.assert_sound();
}

#[test]
fn a_recovering_replica_neither_votes_nor_stands() {
    let mut world = settled();
    world.crash(1);
    world.crash(3);
    world.machine(3).disk.damage(5);
    world.restart(3);
    world.run_for(Duration::from_secs(20));
    assert_eq!((world.leader(), world.role(3)), (None, Role::Recovering));
    world.restart(1);
    world.run_for(Duration::from_secs(5));
    assert_eq!((world.role(3), world.applied(3).len()), (Role::Follower, 10));
    world.assert_sound();
}

/// It may have voted in any term: until somebody replaces it, it is sent entries and counts nowhere.
#[test]
fn a_replica_that_lost_its_vote_never_counts_again() {
    let mut world = settled();
    world.crash(3);
    world.machine(3).disk.meta = SlotState::Damaged;
    world.restart(3);
    world.propose(1, "more");
    world.run_for(Duration::from_secs(1));
    assert_eq!((world.role(3), world.applied(3)), (Role::Recovering, world.applied(1)));
    world.crash(2);
    world.propose(1, "alone");
    let read = world.read(1);
    world.run_for(Duration::from_secs(5));
    assert_ne!(world.applied(1).last().map(String::as_str), Some("alone"));
    assert!(!matches!(world.answer(1, read), Some(Event::ReadReady { .. })));
    assert_eq!(world.leader(), None);

    world.crash(3);
    world.restart(3);
    assert_eq!(world.role(3), Role::Recovering, "a new meta record does not make it whole");
    world.assert_sound();
}

#[test]
fn a_missing_vote_beside_a_log_is_a_lost_one() {
    let mut world = settled();
    world.crash(3);
    world.machine(3).disk.meta = SlotState::Missing;
    world.restart(3);
    assert_eq!(world.raft(3).integrity, Integrity::MetaLost);
}

/// Nobody can repair it, so it must not go on as if nothing had happened; and nothing is thrown away.
#[test]
fn a_damaged_group_of_one_stays_as_it_is() {
    let mut world = World::new(1);
    world.timer(1);
    world.propose(1, "a");
    world.crash(1);
    world.machine(1).disk.damage(1);
    world.restart(1);
    world.now = world.now + Duration::from_secs(60);
    world.timer(1);
    assert_eq!(world.role(1), Role::Recovering);
    assert_eq!(world.machines[&n(1)].disk.log.len(), 2, "slot 2 is still there to be saved");
}

/// What is applied is committed and part of the state: the log is not needed for it.
#[test]
fn damage_below_the_applied_slot_is_nobodys_loss() {
    for (damaged, last) in [(3, 11), (11, 11)] {
        let mut world = settled();
        world.machine(3).state_durable = 11;
        world.crash(3);
        world.machine(3).disk.damage(damaged);
        world.restart(3);
        let status = world.raft(3).status();
        assert_eq!((status.role, status.applied, status.last), (Role::Follower, Slot(11), Slot(last)));
        world.propose(1, "more");
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.applied(3).len(), 11);
        world.crash(3);
        world.restart(3);
        assert_eq!(world.role(3), Role::Follower);
        world.assert_sound();
    }
}

/// A crash between the installation of a checkpoint and the write that resets the log.
#[test]
fn a_log_behind_the_state_machine_restarts_there() {
    let mut world = settled();
    world.machine(3).state_durable = 11;
    world.crash(3);
    world.machine(3).disk.log.split_off(&Slot(6));
    world.restart(3);
    let status = world.raft(3).status();
    assert_eq!((status.role, status.first, status.last), (Role::Follower, Slot(12), Slot(11)));
    assert_eq!(world.machines[&n(3)].disk.first, Slot(12));
    world.propose(1, "more");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(3).len(), 11);
    world.assert_sound();
}

/// A log that was compacted past what the state machine durably holds has a hole that only a checkpoint can fill.
#[test]
fn a_state_machine_behind_the_log_gets_a_checkpoint() {
    let mut world = World::with(3, |config| {
        config.checkpoint_entries = 5;
        config.retained_entries = 1;
    });
    world.elect(1);
    for number in 0..10 {
        world.propose(1, &format!("{number}"));
        world.deliver_all();
    }
    world.machine(3).state_durable = 2;
    world.crash(3);
    world.restart(3);
    assert_eq!(world.role(3), Role::Recovering);
    world.run_for(Duration::from_secs(2));
    assert_eq!((world.role(3), world.applied(3)), (Role::Follower, world.applied(1)));
    world.assert_sound();
}

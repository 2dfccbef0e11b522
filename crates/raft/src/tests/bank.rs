//! The bug bank: for each bug one story that healthy replicas survive, and that shows the bug where it is planted.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Change, Role};

use super::machine::n;
use super::world::World;
use crate::{Config, Message};

/// Tells a story to healthy replicas, and to ones with the bug if bugs can be planted.
macro_rules! story {
    ($(#[$doc:meta])* $name:ident, $bug:ident, $tell:expr) => {
        $(#[$doc])*
        #[test]
        fn $name() {
            let tell: fn(&dyn Fn(&mut Config)) -> World = $tell;
            tell(&|_| {}).assert_sound();
            #[cfg(feature = "planted")]
            {
                let world = tell(&|config| config.planted = Some(crate::Planted::$bug));
                assert!(world.violation.is_some(), "{:?} went unnoticed", crate::Planted::$bug);
            }
        }
    };
}

story! {
    /// Figure 8 of the Raft paper, from (c) on: S1 leads again in term 4 and brings its old entry of term 2 to a
    /// majority. It must not count it, because S5 can still overwrite it (d).
    figure_8, CommitsOldTerms, |plant| {
        let mut world = World::with(5, |config| {
            config.append_bytes_max = 1; // one entry at a time
            plant(config);
        });
        world.give_logs(&[&[1, 2], &[1, 2], &[1], &[1], &[1, 3]], 3);
        world.crash(2);
        world.crash(5);
        world.elect(1);
        // Everything up to the answers for the old entry; its own no-op of term 4 gets nowhere.
        while let Some(next) = world.bag.pop_front() {
            match &next.message {
                Message::Append { entries, .. } if entries.iter().any(|record| record.term == 4) => {}
                _ => world.deliver(next),
            }
        }
        world.crash(1);
        world.restart(5);
        world.elect(5);
        world.deliver_all();
        world
    }
}

story! {
    /// Two candidates of one term ask the same voter; it crashes between its answers.
    a_vote_survives_a_crash, ForgetsVote, |plant| {
        let mut world = World::with(3, plant);
        let from_third = two_candidates(&mut world);
        world.crash(2);
        world.restart(2);
        from_third.into_iter().for_each(|it| world.deliver(it));
        world.deliver_all();
        world
    }
}

story! {
    /// The same, and the voter crashes before its first vote is on disk: then nobody may have seen it.
    a_vote_waits_for_the_disk, AnswersBeforeMeta, |plant| voter_dies_before_its_disk_is_done(plant)
}

story! {
    /// The same, where only votes are careless.
    only_a_vote_waits_for_the_disk, VotesEarly, |plant| voter_dies_before_its_disk_is_done(plant)
}

fn voter_dies_before_its_disk_is_done(plant: &dyn Fn(&mut Config)) -> World {
    let mut world = World::with(3, plant);
    world.machine(2).disk_is_fast = false;
    let from_third = two_candidates(&mut world);
    world.crash(2);
    world.restart(2);
    world.machine(2).disk_is_fast = true;
    from_third.into_iter().for_each(|it| world.deliver(it));
    world.deliver_all();
    world
}

/// Nodes 1 and 3 stand in term 1, node 2 has answered node 1. Returns what node 3 asks node 2.
fn two_candidates(world: &mut World) -> Vec<super::world::Envelope> {
    world.cut(1, 3);
    world.time_out(1);
    world.time_out(3);
    let is_vote = |it: &super::world::Envelope| matches!(it.message, Message::RequestVote { pre: false, .. });
    while let Some(next) = world.take_first(|it| !is_vote(it)) {
        world.deliver(next);
    }
    let from_third = world.take(|it| it.from == n(3) && it.to == n(2));
    for vote in world.take(|it| it.from == n(1) && it.to == n(2)) {
        world.deliver(vote);
    }
    assert_eq!((world.role(1), world.role(3)), (Role::Candidate, Role::Candidate));
    from_third
}

story! {
    /// An append that comes late says nothing about what came after it.
    an_old_append_cuts_nothing_off, OldAppendTruncates, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.isolate(3);
        world.propose(1, "a");
        let old = world.bag.iter().find(|it| it.to == n(2)).cloned().expect("an append for node 2");
        world.deliver_all();
        world.propose(1, "b");
        // Node 2 acknowledges "b"; node 1 commits it, but its word of that is lost.
        world.deliver_until(|it| matches!(it.message, Message::Commit { .. }));
        world.bag.clear();
        assert_eq!(world.applied(1), ["a", "b"]);
        world.deliver(old);
        world.crash(1);
        world.heal();
        world.elect(2);
        world
    }
}

story! {
    /// The one with the longer log is a term behind, the other can never win: it must be told.
    a_pre_candidate_of_an_old_term_catches_up, PreVoteHidesTerm, |plant| {
        let mut world = World::with(3, plant);
        world.give_logs(&[&[1, 1], &[1], &[1]], 1);
        world.set_term(2, 5);
        world.crash(3);
        world.run_for(Duration::from_secs(30));
        if world.leader().is_none() {
            world.violation = Some("no leader in 30 s".into());
        }
        world
    }
}

story! {
    /// A new leader does not know yet what its predecessor committed.
    a_new_leader_reads_after_its_first_commit, ReadsBeforeOwnCommit, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.propose(1, "a");
        world.deliver_until(|it| matches!(it.message, Message::Commit { .. }));
        assert_eq!(world.applied(1), ["a"]);
        world.bag.clear();
        world.crash(1);
        world.elect_silently(2);
        world.bag.clear(); // its no-op is lost
        world.read(2);
        world.deliver_all();
        world
    }
}

story! {
    /// A leader that has been asleep does not know that it is one no more.
    a_deposed_leader_answers_no_reads, ReadsWithoutRound, |plant| {
        let mut world = deposed_leader(plant);
        world.read(1);
        world.deliver_all();
        world
    }
}

story! {
    /// Nor does an answer to an earlier question tell it that it still is.
    a_late_answer_confirms_no_later_read, ReusesReadRounds, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.read(1);
        world.deliver_until(|it| matches!(it.message, Message::HeartbeatAck { .. }));
        let late = world.bag.front().cloned().expect("an answer");
        world.deliver_all();
        depose(&mut world);
        world.read(1);
        world.bag.clear();
        world.heal();
        world.deliver(late);
        world
    }
}

/// Node 1 sleeps while node 2 is elected and commits.
fn deposed_leader(plant: &dyn Fn(&mut Config)) -> World {
    let mut world = World::with(3, plant);
    world.elect(1);
    depose(&mut world);
    world
}

fn depose(world: &mut World) {
    world.isolate(1);
    world.elect(2);
    world.propose(2, "new");
    world.deliver_all();
    assert_eq!(world.applied(2), ["new"]);
}

story! {
    /// A group of one has committed nothing before its only disk has it.
    a_group_of_one_waits_for_its_disk, CountsUnsynced, |plant| {
        let mut world = World::with(1, plant);
        world.time_out(1);
        world.machine(1).disk_is_fast = false;
        world.propose(1, "a");
        world.crash(1);
        world.restart(1);
        world.machine(1).disk_is_fast = true;
        world.time_out(1);
        world.propose(1, "b");
        world
    }
}

story! {
    /// An empty log takes nothing that does not begin at its end.
    an_empty_log_has_no_gaps, AcksGap, |plant| {
        let mut world = World::with(3, plant);
        world.isolate(3);
        world.elect(1);
        world.propose(1, "a");
        world.deliver_all();
        world.crash(1);
        world.restart(1);
        world.heal();
        world.elect(1);
        world.propose(1, "b");
        world.deliver_all();
        world
    }
}

story! {
    /// An acknowledgement is a promise that a crash cannot take back.
    an_acknowledgement_waits_for_the_disk, AcksBeforeDurable, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.isolate(3);
        world.machine(2).disk_is_fast = false;
        world.propose(1, "a");
        world.deliver_all();
        world.crash(1);
        world.crash(2);
        world.restart(2);
        world.machine(2).disk_is_fast = true;
        world.heal();
        world.elect(2);
        world
    }
}

story! {
    /// What is damaged may have been acknowledged: its owner must not vote as if it had never been there.
    a_damaged_replica_does_not_vote, DamageIsTruncation, |plant| damaged_voter(plant)
}

fn damaged_voter(plant: &dyn Fn(&mut Config)) -> World {
    let mut world = World::with(3, plant);
    world.elect(1);
    world.isolate(3);
    world.propose(1, "a");
    world.deliver_all();
    world.crash(2);
    world.machine(2).disk.damage(2);
    world.crash(1);
    world.restart(2);
    world.heal();
    world.run_for(Duration::from_secs(10));
    world
}

/// A led group of 1, 2 and 3 that is about to be replaced by `voters`: the joint configuration is in the leader's log.
fn replacement(plant: &dyn Fn(&mut Config), reaches: &[u64], voters: [u64; 3]) -> World {
    let mut world = World::with_spares(3, 2, plant);
    world.elect(1);
    let add = |node| Change::AddLearner { node: n(node), context: Bytes::new() };
    world.reconfigure(1, &[add(4), add(5)]);
    world.run_for(Duration::from_secs(1));
    for node in (2..=5).filter(|node| !reaches.contains(node)) {
        world.isolate(node);
    }
    let promote = voters.iter().filter(|node| **node > 3).map(|node| Change::Promote { node: n(*node) });
    let remove = (1..=3).filter(|node| !voters.contains(node)).map(|node| Change::Remove { node: n(node) });
    world.reconfigure(1, &promote.chain(remove).collect::<Vec<_>>());
    world
}

story! {
    /// 1 is joined by 4 and 5, while 2 and 3 know nothing of it: they are the old majority, and choose again.
    the_new_majority_does_not_decide_alone, CountsNewAlone, |plant| {
        let mut world = replacement(plant, &[4, 5], [1, 4, 5]);
        world.deliver_all();
        world.propose(1, "by the new ones");
        world.deliver_all();
        world.heal();
        world.isolate(1);
        world.isolate(4);
        world.isolate(5);
        world.elect(2);
        world.propose(2, "by the old ones");
        world.deliver_all();
        world
    }
}

story! {
    /// 1 and 2 settle on a joint configuration, 1 goes on with 4 and 5; but 2 and 3 are an old majority.
    the_old_majority_does_not_decide_alone, CountsOldAlone, |plant| {
        let mut world = replacement(plant, &[2], [3, 4, 5]);
        while let Some(next) = world.bag.pop_front() {
            let is_further = next.to == n(2) && world.raft(2).membership().is_joint();
            if !is_further {
                world.deliver(next);
            }
        }
        world.heal();
        world.isolate(2);
        world.isolate(3);
        world.run_for(Duration::from_millis(300));
        world.heal();
        world.isolate(1);
        world.isolate(4);
        world.isolate(5);
        world.elect(2);
        world.propose(2, "by the old ones");
        world.deliver_all();
        world
    }
}

story! {
    /// 1 makes 5 a voter and is cut off; 2 leads and removes 1 before it has committed anything of its own. One step
    /// each: {2, 3} decides for 2, {1, 4, 5} for 1.
    two_single_steps_from_one_configuration, SkipsJoint, |plant| {
        let mut world = World::with_spares(4, 1, plant);
        world.elect(1);
        world.reconfigure(1, &[Change::AddLearner { node: n(5), context: Bytes::new() }]);
        world.run_for(Duration::from_secs(1));
        world.isolate(1);
        world.reconfigure(1, &[Change::Promote { node: n(5) }]);
        world.elect_silently(2);
        world.take(|it| it.to != n(3));
        world.isolate(4);
        world.isolate(5);
        world.reconfigure(2, &[Change::Remove { node: n(1) }]);
        world.deliver_all();
        world.heal();
        world.isolate(2);
        world.isolate(3);
        world.elect(1);
        world.propose(1, "by the others");
        world.deliver_all();
        world
    }
}

story! {
    /// A candidate that dies may stand in the same term again, and vote for somebody else in it.
    a_candidate_waits_for_its_disk, StandsEarly, |plant| {
        let mut world = World::with(3, plant);
        world.machine(1).disk_is_fast = false;
        world.time_out(1);
        world.deliver_all();
        world
    }
}

story! {
    /// Nobody else has to be asked, and its own vote must last all the same.
    a_lone_candidate_waits_for_its_disk, CountsOwnVoteEarly, |plant| {
        let mut world = World::with(1, plant);
        world.machine(1).disk_is_fast = false;
        world.time_out(1);
        world.sync(1);
        world
    }
}

story! {
    /// Whoever answers in a term stays in it.
    an_answer_to_a_heartbeat_waits_for_the_disk, AnswersHeartbeatsEarly, |plant| {
        let mut world = follower_with_a_slow_disk(plant);
        world.take(|it| !matches!(it.message, Message::Heartbeat { .. }));
        world.deliver_all();
        world
    }
}

story! {
    /// So does whoever refuses in it.
    a_rejection_waits_for_the_disk, RejectsEarly, |plant| {
        let mut world = follower_with_a_slow_disk(plant);
        world.take(|it| !matches!(it.message, Message::Append { .. }));
        world.deliver_all();
        world
    }
}

/// Node 2 lacks an entry, has not heard of the new term of node 1, and its disk is slow.
fn follower_with_a_slow_disk(plant: &dyn Fn(&mut Config)) -> World {
    let mut world = World::with(3, plant);
    world.give_logs(&[&[1, 1], &[1], &[1, 1]], 1);
    world.isolate(2);
    world.elect_silently(1);
    world.heal();
    world.machine(2).disk_is_fast = false;
    world.time_out(1);
    world
}

story! {
    /// Node 3 hears nobody, and is heard. It must not depose a leader that the others hear.
    whoever_hears_nobody_deposes_nobody, FollowsWhoeverStands, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.cut_one_way(1, 3);
        world.cut_one_way(2, 3);
        let before = world.raft(1).term;
        world.run_for(Duration::from_secs(30));
        if world.raft(1).term != before {
            world.violation.get_or_insert("a leader that was heard is deposed".into());
        }
        world
    }
}

story! {
    /// Node 1 is heard, and hears nobody. It must make room for somebody who does.
    a_leader_that_hears_nobody_makes_room, LeadsUnheard, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.cut_one_way(2, 1);
        world.cut_one_way(3, 1);
        world.run_for(Duration::from_secs(30));
        if world.leader() == Some(1) {
            world.violation.get_or_insert("nothing can be committed any more".into());
        }
        world
    }
}

story! {
    /// What is left below the damage is no shorter log, and neither is the state without it.
    damage_is_no_reason_to_fall_back, DamageFallsBack, |plant| damaged_voter(plant)
}

story! {
    /// Two of five vote for node 1, itself included, and one of them says so twice.
    a_vote_counts_once, CountsVotesTwice, |plant| {
        let mut world = World::with(5, plant);
        world.time_out(1);
        let asks = |it: &super::world::Envelope| matches!(it.message, Message::RequestVote { pre: false, .. });
        while let Some(next) = world.take_first(|it| !asks(it)) {
            world.deliver(next);
        }
        world.take(|it| it.to != n(2));
        world.deliver_until(|it| matches!(it.message, Message::Vote { pre: false, .. }));
        let vote = world.bag.pop_front().expect("a vote");
        world.deliver(vote.clone());
        world.deliver(vote);
        world.bag.clear();
        world.isolate(1);
        world.isolate(2);
        world.elect(3); // in the same term
        world
    }
}

story! {
    /// The leader has said up to where the log must be whole, and nothing of it has come yet.
    a_repair_is_over_when_the_log_is_whole, RepairEndsEarly, |plant| {
        let mut world = World::with(3, plant);
        world.elect(1);
        world.isolate(2);
        world.propose(1, "a");
        world.deliver_all();
        world.crash(3);
        world.machine(3).disk.damage(2);
        world.restart(3);
        world.time_out(1);
        world.deliver_until(|it| matches!(it.message, Message::RepairGoal { .. }));
        let goal = world.bag.pop_front().expect("the leader sets a goal");
        world.bag.clear();
        world.deliver(goal);
        world.bag.clear();
        world.crash(1);
        world.heal();
        world.run_for(Duration::from_secs(10));
        world
    }
}

//! Members come and go while the group goes on.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Change, ChangeRefusal, Consensus, Event, Input, Refusal, Role, Standing, Token};
use types::{Rng, Slot};

use super::machine::n;
use super::world::World;
use crate::{Config, Message};

fn add_voter(node: u64) -> Change {
    Change::AddVoter { node: n(node), context: Bytes::from(format!("node {node}")) }
}

fn add_learner(node: u64) -> Change {
    Change::AddLearner { node: n(node), context: Bytes::new() }
}

fn promote(node: u64) -> Change {
    Change::Promote { node: n(node) }
}

fn remove(node: u64) -> Change {
    Change::Remove { node: n(node) }
}

fn second() -> Duration {
    Duration::from_secs(1)
}

fn refusal_of(world: &World, id: u64, token: Token) -> Option<ChangeRefusal> {
    match world.answer(id, token)? {
        Event::Refused { refusal: Refusal::Change(refusal), .. } => Some(*refusal),
        _ => None,
    }
}

fn is_done(world: &World, id: u64, token: Token) -> bool {
    matches!(world.answer(id, token), Some(Event::Reconfigured { .. }))
}

/// A led group of three, and two nodes that are no members yet.
fn three_and_two() -> World {
    let mut world = World::with_spares(3, 2, |_| {});
    world.elect(1);
    for number in 0..5 {
        world.propose(1, &format!("before {number}"));
    }
    world.deliver_all();
    world
}

#[test]
fn the_first_leader_writes_down_who_takes_part() {
    let mut world = World::new(3);
    world.elect(2);
    world.deliver_all();
    let first = world.machine(1).state[0].entry.membership().expect("a membership in slot 1");
    assert_eq!(first.voters().map(|node| node.0).collect::<Vec<_>>(), [1, 2, 3]);
    world.elect(3);
    world.deliver_all();
    assert_eq!(world.machine(1).state[1].entry.membership(), None, "once is enough");
    world.assert_sound();
}

/// A voter is added as a learner, and votes as soon as it has caught up, without anybody asking again.
#[test]
fn a_voter_that_is_added_votes_once_it_has_caught_up() {
    let mut world = three_and_two();
    world.cut(1, 4);
    let token = world.reconfigure(1, &[add_voter(4)]);
    world.run_for(second());
    assert!(is_done(&world, 1, token), "adding it waits for nobody else");
    assert_eq!(world.voters(1), [1, 2, 3], "it does not vote while it has nothing");
    assert_eq!(world.raft(1).membership().standing(n(4)), Some(Standing::Joining));
    world.heal();
    world.run_for(second());
    for node in 1..=4 {
        assert_eq!(world.voters(node), [1, 2, 3, 4], "as node {node} sees it");
        assert!(!world.raft(node).membership().is_joint());
    }
    assert_eq!(world.applied(4), world.applied(1));
    world.assert_sound();
}

#[test]
fn a_learner_neither_counts_nor_stands() {
    let mut world = three_and_two();
    world.reconfigure(1, &[add_learner(4)]);
    world.run_for(second());
    assert_eq!(world.applied(4).len(), 5, "it is sent everything");
    world.isolate(2);
    world.isolate(3);
    world.propose(1, "too few");
    world.run_for(Duration::from_millis(500));
    assert!(!world.applied(1).contains(&"too few".to_owned()), "a voter and a learner are no majority");
    world.run_for(10 * second());
    assert_eq!(world.role(4), Role::Follower, "it never stands");
    world.assert_sound();
}

#[test]
fn only_a_learner_that_has_caught_up_can_be_promoted() {
    let mut world = three_and_two();
    world.reconfigure(1, &[add_learner(4)]);
    world.cut(1, 4);
    world.run_for(second());
    let token = world.reconfigure(1, &[promote(4)]);
    assert_eq!(refusal_of(&world, 1, token), Some(ChangeRefusal::NotCaughtUp(n(4))));
    world.heal();
    world.run_for(second());
    let token = world.reconfigure(1, &[promote(4)]);
    world.run_for(second());
    assert!(is_done(&world, 1, token));
    assert_eq!(world.voters(4), [1, 2, 3, 4]);
    world.assert_sound();
}

#[test]
fn a_follower_passes_the_question_on_and_the_answer_back() {
    let mut world = three_and_two();
    let good = world.reconfigure(2, &[remove(3)]);
    world.run_for(second());
    assert!(is_done(&world, 2, good));
    let bad = world.reconfigure(2, &[remove(9)]);
    world.run_for(second());
    assert_eq!(refusal_of(&world, 2, bad), Some(ChangeRefusal::Unknown(n(9))));
    world.assert_sound();
}

/// Dissertation §4.2.3: whoever was removed hears nothing any more, and must not disturb the others.
#[test]
fn a_removed_member_knows_and_keeps_quiet() {
    let mut world = three_and_two();
    world.reconfigure(1, &[remove(3)]);
    world.run_for(second());
    assert_eq!(world.voters(3), [1, 2], "it was told");
    let term = world.raft(1).term;
    world.run_for(30 * second());
    assert_eq!((world.role(3), world.raft(1).term, world.leader()), (Role::Follower, term, Some(1)));
    world.assert_sound();
}

#[test]
fn a_removed_member_that_was_not_told_cannot_disturb() {
    let mut world = three_and_two();
    world.isolate(3);
    world.reconfigure(1, &[remove(3)]);
    world.run_for(5 * second());
    assert_eq!(world.voters(1), [1, 2]);
    world.heal();
    let term = world.raft(1).term;
    world.run_for(30 * second());
    assert_eq!((world.raft(1).term, world.leader()), (term, Some(1)), "it only asks, and nobody agrees");
    world.assert_sound();
}

/// Dissertation §4.2.2: the leader steps down when the configuration without it is committed, and here it also asks
/// the best of the others to stand at once.
#[test]
fn a_leader_that_is_removed_makes_room() {
    let mut world = three_and_two();
    let token = world.reconfigure(1, &[remove(1)]);
    world.deliver_all();
    assert!(is_done(&world, 1, token));
    let leader = world.leader().expect("another leader, without any time-out");
    assert_ne!(leader, 1);
    world.propose(leader, "after");
    world.run_for(second());
    assert!(world.applied(2).contains(&"after".to_owned()) && world.applied(3).contains(&"after".to_owned()));
    assert_eq!(world.voters(leader), [2, 3]);
    world.assert_sound();
}

/// Simulator seed 7274: the leader of two that removed itself is the only one who knows, and its log is the longer one. If it
/// did not stand, nobody could win.
#[test]
fn a_leader_that_removed_itself_leads_again_if_it_must() {
    let mut world = World::new(2);
    world.elect(1);
    world.reconfigure(1, &[remove(1)]);
    while let Some(next) = world.bag.pop_front().filter(|_| world.raft(1).membership().is_joint()) {
        world.deliver(next);
    }
    assert_eq!((world.voters(1), world.voters(2)), (vec![2], vec![2]));
    assert!(world.raft(2).membership().is_joint(), "2 has not heard the end of it");
    world.bag.clear();
    for node in 1..=2 {
        world.crash(node);
        world.restart(node);
    }
    world.run_for(10 * second());
    assert_eq!((world.leader(), world.voters(2)), (Some(2), vec![2]), "1 led once more, and made room");
    world.assert_sound();
}

/// Simulator seed 1032665: a round waited for members that were removed, and nobody was left to answer it.
#[test]
fn a_read_does_not_wait_for_whoever_was_removed() {
    let mut world = World::new(2);
    world.elect(1);
    world.reconfigure(1, &[remove(2)]);
    world.deliver_until(|it| matches!(&it.message, Message::Appended { .. }));
    let token = world.read(1);
    world.take(|it| matches!(it.message, Message::HeartbeatAck { .. } | Message::Heartbeat { .. }));
    world.deliver_all();
    assert_eq!(world.voters(1), [1]);
    world.run_for(second());
    assert!(matches!(world.answer(1, token), Some(Event::ReadReady { .. })));
    world.assert_sound();
}

#[test]
fn the_last_voter_cannot_go_and_one_change_goes_at_a_time() {
    let mut world = World::with_spares(1, 1, |_| {});
    world.elect(1);
    let token = world.reconfigure(1, &[remove(1)]);
    assert_eq!(refusal_of(&world, 1, token), Some(ChangeRefusal::LastVoter));
    let mut world = three_and_two();
    world.isolate(1);
    world.reconfigure(1, &[add_learner(4)]);
    let token = world.reconfigure(1, &[add_learner(5)]);
    assert_eq!(refusal_of(&world, 1, token), Some(ChangeRefusal::Pending));
    world.assert_sound();
}

/// What etcd calls `strict-reconfig-check`: a change that would leave too few that answer is refused.
#[test]
fn a_change_that_would_cost_the_quorum_is_refused() {
    let mut world = three_and_two();
    world.isolate(3);
    world.run_for(3 * second());
    let token = world.reconfigure(1, &[remove(2)]);
    assert_eq!(refusal_of(&world, 1, token), Some(ChangeRefusal::Unhealthy));
    let token = world.reconfigure(1, &[remove(3)]);
    world.run_for(second());
    assert!(is_done(&world, 1, token), "the dead one may go");
    world.assert_sound();
}

/// Raft §6: while the configuration is joint, neither majority decides alone.
#[test]
fn a_joint_configuration_needs_both_majorities() {
    let mut world = three_and_two();
    world.reconfigure(1, &[add_learner(4), add_learner(5)]);
    world.run_for(second());
    world.isolate(2);
    world.isolate(3);
    // The change is a replacement of two: its new majority is {1, 4, 5}, its old one needs 2 or 3.
    world.reconfigure(1, &[promote(4), promote(5), remove(2), remove(3)]);
    world.run_for(Duration::from_millis(300));
    assert!(world.raft(1).membership().is_joint() && world.raft(4).membership().is_joint());
    let before = world.raft(1).commit;
    world.propose(1, "by the new ones alone");
    world.run_for(Duration::from_millis(300));
    assert_eq!(world.raft(1).commit, before);
    world.heal();
    world.run_for(10 * second());
    let leader = world.leader().expect("a leader");
    assert_eq!(world.voters(leader), [1, 4, 5], "whoever leads ends what was begun");
    world.assert_sound();
}

#[test]
fn a_change_that_was_not_committed_is_taken_back_with_its_entry() {
    let mut world = three_and_two();
    world.isolate(1);
    world.reconfigure(1, &[add_learner(4)]);
    assert_eq!(world.raft(1).membership().standing(n(4)), Some(Standing::Learner), "in force at once");
    world.elect(2);
    world.heal();
    world.run_for(3 * second());
    assert_eq!(world.raft(1).membership().standing(n(4)), None);
    assert_eq!(world.raft(1).membership(), world.raft(2).membership());
    world.assert_sound();
}

#[test]
fn a_restart_in_the_middle_of_a_change_goes_on_with_it() {
    let mut world = three_and_two();
    world.reconfigure(1, &[add_learner(4)]);
    world.run_for(second());
    world.isolate(1);
    world.reconfigure(1, &[promote(4), remove(3)]);
    assert!(world.raft(1).membership().is_joint());
    world.crash(1);
    world.restart(1);
    assert!(world.raft(1).membership().is_joint(), "the log says so");
    world.heal();
    world.elect(1);
    world.run_for(5 * second());
    let leader = world.leader().expect("a leader");
    assert_eq!(world.voters(leader), [1, 2, 4]);
    world.assert_sound();
}

/// The entries that say who takes part are compacted away; the state machine remembers them.
#[test]
fn whoever_comes_by_checkpoint_knows_who_takes_part() {
    let mut world = World::with_spares(3, 1, |config| {
        config.checkpoint_entries = 5;
        config.retained_entries = 1;
    });
    world.elect(1);
    for number in 0..30 {
        world.propose(1, &format!("{number}"));
        world.deliver_all();
    }
    assert!(world.raft(1).log.base() > Slot(10), "the first entries are gone");
    world.reconfigure(1, &[add_voter(4)]);
    world.run_for(3 * second());
    assert_eq!(world.voters(4), [1, 2, 3, 4]);
    for node in 1..=4 {
        world.crash(node);
        world.restart(node);
        assert_eq!(world.voters(node), [1, 2, 3, 4], "node {node} after a restart");
    }
    world.run_for(5 * second());
    assert!(world.leader().is_some());
    world.assert_sound();
}

#[test]
fn leadership_moves_to_whom_the_leader_chooses() {
    let mut world = three_and_two();
    world.transfer(1, Some(3));
    world.deliver_all();
    assert_eq!(world.leader(), Some(3), "without any time-out");
    world.transfer(3, None);
    world.deliver_all();
    assert_ne!(world.leader(), Some(3), "to the furthest");
    world.assert_sound();
}

#[test]
fn a_transfer_that_fails_leaves_everything_as_it_was() {
    let mut world = three_and_two();
    world.cut(1, 3);
    world.transfer(1, Some(3));
    world.propose(1, "kept back");
    world.deliver_all();
    assert!(!world.applied(1).contains(&"kept back".to_owned()), "the target must be able to catch up");
    let token = world.transfer(1, Some(2));
    assert!(matches!(world.answer(1, token), Some(Event::Refused { refusal: Refusal::Transferring, .. })));
    world.run_for(2 * second());
    assert_eq!(world.leader(), Some(1));
    assert!(world.applied(2).contains(&"kept back".to_owned()), "and then it goes on");
    world.assert_sound();
}

#[test]
fn only_a_leader_can_hand_over_and_only_to_a_voter_that_answers() {
    let mut world = three_and_two();
    let refusal = |world: &World, id, token| match world.answer(id, token) {
        Some(Event::Refused { refusal, .. }) => Some(*refusal),
        _ => None,
    };
    let token = world.transfer(2, Some(3));
    assert_eq!(refusal(&world, 2, token), Some(Refusal::NotLeader));
    let token = world.transfer(1, Some(4));
    assert_eq!(refusal(&world, 1, token), Some(Refusal::NoLeader), "not a member");
    world.isolate(3);
    world.run_for(3 * second());
    let token = world.transfer(1, Some(3));
    assert_eq!(refusal(&world, 1, token), Some(Refusal::NoLeader), "silent");
}

/// Heartbeats need no disk, so that nobody's time-out ends the rule of a leader whose disk stands still.
#[test]
fn a_leader_whose_disk_stalls_hands_over() {
    let mut world = three_and_two();
    world.machine(1).disk_is_fast = false;
    world.propose(1, "never durable here");
    world.run_for(Duration::from_millis(900));
    assert_eq!(world.leader(), Some(1), "slow is not stalled");
    world.run_for(Duration::from_millis(600));
    let leader = world.leader().expect("another leader");
    assert_ne!(leader, 1);
    world.propose(leader, "after");
    world.run_for(second());
    assert!(world.applied(2).contains(&"after".to_owned()));
    world.assert_sound();
}

/// Dissertation §3.10: the request of whom the leader sent lifts the rule that protects the leader.
#[test]
fn voters_that_hear_the_leader_elect_whom_it_sends_and_nobody_else() {
    let mut world = three_and_two();
    let (term, pre, incarnation, last) = (2, false, 3, Slot(99));
    let asks = |told| Message::RequestVote { term, pre, told, incarnation, last, last_term: 1 };
    world.step(2, Input::Recv { from: n(3), message: asks(false) });
    assert_eq!(world.raft(2).term, 1);
    world.step(2, Input::Recv { from: n(3), message: asks(true) });
    assert_eq!((world.raft(2).term, world.raft(2).vote), (2, Some(n(3))));
}

/// Everybody comes and goes in any weather; in the end those who are left agree and go on.
#[test]
fn all_agree_whoever_comes_and_goes() {
    for seed in 0..300 {
        assert_eq!(coming_and_going(seed, |_| {}), Ok(()));
    }
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_membership_are_caught_by_coming_and_going() {
    use crate::Planted::*;
    for bug in [ForgetsCheckpointMembership, KeepsTruncatedMembership] {
        let mut results = (0..300).map(|seed| coming_and_going(seed, |config| config.planted = Some(bug)));
        assert!(results.any(|result| result.is_err()), "{bug:?} went unnoticed by 300 seeds");
    }
}

/// Runs a group through changes, transfers, loss, cuts and crashes. Returns what went wrong.
fn coming_and_going(seed: u64, adjust: impl Fn(&mut Config)) -> Result<(), String> {
    let mut rng = Rng::new(seed);
    let nodes = 1 + seed % 4;
    let all = nodes + 3;
    let mut world = World::with_spares(nodes, 3, |config| {
        config.checkpoint_entries = 10;
        config.retained_entries = 3;
        config.promotion_lag_max = seed % 7;
        adjust(config);
    });
    for round in 0..700 {
        let pause = if rng.chance_ppm(30_000) { 1500 } else { 20 };
        world.now = world.now + Duration::from_millis(rng.below(pause));
        trouble(&mut world, &mut rng, all, round);
        if let Some(broken) = world.violation {
            return Err(format!("seed {seed}, round {round}: {broken}"));
        }
    }
    settle(&mut world, all).map_err(|error| format!("seed {seed}, afterwards: {error}"))
}

fn trouble(world: &mut World, rng: &mut Rng, all: u64, round: u64) {
    let (node, other) = (rng.between(1, all), rng.between(1, all));
    match rng.below(100) {
        0..58 => {
            let Some(envelope) = world.pick_message(rng) else { return };
            if rng.chance_ppm(50_000) {
                world.bag.push_back(envelope.clone());
            }
            if !rng.chance_ppm(30_000) {
                world.deliver(envelope);
            }
        }
        58..66 => drop(world.propose(node, &format!("{round}"))),
        66..70 => drop(world.read(node)),
        70..74 => world.sync(node),
        74..80 => {
            let changes = [add_voter(other), add_learner(other), promote(other), remove(other)];
            let first = rng.pick(&changes).cloned().unwrap_or_else(|| remove(other));
            let second = remove(rng.between(1, all));
            let both = [first, second];
            let count = if rng.chance_ppm(200_000) { 2 } else { 1 };
            world.reconfigure(node, &both[..count]);
        }
        80..82 => drop(world.transfer(node, rng.chance_ppm(500_000).then_some(other))),
        82 => world.machine(node).disk_is_fast = rng.chance_ppm(500_000),
        83..85 if world.machine(node).is_up => world.crash(node),
        83..86 if !world.machine(node).is_up => world.restart(node),
        86..88 => world.heal(),
        88 => world.cut(node, other),
        89 if rng.chance_ppm(500_000) => world.isolate(node),
        _ => world.step(node, Input::Timer),
    }
}

/// Everybody is up and connected: those who are members by then agree, and go on.
fn settle(world: &mut World, all: u64) -> Result<(), String> {
    world.heal();
    for node in 1..=all {
        world.machine(node).disk_is_fast = true;
        world.sync(node);
        if !world.machine(node).is_up {
            world.restart(node);
        }
    }
    world.run_for(Duration::from_secs(30));
    let leader = world.leader().ok_or("no leader")?;
    world.propose(leader, "the end");
    world.run_for(Duration::from_secs(2));
    let leader = world.leader().ok_or("no leader at the end")?;
    let membership = world.raft(leader).membership().clone();
    if membership.is_joint() || !membership.votes(n(leader)) {
        return Err(format!("unsettled: {membership:?}, led by {leader}"));
    }
    let end = world.committed_last().ok_or("nothing is committed")?;
    for node in membership.members.keys() {
        let status = world.raft(node.0).status();
        if status.applied < end {
            return Err(format!("member {node:?} applied up to {:?} of {end:?}", status.applied));
        }
        if status.membership != membership {
            return Err(format!("member {node:?} sees {:?}, not {membership:?}", status.membership));
        }
    }
    world.violation.take().map_or(Ok(()), Err)
}

/// NuRaft's and braft's election priorities: leadership ends up with the member that shall have it.
#[test]
fn leadership_goes_to_the_highest_priority_and_never_to_0() {
    let mut world = World::new(3);
    for (node, priority) in [(1, 1), (2, 5), (3, 0)] {
        world.machine(node).config.priority = priority;
        world.crash(node);
        world.restart(node);
    }
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.leader(), Some(2));
    world.crash(2);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.leader(), Some(1), "3 never leads");
    world.restart(2);
    world.run_for(Duration::from_secs(20));
    assert_eq!(world.leader(), Some(2), "back home, once it lacks nothing");
    world.transfer(2, Some(3));
    world.run_for(Duration::from_secs(3));
    assert_eq!(world.leader(), Some(2));
    world.assert_sound();
}

//! Disks: founding a group, losing a disk, joining with one, and a disk that forgets.

use std::time::Duration;

use bytes::Bytes;
use consensus::{Change, Consensus, Membership, Role};
use types::Slot;

use super::machine::n;
use super::world::World;
use crate::Config;

/// Three nodes that know each other and have not heard of each other's disks.
fn strangers(adjust: impl Fn(&mut Config)) -> World {
    World::with(3, |config| {
        config.membership = Membership::of([n(1), n(2), n(3)]);
        adjust(config);
    })
}

fn disks(world: &World, of: u64) -> Vec<u64> {
    let membership = world.raft(of).membership();
    membership.members.values().map(|member| member.incarnation).collect()
}

fn own_disk(world: &World, id: u64) -> u64 {
    world.raft(id).stamp.incarnation
}

#[test]
fn nothing_is_committed_before_every_founder_has_been_heard() {
    let mut world = strangers(|_| {});
    world.isolate(3);
    world.elect(1);
    world.propose(1, "a");
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.committed_last(), None, "two of three, and nobody knows the third");
    world.heal();
    world.run_for(Duration::from_secs(10));
    let leader = world.leader().expect("a leader");
    world.propose(leader, "b");
    world.deliver_all();
    assert!(world.applied(leader).contains(&"b".to_owned()));
    assert_eq!(disks(&world, 2), [1, 2, 3].map(|id| own_disk(&world, id)));

    world.crash(leader % 3 + 1);
    world.propose(leader, "c");
    world.deliver_all();
    assert!(world.applied(leader).contains(&"c".to_owned()), "from now on a majority is enough");
    world.assert_sound();
}

#[test]
fn a_group_of_one_is_founded_at_once() {
    let mut world = World::with(1, |config| config.membership = Membership::of([n(1)]));
    world.timer(1);
    assert_eq!((disks(&world, 1), world.committed_last()), (vec![own_disk(&world, 1)], Some(Slot(1))));
}

#[test]
fn a_founder_that_loses_its_disk_before_the_founding_is_over_is_pinned_anew() {
    let mut world = strangers(|_| {});
    world.elect_silently(1);
    world.deliver_until(|it| it.from == n(1) && it.to == n(3) && world_is_pinned(&it.message));
    assert!(world.raft(1).membership().is_pinned(), "it has heard all of them");
    world.bag.retain(|it| it.to != n(3) && it.from != n(3));
    let before = own_disk(&world, 3);
    world.wipe(3);
    assert_ne!(own_disk(&world, 3), before);
    world.run_for(Duration::from_secs(10));
    assert_eq!(disks(&world, 1)[2], own_disk(&world, 3));
    assert_eq!(world.role(3), Role::Follower);
    assert!(world.committed_last() > Some(Slot(1)));
    world.assert_sound();
}

/// The configuration that pins the disks.
fn world_is_pinned(message: &crate::Message) -> bool {
    let crate::Message::Append { entries, .. } = message else { return false };
    entries.iter().any(|record| record.entry.membership().is_some_and(|it| it.is_pinned()))
}

/// Nodes 1 and 2 have committed a write that 3 lags behind. 1 loses its disk and comes back together with 3, while 2, who
/// knows better, is down.
fn amnesia(adjust: impl Fn(&mut Config)) -> World {
    let mut world = strangers(adjust);
    world.elect(1);
    world.run_for(Duration::from_secs(1));
    world.isolate(3);
    world.propose(1, "acknowledged");
    world.deliver_all();
    assert_eq!(world.applied(1), ["acknowledged"]);
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.applied(2), ["acknowledged"]);
    come_back_without(world)
}

/// Node 1 comes back with an empty disk, together with 3 and without 2, and both try to go on.
fn come_back_without(mut world: World) -> World {
    world.heal();
    world.bag.clear();
    world.crash(2);
    world.wipe(1);
    world.run_for(Duration::from_secs(20));
    for node in [1, 3] {
        world.propose(node, "instead");
    }
    world.run_for(Duration::from_secs(5));
    world
}

#[test]
fn a_founder_without_its_disk_founds_nothing_with_one_that_lags() {
    let mut world = amnesia(|_| {});
    world.assert_sound();
    assert!(!world.applied(3).contains(&"instead".to_owned()));
    world.restart(2);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.applied(3), ["acknowledged"], "who knows better was waited for");
    assert_eq!(world.role(1), Role::Recovering, "it is sent everything, and counts nowhere");
    assert_eq!(world.applied(1), ["acknowledged"]);
    world.assert_sound();
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_disks_are_seen_in_this_story() {
    use crate::Planted::*;
    for bug in [CountsAnyDisk, FoundsByMajority] {
        let mut world = match bug {
            CountsAnyDisk => amnesia(|config| config.planted = Some(bug)),
            _ => refounded(|config| config.planted = Some(bug)),
        };
        world.restart(2);
        world.run_for(Duration::from_secs(10));
        assert!(world.violation.is_some(), "{bug:?} went unnoticed");
    }
    let mut world = refounded(|_| {});
    world.restart(2);
    world.run_for(Duration::from_secs(10));
    world.assert_sound();
}

/// Nodes 1 and 2 try to found the group without 3. Then 1 loses its disk and tries it with 3, without 2.
#[cfg(feature = "planted")]
fn refounded(adjust: impl Fn(&mut Config)) -> World {
    let mut world = strangers(adjust);
    world.isolate(3);
    world.elect(1);
    world.propose(1, "acknowledged");
    world.run_for(Duration::from_millis(500));
    come_back_without(world)
}

/// R19 for its vote: a candidate is not elected by a voter that has forgotten whom it elected in this term.
#[test]
fn a_wiped_voter_is_no_voter() {
    let mut world = World::new(3);
    world.elect(1);
    world.crash(2);
    world.wipe(3);
    world.crash(1);
    world.restart(1);
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.leader(), None, "1 and the new disk of 3 are no majority");
    world.restart(2);
    world.run_for(Duration::from_secs(10));
    assert!(world.leader().is_some_and(|leader| leader != 3));
    assert_eq!(world.role(3), Role::Recovering);
    world.assert_sound();
}

#[test]
fn a_wiped_member_is_replaced_by_another() {
    let mut world = World::with_spares(3, 1, |_| {});
    world.elect(1);
    world.wipe(3);
    world.run_for(Duration::from_secs(5));
    let leader = world.leader().expect("a leader");
    world.reconfigure(leader, &[Change::Remove { node: n(3) }]);
    world.run_for(Duration::from_secs(1));
    world.reconfigure(leader, &[Change::AddVoter { node: n(4), context: Bytes::new() }]);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.voters(leader), [1, 2, 4]);
    assert_eq!(disks(&world, leader), [1, 2, own_disk(&world, 4)]);
    world.crash(3 - leader);
    world.propose(leader, "with the newcomer");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(4), ["with the newcomer"]);
    world.assert_sound();
}

/// What it acknowledges with the next disk does not count, and it is told.
#[test]
fn a_newcomer_has_the_disk_that_it_was_promoted_with() {
    let mut world = World::with_spares(3, 1, |_| {});
    world.elect(1);
    world.reconfigure(1, &[Change::AddVoter { node: n(4), context: Bytes::new() }]);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.voters(1), [1, 2, 3, 4]);
    world.wipe(4);
    world.crash(3);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.role(4), Role::Recovering);
    world.propose(1, "needs three");
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(1), [""; 0], "1, 2 and another disk than 4's");
}

/// A disk that confirmed its last writes and forgot them: the node cannot know, and is sent them again all the same.
#[test]
fn a_disk_that_forgets_is_brought_up_to_date_within_the_term() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(1, "a");
    world.deliver_all();
    let before = world.machines[&n(3)].disk.clone();
    world.propose(1, "b");
    world.run_for(Duration::from_secs(1));
    world.crash(3);
    world.machine(3).disk = before;
    world.restart(3);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.raft(1).status().epoch.number, 1, "the same leader");
    assert_eq!(world.applied(3), ["a", "b"]);
    world.assert_sound();
}

//! Lease reads: without a message while the lease lasts, and never once somebody else may lead.

use std::time::Duration;

use consensus::{Event, Protocol, ReadLevel, Refusal, Role};
use types::Time;

use super::world::World;
use crate::Config;

fn leased(nodes: u64, adjust: impl Fn(&mut Config)) -> World {
    leased_with([1_000_000; 3], nodes, adjust)
}

fn leased_with(rates_ppm: [u64; 3], nodes: u64, adjust: impl Fn(&mut Config)) -> World {
    let mut world = World::with(nodes, |config| {
        config.lease_drift_ppm = Some(10_000);
        adjust(config);
    });
    world.rates_ppm = (1..).zip(rates_ppm).collect();
    world.elect(1);
    world.propose(1, "before");
    world
}

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Whether a lease read at `id` is answered without anybody else's help.
fn reads_alone(world: &mut World, id: u64) -> bool {
    let token = world.read_with(id, ReadLevel::Lease);
    matches!(world.answer(id, token), Some(Event::ReadReady { .. }))
}

#[test]
fn a_leader_with_a_lease_answers_without_a_message() {
    let mut world = leased(3, |_| {});
    assert!(!reads_alone(&mut world, 1), "clocks have not been compared yet");
    world.run_for(ms(500));
    assert!(reads_alone(&mut world, 1));
    assert!(world.bag.is_empty());
    world.assert_sound();
}

#[test]
fn a_lease_read_without_a_lease_is_a_round() {
    let mut world = leased(3, |_| {});
    let token = world.read_with(1, ReadLevel::Lease);
    world.deliver_all();
    assert!(matches!(world.answer(1, token), Some(Event::ReadReady { .. })));
    let token = world.read_with(2, ReadLevel::Lease);
    world.deliver_all();
    assert!(
        matches!(world.answer(2, token), Some(Event::ReadReady { .. })),
        "and a follower asks the leader"
    );
}

#[test]
fn leases_are_off_unless_somebody_vouches_for_the_clocks() {
    let mut world = World::new(3);
    world.elect(1);
    let token = world.read_with(1, ReadLevel::Lease);
    let refused = Event::Refused { token, refusal: Refusal::Unsupported };
    assert_eq!(world.answer(1, token), Some(&refused));
}

/// The story of every lease: cut off, the old leader must have stopped answering before the others elect.
fn cut_off(rates_ppm: [u64; 3], adjust: impl Fn(&mut Config)) -> (World, u64, bool) {
    let mut world = leased_with(rates_ppm, 3, adjust);
    world.run_for(ms(5_000));
    let had_lease = reads_alone(&mut world, 1);
    world.isolate(1);
    let mut answered_late = 0;
    for round in 0..400 {
        world.run_for(ms(10));
        let leader = world.leader().filter(|leader| *leader != 1);
        if let Some(leader) = leader {
            world.propose(leader, &format!("{round}"));
            world.deliver_all();
        }
        let may_still = world.role(1) == Role::Leader && reads_alone(&mut world, 1);
        answered_late += u64::from(leader.is_some() && may_still);
    }
    (world, answered_late, had_lease)
}

#[test]
fn a_leader_that_is_cut_off_stops_answering_before_another_leads() {
    for rates in [[1_000_000; 3], [991_000, 1_009_000, 1_009_000], [1_009_000, 991_000, 1_000_000]] {
        let (world, late, had_lease) = cut_off(rates, |_| {});
        assert_eq!((late, had_lease), (0, true), "{rates:?}");
        assert!(world.leader().is_some_and(|leader| leader != 1));
        world.assert_sound();
    }
}

/// Ten times the drift that was promised: the leader notices, and asks for rounds instead.
#[test]
fn clocks_beyond_the_bound_give_no_lease() {
    let (world, late, had_lease) = cut_off([900_000, 1_100_000, 1_100_000], |_| {});
    assert_eq!((late, had_lease), (0, false));
    world.assert_sound();
}

#[test]
fn whoever_restarts_keeps_the_promise_that_it_forgot() {
    let mut world = leased(3, |_| {});
    world.run_for(ms(2_000));
    assert!(reads_alone(&mut world, 1));
    world.isolate(1);
    for node in 2..=3 {
        world.crash(node);
        world.restart(node);
    }
    for _ in 0..90 {
        world.run_for(ms(10));
        assert_eq!(world.leader(), Some(1), "nobody else, while the lease may last");
    }
    world.run_for(ms(5_000));
    assert_ne!(world.leader(), Some(1));
    world.assert_sound();
}

/// 3 does not hear the leader and wants to stand; 2 has just renewed the lease, and restarts.
fn promise_forgotten(adjust: impl Fn(&mut Config)) -> World {
    let mut world = leased(3, adjust);
    world.run_for(ms(2_000));
    world.cut(1, 3);
    world.run_for(ms(4_000));
    while world.raft(3).deadline().is_none_or(|at| at.since(world.now) > ms(300)) {
        world.run_for(ms(10));
    }
    assert_eq!((world.leader(), reads_alone(&mut world, 1)), (Some(1), true));
    world.crash(2);
    world.restart(2);
    world.isolate(1);
    world.time_out(3);
    world.deliver_all();
    if world.role(3) == Role::Leader {
        world.propose(3, "news");
        world.deliver_all();
    }
    world
}

#[test]
fn a_restart_does_not_open_the_way_for_somebody_who_waits() {
    let world = promise_forgotten(|_| {});
    assert_eq!(world.leader(), Some(1));
    world.assert_sound();
}

#[test]
fn a_lease_ends_when_another_was_told_to_stand() {
    let mut world = leased(3, |_| {});
    world.run_for(ms(2_000));
    world.transfer(1, Some(2));
    world.deliver_until(|it| matches!(it.message, crate::Message::TimeoutNow { .. }));
    let told = world.bag.pop_front().expect("TimeoutNow");
    world.run_for(ms(1_500));
    assert_eq!(world.role(1), Role::Leader, "the transfer came to nothing so far");
    assert!(!reads_alone(&mut world, 1), "but the message may arrive at any time");
    world.deliver(told);
    world.deliver_all();
    assert_eq!(world.leader(), Some(2));
    world.assert_sound();
}

#[test]
fn a_group_of_one_has_a_lease_of_its_own() {
    let mut world = leased(1, |_| {});
    world.now = Time(5_000_000_000);
    assert!(reads_alone(&mut world, 1));
}

#[cfg(feature = "planted")]
#[test]
fn bugs_of_leases_are_seen_in_these_stories() {
    use crate::Planted::*;
    let plant = |bug| move |config: &mut Config| config.planted = Some(bug);
    let (world, late, _) = cut_off([400_000, 1_200_000, 1_200_000], plant(TrustsClocks));
    assert!(late > 0 && world.violation.is_some(), "{TrustsClocks:?}");

    let mut world = promise_forgotten(plant(ForgetsPromise));
    assert_eq!(world.leader(), Some(3));
    assert!(reads_alone(&mut world, 1) && world.violation.is_some(), "{ForgetsPromise:?}");

    let mut world = leased(3, plant(KeepsLeaseOnTransfer));
    world.run_for(ms(2_000));
    world.transfer(1, Some(2));
    world.deliver_until(|it| matches!(it.message, crate::Message::TimeoutNow { .. }));
    world.isolate(1);
    let told = world.bag.pop_front().expect("TimeoutNow");
    world.heal();
    world.deliver(told);
    world.cut(1, 2);
    world.cut(1, 3);
    world.deliver_all();
    assert_eq!(world.role(2), Role::Leader);
    world.propose(2, "news");
    world.deliver_all();
    assert!(reads_alone(&mut world, 1) && world.violation.is_some(), "{KeepsLeaseOnTransfer:?}");
}

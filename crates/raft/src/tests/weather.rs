//! Everything at once: loss, doubling, reordering, cut links, slow disks, crashes and damage. Whatever happens, all
//! replicas agree and reads are fresh; when it stops, all of them go on.

use std::time::Duration;

use consensus::{Consensus, Input, Membership, Role};
use types::{NodeId, Rng, SlotState};

use super::world::World;
use crate::Config;

const ROUNDS: u64 = 600;

/// Runs a cluster of one to five nodes through the weather of `seed`. Returns what went wrong.
pub fn weather(seed: u64, adjust: impl Fn(&mut Config)) -> Result<(), String> {
    let nodes = 1 + seed % 5;
    let mut world = World::with(nodes, |config| {
        config.checkpoint_entries = 10;
        config.retained_entries = 3;
        config.cache_bytes_max = 300;
        config.inflight_messages_max = 4;
        if seed.is_multiple_of(2) {
            config.membership = Membership::of((1..=nodes).map(NodeId)); // to be founded yet
        }
        adjust(config);
    });
    let mut rng = Rng::new(seed);
    for round in 0..ROUNDS {
        let pause = if rng.chance_ppm(30_000) { 1500 } else { 20 };
        world.now = world.now + Duration::from_millis(rng.below(pause));
        gust(&mut world, &mut rng, nodes, round);
        if let Some(broken) = world.violation {
            return Err(format!("seed {seed}, round {round}: {broken}"));
        }
    }
    calm(&mut world, nodes).map_err(|error| format!("seed {seed}, afterwards: {error}"))
}

/// One random thing happens.
fn gust(world: &mut World, rng: &mut Rng, nodes: u64, round: u64) {
    let node = rng.between(1, nodes);
    match rng.below(100) {
        0..60 => some_message(world, rng),
        60..73 => drop(world.propose(node, &format!("{round}"))),
        73..79 => drop(world.read(node)),
        79..83 => world.sync(node),
        83..86 => drop(world.work(node)),
        86 => world.machine(node).disk_is_fast = rng.chance_ppm(500_000),
        87 => world.machine(node).is_lazy = rng.chance_ppm(300_000),
        88..90 => crash_or_restart(world, rng, node, nodes),
        90 => world.heal(),
        91 => world.cut(node, rng.between(1, nodes)),
        92 if rng.chance_ppm(500_000) => world.isolate(node),
        92 => world.step(node, Input::Unreachable { peer: NodeId(rng.between(1, nodes)) }),
        _ => world.step(node, Input::Timer),
    }
}

fn some_message(world: &mut World, rng: &mut Rng) {
    let Some(envelope) = world.pick_message(rng) else { return };
    if rng.chance_ppm(100_000) {
        world.bag.push_back(envelope.clone());
    }
    if !rng.chance_ppm(50_000) {
        world.deliver(envelope);
    }
}

fn crash_or_restart(world: &mut World, rng: &mut Rng, node: u64, nodes: u64) {
    if !world.machine(node).is_up {
        return world.restart(node);
    }
    world.crash(node);
    // No more replicas are damaged at a time than a majority can do without, and none before the group is founded.
    let is_whole = |world: &mut World, other| world.raft(other).founded && !is_damaged(world, other);
    let is_bearable = nodes >= 3 && (1..=nodes).all(|other| is_whole(world, other));
    if is_bearable && rng.chance_ppm(30_000) {
        world.machine(node).wipe();
    } else if is_bearable && rng.chance_ppm(300_000) {
        let disk = &mut world.machine(node).disk;
        if rng.chance_ppm(100_000) && matches!(disk.meta, SlotState::Ok(_)) {
            disk.meta = SlotState::Damaged;
        }
        let slots: Vec<u64> = disk.log.keys().map(|slot| slot.0).collect();
        if let Some(slot) = rng.pick(&slots) {
            disk.damage(*slot);
        }
    }
}

fn is_damaged(world: &mut World, node: u64) -> bool {
    let machine = world.machine(node);
    let is_wiped = machine.disk.meta == SlotState::Missing;
    let has_damage = machine.disk.log.values().any(|record| *record == SlotState::Damaged);
    has_damage || is_wiped || machine.raft.status().role == Role::Recovering
}

/// The weather clears up: a leader is elected, and everybody catches up.
fn calm(world: &mut World, nodes: u64) -> Result<(), String> {
    world.heal();
    for node in 1..=nodes {
        world.machine(node).disk_is_fast = true;
        world.sync(node);
        while world.work(node) {}
        world.machine(node).is_lazy = false;
        if !world.machine(node).is_up {
            world.restart(node);
        }
    }
    world.run_for(Duration::from_secs(30));
    let leader = world.leader().ok_or("no leader")?;
    let read = world.read(leader);
    let reads: Vec<_> = (1..=nodes).map(|node| (node, world.read(node))).collect();
    world.run_for(Duration::from_secs(1));
    for (node, token) in reads.into_iter().chain([(leader, read)]) {
        world.answer(node, token).ok_or(format!("node {node} did not answer a read"))?;
    }
    let end = world.committed_last().ok_or("nothing is committed")?;
    for node in 1..=nodes {
        let status = world.raft(node).status();
        if status.applied < end {
            return Err(format!("node {node} applied up to {:?} of {end:?}", status.applied));
        }
    }
    world.violation.take().map_or(Ok(()), Err)
}

#[test]
fn all_agree_in_any_weather() {
    for seed in 0..300 {
        assert_eq!(weather(seed, |_| {}), Ok(()));
    }
}

/// The weather is rough enough to show much of the bank by itself; `bank` tells the story of each.
#[cfg(feature = "planted")]
#[test]
fn bugs_are_caught_in_the_weather() {
    use crate::Planted::*;
    let bugs = [
        CommitsOldTerms,
        OldAppendTruncates,
        PreVoteHidesTerm,
        ReadsBeforeOwnCommit,
        CountsUnsynced,
        AcksGap,
        AcksBeforeDurable,
        DamageIsTruncation,
    ];
    for bug in bugs {
        let mut results = (0..1_000).map(|seed| weather(seed, |config| config.planted = Some(bug)));
        assert!(results.any(|result| result.is_err()), "{bug:?} went unnoticed by 1,000 seeds");
    }
}

//! The log's old end goes, and those who needed it get a checkpoint.

use std::time::Duration;

use consensus::{Consensus, Event, Input, Protocol, Request, StoreOp};
use types::Slot;

use super::machine::n;
use super::world::World;
use crate::Message;

/// Three nodes with small checkpoints; node 3 is cut off while the others commit `count` commands and compact.
fn lagging(count: u64) -> World {
    let mut world = World::with(3, |config| {
        config.checkpoint_entries = 10;
        config.retained_entries = 4;
    });
    world.elect(1);
    world.isolate(3);
    propose_many(&mut world, count);
    world
}

fn propose_many(world: &mut World, count: u64) {
    for number in 0..count {
        world.propose(1, &format!("{number}"));
        world.deliver_all();
    }
}

#[test]
fn checkpoints_are_asked_for_and_most_of_the_log_below_them_goes() {
    let world = lagging(25);
    let status = world.raft(1).status();
    // Slot 1 is the no-op: checkpoints at 10 and 20, of which 4 entries below stay.
    assert_eq!((status.checkpoint, status.first, status.last), (Slot(20), Slot(17), Slot(26)));
    let disk = &world.machines[&n(1)].disk;
    assert_eq!((disk.first, disk.log.len()), (Slot(17), 10));
    world.assert_sound();
}

#[test]
fn compaction_by_size_keeps_fewer_entries() {
    let mut world = World::with(1, |config| {
        config.checkpoint_bytes = 10_000;
        config.retained_bytes = 3_000;
    });
    world.timer(1);
    let text = "x".repeat(1_000);
    for _ in 0..12 {
        world.propose(1, &text);
    }
    let status = world.raft(1).status();
    assert!(status.checkpoint >= Slot(9), "{status:?}");
    assert!(status.checkpoint.above(status.first) <= 3, "{status:?}");
}

#[test]
fn a_lagging_follower_gets_a_checkpoint_and_then_entries() {
    let mut world = lagging(25);
    world.heal();
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(3), world.applied(1));
    assert_eq!(world.raft(3).status().checkpoint, Slot(26));
    world.propose(1, "after");
    world.deliver_all();
    assert_eq!(world.applied(3).last().map(String::as_str), Some("after"));
    let closed = |event: &Event| matches!(event, Event::CloseTransfer { .. });
    assert_eq!(world.machines[&n(1)].events.iter().filter(|event| closed(event)).count(), 1);
    world.assert_sound();
}

#[test]
fn no_more_chunks_are_under_way_than_the_window_allows() {
    let mut world = lagging(41);
    world.heal();
    while !world.bag.iter().any(|it| matches!(it.message, Message::Chunk { .. })) {
        world.time_out(1);
        world.deliver_until(|it| matches!(it.message, Message::Chunk { .. }));
    }
    let chunks = world.bag.iter().filter(|it| matches!(it.message, Message::Chunk { .. })).count();
    assert_eq!(chunks, 4);
    world.deliver_all();
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.applied(3), world.applied(1));
}

#[test]
fn lost_chunks_are_sent_again() {
    let mut world = lagging(25);
    world.heal();
    let mut lost = 0;
    for _ in 0..400 {
        world.now = world.now + Duration::from_millis(20);
        for node in 1..=3 {
            world.timer(node);
        }
        while let Some(next) = world.bag.pop_front() {
            // Every other one of the first chunks, and of their acknowledgements.
            let is_part = matches!(next.message, Message::Chunk { .. } | Message::ChunkAck { .. });
            if is_part && lost < 12 {
                lost += 1;
                if lost % 2 == 0 {
                    continue;
                }
            }
            world.deliver(next);
        }
    }
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

/// Runs until node 3 has staged some chunks and more are missing.
fn half_way() -> World {
    let mut world = lagging(41);
    world.heal();
    let staged = |world: &World| {
        let events = world.machines[&n(3)].events.iter();
        events.filter(|event| matches!(event, Event::StageChunk { .. })).count()
    };
    while staged(&world) < 6 {
        match world.bag.pop_front() {
            Some(next) => world.deliver(next),
            None => world.time_out(1),
        }
    }
    world
}

#[test]
fn a_follower_that_restarts_half_way_begins_again() {
    let mut world = half_way();
    world.crash(3);
    world.restart(3);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

#[test]
fn a_driver_that_loses_its_snapshot_begins_a_new_transfer() {
    let mut world = half_way();
    let opened = world.machines[&n(1)].events.iter().rev().find_map(|event| match event {
        Event::ReadChunk { transfer, .. } => Some(*transfer),
        _ => None,
    });
    let transfer = opened.expect("a transfer");
    world.request(1, Request::ChunkLost { transfer });
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.applied(3), world.applied(1));
    let again = world.machines[&n(1)]
        .events
        .iter()
        .any(|event| matches!(event, Event::ReadChunk { transfer: other, index: 0 } if *other != transfer));
    assert!(again);
}

#[test]
fn a_new_leader_begins_a_transfer_of_its_own() {
    let mut world = half_way();
    world.crash(1);
    world.bag.clear();
    world.elect(2);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.applied(3), world.applied(2));
    world.assert_sound();
}

#[test]
fn a_checkpoint_that_turns_out_broken_is_sent_again() {
    let mut world = half_way();
    let broken = world.bag.iter_mut().find_map(|it| match &mut it.message {
        Message::Chunk { chunk, .. } => Some(chunk),
        _ => None,
    });
    *broken.expect("a chunk under way") = bytes::Bytes::from_static(b"not what was sent");
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

/// Old chunks may arrive at any time.
#[test]
fn an_old_checkpoint_is_not_installed() {
    let mut world = half_way();
    let old: Vec<_> =
        world.bag.iter().filter(|it| matches!(it.message, Message::Chunk { .. })).cloned().collect();
    world.run_for(Duration::from_secs(1));
    let before = world.raft(3).status();
    old.into_iter().for_each(|it| world.deliver(it));
    world.deliver_all();
    assert_eq!(world.raft(3).status(), before);
    world.assert_sound();
}

/// What a follower already holds above the checkpoint, and has acknowledged, stays.
#[test]
fn a_log_that_holds_the_checkpoints_entry_keeps_what_follows_it() {
    let mut world = lagging(8);
    // Node 3 gets all entries durably, but does not learn that they are committed.
    world.heal();
    for _ in 0..3 {
        world.time_out(1);
        while let Some(mut next) = world.bag.pop_front() {
            if next.to == n(3) {
                forget_commit(&mut next.message);
            }
            world.deliver(next);
        }
    }
    assert_eq!((world.raft(3).status().durable, world.raft(3).status().committed), (Slot(9), Slot(1)));
    install(&mut world, Slot(5));
    let status = world.raft(3).status();
    assert_eq!((status.first, status.last, status.applied), (Slot(1), Slot(9), Slot(5)));
    let resets = |ops: &StoreOp<crate::Raft>| matches!(ops, StoreOp::ResetTo { .. });
    assert!(!world.machines[&n(3)].disk.pending.iter().any(|(_, ops)| ops.iter().any(resets)));
    world.run_for(Duration::from_millis(300));
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

fn forget_commit(message: &mut Message) {
    if let Message::Append { commit, .. }
    | Message::Heartbeat { commit, .. }
    | Message::Commit { commit, .. } = message
    {
        *commit = Slot(0);
    }
}

/// Sends node 3 the state at `at` in one chunk, as node 1 would.
fn install(world: &mut World, at: Slot) {
    let state = world.machines[&n(1)].state[..at.0 as usize].to_vec();
    let epoch = state[state.len() - 1].epoch;
    let chunk = super::machine::encode(&state);
    let membership = world.raft(1).status().membership;
    let message = Message::Chunk {
        term: 1,
        incarnation: 1,
        transfer: consensus::TransferId(99),
        meta: consensus::CheckpointMeta { at, epoch, membership },
        wall: types::WallTime(0),
        index: 0,
        chunk,
        last: true,
    };
    world.step(3, Input::Recv { from: n(1), message });
}

/// Found by `althing sim --protocol raft --seed 4000616`.
#[test]
fn a_checkpoint_that_entries_overtake_while_it_is_staged_is_dropped() {
    let world = overtaken(lagging(8));
    let is_install = |event: &Event| matches!(event, Event::InstallCheckpoint { .. });
    assert!(!world.machines[&n(3)].events.iter().any(is_install));
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

#[cfg(feature = "planted")]
#[test]
fn a_checkpoint_that_is_installed_although_it_is_overtaken_is_seen() {
    let mut world = lagging(8);
    world.machine(3).raft.config.planted = Some(crate::Planted::InstallsOvertaken);
    assert!(overtaken(world).violation.is_some());
}

/// Node 3 is being sent a checkpoint when entries turn up that were thought lost.
fn overtaken(mut world: World) -> World {
    world.machine(3).is_lazy = true;
    install(&mut world, Slot(3));
    world.heal();
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.raft(3).status().committed, Slot(9));
    world.machine(3).is_lazy = false;
    while world.work(3) {}
    world.run_for(Duration::from_millis(500));
    world
}

/// The state machine is handed nothing while it is being replaced.
#[test]
fn entries_wait_for_an_installation_to_end() {
    let mut world = lagging(8);
    world.machine(3).is_lazy = true;
    install(&mut world, Slot(3));
    assert!(world.work(3), "the chunk is staged, the installation waits");
    world.heal();
    world.run_for(Duration::from_millis(500));
    let status = world.raft(3).status();
    assert_eq!((status.committed, status.applied), (Slot(9), Slot(1)));
    world.machine(3).is_lazy = false;
    while world.work(3) {}
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.applied(3), world.applied(1));
    world.assert_sound();
}

/// Found by the fuzzer, whose peers vote for anybody: the checkpoint took the place of a leader's log.
#[test]
fn whoever_is_being_replaced_does_not_stand() {
    let mut world = lagging(8);
    world.machine(3).is_lazy = true;
    install(&mut world, Slot(5));
    assert!(world.work(3), "the chunk is staged, the installation waits");
    assert_eq!(world.raft(3).deadline(), None);
    world.now = world.now + Duration::from_secs(10);
    world.timer(3);
    assert_eq!(world.role(3), consensus::Role::Follower);
    world.machine(3).is_lazy = false;
    while world.work(3) {}
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.role(3), consensus::Role::PreCandidate, "and asks in vain, cut off as it is");
    world.assert_sound();
}

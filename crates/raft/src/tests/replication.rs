//! Logs become equal, and nothing that was promised is lost on the way.

use std::time::Duration;

use consensus::{Action, Consensus, Dest, Input, Lane, Out, Protocol, Request, StoreOp, Token, WriteSeq};
use types::{Now, Rng, Slot, Time, WallTime};

use super::machine::n;
use super::world::{World, command, record};
use crate::progress::Flow;
use crate::raft::State;
use crate::{Message, Raft, Stamp};

/// Figure 7 of the Raft paper: the followers (a) to (f) that a leader of term 8 may meet.
#[test]
fn figure_7() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [(&str, &[u64]); 6] = [
        ("a", &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ("b", &[1, 1, 1, 4]),
        ("c", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ("d", &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ("e", &[1, 1, 1, 4, 4, 4, 4]),
        ("f", &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    for (name, follower) in followers {
        let mut world = World::new(3);
        // Node 3 votes; node 2 is the one with the strange log.
        world.give_logs(&[leader, follower, &[1]], 7);
        world.cut(1, 2);
        world.elect(1);
        assert_eq!(world.leader(), Some(1), "({name})");
        world.heal();
        world.run_for(Duration::from_millis(300));
        assert_eq!(world.terms(2), world.terms(1), "({name})");
        assert_eq!(world.applied(2), world.applied(1), "({name})");
        world.assert_sound();
    }
}

/// R8, whatever a peer says.
#[test]
fn entries_that_no_leader_has_are_not_appended() {
    let mut world = World::new(3);
    world.elect(1);
    world.run_for(Duration::from_millis(300));
    let (status, terms) = (world.raft(2).status(), world.terms(2));
    assert!(status.committed > Slot::ZERO);
    let message = Message::Append {
        term: status.epoch.number,
        incarnation: 1,
        prev: Slot::ZERO,
        prev_term: 0,
        commit: Slot::ZERO,
        entries: vec![record(0); status.last.0 as usize + 1],
    };
    world.step(2, Input::Recv { from: n(1), message });
    assert_eq!(world.terms(2), terms);
    assert_eq!(world.raft(2).check_invariants(), Ok(()));
}

/// R2, whatever a peer says: one term, one log.
#[test]
fn a_leader_that_contradicts_itself_is_not_followed() {
    let mut world = World::new(3);
    world.elect(1);
    world.run_for(Duration::from_millis(300));
    let status = world.raft(2).status();
    let (term, last) = (status.epoch.number, status.last);
    for entry_term in [term, term + 1] {
        let entries = vec![record(entry_term)];
        let (term, prev_term, incarnation) = (term + 1, term, 1);
        let message = Message::Append { term, incarnation, prev: last, prev_term, commit: last, entries };
        world.step(2, Input::Recv { from: n(1), message });
    }
    assert_eq!(world.terms(2).last(), Some(&term), "the first word counts");
    assert_eq!(world.raft(2).check_invariants(), Ok(()));
}

/// Raft §5.3: one rejection a term of disagreement, not one an entry.
#[test]
fn logs_meet_within_a_rejection_per_term() {
    let mut world = World::new(2);
    let (mine, theirs) =
        ([vec![1; 5], vec![6; 200]].concat(), [vec![1; 5], vec![2; 100], vec![3; 100]].concat());
    world.give_logs(&[&mine, &theirs], 6);
    world.elect_silently(1);
    let mut rejections = 0;
    while let Some(next) = world.bag.pop_front() {
        rejections += u64::from(matches!(next.message, Message::Rejected { .. }));
        world.deliver(next);
    }
    assert_eq!(world.terms(2), world.terms(1));
    assert!(rejections <= 3, "{rejections} rejections");
}

#[test]
fn a_majority_of_durable_copies_commits_and_nothing_less() {
    let mut world = World::new(3);
    world.elect(1);
    for node in 1..=3 {
        world.machine(node).disk_is_fast = false;
    }
    world.propose(1, "a");
    world.deliver_all();
    assert!(world.applied(1).is_empty(), "everybody has it, no disk has it");
    world.sync(1);
    world.deliver_all();
    assert!(world.applied(1).is_empty(), "one disk has it");
    world.sync(2);
    world.deliver_all();
    assert_eq!(world.applied(1), ["a"]);
    assert!(world.applied(3).is_empty(), "node 3 has heard of the commit, but its own copy is not durable");
    world.sync(3);
    assert_eq!(world.applied(3), ["a"]);
    world.assert_sound();
}

/// The leader's own disk may be the slow one.
#[test]
fn followers_can_commit_without_the_leaders_disk() {
    let mut world = World::new(3);
    world.elect(1);
    world.machine(1).disk_is_fast = false;
    world.propose(1, "a");
    world.deliver_all();
    assert_eq!(world.applied(2), ["a"]);
    assert!(world.applied(1).is_empty(), "its state machine must not get ahead of its log");
    world.sync(1);
    assert_eq!(world.applied(1), ["a"]);
}

/// Followers apply as soon as the leader does; no clock has to move.
#[test]
fn a_commit_is_passed_on_at_once() {
    let mut world = World::new(5);
    world.elect(1);
    let before = world.now;
    world.propose(1, "a");
    world.deliver_all();
    assert!((1..=5).all(|node| world.applied(node) == ["a"]));
    assert_eq!(world.now, before);
}

fn flush(raft: &mut Raft, inputs: Vec<Input<Raft>>, now: Now) -> Vec<Action<Raft>> {
    let mut out = Out::default();
    inputs.into_iter().for_each(|input| raft.step(now, input, &mut out));
    raft.flush(now, &mut out);
    out.actions
}

fn propose(token: u64, text: &str) -> Input<Raft> {
    Input::Request(Request::Propose { token: Token(token), commands: vec![command(token, text)] })
}

/// Group commit: whatever arrives between two flushes is one entry, one write and one message for all peers.
#[test]
fn one_flush_is_one_entry_one_write_and_one_message() {
    let mut world = World::new(3);
    world.elect(1);
    let now = Now { mono: world.now, wall: WallTime(77) };
    let proposals = (1..=50).map(|token| propose(token, "x")).collect();
    let actions = flush(&mut world.machine(1).raft, proposals, now);
    let [Action::Persist { ops, .. }, Action::Send { to, message, after, lane }] = &actions[..] else {
        panic!("{actions:#?}")
    };
    let [StoreOp::Put(Slot(2), written)] = &ops[..] else { panic!("{ops:?}") };
    assert_eq!(super::machine::commands(&written.entry).len(), 50);
    assert_eq!(written.wall(), Some(WallTime(77)));
    assert_eq!((to, *after, *lane), (&Dest::Nodes(vec![n(2), n(3)]), WriteSeq::NONE, Lane::Bulk));
    let Message::Append { entries, .. } = message else { panic!("{message:?}") };
    assert_eq!(entries[0].entry.payload.as_ptr(), written.entry.payload.as_ptr(), "encoded once");
}

/// The state machine's time never goes back, whatever the leader's clock does.
#[test]
fn time_on_entries_never_decreases() {
    let mut world = World::new(1);
    world.timer(1);
    let mut at = |wall: i64| {
        let now = Now { mono: world.now, wall: WallTime(wall) };
        let actions = flush(&mut world.machine(1).raft, vec![propose(1, "x")], now);
        let Action::Persist { ops, .. } = &actions[0] else { panic!("{actions:?}") };
        let StoreOp::Put(_, record) = &ops[0] else { panic!("{ops:?}") };
        record.wall()
    };
    assert_eq!([at(50), at(20), at(60)], [Some(WallTime(50)), Some(WallTime(50)), Some(WallTime(60))]);
}

#[test]
fn windows_bound_what_is_under_way_in_messages_and_in_bytes() {
    for (messages, bytes, expected) in [(3, u64::MAX, 3), (100, 2_000, 2)] {
        let mut world = World::with(2, |config| {
            config.inflight_messages_max = messages;
            config.inflight_bytes_max = bytes;
        });
        world.elect(1);
        let text = "x".repeat(1_000);
        for _ in 0..20 {
            world.propose(1, &text);
        }
        let appends = world.bag.iter().filter(|it| matches!(it.message, Message::Append { .. })).count();
        assert_eq!(appends, expected);
        world.deliver_all();
        assert_eq!(world.applied(2).len(), 20, "acknowledgements open the window");
        world.assert_sound();
    }
}

#[test]
fn a_lost_append_is_noticed_by_the_next_heartbeats() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(1, "a");
    world.bag.clear();
    world.run_for(Duration::from_millis(250));
    assert_eq!(world.applied(3), ["a"]);
    world.assert_sound();
}

/// A follower that restarts does not know what is committed, and nothing new may ever be proposed.
#[test]
fn an_idle_follower_that_restarts_catches_up() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(1, "a");
    world.deliver_all();
    world.crash(3);
    world.restart(3);
    assert!(world.applied(3).is_empty());
    world.run_for(Duration::from_millis(150));
    assert_eq!(world.applied(3), ["a"]);
}

#[test]
fn answers_to_older_questions_change_nothing() {
    let mut world = World::new(3);
    world.elect(1);
    for text in ["a", "b", "c"] {
        world.propose(1, text);
        world.deliver_all();
    }
    let matched = |world: &World| match &world.raft(1).state {
        State::Leader(leading) => {
            let progress = &leading.progress[&n(2)];
            (progress.matched, progress.next, matches!(progress.flow, Flow::Replicate))
        }
        _ => panic!("no leader"),
    };
    let before = matched(&world);
    let (term, by) = (1, world.raft(2).stamp);
    for message in [
        Message::Rejected { term, by, prev: Slot(2), hint: Slot(0), hint_term: 0 },
        Message::Appended { term, by, matched: Slot(1) },
        Message::Appended { term, by, matched: Slot(1_000_000) },
    ] {
        world.step(1, Input::Recv { from: n(2), message });
        assert_eq!(matched(&world), before);
    }
    assert_eq!(before, (Slot(4), Slot(5), true));
}

/// Entries that have left memory are read back without holding up anybody else.
#[test]
fn a_lagging_peer_is_served_from_the_disk() {
    let mut world = World::with(3, |config| config.cache_bytes_max = 200);
    world.elect(1);
    world.isolate(3);
    for number in 0..50 {
        world.propose(1, &format!("{number}"));
        world.deliver_all();
    }
    assert!(world.raft(1).log.cache_first() > Slot(40));
    world.heal();
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.applied(3).len(), 50);
    assert_eq!(world.raft(1).status().first, Slot(1), "no checkpoint was needed");
    world.assert_sound();
}

/// Contract C9: nothing that a peer says makes a replica panic, loop, or break a promise about its own state.
#[test]
fn senseless_messages_are_survived() {
    let mut rng = Rng::new(5);
    for seed in 0..40 {
        let mut world = World::with(3, |config| config.checkpoint_entries = 3);
        world.elect(1);
        world.propose(1, "a");
        world.deliver_all();
        for _ in 0..200 {
            let message = senseless(&mut rng);
            let (from, to) = (rng.below(5), rng.between(1, 3));
            world.step(to, Input::Recv { from: n(from), message });
            world.bag.truncate(50);
        }
        assert!(world.raft(1).check_invariants().is_ok(), "seed {seed}");
    }
}

fn senseless(rng: &mut Rng) -> Message {
    let extremes = [0, 1, 2, 3, 4, 5, 9, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let mut number = || *rng.pick(&extremes[..]).unwrap_or(&0);
    let (term, slot, prev_term, index, which) = (number(), Slot(number()), number(), number(), number());
    let (commit, session, pre) = (Slot(number()), number(), number() % 2 == 0);
    let incarnation = number();
    let by = Stamp { incarnation, session };
    let transfer = consensus::TransferId(number());
    let meta = consensus::CheckpointMeta {
        at: slot,
        epoch: types::Epoch::of(prev_term),
        membership: Default::default(),
    };
    match which % 7 + index % 8 {
        0 => Message::RequestVote { term, pre, told: false, incarnation, last: slot, last_term: prev_term },
        1 => Message::Vote { term, pre, incarnation, granted: !pre },
        2 => Message::Appended { term, by, matched: slot },
        3 => Message::Rejected { term, by, prev: slot, hint: commit, hint_term: prev_term },
        4 => Message::Commit { term, commit },
        5 => Message::Heartbeat { term, incarnation, commit, round: index, sent: Time(number()), rest: pre },
        6 => Message::HeartbeatAck {
            term,
            by,
            round: index,
            verified: slot,
            sent: Time(number()),
            clock: Time(number()),
            priority: index,
        },
        7 => Message::ReadAnswer { ask: index, at: slot },
        8 => Message::Chunk {
            term,
            incarnation,
            transfer,
            meta,
            wall: WallTime(0),
            index,
            chunk: Default::default(),
            last: pre,
        },
        9 => Message::ChunkAck { term, transfer, next: index, failed: pre },
        10 => Message::Repair { term, by, sent: Time(index), meta_lost: pre },
        11 => Message::RepairGoal { term, session, upto: slot },
        _ => Message::Append {
            term,
            incarnation,
            prev: slot,
            prev_term,
            commit,
            entries: vec![record(prev_term); 2],
        },
    }
}

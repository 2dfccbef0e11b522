//! What clients ask: proposals, forwards and reads.

use std::time::Duration;

use consensus::{Consensus, Event, Input, ReadLevel, Refusal, Request, Role, Token};
use types::Slot;

use super::machine::n;
use super::world::{World, command};
use crate::Message;

#[test]
fn without_a_leader_requests_are_refused_in_the_same_step() {
    let mut world = World::new(3);
    let refusal = Refusal::NoLeader;
    for token in [world.propose(2, "a"), world.read(2)] {
        assert_eq!(world.answer(2, token), Some(&Event::Refused { token, refusal }));
    }
}

#[test]
fn a_follower_forwards_to_the_leader_it_knows() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(2, "a");
    world.deliver_all();
    assert_eq!(world.applied(2), ["a"]);
    assert_eq!(world.applied(3), ["a"]);
}

#[test]
fn what_a_follower_is_asked_between_two_flushes_is_one_message() {
    let mut world = World::new(3);
    world.elect(1);
    let propose = |number| Request::Propose { token: Token(number), commands: vec![command(number, "x")] };
    world.batch(2, (0..10).map(propose).map(Input::Request).collect());
    let [sent] = &world.bag.iter().collect::<Vec<_>>()[..] else { panic!("{:?}", world.bag) };
    assert!(matches!(&sent.message, Message::Forward { commands } if commands.len() == 10));
}

/// It does not know whether an earlier copy was taken: silence is the only honest answer.
#[test]
fn a_forward_that_finds_no_leader_is_dropped() {
    let mut world = World::new(3);
    world.elect(1);
    world.step(2, Input::Recv { from: n(3), message: Message::Forward { commands: vec![command(1, "a")] } });
    assert!(world.bag.is_empty());
}

#[test]
fn a_leader_takes_no_more_than_its_credit() {
    let mut world = World::with(3, |config| config.unapplied_bytes_max = 1000);
    world.elect(1);
    world.isolate(1);
    let text = "x".repeat(300);
    let tokens: Vec<Token> = (0..5).map(|_| world.propose(1, &text)).collect();
    let refused = |world: &World, token| {
        matches!(world.answer(1, token), Some(Event::Refused { refusal: Refusal::Busy, .. }))
    };
    assert_eq!(tokens.iter().filter(|token| refused(&world, **token)).count(), 3);
    let credit = world.raft(1).credit();
    assert!(credit < 300, "{credit}");

    let last = world.raft(1).log.last();
    let message = Message::Forward { commands: vec![command(9, &text)] };
    world.step(1, Input::Recv { from: n(2), message });
    assert_eq!(world.raft(1).log.last(), last, "forwards are dropped likewise");

    world.heal();
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.raft(1).credit(), 1000, "everything is applied");
    world.assert_sound();
}

#[test]
fn a_big_batch_becomes_a_few_entries_in_order() {
    let mut world = World::with(2, |config| config.entry_bytes_max = 100);
    world.elect(1);
    let commands = (0..10).map(|number| command(number, &format!("{number} {}", ".".repeat(20)))).collect();
    let huge = command(10, &"x".repeat(500));
    world.batch(
        1,
        vec![
            Input::Request(Request::Propose { token: Token(1), commands }),
            Input::Request(Request::Propose { token: Token(2), commands: vec![huge] }),
        ],
    );
    world.deliver_all();
    let applied = world.applied(2);
    assert!((0..10).all(|number| applied[number].starts_with(&format!("{number} "))));
    assert_eq!((applied.len(), applied[10].len()), (11, 500));
    assert_eq!(world.raft(1).log.last(), Slot(1 + 10 + 1), "60 bytes a command: one to an entry");
}

#[test]
fn every_node_answers_reads_at_what_is_committed() {
    let mut world = World::new(3);
    world.elect(1);
    world.propose(1, "a");
    world.deliver_all();
    for node in 1..=3 {
        let token = world.read(node);
        world.deliver_all();
        assert_eq!(world.answer(node, token), Some(&Event::ReadReady { token, at: Slot(2) }));
    }
}

#[test]
fn one_round_at_a_time_serves_all_that_came_before_it() {
    let mut world = World::new(3);
    world.elect(1);
    let heartbeats = |world: &World| world.bag.iter().filter(|it| it.to == n(2)).count();
    let first = world.read(1);
    assert_eq!(heartbeats(&world), 1);
    let later: Vec<Token> = (0..10).map(|_| world.read(1)).collect();
    assert_eq!(heartbeats(&world), 1, "they wait for the next round");
    world.deliver_until(|it| matches!(it.message, Message::HeartbeatAck { .. }));
    let ack = world.bag.pop_front().expect("an answer");
    world.deliver(ack);
    assert!(world.answer(1, first).is_some());
    assert!(later.iter().all(|token| world.answer(1, *token).is_none()));
    world.deliver_all();
    assert!(later.iter().all(|token| world.answer(1, *token).is_some()));
    world.assert_sound();
}

#[test]
fn a_group_of_one_reads_without_asking() {
    let mut world = World::new(1);
    world.timer(1);
    let token = world.read(1);
    assert_eq!(world.answer(1, token), Some(&Event::ReadReady { token, at: Slot(1) }));
}

#[test]
fn local_reads_ask_nobody() {
    let mut world = World::new(3);
    let token = Token(7);
    world.exempt_from_freshness(token);
    world.request(2, Request::Read { token, level: ReadLevel::Local });
    assert_eq!(world.answer(2, token), Some(&Event::ReadReady { token, at: Slot(0) }));
}

#[test]
fn a_lost_round_is_repeated_by_the_next_heartbeat() {
    let mut world = World::new(3);
    world.elect(1);
    let token = world.read(1);
    world.bag.clear();
    world.run_for(Duration::from_millis(100));
    assert!(world.answer(1, token).is_some());
}

/// The questions themselves may be lost; a later answer serves the earlier ones too, never the other way round.
#[test]
fn a_later_answer_serves_older_questions() {
    let mut world = World::new(3);
    world.elect(1);
    let lost = world.read(2);
    world.bag.clear();
    let asked = world.read(2);
    world.deliver_all();
    assert!(world.answer(2, lost).is_some() && world.answer(2, asked).is_some());
    world.assert_sound();
}

#[test]
fn an_answer_from_before_a_restart_is_not_taken_for_a_new_one() {
    let mut world = World::new(3);
    world.elect(1);
    world.read(2);
    world.deliver_until(|it| matches!(it.message, Message::ReadAnswer { .. }));
    let old = world.take(|it| matches!(it.message, Message::ReadAnswer { .. }));
    world.deliver_all();
    world.crash(2);
    world.restart(2);
    world.propose(1, "a");
    world.deliver_all();
    let token = world.read(2);
    world.bag.clear();
    old.into_iter().for_each(|it| world.deliver(it));
    assert_eq!(world.answer(2, token), None);
}

#[test]
fn a_leader_that_steps_down_refuses_the_reads_that_wait() {
    let mut world = World::new(3);
    world.elect(1);
    world.isolate(1);
    let token = world.read(1);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.role(1), Role::Follower);
    assert_eq!(world.answer(1, token), Some(&Event::Refused { token, refusal: Refusal::NoLeader }));
}

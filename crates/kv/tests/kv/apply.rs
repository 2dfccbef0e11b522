//! How entries are applied: sessions, groups, restarts.

use bytes::Bytes;
use kv::*;
use storage::{Engine, MemEngine};
use types::{Batch, Epoch, SessionId, Slot, WallTime, Wire};

use crate::generate::Generator;
use crate::harness::*;

const HOUR_MS: i64 = 60 * 60 * 1000;

type Entry = (Epoch, Content);

fn body(key: &str) -> Bytes {
    Command::Put(put(key, "v")).to_bytes()
}

/// Applies one entry and returns what became of its only command.
fn apply_one(kv: &mut Kv<MemEngine>, entry: Entry) -> Outcome {
    let next = kv.applied().0.next();
    let mut output = kv.apply(next, &[entry]).unwrap();
    output.executed.pop().unwrap().outcome
}

#[test]
fn a_command_is_executed_once_however_often_it_is_sent() {
    let mut kv = open(&MemEngine::default());
    assert_eq!(apply_one(&mut kv, entry(SESSION, 0, 0, Bytes::new())), Outcome::SessionOpened);
    let done = apply_one(&mut kv, entry(SESSION, 1, 0, body("k")));
    assert_eq!(done, Outcome::Done { result: Ok(Response::Put(PutResponse::default())), revision: 2 });
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 0, body("k"))), Outcome::Duplicate);
    assert_eq!(apply_one(&mut kv, entry(SESSION, 0, 0, Bytes::new())), Outcome::SessionOpened);
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 0, body("k"))), Outcome::Duplicate);
    assert_eq!(kv.revision(), 2);
}

/// A refusal is an execution too: the retry of a refused command must not succeed later.
#[test]
fn a_refused_command_is_not_tried_again() {
    let mut kv = open(&MemEngine::default());
    apply_one(&mut kv, entry(SESSION, 0, 0, Bytes::new()));
    let revoke = Command::LeaseRevoke { id: 1 }.to_bytes();
    let refused = apply_one(&mut kv, entry(SESSION, 1, 0, revoke.clone()));
    assert!(matches!(refused, Outcome::Done { result: Err(KvError::LeaseNotFound), .. }));
    apply_one(&mut kv, entry(SESSION, 2, 0, Command::LeaseGrant { id: 1, ttl_seconds: 9 }.to_bytes()));
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 0, revoke)), Outcome::Duplicate);
    assert_eq!(kv.reader().leases().unwrap(), [(1, 9)]);
}

#[test]
fn a_command_of_an_unknown_or_expired_session_is_never_executed() {
    let mut kv = open(&MemEngine::default());
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 0, body("k"))), Outcome::SessionMissing);
    apply_one(&mut kv, entry(SESSION, 0, 0, Bytes::new()));
    apply_one(&mut kv, entry(SESSION, 1, 24 * HOUR_MS, body("k")));
    let other = SessionId(5);
    apply_one(&mut kv, entry(other, 0, 48 * HOUR_MS, Bytes::new()));
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 48 * HOUR_MS, body("k"))), Outcome::Duplicate);
    apply_one(&mut kv, entry(other, 0, 72 * HOUR_MS + 1, Bytes::new()));
    assert_eq!(apply_one(&mut kv, entry(SESSION, 2, 72 * HOUR_MS + 1, body("k"))), Outcome::SessionMissing);
    assert_eq!(kv.revision(), 2);
}

/// Time never goes back, whatever an entry says; expiry survives a restart.
#[test]
fn sessions_expire_by_the_highest_time_on_any_entry() {
    let engine = MemEngine::default();
    let mut kv = open(&engine);
    apply_one(&mut kv, entry(SESSION, 0, 0, Bytes::new()));
    apply_one(&mut kv, entry(SessionId(5), 0, 25 * HOUR_MS, Bytes::new()));
    let mut kv = open(&engine);
    assert_eq!(apply_one(&mut kv, entry(SESSION, 1, 1, body("k"))), Outcome::SessionMissing);
    assert_eq!(apply_one(&mut kv, entry(SessionId(5), 1, 1, body("k"))).clone(), {
        Outcome::Done { result: Ok(Response::Put(PutResponse::default())), revision: 2 }
    });
}

#[test]
fn entries_that_are_no_batch_and_no_ops_change_nothing_but_the_slot() {
    let mut kv = open(&MemEngine::default());
    let garbage = Content::Commands(Bytes::from_static(b"garbage"));
    let output = kv.apply(Slot(1), &[(Epoch::of(1), Content::Nothing), (Epoch::of(2), garbage)]).unwrap();
    assert_eq!(output, ApplyOutput { undecodable: vec![Slot(2)], ..ApplyOutput::default() });
    assert_eq!((kv.applied(), kv.revision()), ((Slot(2), Epoch::of(2)), 1));
}

#[test]
#[should_panic(expected = "without gaps")]
fn a_gap_between_slots_is_our_own_bug() {
    let mut kv = open(&MemEngine::default());
    drop(kv.apply(Slot(2), &[(Epoch::of(1), Content::Nothing)]));
}

/// A random log: several sessions, retries, time that jumps, garbage and no-ops.
fn random_log(seed: u64, entries: usize) -> Vec<Entry> {
    let mut generator = Generator::new(seed);
    let mut wall = 0;
    let mut numbers = [0; 3];
    let mut revision = 1;
    let mut log = Vec::new();
    for _ in 0..entries {
        wall += if generator.once_in(15) { 13 * HOUR_MS } else { 5 };
        let mut commands = Vec::new();
        for _ in 0..generator.rng.below(4) {
            let who = generator.rng.below(3) as usize;
            let back = if generator.once_in(5) { generator.rng.below(4) } else { 0 };
            numbers[who] += u64::from(back == 0);
            let number = if generator.once_in(20) { 0 } else { numbers[who].saturating_sub(back) };
            let body = match generator.once_in(30) {
                true => Bytes::from_static(b"\x01garbage"),
                false => generator.command(revision).to_bytes(),
            };
            let acked_below = numbers[who].saturating_sub(generator.rng.below(6));
            commands.push(types::Command { session: SessionId(who as u128), number, acked_below, body });
            revision += 1;
        }
        log.push(match generator.rng.below(15) {
            0 => (Epoch::of(3), Content::Nothing),
            1 => (Epoch::of(3), Content::Commands(Bytes::from_static(b"no batch"))),
            _ => (Epoch::of(3), Content::Commands(Batch { wall: WallTime(wall), commands }.to_bytes())),
        });
        revision = revision.min(60);
    }
    log
}

/// Everything that an apply tells, without its grouping.
fn append(all: &mut ApplyOutput, one: ApplyOutput) {
    all.executed.extend(one.executed);
    all.events.extend(one.events);
    all.leases.extend(one.leases);
    all.members_changed |= one.members_changed;
    all.compacted = one.compacted.or(all.compacted);
    all.undecodable.extend(one.undecodable);
}

/// K2: neither the answers nor the bytes depend on how entries are grouped.
#[test]
fn grouping_changes_nothing() {
    for seed in 0..40 {
        let log = random_log(seed, 120);
        let mut one_by_one = open(&MemEngine::default());
        let mut expected = ApplyOutput::default();
        let mut digests = vec![one_by_one.digest().unwrap()];
        for item in &log {
            let next = one_by_one.applied().0.next();
            append(&mut expected, one_by_one.apply(next, std::slice::from_ref(item)).unwrap());
            digests.push(one_by_one.digest().unwrap());
        }
        let mut sizes = Generator::new(seed + 1000);
        let mut grouped = open(&MemEngine::default());
        let mut got = ApplyOutput::default();
        while let rest @ [_, ..] = &log[grouped.applied().0.0 as usize..] {
            let size = rest.len().min(1 + sizes.rng.below(20) as usize);
            let next = grouped.applied().0.next();
            append(&mut got, grouped.apply(next, &rest[..size]).unwrap());
            let at = grouped.applied().0.0 as usize;
            assert_eq!(grouped.digest().unwrap(), digests[at], "seed {seed} slot {at}");
        }
        assert_eq!(got, expected, "seed {seed}");
    }
}

/// K1, K2: what a crash takes away is replayed to the same bytes; slot and state never disagree.
#[test]
fn a_crash_and_a_replay_lead_to_the_same_bytes() {
    for seed in 0..40 {
        let log = random_log(seed, 150);
        let mut undisturbed = open(&MemEngine::default());
        undisturbed.apply(Slot(1), &log).unwrap();

        let engine = MemEngine::default();
        let mut kv = open(&engine);
        let mut dice = Generator::new(seed + 2000);
        while let rest @ [_, ..] = &log[kv.applied().0.0 as usize..] {
            let size = rest.len().min(1 + dice.rng.below(9) as usize);
            let next = kv.applied().0.next();
            kv.apply(next, &rest[..size]).unwrap();
            match dice.rng.below(6) {
                0 => engine.persist().unwrap(),
                1 => {
                    engine.crash();
                    kv = open(&engine);
                }
                2 => kv = open(&engine),
                _ => {}
            }
        }
        assert_eq!(kv.applied(), undisturbed.applied());
        assert_eq!(kv.digest().unwrap(), undisturbed.digest().unwrap(), "seed {seed}");
    }
}

/// K3: commands damaged in any way that still decodes, extreme numbers among them, are executed or refused.
#[test]
fn no_bytes_make_apply_panic() {
    let mut generator = Generator::new(9);
    let mut store = Harness::new();
    let mut decoded = 0;
    for _ in 0..20_000 {
        let mut body = generator.command(store.kv.revision()).to_bytes().to_vec();
        for _ in 0..=generator.rng.below(3) {
            let at = generator.rng.below(body.len() as u64) as usize;
            match generator.rng.below(4) {
                // The longest varint: the most extreme number.
                0 => drop(body.splice(at..=at, [[0xff; 9].as_slice(), &[1]].concat())),
                _ => body[at] = generator.rng.next_u64() as u8,
            }
        }
        decoded += u64::from(store.run_bytes(Bytes::from(body)) != Err(KvError::Undecodable));
    }
    assert!(decoded > 1000, "only {decoded} damaged commands decoded: the test is empty");
    assert_eq!(store.reader.range(&range("\0", "\0")).unwrap().0, store.kv.revision());
}

#[test]
fn what_a_group_did_is_told_in_order() {
    let mut kv = open(&MemEngine::default());
    let commands = [
        Command::LeaseGrant { id: 2, ttl_seconds: 5 },
        Command::Put(PutRequest { lease: 2, ..put("k", "v") }),
        Command::LeaseRevoke { id: 2 },
        Command::LeaseGrant { id: 2, ttl_seconds: 6 },
        Command::PublishMember(Member { id: 1, ..Member::default() }),
        Command::Compact { revision: 2 },
    ];
    let mut entries = vec![entry(SESSION, 0, 0, Bytes::new())];
    entries.extend(
        commands.iter().zip(1..).map(|(command, number)| entry(SESSION, number, 0, command.to_bytes())),
    );
    let output = kv.apply(Slot(1), &entries).unwrap();
    assert_eq!(
        output.leases,
        [
            LeaseChange::Granted { id: 2, ttl_seconds: 5 },
            LeaseChange::Revoked { id: 2 },
            LeaseChange::Granted { id: 2, ttl_seconds: 6 }
        ]
    );
    assert!(output.members_changed);
    assert_eq!(output.compacted, Some(2));
    let revisions: Vec<_> = output.events.iter().map(|item| item.revision).collect();
    assert_eq!(revisions, [2, 3]);
    let slots: Vec<_> = output.executed.iter().map(|executed| (executed.slot.0, executed.number)).collect();
    assert_eq!(slots, [(1, 0), (2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6)]);
}

/// Who takes part is part of the state: kept through a restart, sent with a checkpoint, and in the digest.
#[test]
fn the_membership_is_kept_and_travels_with_the_state() {
    let engine = MemEngine::default();
    let mut kv = open(&engine);
    assert_eq!(kv.membership().unwrap(), None);
    let membership = Bytes::from_static(b"who takes part");
    let bare = kv.apply(Slot(1), &[(Epoch::of(1), Content::Nothing)]).map(|_| kv.digest().unwrap()).unwrap();
    let output = kv.apply(Slot(2), &[(Epoch::of(1), Content::Membership(membership.clone()))]).unwrap();
    assert!(output.members_changed);
    assert_ne!(kv.digest().unwrap(), bare);
    assert_eq!(open(&engine).membership().unwrap(), Some(membership.clone()));
    let mut writer = kv.checkpoint().unwrap();
    assert_eq!(writer.membership().unwrap(), Some(membership.clone()));
    let (chunk, last) = writer.chunk(0).unwrap().unwrap();
    assert!(last);
    let mut other = open(&MemEngine::default());
    other.install(kv.applied(), |index| (index == 0).then(|| chunk.clone())).unwrap();
    assert_eq!(other.membership().unwrap(), Some(membership));
}

//! Each planted bug breaks a promise that its correct counterpart keeps, so a checker that misses it is at fault.

use bytes::Bytes;
use kv::*;
use storage::{Engine, MemEngine};
use types::{Epoch, SessionId, Wire};

use crate::harness::*;

/// What the store shows with the bug and without.
fn compare<T>(bug: Planted, show: impl Fn(Option<Planted>) -> T) -> (T, T) {
    (show(None), show(Some(bug)))
}

/// Everything is durable, the power fails, and the store is opened again.
fn restarted(store: &Harness, planted: Option<Planted>) -> Kv<MemEngine> {
    store.engine.persist().unwrap();
    store.engine.crash();
    Kv::open_planted(store.engine.clone(), planted).unwrap()
}

#[test]
fn a_slot_that_is_recorded_ahead_or_behind_is_wrong_after_a_crash() {
    let off_by = |planted| {
        let mut store = Harness::with(planted);
        store.put("k", "v");
        restarted(&store, planted).applied().0.0 as i64 - store.kv.applied().0.0 as i64
    };
    assert_eq!(compare(Planted::AppliedAhead, off_by), (0, 1));
    assert_eq!(compare(Planted::AppliedBehind, off_by), (0, -1));
}

#[test]
fn a_revision_that_is_read_off_the_keys_decreases() {
    let revisions = |planted| {
        let mut store = Harness::with(planted);
        store.put("k", "v");
        store.delete("k", "");
        store.compact(3).unwrap();
        (store.kv.revision(), restarted(&store, planted).revision())
    };
    assert_eq!(compare(Planted::RevisionFromKeys, revisions), ((3, 3), (3, 1)));
}

#[test]
fn a_watch_from_the_compacted_revision_misses_a_delete_that_was_removed() {
    let told = |planted| {
        let mut store = Harness::with(planted);
        store.put("k", "v");
        store.delete("k", "");
        store.put("l", "v");
        store.compact(3).unwrap();
        store.idle(5);
        let page = store.reader.events(b"k", b"", 3, 9, 10).unwrap();
        page.events.iter().map(|it| it.revision).collect::<Vec<_>>()
    };
    assert_eq!(compare(Planted::SweepsFloor, told), (vec![3], vec![]));
}

#[test]
fn a_transaction_that_reads_below_the_compacted_revision_is_refused() {
    let answer = |planted| {
        let mut store = Harness::with(planted);
        for value in ["a", "b", "c"] {
            store.put("k", value);
        }
        store.compact(4).unwrap();
        let old = RequestOp::Range(RangeRequest { revision: 2, ..range("k", "") });
        store.txn(always(vec![old])).map(drop)
    };
    assert_eq!(compare(Planted::ReadsCompactedInTxn, answer), (Err(KvError::Compacted), Ok(())));
}

#[test]
fn watchers_are_told_what_history_holds() {
    let is_told_right = |planted| {
        let mut store = Harness::with(planted);
        store.txn(always(vec![put_op("a", "1"), put_op("b", "1")])).unwrap();
        store.events == store.reader.events(b"\0", b"\0", 1, 9, 100).unwrap().events
    };
    assert_eq!(compare(Planted::EventsTwice, is_told_right), (true, false));
}

#[test]
fn a_retry_is_known_after_a_restart() {
    let outcome = |planted| {
        let mut store = Harness::with(planted);
        store.put("k", "v");
        let mut kv = restarted(&store, planted);
        let retry = entry(SESSION, 1, 0, Command::Put(put("k", "v")).to_bytes());
        let next = kv.applied().0.next();
        kv.apply(next, &[retry]).unwrap().executed.remove(0).outcome
    };
    let (right, wrong) = compare(Planted::SessionsNotKept, outcome);
    assert_eq!((right, wrong), (Outcome::Duplicate, Outcome::SessionMissing));
}

#[test]
fn sessions_expire_in_whatever_groups_entries_come() {
    const DAYS_MS: i64 = 2 * 24 * 60 * 60 * 1000;
    let are_equal = |planted| {
        let (mut one, mut other) = (Harness::with(planted), Harness::with(planted));
        let body = |value: &str| Command::Put(put("k", value)).to_bytes();
        let entries = [
            entry(SESSION, 1, 0, body("a")),
            entry(SessionId(9), 0, DAYS_MS, Bytes::new()),
            entry(SESSION, 2, DAYS_MS, body("b")),
        ];
        let first = one.kv.applied().0.next();
        one.kv.apply(first, &entries).unwrap();
        for item in entries {
            let next = other.kv.applied().0.next();
            other.kv.apply(next, &[item]).unwrap();
        }
        one.kv.digest().unwrap() == other.kv.digest().unwrap()
    };
    assert_eq!(compare(Planted::ExpiresPerGroup, are_equal), (true, false));
}

fn chunks(kv: &Kv<MemEngine>) -> Vec<Bytes> {
    let mut writer = kv.checkpoint().unwrap();
    let mut chunks = Vec::new();
    while let Some((chunk, _)) = writer.chunk(chunks.len() as u64).unwrap() {
        chunks.push(chunk);
    }
    chunks
}

#[test]
fn a_checkpoint_holds_everything() {
    let is_whole = |planted| {
        let mut store = Harness::with(planted);
        store.grant(7);
        store.put_with(PutRequest { lease: 7, ..put("leased", "v") }).unwrap();
        let chunks = chunks(&store.kv);
        let mut copy = open(&MemEngine::default());
        copy.install(store.kv.applied(), |index| chunks.get(index as usize).cloned()).unwrap();
        copy.digest().unwrap() == store.kv.digest().unwrap()
    };
    assert_eq!(compare(Planted::CheckpointLosesLeases, is_whole), (true, false));
    assert_eq!(compare(Planted::CheckpointLosesSessions, is_whole), (true, false));
}

#[test]
fn half_a_checkpoint_is_not_called_a_state() {
    let mut store = Harness::new();
    for number in 0..60 {
        store.put(&format!("big{number}"), &"x".repeat(20_000));
    }
    let chunks = chunks(&store.kv);
    let is_incomplete = |planted| {
        let engine = MemEngine::default();
        let mut copy = Kv::open_planted(engine.clone(), planted).unwrap();
        // Verified once; then the second chunk cannot be read, and the power fails.
        let mut reads = 0;
        let read = |index: u64| {
            reads += 1;
            let is_gone = reads > chunks.len() && index > 0;
            engine.persist().unwrap();
            if is_gone { None } else { chunks.get(index as usize).cloned() }
        };
        copy.install(store.kv.applied(), read).unwrap_err();
        engine.crash();
        open(&engine).is_incomplete()
    };
    assert_eq!(compare(Planted::HalfInstallIsServed, is_incomplete), (true, false));
    assert_eq!(store.kv.applied().1, Epoch::of(1));
}

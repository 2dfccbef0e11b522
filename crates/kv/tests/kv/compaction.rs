//! §4.4 "Compact": at once for readers, in small steps for the engine.

use kv::*;
use storage::{Engine, MemEngine, Scan, Space, View};
use types::{Epoch, Slot};

use crate::harness::*;

#[test]
fn compaction_at_or_below_the_last_one_or_in_the_future_is_refused() {
    let mut store = Harness::new();
    for i in 0..5 {
        store.put("k", &i.to_string());
    }
    assert_eq!(store.compact(7), Err(KvError::FutureRevision));
    assert_eq!(store.compact(4), Ok(Response::Compact));
    assert_eq!(store.reader.compact_revision().unwrap(), 4);
    assert_eq!(store.compact(4), Err(KvError::Compacted));
    assert_eq!(store.compact(3), Err(KvError::Compacted));
    assert_eq!(store.compact(6), Ok(Response::Compact));
    assert_eq!(store.kv.revision(), 6);
}

/// As in etcd, whose floor is -1 at first: compaction at 0 is accepted once.
#[test]
fn a_fresh_store_can_be_compacted_at_zero_once() {
    let mut store = Harness::new();
    assert_eq!(store.reader.compact_revision().unwrap(), -1);
    assert_eq!(store.compact(-1), Err(KvError::Compacted));
    assert_eq!(store.compact(0), Ok(Response::Compact));
    assert_eq!(store.compact(0), Err(KvError::Compacted));
}

/// Every row of every space, as bytes.
fn rows(engine: &MemEngine) -> Vec<usize> {
    use std::ops::Bound::Unbounded;
    let view = engine.view();
    let rows = SPACES.map(|space: Space| {
        view.scan(Scan { space, low: Unbounded, high: Unbounded, descending: false }).count()
    });
    rows.to_vec()
}

#[test]
fn everything_unreadable_is_removed_in_the_end_and_nothing_else() {
    let mut store = Harness::new();
    for round in 0..50 {
        for key in ["a", "b", "c"] {
            store.put(key, &round.to_string());
        }
    }
    store.delete("b", "");
    let last = store.kv.revision();
    store.compact(last - 1).unwrap();
    let at_floor = RangeRequest { revision: last - 1, ..range("a", "\0") };
    assert_eq!(store.show(at_floor.clone()), "a=49 b=49 c=49", "at once");
    store.idle(20);
    assert_eq!(store.show(at_floor), "a=49 b=49 c=49", "and afterwards");
    // META, LATEST (a, c), VERSIONS (b), REVISIONS (the floor's and the last), no leases, the session, no members.
    assert_eq!(rows(&store.engine), [1, 2, 1, 2, 0, 0, 1, 0]);

    store.compact(last).unwrap();
    store.idle(2);
    assert_eq!(rows(&store.engine), [1, 2, 0, 1, 0, 0, 1, 0], "only the floor's own change stays");
}

/// The work is cut into steps, so that no entry pays for all of it.
#[test]
fn each_entry_removes_only_a_little() {
    let mut store = Harness::new();
    for i in 0..1000 {
        store.put("k", &i.to_string());
    }
    store.compact(store.kv.revision()).unwrap();
    let mut before = rows(&store.engine)[3];
    for _ in 0..5 {
        store.idle(1);
        let now = rows(&store.engine)[3];
        assert!(now < before && before - now <= 32, "{before} to {now}");
        before = now;
    }
}

/// One revision may hold more changes than a step takes, and a new compaction may come before the last one
/// is finished.
#[test]
fn steps_cut_through_revisions_and_compactions_overtake_each_other() {
    let mut store = Harness::new();
    for round in 0..3 {
        let puts = (0..100).map(|i| put_op(&format!("k{i}"), &round.to_string())).collect();
        store.txn(always(puts)).unwrap();
    }
    store.compact(2).unwrap();
    store.compact(3).unwrap();
    store.idle(1);
    store.delete("k", "l");
    store.compact(store.kv.revision()).unwrap();
    store.idle(50);
    let floor_changes = 100;
    assert_eq!(rows(&store.engine), [1, 0, 0, floor_changes, 0, 0, 1, 0]);
}

/// Removal depends on entries, not on how they are grouped: the bytes stay the same at every slot.
#[test]
fn removal_does_not_depend_on_grouping() {
    let digests = [1, 7, 40].map(|group| {
        let mut store = Harness::new();
        for i in 0..300 {
            store.put("k", &i.to_string());
        }
        store.compact(250).unwrap();
        for _ in 0..(40 / group) {
            store.idle(group);
        }
        store.idle(40 % group);
        (store.kv.applied(), store.kv.digest().unwrap())
    });
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[0], digests[2]);
}

#[test]
fn a_restart_goes_on_with_the_removal() {
    let mut store = Harness::new();
    for i in 0..300 {
        store.put("k", &i.to_string());
    }
    store.compact(301).unwrap();
    let mut reopened = open(&store.engine);
    assert_eq!(reopened.applied(), store.kv.applied());
    let next: Slot = reopened.applied().0.next();
    reopened.apply(next, &vec![(Epoch::of(1), Content::Nothing); 30]).unwrap();
    assert_eq!(rows(&store.engine)[2..4], [0, 1]);
}

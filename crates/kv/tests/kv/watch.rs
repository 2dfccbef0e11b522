//! §4.5 "Watch", as far as it is history: what a watch that starts in the past is told.

use kv::*;

use crate::harness::*;

fn history(store: &Harness, key: &str, end: &str, from: Revision) -> Vec<RevisionEvents> {
    store.reader.events(key.as_bytes(), end.as_bytes(), from, Revision::MAX, usize::MAX).unwrap().events
}

fn busy() -> Harness {
    let mut store = Harness::new();
    store.put("a", "1");
    store.put("b", "1");
    store.txn(always(vec![put_op("a", "2"), delete_op("b", ""), put_op("c", "1")])).unwrap();
    store.put("b", "2");
    store.delete("a", "\0");
    store
}

/// History says exactly what was said when it happened, order and prev_kv included.
#[test]
fn history_equals_what_live_watchers_were_told() {
    let store = busy();
    assert_eq!(history(&store, "\0", "\0", 1), store.events);
    assert_eq!(history(&store, "\0", "\0", 4), store.events[2..]);
}

#[test]
fn only_events_of_the_range_are_told_and_empty_revisions_left_out() {
    let store = busy();
    let told = history(&store, "b", "", 1);
    let revisions: Vec<_> = told.iter().map(|item| (item.revision, item.events.len())).collect();
    assert_eq!(revisions, [(3, 1), (4, 1), (5, 1), (6, 1)]);
    assert!(told.iter().flat_map(|item| &item.events).all(|event| event.kv.key == "b"));
    assert_eq!(history(&store, "b", "b", 1), []);
    assert_eq!(history(&store, "x", "\0", 1), []);
}

/// prev_kv: the value at revision - 1; absent on create.
#[test]
fn prev_kv_is_absent_on_create() {
    let store = busy();
    let told = history(&store, "b", "", 1);
    let previous: Vec<_> =
        told.iter().map(|item| item.events[0].prev_kv.as_ref().map(|kv| kv.mod_revision)).collect();
    assert_eq!(previous, [None, Some(3), None, Some(5)]);
}

/// A start below the compacted revision is refused; at it, its events are told, a delete among them (etcd
/// issue 19179), without prev_kv, whose revision is compacted.
#[test]
fn a_watch_may_start_at_the_compacted_revision_but_not_below() {
    let mut store = busy();
    store.compact(6).unwrap();
    for _ in 0..2 {
        let refused = store.reader.events(b"\0", b"\0", 5, Revision::MAX, 100);
        assert!(matches!(refused, Err(EventsError::Compacted { asked: 5, compacted: 6 })));
        let told = history(&store, "\0", "\0", 6);
        assert_eq!((told.len(), told[0].events.len()), (1, 3));
        assert!(told[0].events.iter().all(|event| event.kind == EventKind::Delete));
        assert!(told[0].events.iter().all(|event| event.prev_kv.is_none()));
        store.idle(10); // the same before and after removal
    }
}

#[test]
fn pages_hold_whole_revisions_and_add_up() {
    let store = busy();
    for limit in 0..8 {
        let mut from = 1;
        let mut told = Vec::new();
        while from <= store.kv.revision() {
            let page = store.reader.events(b"\0", b"\0", from, Revision::MAX, limit).unwrap();
            assert!(page.next > from, "a page always goes on");
            told.extend(page.events);
            from = page.next;
        }
        assert_eq!(from, store.kv.revision() + 1);
        assert_eq!(told, store.events);
    }
}

/// A page is bounded in bytes and in changes looked at, not only in events.
#[test]
fn a_page_of_large_values_or_of_nothing_ends_early() {
    let mut store = Harness::new();
    for _ in 0..10 {
        store.put("k", &"x".repeat(1 << 20));
    }
    let page = store.reader.events(b"k", b"", 1, Revision::MAX, 1_000).unwrap();
    assert_eq!(page.next, 5, "1 MiB, then twice 2 MiB with the value before");

    for _ in 0..11 {
        let puts = (0..1_000).map(|i| put_op(&format!("other{i}"), "")).collect();
        store.txn(always(puts)).unwrap();
    }
    let page = store.reader.events(b"x", b"", 12, Revision::MAX, 1_000).unwrap();
    assert_eq!(page, EventsPage { events: vec![], next: 22 }, "ten revisions of 1,000 changes");
}

#[test]
fn the_stretch_ends_where_it_is_told_to() {
    let store = busy();
    let page = store.reader.events(b"\0", b"\0", 3, 4, 100).unwrap();
    assert_eq!((&page.events[..], page.next), (&store.events[1..3], 5));
    let future = store.reader.events(b"\0", b"\0", 7, Revision::MAX, 100).unwrap();
    assert_eq!(future, EventsPage { events: vec![], next: 7 });
    let far = store.reader.events(b"\0", b"\0", 70, 80, 100).unwrap();
    assert_eq!(far, EventsPage { events: vec![], next: 70 });
}

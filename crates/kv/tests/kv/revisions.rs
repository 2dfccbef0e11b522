//! §4.3 "Header and revisions".

use kv::*;

use crate::harness::*;

/// §4.3.2: a fresh store is at revision 1; the first write gives 2.
#[test]
fn a_fresh_store_is_at_1_and_the_first_write_gives_2() {
    let mut store = Harness::new();
    assert_eq!(store.kv.revision(), 1);
    assert_eq!(store.put("k", "v"), 2);
    assert_eq!(store.reader.revision().unwrap(), 2);
}

/// §4.3.2: one revision per write txn; the sub-revision orders events within it.
#[test]
fn a_txn_is_one_revision_whose_events_keep_its_order() {
    let mut store = Harness::new();
    store.put("b", "0");
    store.txn(always(vec![put_op("c", "1"), delete_op("b", ""), put_op("a", "1")])).unwrap();
    assert_eq!(store.kv.revision(), 3);
    let order: Vec<_> = store.events[1].events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(order, ["c", "b", "a"].map(bytes));
}

/// §4.3.2: deleting nothing does not bump, nor does a txn without effect; a put of the same value does.
#[test]
fn only_what_changes_something_bumps_the_revision() {
    let mut store = Harness::new();
    store.put("k", "v");
    assert_eq!(store.delete("x", "z"), 0);
    store.txn(always(vec![range_op("k", ""), delete_op("x", "")])).unwrap();
    store.grant(4);
    assert_eq!(store.kv.revision(), 2);
    assert_eq!(store.put("k", "v"), 3);
}

/// §4.3.3: create_revision is that of the first put since the last delete; version restarts after a delete.
#[test]
fn create_revision_and_version_restart_after_a_delete() {
    let mut store = Harness::new();
    store.put("k", "1");
    store.put("k", "2");
    let kv = store.get("k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 3, 2));
    assert_eq!(store.delete("k", ""), 1);
    store.put("k", "3");
    let kv = store.get("k").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));
}

/// §4.3.3: a delete event's kv holds only key and mod_revision.
#[test]
fn a_delete_event_holds_only_key_and_mod_revision() {
    let mut store = Harness::new();
    store.put("k", "v");
    let before = store.get("k");
    store.delete("k", "");
    let event = &store.events[1].events[0];
    assert_eq!(event.kind, EventKind::Delete);
    assert_eq!(event.kv, KeyValue { key: bytes("k"), mod_revision: 3, ..KeyValue::default() });
    assert_eq!(event.prev_kv, before);
}

/// §4.3.1: responses inside a txn carry the revision after the operation: the current one until something
/// changed, then the new one.
#[test]
fn responses_inside_a_txn_carry_the_revision_after_them() {
    let mut store = Harness::new();
    store.put("k", "v");
    let ops =
        vec![range_op("k", ""), delete_op("x", ""), put_op("a", "1"), delete_op("x", ""), range_op("a", "")];
    let response = store.txn(always(ops)).unwrap();
    let revisions: Vec<Revision> = response
        .responses
        .iter()
        .map(|response| match response {
            ResponseOp::Range(revision, _)
            | ResponseOp::Put(revision, _)
            | ResponseOp::DeleteRange(revision, _) => *revision,
            ResponseOp::Txn(_) => unreachable!(),
        })
        .collect();
    assert_eq!(revisions, [2, 2, 3, 3, 3]);
}

//! §4.4 "Put".

use bytes::Bytes;
use kv::*;

use crate::harness::*;

#[test]
fn ignore_value_with_a_value_and_ignore_lease_with_a_lease_are_refused() {
    let mut store = Harness::new();
    let both = PutRequest { ignore_value: true, ..put("k", "v") };
    assert_eq!(store.put_with(both), Err(KvError::ValueProvided));
    let both = PutRequest { ignore_lease: true, lease: 5, ..put("k", "v") };
    assert_eq!(store.put_with(both), Err(KvError::LeaseProvided));
}

#[test]
fn ignoring_on_a_missing_key_is_key_not_found() {
    let mut store = Harness::new();
    let ignore_value = PutRequest { ignore_value: true, ..put("k", "") };
    assert_eq!(store.put_with(ignore_value.clone()), Err(KvError::KeyNotFound));
    assert_eq!(store.put_with(PutRequest { ignore_lease: true, ..put("k", "v") }), Err(KvError::KeyNotFound));
    assert_eq!(store.txn(always(vec![RequestOp::Put(ignore_value)])), Err(KvError::KeyNotFound));
}

#[test]
fn ignore_value_keeps_the_value_and_ignore_lease_the_lease() {
    let mut store = Harness::new();
    store.grant(7);
    store.put_with(PutRequest { lease: 7, ..put("k", "old") }).unwrap();
    store.put_with(PutRequest { ignore_lease: true, ..put("k", "new") }).unwrap();
    let kv = store.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"new"[..], 7, 2));

    store.put_with(PutRequest { ignore_value: true, ..put("k", "") }).unwrap();
    let kv = store.get("k").unwrap();
    assert_eq!((&kv.value[..], kv.lease, kv.version), (&b"new"[..], 0, 3));
}

#[test]
fn an_unknown_lease_is_refused_and_changes_nothing() {
    let mut store = Harness::new();
    assert_eq!(store.put_with(PutRequest { lease: 9, ..put("k", "v") }), Err(KvError::LeaseNotFound));
    assert_eq!((store.get("k"), store.kv.revision()), (None, 1));
}

#[test]
fn prev_kv_is_the_pair_before_or_absent() {
    let mut store = Harness::new();
    let with_prev = |value| PutRequest { prev_kv: true, ..put("k", value) };
    assert_eq!(store.put_with(with_prev("1")).unwrap().prev_kv, None);
    let before = store.get("k");
    assert_eq!(store.put_with(with_prev("2")).unwrap().prev_kv, before);
    assert_eq!(store.put_with(put("k", "3")).unwrap().prev_kv, None, "only if asked for");
}

#[test]
fn an_empty_or_endless_key_is_refused() {
    let mut store = Harness::new();
    assert_eq!(store.put_with(put("", "v")), Err(KvError::EmptyKey));
    let long = PutRequest { key: Bytes::from(vec![0; KEY_LEN_MAX + 1]), ..PutRequest::default() };
    assert_eq!(store.put_with(long), Err(KvError::KeyTooLong));
    let longest = PutRequest { key: Bytes::from(vec![0; KEY_LEN_MAX]), ..PutRequest::default() };
    assert!(store.put_with(longest).is_ok());
}

#[test]
fn bytes_that_are_no_command_are_answered_the_same_everywhere() {
    let mut store = Harness::new();
    for body in [&b""[..], b"\0", b"\x01\xff", b"\x63garbage"] {
        assert_eq!(store.run_bytes(Bytes::copy_from_slice(body)), Err(KvError::Undecodable));
    }
    assert_eq!(store.kv.revision(), 1);
}

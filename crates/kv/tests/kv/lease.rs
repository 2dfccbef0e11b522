//! §4.6 "Lease", and what §4.3 and §4.4 say of leases.

use kv::*;

use crate::harness::*;

fn leased(key: &str, lease: LeaseId) -> PutRequest {
    PutRequest { lease, ..put(key, "v") }
}

fn keys(store: &Harness, id: LeaseId) -> Vec<bytes::Bytes> {
    store.reader.lease(id).unwrap().unwrap().keys
}

#[test]
fn grant_refuses_a_taken_id_a_too_large_ttl_and_no_id() {
    let mut store = Harness::new();
    let grant = |id, ttl_seconds| Command::LeaseGrant { id, ttl_seconds };
    assert_eq!(store.run(grant(7, 60)), Ok(Response::LeaseGrant { id: 7, ttl_seconds: 60 }));
    assert_eq!(store.run(grant(7, 60)), Err(KvError::LeaseExists));
    assert_eq!(store.run(grant(8, 9_000_000_001)), Err(KvError::LeaseTtlTooLarge));
    assert!(store.run(grant(8, 9_000_000_000)).is_ok());
    assert_eq!(store.run(grant(0, 60)), Err(KvError::LeaseNotFound));
    assert_eq!(store.reader.leases().unwrap(), [(7, 60), (8, 9_000_000_000)]);
    assert_eq!(validate(&grant(8, 9_000_000_001), 128), Err(KvError::LeaseTtlTooLarge));
}

#[test]
fn a_lease_id_may_be_negative() {
    let mut store = Harness::new();
    for id in [5, -5, LeaseId::MIN, LeaseId::MAX] {
        store.grant(id);
        store.put_with(leased(&format!("k{id}"), id)).unwrap();
    }
    let ids: Vec<LeaseId> = store.reader.leases().unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [LeaseId::MIN, -5, 5, LeaseId::MAX]);
    assert_eq!(keys(&store, LeaseId::MAX).len(), 1);
    store.run(Command::LeaseRevoke { id: LeaseId::MAX }).unwrap();
    assert_eq!(keys(&store, -5), [bytes("k-5")]);
}

/// §4.4: a put without a lease detaches the key from its old lease.
#[test]
fn each_put_moves_the_key_to_its_lease_or_to_none() {
    let mut store = Harness::new();
    store.grant(1);
    store.grant(2);
    store.put_with(leased("k", 1)).unwrap();
    assert_eq!(keys(&store, 1), [bytes("k")]);
    store.put_with(leased("k", 2)).unwrap();
    assert_eq!((keys(&store, 1).len(), keys(&store, 2).len()), (0, 1));
    store.put("k", "v");
    assert_eq!(keys(&store, 2).len(), 0);
    store.run(Command::LeaseRevoke { id: 2 }).unwrap();
    assert!(store.get("k").is_some());
}

#[test]
fn a_deleted_key_is_detached() {
    let mut store = Harness::new();
    store.grant(1);
    store.put_with(leased("k", 1)).unwrap();
    store.delete("k", "");
    assert_eq!(keys(&store, 1).len(), 0);
    store.put("k", "again");
    store.run(Command::LeaseRevoke { id: 1 }).unwrap();
    assert!(store.get("k").is_some());
}

/// §4.3.4 and §4.6: revoke removes the keys in one revision, one event each, sorted by key, prev_kv holding
/// the lease.
#[test]
fn revoke_deletes_the_keys_in_one_revision_sorted_by_key() {
    let mut store = Harness::new();
    store.grant(3);
    for key in ["b", "c", "a"] {
        store.put_with(leased(key, 3)).unwrap();
    }
    store.put("d", "stays");
    let before = store.kv.revision();
    assert_eq!(store.run(Command::LeaseRevoke { id: 3 }), Ok(Response::LeaseRevoke));
    let last = store.events.last().unwrap();
    assert_eq!((last.revision, last.events.len()), (before + 1, 3));
    for (event, key) in last.events.iter().zip(["a", "b", "c"]) {
        assert_eq!((event.kind, &event.kv.key), (EventKind::Delete, &bytes(key)));
        assert_eq!(event.prev_kv.as_ref().unwrap().lease, 3);
    }
    assert_eq!(store.show(range("a", "\0")), "d=stays");
    assert!(store.reader.lease(3).unwrap().is_none());
    assert_eq!(store.leases.last(), Some(&LeaseChange::Revoked { id: 3 }));
}

#[test]
fn revoking_a_missing_lease_is_not_found_and_one_without_keys_is_no_revision() {
    let mut store = Harness::new();
    assert_eq!(store.run(Command::LeaseRevoke { id: 3 }), Err(KvError::LeaseNotFound));
    store.grant(3);
    assert_eq!(store.run(Command::LeaseRevoke { id: 3 }), Ok(Response::LeaseRevoke));
    assert_eq!(store.kv.revision(), 1);
    assert_eq!(store.run(Command::LeaseRevoke { id: 3 }), Err(KvError::LeaseNotFound));
    assert_eq!(store.put_with(leased("k", 3)), Err(KvError::LeaseNotFound));
}

/// A put may name a lease in one transaction with others; ranges and compares see it.
#[test]
fn leases_attach_inside_transactions() {
    let mut store = Harness::new();
    store.grant(4);
    store.txn(always(vec![RequestOp::Put(leased("a", 4)), RequestOp::Put(leased("b", 4))])).unwrap();
    assert_eq!(keys(&store, 4), [bytes("a"), bytes("b")]);
    let compare = vec![compare("a", CompareResult::Equal, CompareTarget::Lease(4))];
    assert!(store.txn(TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded);
}

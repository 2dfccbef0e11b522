//! §4.4 "Txn".

use kv::*;

use crate::harness::*;
use CompareResult::{Equal, Greater, Less, NotEqual};

fn nested(txn: TxnRequest) -> RequestOp {
    RequestOp::Txn(txn)
}

fn checks(op: Vec<RequestOp>) -> Result<(), KvError> {
    validate_txn(&always(op), 128)
}

#[test]
fn the_longest_list_counts_and_nested_levels_get_what_remains() {
    let reads = |count: usize| vec![range_op("k", ""); count];
    let compares = vec![compare("k", Equal, CompareTarget::Version(0)); 129];
    assert_eq!(checks(reads(128)), Ok(()));
    assert_eq!(checks(reads(129)), Err(KvError::TooManyOps));
    assert_eq!(
        validate_txn(&TxnRequest { compare: compares, ..TxnRequest::default() }, 128),
        Err(KvError::TooManyOps)
    );
    let failing = TxnRequest { failure: reads(129), ..TxnRequest::default() };
    assert_eq!(validate_txn(&failing, 128), Err(KvError::TooManyOps));
    assert_eq!(checks(vec![nested(always(reads(127)))]), Ok(()));
    assert_eq!(checks(vec![nested(always(reads(128)))]), Err(KvError::TooManyOps));
}

#[test]
fn nesting_is_bounded_however_many_operations_are_allowed() {
    let deep = |depth| (1..depth).fold(always(vec![]), |inner, _| always(vec![nested(inner)]));
    assert_eq!(validate_txn(&deep(100), usize::MAX), Ok(()));
    assert_eq!(validate_txn(&deep(101), usize::MAX), Err(KvError::TooManyOps));
    let mut store = Harness::new();
    assert!(store.txn(deep(100)).is_ok());
    assert_eq!(store.txn(deep(101)), Err(KvError::Undecodable));
}

#[test]
fn empty_keys_are_refused_wherever_they_stand() {
    assert_eq!(checks(vec![range_op("", "")]), Err(KvError::EmptyKey));
    assert_eq!(checks(vec![nested(always(vec![put_op("", "")]))]), Err(KvError::EmptyKey));
    assert_eq!(checks(vec![delete_op("", "\0")]), Err(KvError::EmptyKey));
    let txn =
        TxnRequest { compare: vec![compare("", Equal, CompareTarget::Version(0))], ..TxnRequest::default() };
    assert_eq!(validate_txn(&txn, 128), Err(KvError::EmptyKey));
}

#[test]
fn two_puts_of_a_key_or_a_put_inside_a_deleted_range_are_duplicates() {
    let duplicate = Err(KvError::DuplicateKey);
    assert_eq!(checks(vec![put_op("a", "1"), put_op("a", "2")]), duplicate);
    assert_eq!(checks(vec![put_op("b", "1"), delete_op("a", "c")]), duplicate);
    assert_eq!(checks(vec![delete_op("a", "c"), put_op("b", "1")]), duplicate);
    assert_eq!(checks(vec![delete_op("a", "c"), put_op("c", "1")]), Ok(()));
    assert_eq!(checks(vec![delete_op("a", ""), put_op("a", "1")]), duplicate);
    assert_eq!(checks(vec![put_op("a", "1"), put_op("b", "1")]), Ok(()));
}

#[test]
fn deletes_may_overlap() {
    let ops = vec![delete_op("a", "c"), delete_op("b", "d"), delete_op("b", ""), delete_op("a", "\0")];
    assert_eq!(checks(ops.clone()), Ok(()));
    let mut store = Harness::new();
    store.put("b", "1");
    let response = store.txn(always(ops)).unwrap();
    let deleted: Vec<i64> = response
        .responses
        .iter()
        .map(|response| match response {
            ResponseOp::DeleteRange(_, response) => response.deleted,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(deleted, [1, 0, 0, 0]);
}

#[test]
fn nested_transactions_count_but_branches_exclude_each_other() {
    let duplicate = Err(KvError::DuplicateKey);
    let inner = |success, failure| nested(TxnRequest { compare: vec![], success, failure });
    assert_eq!(checks(vec![inner(vec![put_op("a", "")], vec![]), put_op("a", "")]), duplicate);
    assert_eq!(checks(vec![inner(vec![], vec![put_op("a", "")]), delete_op("a", "")]), duplicate);
    assert_eq!(checks(vec![inner(vec![put_op("a", "")], vec![put_op("a", "")])]), Ok(()));
    assert_eq!(checks(vec![inner(vec![put_op("a", "")], vec![delete_op("a", "")])]), Ok(()));
    assert_eq!(
        checks(vec![inner(vec![put_op("a", "")], vec![]), inner(vec![], vec![put_op("a", "")])]),
        duplicate
    );
    let whole =
        TxnRequest { compare: vec![], success: vec![put_op("a", "")], failure: vec![put_op("a", "")] };
    assert_eq!(validate_txn(&whole, 128), Ok(()));
}

/// etcd overlooks these two (§3, issue 22376, and the order of nested siblings); here both are duplicates.
#[test]
fn a_delete_to_infinity_and_a_later_nested_delete_are_seen() {
    assert_eq!(checks(vec![delete_op("a", "\0"), put_op("z", "1")]), Err(KvError::DuplicateKey));
    assert_eq!(checks(vec![delete_op("b", "\0"), put_op("a", "1")]), Ok(()));
    let siblings = vec![nested(always(vec![put_op("b", "1")])), nested(always(vec![delete_op("a", "c")]))];
    assert_eq!(checks(siblings), Err(KvError::DuplicateKey));
}

/// Everything is checked again when it is applied, whatever the proposer did.
#[test]
fn an_unvalidated_transaction_is_refused_at_apply() {
    let mut store = Harness::new();
    assert_eq!(store.txn(always(vec![put_op("a", "1"), put_op("a", "2")])), Err(KvError::DuplicateKey));
    assert_eq!(store.kv.revision(), 1);
}

#[test]
fn a_missing_key_compares_as_zeros_and_its_value_never_holds() {
    let mut store = Harness::new();
    let mut holds = |result, target| {
        let compare = vec![compare("missing", result, target)];
        store.txn(TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded
    };
    for target in
        [CompareTarget::Version(0), CompareTarget::Create(0), CompareTarget::Mod(0), CompareTarget::Lease(0)]
    {
        assert!(holds(Equal, target.clone()));
        assert!(!holds(NotEqual, target));
    }
    assert!(holds(Less, CompareTarget::Version(1)) && holds(Greater, CompareTarget::Mod(-1)));
    for result in [Equal, NotEqual, Less, Greater] {
        assert!(!holds(result, CompareTarget::Value(bytes(""))));
        assert!(!holds(result, CompareTarget::Value(bytes("x"))));
    }
}

#[test]
fn every_target_and_operator_compares_the_pair() {
    let mut store = Harness::new();
    store.grant(6);
    store.put("x", "");
    store.put_with(PutRequest { lease: 6, ..put("k", "m") }).unwrap();
    store.put_with(PutRequest { lease: 6, ..put("k", "m") }).unwrap();
    type Target = fn(i64) -> CompareTarget;
    let targets: [(Target, i64); 4] = [
        (CompareTarget::Version, 2),
        (CompareTarget::Create, 3),
        (CompareTarget::Mod, 4),
        (CompareTarget::Lease, 6),
    ];
    let mut holds = |result, target| {
        let compare = vec![compare("k", result, target)];
        store.txn(TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded
    };
    for (target, value) in targets {
        for operand in [value - 1, value, value + 1] {
            assert_eq!(holds(Equal, target(operand)), value == operand);
            assert_eq!(holds(NotEqual, target(operand)), value != operand);
            assert_eq!(holds(Greater, target(operand)), value > operand);
            assert_eq!(holds(Less, target(operand)), value < operand);
        }
    }
    for operand in ["l", "m", "n"] {
        assert_eq!(holds(Equal, CompareTarget::Value(bytes(operand))), "m" == operand);
        assert_eq!(holds(NotEqual, CompareTarget::Value(bytes(operand))), "m" != operand);
        assert_eq!(holds(Greater, CompareTarget::Value(bytes(operand))), "m" > operand);
        assert_eq!(holds(Less, CompareTarget::Value(bytes(operand))), "m" < operand);
    }
}

#[test]
fn a_range_compare_must_hold_for_every_key_and_an_empty_one_is_a_missing_key() {
    let mut store = Harness::new();
    store.put("a", "1");
    store.put("b", "1");
    store.put("b", "1");
    let mut holds = |end: &str, target| {
        let compare = vec![Compare { range_end: bytes(end), ..compare("a", Equal, target) }];
        store.txn(TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded
    };
    assert!(holds("b", CompareTarget::Version(1)));
    assert!(!holds("c", CompareTarget::Version(1)));
    assert!(holds("\0", CompareTarget::Value(bytes("1"))));
    assert!(holds("a", CompareTarget::Version(0)), "an empty range is a missing key");
    assert!(!holds("a", CompareTarget::Value(bytes(""))));
}

/// All compares, those of nested transactions included, are evaluated against the state before any operation.
#[test]
fn nested_compares_see_the_state_before() {
    let mut store = Harness::new();
    let inner = TxnRequest {
        compare: vec![compare("k", Equal, CompareTarget::Version(0))],
        success: vec![put_op("saw", "before")],
        failure: vec![put_op("saw", "after")],
    };
    store.txn(always(vec![put_op("k", "1"), nested(inner)])).unwrap();
    assert_eq!(store.show(range("saw", "")), "saw=before");
}

#[test]
fn ranges_see_earlier_writes_unless_they_name_a_revision() {
    let mut store = Harness::new();
    store.put("a", "old");
    store.put("b", "old");
    let at_2 = RequestOp::Range(RangeRequest { revision: 2, ..range("a", "\0") });
    let at_3 = RequestOp::Range(RangeRequest { revision: 3, ..range("a", "\0") });
    let ops = vec![
        range_op("a", "\0"),
        put_op("a", "new"),
        delete_op("b", ""),
        put_op("c", "new"),
        range_op("a", "\0"),
        nested(always(vec![range_op("a", "")])),
        at_3,
        at_2,
    ];
    let response = store.txn(always(ops)).unwrap();
    assert_eq!(ranged(&response.responses[0]), "a=old b=old");
    assert_eq!(ranged(&response.responses[4]), "a=new c=new");
    match &response.responses[5] {
        ResponseOp::Txn(inner) => assert_eq!(ranged(&inner.responses[0]), "a=new"),
        other => panic!("{other:?}"),
    }
    assert_eq!(ranged(&response.responses[6]), "a=old b=old");
    assert_eq!(ranged(&response.responses[7]), "a=old");
}

#[test]
fn a_failed_check_anywhere_on_the_chosen_path_changes_nothing() {
    let mut store = Harness::new();
    store.put("k", "v");
    let future = RequestOp::Range(RangeRequest { revision: 3, ..range("k", "") });
    let late = |op: RequestOp| always(vec![put_op("a", "1"), nested(always(vec![op]))]);
    assert_eq!(store.txn(late(future.clone())), Err(KvError::FutureRevision));
    let leased = RequestOp::Put(PutRequest { lease: 99, ..put("b", "1") });
    assert_eq!(store.txn(late(leased.clone())), Err(KvError::LeaseNotFound));
    let ignoring = RequestOp::Put(PutRequest { ignore_lease: true, ..put("b", "1") });
    assert_eq!(store.txn(late(ignoring)), Err(KvError::KeyNotFound));
    assert_eq!(
        store.txn(always(vec![future, leased])),
        Err(KvError::LeaseNotFound),
        "puts are checked first"
    );
    assert_eq!((store.kv.revision(), store.get("a")), (2, None));
}

#[test]
fn the_branch_that_is_not_chosen_is_not_checked_against_the_state() {
    let mut store = Harness::new();
    let never = RequestOp::Range(RangeRequest { revision: 99, ..range("k", "") });
    let txn = TxnRequest { failure: vec![never], success: vec![put_op("k", "1")], compare: vec![] };
    assert!(store.txn(txn).unwrap().succeeded);
}

/// Only in a unary Range is every revision of 0 or less the latest: in a txn -2 is below the compact floor.
#[test]
fn a_negative_revision_inside_a_txn_is_compacted() {
    let mut store = Harness::new();
    let mut at = |revision| {
        store.txn(always(vec![RequestOp::Range(RangeRequest { revision, ..range("k", "") })])).map(drop)
    };
    assert_eq!(at(-2), Err(KvError::Compacted));
    assert_eq!(at(-1), Ok(()), "the floor of a store that was never compacted is -1");
    assert_eq!(at(0), Ok(()));
    store.put("k", "1");
    store.compact(2).unwrap();
    let minus_one = RequestOp::Range(RangeRequest { revision: -1, ..range("k", "") });
    assert_eq!(store.txn(always(vec![minus_one])), Err(KvError::Compacted));
}

#[test]
fn read_only_means_ranges_in_both_branches_and_nothing_nested() {
    let reads = || vec![range_op("k", "")];
    assert!(is_read_only(&TxnRequest { success: reads(), failure: reads(), compare: vec![] }));
    assert!(is_read_only(&TxnRequest::default()));
    assert!(!is_read_only(&TxnRequest { failure: vec![put_op("k", "")], ..always(reads()) }));
    assert!(!is_read_only(&always(vec![nested(always(reads()))])));
}

#[test]
fn a_read_only_txn_is_served_without_the_log_and_answers_the_same() {
    let mut store = Harness::new();
    store.put("k", "1");
    let txn = TxnRequest {
        compare: vec![compare("k", Equal, CompareTarget::Value(bytes("2")))],
        success: vec![range_op("x", "")],
        failure: vec![range_op("k", ""), RequestOp::Range(RangeRequest { revision: 1, ..range("k", "") })],
    };
    let (revision, read) = store.reader.txn(&txn).unwrap();
    assert_eq!(revision, 2);
    assert_eq!(Ok(read), store.txn(txn));
    let future = always(vec![RequestOp::Range(RangeRequest { revision: 9, ..range("k", "") })]);
    assert!(matches!(store.reader.txn(&future), Err(ReadError::Kv(KvError::FutureRevision))));
}

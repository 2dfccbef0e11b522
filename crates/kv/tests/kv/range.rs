//! §4.4 "Range".

use kv::*;

use crate::harness::*;

/// Revisions 2 to 6: a=1 b=2 c=3 d=4, then a=9 at revision 6.
fn abcd() -> Harness {
    let mut store = Harness::new();
    for (key, value) in [("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"), ("a", "9")] {
        store.put(key, value);
    }
    store
}

#[test]
fn an_empty_key_is_refused() {
    assert_eq!(abcd().range(range("", "z")), Err(KvError::EmptyKey));
    assert_eq!(validate_range(&range("", "")), Err(KvError::EmptyKey));
}

#[test]
fn range_end_names_one_key_a_range_the_rest_or_nothing() {
    let store = abcd();
    assert_eq!(store.show(range("b", "")), "b=2");
    assert_eq!(store.show(range("b", "d")), "b=2 c=3");
    assert_eq!(store.show(range("c", "\0")), "c=3 d=4");
    assert_eq!(store.show(range("\0", "\0")), "a=9 b=2 c=3 d=4");
    assert_eq!(store.show(range("c", "c")), "");
    assert_eq!(store.show(range("c", "b")), "");
    assert_eq!(store.show(range("x", "")), "");
}

#[test]
fn a_revision_of_zero_or_less_is_the_latest_and_a_future_one_is_refused() {
    let store = abcd();
    let at = |revision| RangeRequest { revision, ..range("a", "c") };
    assert_eq!(store.show(at(0)), "a=9 b=2");
    assert_eq!(store.show(at(-2)), "a=9 b=2");
    assert_eq!(store.show(at(6)), "a=9 b=2");
    assert_eq!(store.show(at(5)), "a=1 b=2");
    assert_eq!(store.show(at(2)), "a=1");
    assert_eq!(store.show(at(1)), "");
    assert_eq!(store.range(at(7)), Err(KvError::FutureRevision));
}

#[test]
fn below_the_compacted_revision_is_refused_and_at_it_is_readable() {
    let mut store = abcd();
    store.compact(5).unwrap();
    store.idle(10);
    let at = |revision| RangeRequest { revision, ..range("a", "\0") };
    assert_eq!(store.range(at(4)), Err(KvError::Compacted));
    assert_eq!(store.show(at(5)), "a=1 b=2 c=3 d=4");
    assert_eq!(store.show(at(-2)), "a=9 b=2 c=3 d=4");
}

#[test]
fn limit_cuts_more_tells_and_count_ignores_it() {
    let store = abcd();
    let limited = |limit| store.range(RangeRequest { limit, ..range("a", "\0") }).unwrap();
    for (limit, kvs, more) in [(0, 4, false), (-1, 4, false), (3, 3, true), (4, 4, false), (9, 4, false)] {
        let response = limited(limit);
        assert_eq!((response.kvs.len(), response.more, response.count), (kvs, more, 4), "limit {limit}");
    }
}

#[test]
fn count_is_of_all_keys_at_that_revision_whatever_the_filters() {
    let store = abcd();
    let request = RangeRequest { revision: 4, min_mod_revision: 3, ..range("a", "\0") };
    let response = store.range(request).unwrap();
    assert_eq!((show(&response.kvs).as_str(), response.count, response.more), ("b=2 c=3", 3, false));
}

#[test]
fn count_only_returns_no_pairs_and_keys_only_no_values() {
    let store = abcd();
    let request = RangeRequest { count_only: true, limit: 1, ..range("a", "\0") };
    assert_eq!(store.range(request).unwrap(), RangeResponse { kvs: vec![], more: false, count: 4 });
    let request = RangeRequest { keys_only: true, ..range("a", "\0") };
    assert_eq!(store.show(request), "a= b= c= d=");
}

#[test]
fn each_filter_bounds_its_revision_inclusively() {
    let store = abcd();
    let all = || range("a", "\0");
    assert_eq!(store.show(RangeRequest { min_mod_revision: 4, ..all() }), "a=9 c=3 d=4");
    assert_eq!(store.show(RangeRequest { max_mod_revision: 4, ..all() }), "b=2 c=3");
    assert_eq!(store.show(RangeRequest { min_create_revision: 3, ..all() }), "b=2 c=3 d=4");
    assert_eq!(store.show(RangeRequest { max_create_revision: 3, ..all() }), "a=9 b=2");
}

#[test]
fn with_an_order_or_a_filter_the_limit_comes_last() {
    let store = abcd();
    let sorted = RangeRequest {
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Mod,
        limit: 2,
        ..range("a", "\0")
    };
    let response = store.range(sorted).unwrap();
    assert_eq!((show(&response.kvs).as_str(), response.more, response.count), ("a=9 d=4", true, 4));

    let filtered = RangeRequest { min_mod_revision: 4, limit: 2, ..range("a", "\0") };
    let response = store.range(filtered).unwrap();
    assert_eq!((show(&response.kvs).as_str(), response.more, response.count), ("a=9 c=3", true, 4));

    let by_key = RangeRequest { sort_order: SortOrder::Descend, limit: 3, ..range("a", "\0") };
    assert_eq!(store.show(by_key), "d=4 c=3 b=2");
}

#[test]
fn every_target_sorts_both_ways_and_equals_stay_in_key_order() {
    let mut store = abcd();
    store.put("b", "2");
    let sorted =
        |sort_target, sort_order| store.show(RangeRequest { sort_order, sort_target, ..range("a", "\0") });
    use SortOrder::{Ascend, Descend};
    assert_eq!(sorted(SortTarget::Key, Ascend), "a=9 b=2 c=3 d=4");
    assert_eq!(sorted(SortTarget::Version, Ascend), "c=3 d=4 a=9 b=2");
    assert_eq!(sorted(SortTarget::Version, Descend), "a=9 b=2 c=3 d=4");
    assert_eq!(sorted(SortTarget::Create, Descend), "d=4 c=3 b=2 a=9");
    assert_eq!(sorted(SortTarget::Mod, Ascend), "c=3 d=4 a=9 b=2");
    assert_eq!(sorted(SortTarget::Value, Ascend), "b=2 c=3 d=4 a=9");
    assert_eq!(sorted(SortTarget::Value, Descend), "a=9 d=4 c=3 b=2");
}

/// The quirk: a target without an order sorts ascending, but the limit is applied before the sort, to
/// limit + 1 rows in key order.
#[test]
fn a_target_without_an_order_sorts_the_first_rows_only() {
    let store = abcd();
    let quirk = |limit| {
        store.range(RangeRequest { sort_target: SortTarget::Mod, limit, ..range("a", "\0") }).unwrap()
    };
    assert_eq!(show(&quirk(0).kvs), "b=2 c=3 d=4 a=9");
    let response = quirk(2);
    assert_eq!((show(&response.kvs).as_str(), response.more, response.count), ("b=2 c=3", true, 4));
    assert_eq!(show(&quirk(1).kvs), "b=2", "a and b are fetched, b sorts first");
}

/// Sorting a long range with a limit keeps memory in proportion to the limit, and still gives the first ones.
#[test]
fn a_limit_over_a_long_sorted_range_gives_the_true_first_ones() {
    let mut store = Harness::new();
    for i in 0..500 {
        store.put(&format!("k{i:03}"), &format!("{:03}", (i * 7) % 500));
    }
    let request = RangeRequest {
        sort_order: SortOrder::Descend,
        sort_target: SortTarget::Value,
        limit: 3,
        keys_only: true,
        ..range("k", "l")
    };
    let response = store.range(request).unwrap();
    assert_eq!((response.count, response.more), (500, true));
    let all = store.range(range("k", "l")).unwrap().kvs;
    let key_of = |value: &str| all.iter().find(|kv| kv.value == value).unwrap().key.clone();
    let keys: Vec<_> = response.kvs.into_iter().map(|kv| kv.key).collect();
    assert_eq!(keys, ["499", "498", "497"].map(key_of));
}

#[test]
fn keys_with_zero_bytes_keep_their_order_at_every_revision() {
    let mut store = Harness::new();
    for key in ["a", "a\0", "a\0\0", "a\0b", "a\x01", "b"] {
        store.put(key, "1");
    }
    let last = store.kv.revision();
    store.delete("a", "\0");
    let old = RangeRequest { revision: last, ..range("a", "a\x01") };
    assert_eq!(store.show(old), "a=1 a\0=1 a\0\0=1 a\0b=1");
    let point = RangeRequest { revision: last, ..range("a\0", "") };
    assert_eq!(store.show(point), "a\0=1");
}

//! Small histories that a reader can judge by hand.

use types::Time;

use super::*;
use crate::{Answer, Call, ClientId, Compare, Found, Item, Outcome, Step};

/// One line of a test: from when to when, what, and what came of it.
type Line = (u64, u64, Call, Outcome);

fn history(lines: Vec<Line>) -> History {
    let operations = lines.into_iter().zip(1..).map(|((invoked, returned, call, outcome), client)| {
        let returned = (outcome != Outcome::Unknown).then_some(Time(returned));
        let level = Level::Linearizable;
        crate::Operation { client: ClientId(client), invoked: Time(invoked), returned, call, level, outcome }
    });
    History::from_operations(operations.collect())
}

fn judge(lines: Vec<Line>) -> Verdict {
    check_linearizable(&history(lines), 10_000)
}

fn said(found: Found) -> Outcome {
    Outcome::Answered { revision: None, answer: Answer::One(found) }
}

fn put(from: u64, to: u64, key: &'static str, value: &'static str) -> Line {
    (from, to, Call::put(key, value), said(Found::Put))
}

fn lost(from: u64, call: Call) -> Line {
    (from, u64::MAX, call, Outcome::Unknown)
}

fn get(from: u64, to: u64, key: &'static str, value: Option<&'static str>) -> Line {
    let item = value.map(|value| Item { value: value.into(), ..Item::default() });
    (from, to, Call::get(key), said(Found::Get(item)))
}

fn delete(from: u64, to: u64, key: &'static str, count: i64) -> Line {
    (from, to, Call::delete(key), said(Found::Delete(count)))
}

#[test]
fn a_read_may_be_placed_anywhere_within_its_time() {
    assert!(judge(vec![put(0, 10, "k", "1"), get(5, 6, "k", None), get(5, 6, "k", Some("1"))]).holds());
    assert!(judge(vec![put(0, 10, "k", "1"), get(5, 6, "k", Some("1")), get(7, 8, "k", None)]).violated());
}

#[test]
fn a_stale_read_is_explained_in_a_few_lines() {
    let history = history(vec![put(0, 1, "k", "1"), put(2, 3, "k", "2"), get(4, 5, "k", Some("1"))]);
    let verdict = check_linearizable(&history, 1_000);
    let text = verdict.violation().unwrap().explain(&history).to_string();
    assert_eq!(
        text,
        "not linearizable: expected nobody to see a value after it was overwritten, \
         in the order that explains most operations (1); found one who did\n  \
         op 2 client 3: get k [0.000004ms..0.000005ms] -> 1\n  \
         op 1 client 2: put k = 2 [0.000002ms..0.000003ms] -> ok"
    );
}

#[test]
fn an_unanswered_write_happens_later_or_never() {
    assert!(judge(vec![lost(0, Call::put("k", "1")), get(1, 2, "k", None)]).holds());
    assert!(
        judge(vec![lost(0, Call::put("k", "1")), get(1, 2, "k", None), get(3, 4, "k", Some("1"))]).holds()
    );
    let lines = vec![lost(0, Call::put("k", "1")), get(1, 2, "k", Some("1")), get(3, 4, "k", None)];
    assert!(judge(lines).violated());
    assert!(judge(vec![get(1, 2, "k", Some("1")), lost(3, Call::put("k", "1"))]).violated());
}

#[test]
fn an_unanswered_delete_explains_one_absence() {
    let lines = |again| {
        vec![
            put(0, 1, "k", "1"),
            lost(2, Call::delete("k")),
            get(3, 4, "k", None),
            put(5, 6, "k", "2"),
            get(7, 8, "k", again),
        ]
    };
    assert!(judge(lines(Some("2"))).holds());
    assert!(judge(lines(None)).violated());
}

#[test]
fn a_refused_write_is_never_seen() {
    let refused = (0, 1, Call::put("k", "1"), Outcome::Refused);
    assert!(judge(vec![refused.clone(), get(2, 3, "k", None)]).holds());
    assert!(judge(vec![refused, get(2, 3, "k", Some("1"))]).violated());
}

#[test]
fn counts_of_deletes_are_judged() {
    assert!(judge(vec![put(0, 1, "k", "1"), delete(2, 3, "k", 1), delete(4, 5, "k", 0)]).holds());
    assert!(judge(vec![put(0, 1, "k", "1"), delete(2, 3, "k", 0)]).violated());
    assert!(judge(vec![put(0, 1, "k", "1"), delete(2, 9, "k", 1), delete(2, 9, "k", 1)]).violated());
}

fn swap(from: u64, to: u64, expect: &'static str, value: &'static str, succeeded: bool) -> Line {
    let call = Call::txn(
        vec![Compare::Value("k".into(), expect.into())],
        vec![Step::Put("k".into(), value.into())],
        vec![],
    );
    let found = if succeeded { vec![Found::Put] } else { vec![] };
    (from, to, call, Outcome::Answered { revision: None, answer: Answer::Txn { succeeded, found } })
}

#[test]
fn of_two_swaps_of_one_value_one_succeeds() {
    assert!(
        judge(vec![put(0, 1, "k", "1"), swap(2, 9, "1", "2", true), swap(2, 9, "1", "3", false)]).holds()
    );
    assert!(
        judge(vec![put(0, 1, "k", "1"), swap(2, 9, "1", "2", true), swap(2, 9, "1", "3", true)]).violated()
    );
    assert!(judge(vec![put(0, 1, "k", "1"), swap(2, 9, "1", "2", false)]).violated());
}

#[test]
fn a_transaction_ties_its_keys_together() {
    let both = || {
        let steps = vec![Step::Put("a".into(), "1".into()), Step::Put("b".into(), "2".into())];
        let answer = Answer::Txn { succeeded: true, found: vec![Found::Put, Found::Put] };
        (0, 9, Call::txn(vec![], steps, vec![]), Outcome::Answered { revision: None, answer })
    };
    assert!(judge(vec![both(), get(1, 2, "a", Some("1")), get(3, 4, "b", Some("2"))]).holds());
    assert!(judge(vec![both(), get(1, 2, "a", Some("1")), get(3, 4, "b", None)]).violated());
}

#[test]
fn a_range_is_one_moment() {
    let range = |from, to, keys: &[(&'static str, &'static str)]| {
        let item = |value: &&'static str| Item { value: (*value).into(), ..Item::default() };
        let found = keys.iter().map(|(key, value)| ((*key).into(), item(value))).collect();
        (from, to, Call::range("a", "z"), said(Found::Range(found)))
    };
    let puts = || vec![put(0, 1, "a", "1"), put(2, 3, "b", "2")];
    assert!(judge([puts(), vec![range(0, 9, &[("a", "1")])]].concat()).holds());
    assert!(judge([puts(), vec![range(0, 9, &[("b", "2")])]].concat()).violated());
    assert!(judge([puts(), vec![range(4, 9, &[("a", "1")])]].concat()).violated());
}

/// Nothing tells which of many concurrent blind writes came last but trying: the budget must end it.
#[test]
fn a_search_that_is_too_long_is_undecided() {
    let values = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
    let mut lines: Vec<Line> = values.iter().map(|value| put(0, 10, "k", value)).collect();
    lines.push(delete(11, 12, "k", 0));
    assert!(matches!(judge(lines), Verdict::Undecided { .. }));
}

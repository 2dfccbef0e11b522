//! Small histories that a reader can judge by hand.

use types::Time;

use super::*;
use crate::{
    Answer, Call, Change, ClientId, Compare, Found, Item, Level, Operation, Outcome, Revision, Step,
};

/// One line of a test: from when to when, what, and what came of it.
type Line = (u64, u64, Call, Outcome);

fn history(lines: Vec<Line>) -> History {
    let operations = lines.into_iter().zip(1..).map(|((invoked, returned, call, outcome), client)| {
        let returned = (outcome != Outcome::Unknown).then_some(Time(returned));
        let level = Level::Linearizable;
        Operation { client: ClientId(client), invoked: Time(invoked), returned, call, level, outcome }
    });
    History::from_operations(operations.collect())
}

fn judge(lines: Vec<Line>) -> Verdict {
    check_revisions(&history(lines))
}

/// The rule that is broken; panics if none is.
fn broken(lines: Vec<Line>) -> &'static str {
    let verdict = judge(lines);
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

fn put(from: u64, to: u64, key: &'static str, value: &'static str, revision: Revision) -> Line {
    (from, to, Call::put(key, value), Outcome::ok(revision, Found::Put))
}

fn lost(from: u64, call: Call) -> Line {
    (from, u64::MAX, call, Outcome::Unknown)
}

fn get(from: u64, to: u64, at: Revision, shown: Option<(&'static str, Revision, i64)>) -> Line {
    let item = shown.map(|(value, revision, version)| Item {
        value: value.into(),
        mod_revision: Some(revision),
        version: Some(version),
        create_revision: None,
    });
    (from, to, Call::get("k"), Outcome::ok(at, Found::Get(item)))
}

#[test]
fn the_store_s_own_order_explains_a_good_history() {
    let lines = vec![
        put(0, 5, "k", "1", 3),
        put(0, 5, "k", "2", 2),
        get(6, 7, 3, Some(("1", 3, 2))),
        get(0, 1, 1, None),
        (8, 9, Call::delete("k"), Outcome::ok(4, Found::Delete(1))),
        (8, 9, Call::delete("k"), Outcome::ok(4, Found::Delete(0))),
    ];
    assert_eq!(judge(lines), Verdict::Holds);
}

#[test]
fn a_stale_read_is_explained_in_a_few_lines() {
    let history =
        history(vec![put(0, 1, "k", "1", 2), put(2, 3, "k", "2", 3), get(4, 5, 2, Some(("1", 2, 1)))]);
    let verdict = check_revisions(&history);
    assert_eq!(
        verdict.violation().unwrap().explain(&history).to_string(),
        "stale read: expected operation 2 at revision 3 or later, as operation 1 had returned before it was \
         invoked; found revision 2\n  \
         op 2 client 3: get k [0.000004ms..0.000005ms] -> 1 (mod 2, version 1) at revision 2\n  \
         op 1 client 2: put k = 2 [0.000002ms..0.000003ms] -> ok at revision 3"
    );
}

#[test]
fn a_read_shows_the_state_at_its_revision() {
    let puts = || vec![put(0, 1, "k", "1", 2), put(2, 3, "k", "2", 3)];
    assert_eq!(broken([puts(), vec![get(4, 5, 3, Some(("1", 2, 1)))]].concat()), "wrong read");
    assert_eq!(broken([puts(), vec![get(4, 5, 3, Some(("2", 3, 3)))]].concat()), "wrong read");
    assert_eq!(broken([puts(), vec![get(4, 5, 3, None)]].concat()), "wrong read");
    assert_eq!(broken([puts(), vec![get(4, 5, 3, Some(("3", 3, 2)))]].concat()), "phantom value");
}

#[test]
fn every_revision_has_one_writer() {
    assert_eq!(broken(vec![put(0, 1, "k", "1", 3)]), "revision gap");
    let twice = vec![put(0, 1, "k", "1", 2), put(0, 1, "a", "2", 2)];
    assert_eq!(broken(twice), "two writes at one revision");
    assert_eq!(broken(vec![put(0, 1, "k", "1", 1)]), "revision too low");
    assert_eq!(broken(vec![put(0, 1, "k", "1", Revision::MAX)]), "revision gap");
    assert_eq!(broken(vec![put(0, 1, "k", "1", Revision::MIN)]), "revision too low");
    let moved =
        vec![lost(0, Call::put("k", "1")), get(1, 2, 2, Some(("1", 2, 1))), get(3, 4, 3, Some(("1", 3, 1)))];
    assert_eq!(broken([moved, vec![put(0, 9, "a", "2", 3)]].concat()), "one write at two revisions");
}

#[test]
fn unseen_writes_fill_gaps_where_they_fit() {
    // Revision 3 must be the delete, as the next put creates the key anew; revision 4 is then the put of `a`.
    let lines = vec![
        put(0, 1, "k", "1", 2),
        lost(2, Call::put("a", "x")),
        lost(2, Call::delete("k")),
        get(4, 5, 3, None),
        put(6, 7, "k", "2", 5),
        get(8, 9, 5, Some(("2", 5, 1))),
    ];
    assert_eq!(judge(lines.clone()), Verdict::Holds);
    // Without the put of `a` nothing can have made revision 4.
    let without: Vec<Line> = lines.into_iter().filter(|line| line.2 != Call::put("a", "x")).collect();
    assert_eq!(broken(without), "revision gap");
}

#[test]
fn an_unseen_write_is_not_older_than_its_invocation() {
    let lines = vec![put(0, 1, "k", "1", 3), get(2, 3, 3, Some(("1", 3, 1))), lost(4, Call::put("a", "x"))];
    assert_eq!(broken(lines), "revision gap");
}

#[test]
fn a_watcher_is_judged_and_believed() {
    let mut history = history(vec![lost(0, Call::put("k", "1")), lost(0, Call::put("k", "2"))]);
    let change = |revision, value: Option<&'static str>| Change {
        revision,
        key: "k".into(),
        value: value.map(Into::into),
    };
    history.changes = vec![change(2, Some("2")), change(3, Some("1"))];
    assert_eq!(check_revisions(&history), Verdict::Holds);
    history.changes = vec![change(2, Some("2")), change(2, Some("1"))];
    assert_eq!(check_revisions(&history).violation().unwrap().rule, "two writes at one revision");
    history.changes = vec![change(2, Some("2")), change(3, None)];
    assert_eq!(check_revisions(&history).violation().unwrap().rule, "revision gap");
    history.changes = vec![change(3, Some("2")), change(2, Some("1"))];
    assert_eq!(check_revisions(&history).violation().unwrap().rule, "changes out of order");
}

#[test]
fn serializable_reads_may_be_old_but_neither_wrong_nor_from_the_future() {
    let with_read = |invoked, returned, at, shown| {
        let read = get(invoked, returned, at, shown);
        let lines = history(vec![put(0, 1, "k", "1", 2), put(10, 11, "k", "2", 3), read]);
        let mut operations = lines.operations().to_vec();
        let read = operations.iter_mut().find(|operation| !operation.call.may_write()).unwrap();
        read.level = Level::Serializable;
        check_revisions(&History::from_operations(operations))
    };
    assert!(with_read(20, 21, 1, None).holds());
    assert!(with_read(20, 21, 2, Some(("1", 2, 1))).holds());
    assert_eq!(with_read(20, 21, 2, None).violation().unwrap().rule, "wrong read");
    assert_eq!(with_read(2, 3, 3, Some(("2", 3, 2))).violation().unwrap().rule, "read of the future");
}

#[test]
fn a_transaction_took_the_branch_that_its_compares_demand() {
    let swap = |succeeded, revision| {
        let compare = vec![Compare::ModRevision("k".into(), 2)];
        let call = Call::txn(compare, vec![Step::Put("k".into(), "2".into())], vec![]);
        let found = if succeeded { vec![Found::Put] } else { vec![] };
        (2, 3, call, Outcome::Answered { revision: Some(revision), answer: Answer::Txn { succeeded, found } })
    };
    assert_eq!(judge(vec![put(0, 1, "k", "1", 2), swap(true, 3)]), Verdict::Holds);
    assert_eq!(broken(vec![put(0, 1, "k", "1", 2), swap(false, 2)]), "wrong read");
}

#[test]
fn what_it_cannot_judge_it_does_not_judge() {
    let unnamed =
        (0, 1, Call::get("k"), Outcome::Answered { revision: None, answer: Answer::One(Found::Get(None)) });
    assert!(matches!(judge(vec![unnamed]), Verdict::Undecided { .. }));
    let twice = vec![put(0, 1, "k", "1", 2), put(2, 3, "k", "1", 3)];
    assert!(matches!(judge(twice), Verdict::Undecided { .. }));
}

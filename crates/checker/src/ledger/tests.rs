//! Each rule, broken once.

use types::Time;

use super::*;
use crate::{Change, ClientId, Compare};

/// Two puts and a delete acknowledged, one put unanswered that happened, one refused.
fn history() -> History {
    let mut history = History::new();
    let mut now = 0;
    let mut add = |call, outcome| {
        now += 1;
        let op = history.invoke(ClientId(now), Time(now), call);
        history.complete(op, Time(now), outcome);
    };
    add(Call::put("a", "1"), Outcome::ok(2, Found::Put));
    add(Call::put("b", "2"), Outcome::ok(3, Found::Put));
    add(Call::put("b", "3"), Outcome::Unknown);
    add(Call::delete("a"), Outcome::ok(5, Found::Delete(1)));
    add(Call::delete("a"), Outcome::ok(5, Found::Delete(0)));
    add(Call::put("c", "4"), Outcome::Refused);
    let steps = vec![Step::Put("c".into(), "5".into()), Step::Put("d".into(), "6".into())];
    let txn = Call::txn(vec![Compare::Version("c".into(), 0)], steps, vec![]);
    let answer = Answer::Txn { succeeded: true, found: vec![Found::Put, Found::Put] };
    add(txn, Outcome::Answered { revision: Some(6), answer });
    history
}

fn changes() -> Vec<Change> {
    let change = |revision, key: &'static str, value: Option<&'static str>| Change {
        revision,
        key: key.into(),
        value: value.map(Into::into),
    };
    vec![
        change(2, "a", Some("1")),
        change(3, "b", Some("2")),
        change(4, "b", Some("3")),
        change(5, "a", None),
        change(6, "c", Some("5")),
        change(6, "d", Some("6")),
    ]
}

fn last() -> FinalState {
    let item = |value: &'static str, modified, created, version| Item {
        value: value.into(),
        mod_revision: Some(modified),
        create_revision: Some(created),
        version: Some(version),
    };
    let items = vec![
        ("b".into(), item("3", 4, 3, 2)),
        ("c".into(), item("5", 6, 6, 1)),
        ("d".into(), item("6", 6, 6, 1)),
    ];
    FinalState { revision: 6, items }
}

/// The rule that is broken after a change to what the store holds.
fn broken_by(edit: impl FnOnce(&mut Vec<Change>, &mut FinalState)) -> &'static str {
    let (mut history, mut changes, mut last) = (history(), changes(), last());
    edit(&mut changes, &mut last);
    history.changes = changes;
    let verdict = check_ledger(&history, &last);
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

#[test]
fn everything_acknowledged_is_there_once() {
    let mut history = history();
    assert_eq!(check_ledger(&history, &last()), Verdict::Holds, "without a watcher");
    history.changes = changes();
    assert_eq!(check_ledger(&history, &last()), Verdict::Holds);
}

#[test]
fn a_lost_write_is_named() {
    assert_eq!(broken_by(|changes, _| drop(changes.remove(1))), "acknowledged write lost");
    assert_eq!(
        broken_by(|changes, last| {
            changes.clear();
            last.revision = 5
        }),
        "acknowledged write lost"
    );
    assert_eq!(
        broken_by(|changes, last| {
            changes.clear();
            last.items.remove(0);
        }),
        "acknowledged write lost"
    );
    assert_eq!(
        broken_by(|changes, last| {
            changes.clear();
            last.items.push(("a".into(), Item { value: "1".into(), ..Item::default() }));
        }),
        "acknowledged write lost",
        "a deleted key came back"
    );
}

#[test]
fn half_a_transaction_is_named() {
    assert_eq!(broken_by(|changes, _| drop(changes.pop())), "acknowledged write changed");
}

#[test]
fn a_write_that_happens_twice_is_named() {
    assert_eq!(
        broken_by(|changes, _| changes[3] = Change { revision: 5, ..changes[2].clone() }),
        "write applied twice"
    );
}

#[test]
fn what_nobody_wrote_is_named() {
    assert_eq!(broken_by(|changes, _| changes[2].value = Some("9".into())), "phantom write");
    assert_eq!(
        broken_by(|changes, _| changes[2].value = Some("4".into())),
        "phantom write",
        "it was refused"
    );
    assert_eq!(broken_by(|changes, _| changes[2].value = None), "phantom write");
    assert_eq!(
        broken_by(|changes, last| {
            changes.clear();
            last.items[0].1.value = "9".into()
        }),
        "phantom write"
    );
}

#[test]
fn a_final_state_that_is_not_what_the_changes_make_is_named() {
    assert_eq!(
        broken_by(|_, last| last.items[0].1.version = Some(3)),
        "final state differs from the changes"
    );
    assert_eq!(broken_by(|_, last| last.items[1].1.mod_revision = Some(5)), "acknowledged write moved");
}

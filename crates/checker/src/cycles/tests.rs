//! Every anomaly, in the fewest transactions that show it.

use types::Time;

use super::*;

const X: Key = 1;
const Y: Key = 2;

fn txn(id: u64, from: u64, to: u64, actions: Vec<Action>) -> Transaction {
    Transaction {
        id: OpId(id),
        process: ClientId(id),
        invoked: Time(from),
        returned: Some(Time(to)),
        ended: Ended::Committed,
        actions,
    }
}

/// A transaction that is concurrent with all others of its kind.
fn during(id: u64, actions: Vec<Action>) -> Transaction {
    txn(id, 0, 100, actions)
}

fn ended(ended: Ended, txn: Transaction) -> Transaction {
    Transaction { ended, ..txn }
}

fn append(key: Key, value: Value) -> Action {
    Action::Append { key, value }
}

fn list<const N: usize>(key: Key, values: [Value; N]) -> Action {
    Action::ReadList { key, values: values.to_vec() }
}

fn write(key: Key, value: Value) -> Action {
    Action::Write { key, value, revision: None }
}

fn read(key: Key, value: Value) -> Action {
    Action::Read { key, value: (value > 0).then_some(value), revision: None }
}

fn judge(list: Vec<Transaction>) -> Verdict {
    check_cycles(&Transactions { list, ..Transactions::default() })
}

fn broken(list: Vec<Transaction>) -> &'static str {
    let verdict = judge(list);
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

#[test]
fn transactions_in_one_order_hold() {
    let lists = vec![
        txn(1, 0, 5, vec![append(X, 1), append(Y, 1), list(X, [1])]),
        txn(2, 0, 9, vec![list(X, [1]), append(X, 2)]),
        ended(Ended::Unknown, txn(3, 0, 1, vec![append(X, 3)])),
        ended(Ended::Aborted, txn(4, 0, 1, vec![append(X, 4)])),
        txn(5, 10, 11, vec![list(X, [1, 2]), list(Y, [1])]),
        txn(6, 12, 13, vec![list(X, [1, 2, 3]), append(X, 6)]),
    ];
    assert_eq!(judge(lists), Verdict::Holds);
    let registers = vec![
        txn(1, 0, 5, vec![read(X, 0), write(X, 1), write(X, 2), read(X, 2)]),
        ended(Ended::Unknown, txn(2, 0, 1, vec![write(X, 3), write(Y, 3)])),
        txn(3, 6, 7, vec![read(X, 2), read(Y, 0)]),
        txn(4, 8, 9, vec![read(X, 3), read(Y, 3)]),
    ];
    assert_eq!(judge(registers), Verdict::Holds);
}

#[test]
fn a_transaction_that_contradicts_itself() {
    let rule = "internal inconsistency";
    assert_eq!(broken(vec![during(1, vec![append(X, 1), list(X, [])])]), rule);
    assert_eq!(broken(vec![during(1, vec![list(X, [1]), append(X, 1)])]), rule);
    let other = during(2, vec![append(X, 2)]);
    assert_eq!(broken(vec![during(1, vec![list(X, []), append(X, 1), list(X, [2, 1])]), other]), rule);
    assert_eq!(broken(vec![during(1, vec![write(X, 1), read(X, 0)])]), rule);
    assert_eq!(broken(vec![during(1, vec![read(X, 1), write(X, 1)])]), rule);
    let other = during(2, vec![write(X, 2)]);
    assert_eq!(broken(vec![during(1, vec![read(X, 0), read(X, 2)]), other]), rule);
}

#[test]
fn a_read_of_what_nobody_wrote() {
    assert_eq!(broken(vec![during(1, vec![list(X, [7])])]), "phantom value");
    assert_eq!(broken(vec![during(1, vec![read(X, 7)]), during(2, vec![write(Y, 7)])]), "phantom value");
}

#[test]
fn a_read_of_what_was_aborted() {
    let aborted = |action| ended(Ended::Aborted, during(1, vec![action]));
    assert_eq!(broken(vec![aborted(append(X, 1)), during(2, vec![list(X, [1])])]), "G1a (aborted read)");
    assert_eq!(broken(vec![aborted(write(X, 1)), during(2, vec![read(X, 1)])]), "G1a (aborted read)");
    let top = vec![aborted(append(X, 1)), during(2, vec![append(X, 2)]), during(3, vec![list(X, [1, 2])])];
    assert_eq!(broken(top), "dirty update");
    assert_eq!(broken(vec![aborted(write(X, 1)), during(2, vec![read(X, 1), write(X, 2)])]), "dirty update");
}

#[test]
fn a_read_in_the_middle_of_a_transaction() {
    let lists = vec![during(1, vec![append(X, 1), append(X, 2)]), during(2, vec![list(X, [1])])];
    assert_eq!(broken(lists), "G1b (intermediate read)");
    let registers = vec![during(1, vec![write(X, 1), write(X, 2)]), during(2, vec![read(X, 1)])];
    assert_eq!(broken(registers), "G1b (intermediate read)");
}

#[test]
fn lists_that_cannot_be_one_list() {
    let writes = during(1, vec![append(X, 1)]);
    assert_eq!(broken(vec![writes.clone(), during(2, vec![list(X, [1, 1])])]), "duplicate element");
    let other = during(2, vec![append(X, 2)]);
    let reads = [during(3, vec![list(X, [1, 2])]), during(4, vec![list(X, [2])])];
    assert_eq!(broken([vec![writes, other], reads.to_vec()].concat()), "incompatible order");
    let both = during(1, vec![append(X, 1), append(X, 2)]);
    assert_eq!(broken(vec![both, during(2, vec![list(X, [2, 1])])]), "incompatible order");
}

#[test]
fn an_update_that_another_update_did_not_see() {
    let updates = vec![during(1, vec![read(X, 0), write(X, 1)]), during(2, vec![read(X, 0), write(X, 2)])];
    assert_eq!(broken(updates), "lost update");
    // The same on lists is a circle: each missed the other's append, and one of them is missing in the list.
    let updates = vec![
        during(1, vec![list(X, []), append(X, 1)]),
        during(2, vec![list(X, []), append(X, 2)]),
        during(3, vec![list(X, [1, 2])]),
    ];
    assert_eq!(broken(updates), "G-single");
}

#[test]
fn writes_in_a_circle() {
    let lists = vec![
        during(1, vec![append(X, 1), append(Y, 1)]),
        during(2, vec![append(X, 2), append(Y, 2)]),
        during(3, vec![list(X, [1, 2])]),
        during(4, vec![list(Y, [2, 1])]),
    ];
    let verdict = judge(lists);
    assert_eq!(
        verdict.to_string(),
        "G0: expected transactions in one order; found a circle of 2: \
         operation 1 appended 1 to 1 before operation 2 appended 2; \
         operation 2 appended 2 to 2 before operation 1 appended 1"
    );
}

#[test]
fn a_circle_of_reads_that_saw_each_other() {
    let registers = vec![during(1, vec![write(X, 1), read(Y, 2)]), during(2, vec![write(Y, 2), read(X, 1)])];
    assert_eq!(broken(registers), "G1c");
}

#[test]
fn a_read_of_half_a_transaction() {
    let lists = vec![
        during(1, vec![append(X, 1), append(Y, 1)]),
        during(2, vec![list(X, [1]), list(Y, [])]),
        during(3, vec![list(Y, [1])]),
    ];
    assert_eq!(broken(lists), "G-single");
    let registers = vec![during(1, vec![write(X, 1), write(Y, 1)]), during(2, vec![read(X, 1), read(Y, 0)])];
    assert_eq!(broken(registers), "G-single");
    // Nobody ever read the list, so the append is known only to have happened.
    let unseen =
        vec![during(1, vec![append(X, 1), append(Y, 1)]), during(2, vec![list(X, [1]), list(Y, [])])];
    assert_eq!(broken(unseen), "G-single");
}

#[test]
fn write_skew() {
    let registers = vec![
        during(1, vec![read(X, 0), read(Y, 0), write(X, 1)]),
        during(2, vec![read(X, 0), read(Y, 0), write(Y, 2)]),
    ];
    assert_eq!(broken(registers), "G2");
}

#[test]
fn what_only_a_client_s_own_order_or_real_time_forbids() {
    let by = |client, txn: Transaction| Transaction { process: ClientId(client), ..txn };
    let stale = |client| {
        vec![
            txn(1, 0, 1, vec![append(X, 1)]),
            by(client, txn(2, 2, 3, vec![list(X, [1])])),
            by(client + 1 - client % 2, txn(3, 4, 5, vec![list(X, [])])),
        ]
    };
    assert_eq!(broken(stale(7)), "G-single-process", "client 7 reads back in time");
    let violation = judge(stale(8)).violation().cloned().unwrap();
    assert_eq!(
        violation.to_string(),
        "G-single-realtime: expected transactions in one order; found a circle of 2: \
         operation 3 read 1 = [], before operation 1 appended 1; \
         operation 1 returned before operation 3 was invoked"
    );
    let future = vec![txn(1, 0, 1, vec![read(X, 1)]), txn(2, 2, 3, vec![write(X, 1)])];
    assert_eq!(broken(future), "G1c-realtime");
    let late = vec![
        txn(1, 0, 1, vec![append(X, 1)]),
        txn(2, 2, 3, vec![append(X, 2)]),
        during(3, vec![list(X, [2, 1])]),
    ];
    assert_eq!(broken(late), "G0-realtime");
    // What touches is concurrent.
    assert!(judge(vec![txn(1, 0, 2, vec![read(X, 1)]), txn(2, 2, 3, vec![write(X, 1)])]).holds());
}

#[test]
fn revisions_order_what_values_leave_open() {
    let at = |key, value, revision| Action::Write { key, value, revision: Some(revision) };
    let skewed = |revisions: [Revision; 2]| {
        vec![
            during(1, vec![at(X, 1, revisions[0]), write(Y, 1)]),
            during(2, vec![at(X, 2, revisions[1]), read(Y, 0)]),
        ]
    };
    assert!(judge(skewed([6, 5])).holds());
    assert_eq!(broken(skewed([5, 6])), "G-single");
    let told = Action::Read { key: X, value: Some(1), revision: Some(4) };
    assert_eq!(
        broken(vec![during(1, vec![at(X, 1, 5)]), during(2, vec![told])]),
        "one write at two revisions"
    );
}

#[test]
fn versions_in_a_circle() {
    let violation = judge(vec![
        during(1, vec![write(X, 1)]),
        during(2, vec![write(X, 2)]),
        txn(3, 10, 20, vec![read(X, 1)]),
        txn(4, 30, 40, vec![read(X, 2)]),
        txn(5, 50, 60, vec![read(X, 1)]),
    ]);
    assert_eq!(
        violation.to_string(),
        "cyclic version order: expected versions of 1 in one order; \
         found 1 before 2, as operation 3 was over before operation 4 was invoked; \
         2 before 1, as operation 4 was over before operation 5 was invoked"
    );
}

#[test]
fn a_value_written_twice_leaves_the_checker_undecided() {
    let twice = vec![during(1, vec![write(X, 1)]), during(2, vec![write(X, 1)])];
    assert_eq!(judge(twice).to_string(), "undecided: 1 is written to 1 twice");
}

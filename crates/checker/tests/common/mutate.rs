//! Changes to a good history that no correct store could have caused. Each looks for a place where real time or
//! the uniqueness of values makes that certain, and does nothing if there is none.

use bytes::Bytes;
use checker::{
    Answer, Call, Change, Compare, Found, History, Item, Level, Operation, Outcome, Revision, Step,
};
use types::{Rng, Time};

use super::view::{Read, View, Write};

/// One way to spoil a history.
pub struct Operator {
    pub name: &'static str,
    /// Whether values alone show it; otherwise only revisions do, and only C1 is bound to reject it.
    pub by_values: bool,
    /// Whether C4 is bound to reject it: a dependency between transactions shows it, not only a version, a count, a
    /// deletion or the bare order of revisions.
    pub by_cycles: bool,
    pub spoil: fn(&History, &mut Rng) -> Option<History>,
}

const fn operator(
    name: &'static str,
    by_values: bool,
    by_cycles: bool,
    spoil: fn(&History, &mut Rng) -> Option<History>,
) -> Operator {
    Operator { name, by_values, by_cycles, spoil }
}

pub const OPERATORS: &[Operator] = &[
    operator("stale read", true, true, stale_read),
    operator("stale read, stale revision too", true, true, stale_read_and_revision),
    operator("deleted key comes back", true, true, resurrection),
    operator("read misses an acknowledged write", true, false, missed_write),
    operator("range leaves a key out", true, false, range_hole),
    operator("phantom value", true, true, phantom),
    operator("refused write is seen", true, true, refused_but_seen),
    operator("write dropped from history", true, true, dropped_write),
    operator("future read", true, true, future_read),
    operator("write invoked after it was seen", true, true, late_invocation),
    operator("two reads swapped", true, true, swapped_reads),
    operator("write applied twice", true, false, applied_twice),
    operator("transaction seen in part", true, true, partial_txn),
    operator("failed swap reported as done", true, true, false_swap),
    operator("key created twice", true, false, created_twice),
    operator("delete counts a missing key", true, false, deleted_nothing),
    operator("delete misses a key", true, false, missed_delete),
    operator("wrong mod revision", false, false, wrong_mod_revision),
    operator("two revisions exchanged", false, false, exchanged_revisions),
    operator("two writes at one revision", false, false, shared_revision),
    operator("revision gap", false, false, revision_gap),
    operator("read at an old revision", false, false, old_revision),
    operator("serializable read of two states", false, false, mixed_state),
    operator("watcher misses a change", false, false, missed_change),
    operator("watcher sees a change twice", false, false, repeated_change),
    operator("watcher sees another value", false, false, altered_change),
];

/// The history with one operation changed.
fn edited(history: &History, op: usize, edit: impl FnOnce(&mut Operation)) -> History {
    let mut operations = history.operations().to_vec();
    edit(&mut operations[op]);
    rebuilt(history, operations)
}

fn rebuilt(history: &History, operations: Vec<Operation>) -> History {
    let mut edited = History::from_operations(operations);
    edited.changes = history.changes.clone();
    edited
}

fn answer_get(operation: &mut Operation, item: Option<Item>) {
    if let Outcome::Answered { answer, .. } = &mut operation.outcome {
        *answer = Answer::One(Found::Get(item));
    }
}

fn shown(write: &Write) -> Option<Item> {
    let value = write.value.clone()?;
    Some(Item { value, mod_revision: write.revision, ..Item::default() })
}

/// One of the places that `places` offers.
fn one<T>(rng: &mut Rng, mut places: Vec<T>) -> Option<T> {
    let index = usize::try_from(rng.below(places.len() as u64)).ok()?;
    (!places.is_empty()).then(|| places.swap_remove(index))
}

/// Reads with a value that was certainly overwritten, or deleted, before the read was asked.
fn overwritten<'v>(view: &'v View<'_>, by_delete: bool) -> Vec<(Read, &'v Write)> {
    let mut places = Vec::new();
    for read in view.reads() {
        let newer: Vec<&Write> = view
            .acked(&read.key)
            .filter(|newer| newer.value.is_none() == by_delete && view.before(newer.op, read.op))
            .collect();
        let old = view.acked(&read.key).filter(|old| old.value.is_some());
        for old in old.filter(|old| newer.iter().any(|newer| view.before(old.op, newer.op))) {
            places.push((Read { op: read.op, key: read.key.clone(), item: read.item.clone() }, old));
        }
    }
    places
}

fn stale_read(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (read, old) = one(rng, overwritten(&view, false))?;
    Some(edited(history, read.op, |op| answer_get(op, shown(old))))
}

fn stale_read_and_revision(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (read, old) = one(rng, overwritten(&view, false))?;
    let outcome = Outcome::ok(old.revision?, Found::Get(shown(old)));
    Some(edited(history, read.op, |op| op.outcome = outcome))
}

fn resurrection(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (read, old) = one(rng, overwritten(&view, true))?;
    Some(edited(history, read.op, |op| answer_get(op, shown(old))))
}

fn missed_write(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let reads = view.reads().filter(|read| view.exists_for(&read.key, read.op)).collect();
    let read = one(rng, reads)?;
    Some(edited(history, read.op, |op| answer_get(op, None)))
}

fn range_hole(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for (index, op) in view.ops.iter().enumerate().filter(|(_, op)| op.level == Level::Linearizable) {
        if let Some(Answer::One(Found::Range(items))) = op.outcome.answer() {
            let holes = items.iter().enumerate().filter(|(_, (key, _))| view.exists_for(key, index));
            places.extend(holes.map(|(hole, _)| (index, hole)));
        }
    }
    let (op, hole) = one(rng, places)?;
    Some(edited(history, op, |op| {
        if let Outcome::Answered { answer: Answer::One(Found::Range(items)), .. } = &mut op.outcome {
            items.remove(hole);
        }
    }))
}

fn phantom(history: &History, rng: &mut Rng) -> Option<History> {
    let read = one(rng, View::new(history).reads().collect())?;
    let item = Item { value: "nobody wrote this".into(), ..Item::default() };
    Some(edited(history, read.op, |op| answer_get(op, Some(item))))
}

/// Writes whose value somebody saw.
fn seen<'v>(view: &'v View<'_>) -> Vec<(&'v Write, usize)> {
    let puts = view.writes.iter().filter_map(|write| Some((write, write.value.as_ref()?)));
    puts.filter_map(|(write, value)| Some((write, view.seen_by(value).find(|reader| *reader != write.op)?)))
        .collect()
}

fn refused_but_seen(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (write, _) = one(rng, seen(&view))?;
    Some(edited(history, write.op, |op| {
        op.outcome = Outcome::Refused;
        op.returned = op.returned.or(Some(op.invoked));
    }))
}

fn dropped_write(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (write, _) = one(rng, seen(&view))?;
    let mut operations = history.operations().to_vec();
    operations.remove(write.op);
    Some(rebuilt(history, operations))
}

fn future_read(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for read in view.reads() {
        let later = view.writes.iter().filter(|put| put.value.is_some() && put.key == read.key);
        places.extend(later.filter(|put| view.before(read.op, put.op)).map(|put| (read.op, put)));
    }
    let (read, put) = one(rng, places)?;
    Some(edited(history, read, |op| answer_get(op, shown(put))))
}

fn late_invocation(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let linearizable = |reader: usize| view.ops[reader].level == Level::Linearizable;
    let places = seen(&view).into_iter().filter(|(_, reader)| linearizable(*reader)).collect();
    let (write, reader) = one(rng, places)?;
    let late = Time(view.ops[reader].returned?.0 + 1);
    Some(edited(history, write.op, |op| {
        op.invoked = late;
        op.returned = op.returned.map(|returned| returned.max(late));
    }))
}

fn swapped_reads(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let (reads, mut places) = (view.reads().collect::<Vec<_>>(), Vec::new());
    let writer = |read: &Read| view.writer(&read.item.as_ref()?.value);
    for first in &reads {
        for second in reads.iter().filter(|read| read.key == first.key && view.before(first.op, read.op)) {
            if let (Some(old), Some(new)) = (writer(first), writer(second))
                && view.before(old.op, new.op)
            {
                places.push((first.op, second.op));
            }
        }
    }
    let (first, second) = one(rng, places)?;
    let mut operations = history.operations().to_vec();
    let outcome = operations[first].outcome.clone();
    operations[first].outcome = std::mem::replace(&mut operations[second].outcome, outcome);
    Some(rebuilt(history, operations))
}

fn applied_twice(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    // Every write to the key has its fixed place: nobody else's puts can explain a higher version.
    let ordered = |key: &Bytes| {
        let writes: Vec<&Write> = view.acked(key).collect();
        writes.iter().all(|a| {
            writes.iter().all(|b| a.op == b.op || view.before(a.op, b.op) || view.before(b.op, a.op))
        })
    };
    let certain = |read: &Read| read.item.is_some() && !view.unknown_writes(&read.key) && ordered(&read.key);
    let read = one(rng, view.reads().filter(certain).collect())?;
    let mut item = read.item?;
    item.version = Some(item.version? + 1);
    Some(edited(history, read.op, |op| answer_get(op, Some(item))))
}

/// A transaction read two keys and saw one of two puts of another transaction; now it misses the other put.
fn partial_txn(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for put in view.writes.iter().filter(|write| write.acked && write.value.is_some()) {
        let others = view.writes.iter().filter(|other| other.op == put.op && other.key != put.key);
        for other in others.filter(|other| other.value.is_some()) {
            let old = view.acked(&other.key).filter(|old| old.value.is_some() && view.before(old.op, put.op));
            let old: Vec<&Write> = old.collect();
            for reader in view.seen_by(put.value.as_ref()?).filter(|reader| *reader != put.op) {
                places.extend(
                    old.iter()
                        .filter_map(|old| Some((reader, step_of(&view.ops[reader], &other.key)?, *old))),
                );
            }
        }
    }
    let (reader, step, old) = one(rng, places)?;
    Some(edited(history, reader, |op| {
        if let Outcome::Answered { answer: Answer::Txn { found, .. }, .. } = &mut op.outcome {
            found[step] = Found::Get(shown(old));
        }
    }))
}

/// Which step of a transaction that only reads gets `key`.
fn step_of(operation: &Operation, key: &Bytes) -> Option<usize> {
    let (Call::Txn(txn), Some(Answer::Txn { succeeded: true, .. })) =
        (&operation.call, operation.outcome.answer())
    else {
        return None;
    };
    let reads = !txn.then.iter().any(Step::writes) && operation.level == Level::Linearizable;
    txn.then.iter().position(|step| reads && *step == Step::Get(key.clone()))
}

/// Answers a failed transaction as if its compares had held.
fn succeed(operation: &mut Operation) {
    let Call::Txn(txn) = &operation.call else { return };
    let found = txn.then.iter().map(|step| match step {
        Step::Put(..) => Found::Put,
        Step::Delete(_) => Found::Delete(1),
        Step::Get(_) | Step::Range(..) => Found::Get(None),
    });
    let answer = Answer::Txn { succeeded: true, found: found.collect() };
    operation.outcome = Outcome::Answered { revision: operation.outcome.revision(), answer };
}

fn failed_txns<'v>(view: &'v View<'_>) -> impl Iterator<Item = (usize, &'v Compare)> + 'v {
    view.ops.iter().enumerate().filter_map(|(index, op)| match (&op.call, op.outcome.answer()) {
        (Call::Txn(txn), Some(Answer::Txn { succeeded: false, .. })) => Some((index, txn.compare.first()?)),
        _ => None,
    })
}

fn false_swap(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for (txn, compare) in failed_txns(&view) {
        let Compare::ModRevision(key, revision) = compare else { continue };
        let Some(old) = view.acked(key).find(|old| old.revision == Some(*revision)) else { continue };
        let mut newer = view.acked(key);
        let overwritten = newer.any(|newer| view.before(old.op, newer.op) && view.before(newer.op, txn));
        if overwritten && !view.unknown_writes(key) {
            places.push(txn);
        }
    }
    let txn = one(rng, places)?;
    Some(edited(history, txn, succeed))
}

fn created_twice(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let certain = |(txn, compare): (usize, &Compare)| match compare {
        Compare::Version(key, 0) if view.exists_for(key, txn) => Some(txn),
        _ => None,
    };
    let txn = one(rng, failed_txns(&view).filter_map(certain).collect())?;
    Some(edited(history, txn, succeed))
}

fn deletes<'v>(view: &'v View<'_>, count: i64) -> impl Iterator<Item = (usize, &'v Bytes)> + 'v {
    view.ops.iter().enumerate().filter_map(move |(index, op)| match (&op.call, op.outcome.answer()) {
        (Call::One(Step::Delete(key)), Some(Answer::One(Found::Delete(found)))) if *found == count => {
            Some((index, key))
        }
        _ => None,
    })
}

fn answer_delete(operation: &mut Operation, count: i64) {
    if let Outcome::Answered { answer, .. } = &mut operation.outcome {
        *answer = Answer::One(Found::Delete(count));
    }
}

fn deleted_nothing(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let never_put = |delete: usize, key: &Bytes| {
        let mut puts = view.writes.iter().filter(|write| write.key == *key && write.value.is_some());
        puts.all(|put| view.before(delete, put.op))
    };
    let places = deletes(&view, 0).filter(|(op, key)| never_put(*op, key)).map(|(op, _)| op).collect();
    let delete = one(rng, places)?;
    Some(edited(history, delete, |op| answer_delete(op, 1)))
}

fn missed_delete(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let places = deletes(&view, 1).filter(|(op, key)| view.exists_for(key, *op)).map(|(op, _)| op).collect();
    let delete = one(rng, places)?;
    Some(edited(history, delete, |op| answer_delete(op, 0)))
}

fn wrong_mod_revision(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let read = one(rng, view.reads().filter(|read| read.item.is_some()).collect())?;
    let mut item = read.item?;
    item.mod_revision = Some(item.mod_revision? - 1);
    Some(edited(history, read.op, |op| answer_get(op, Some(item))))
}

fn set_revision(operation: &mut Operation, new: Revision) {
    if let Outcome::Answered { revision, .. } = &mut operation.outcome {
        *revision = Some(new);
    }
}

/// Two acknowledged writes, the first of which returned before the second was asked.
fn two_writes(view: &View<'_>, rng: &mut Rng) -> Option<(Write, Write)> {
    let acked: Vec<&Write> = view.writes.iter().filter(|write| write.acked).collect();
    let after = |first: &&Write| {
        let (first, acked) = ((*first).clone(), acked.clone());
        let later =
            acked.into_iter().filter(|second| view.before(first.op, second.op)).cloned().collect::<Vec<_>>();
        later.into_iter().map(move |second| (first.clone(), second))
    };
    one(rng, acked.iter().flat_map(after).collect())
}

fn exchanged_revisions(history: &History, rng: &mut Rng) -> Option<History> {
    let (first, second) = two_writes(&View::new(history), rng)?;
    let mut operations = history.operations().to_vec();
    set_revision(&mut operations[first.op], second.revision?);
    set_revision(&mut operations[second.op], first.revision?);
    Some(rebuilt(history, operations))
}

fn shared_revision(history: &History, rng: &mut Rng) -> Option<History> {
    let (first, second) = two_writes(&View::new(history), rng)?;
    Some(edited(history, second.op, |op| set_revision(op, first.revision.unwrap())))
}

/// From one write on, everything is one revision later, as if somebody else had written once.
fn revision_gap(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    if view.writes.iter().any(|write| !write.acked) {
        return None;
    }
    let from = one(rng, view.writes.iter().filter_map(|write| write.revision).collect())?;
    let shift = |revision: &mut Revision| *revision += Revision::from(*revision >= from);
    let mut operations = history.operations().to_vec();
    operations.iter_mut().for_each(|operation| shift_revisions(operation, &shift));
    let mut shifted = History::from_operations(operations);
    shifted.changes = history.changes.clone();
    shifted.changes.iter_mut().for_each(|change| shift(&mut change.revision));
    Some(shifted)
}

fn shift_revisions(operation: &mut Operation, shift: &impl Fn(&mut Revision)) {
    if let Call::Txn(txn) = &mut operation.call {
        for compare in &mut txn.compare {
            if let Compare::ModRevision(_, revision) | Compare::CreateRevision(_, revision) = compare {
                shift(revision);
            }
        }
    }
    let Outcome::Answered { revision, answer } = &mut operation.outcome else { return };
    revision.iter_mut().for_each(shift);
    let found = match answer {
        Answer::One(found) => std::slice::from_mut(found),
        Answer::Txn { found, .. } => found,
    };
    for found in found {
        let items: Vec<&mut Item> = match found {
            Found::Get(item) => item.iter_mut().collect(),
            Found::Range(items) => items.iter_mut().map(|(_, item)| item).collect(),
            Found::Put | Found::Delete(_) => Vec::new(),
        };
        for item in items {
            item.mod_revision.iter_mut().chain(&mut item.create_revision).for_each(shift);
        }
    }
}

fn old_revision(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for read in view.reads() {
        let seen = view.writes.iter().filter(|write| write.acked && view.before(write.op, read.op));
        places.extend(seen.filter_map(|write| Some((read.op, write.revision? - 1))));
    }
    let (read, revision) = one(rng, places)?;
    Some(edited(history, read, |op| set_revision(op, revision)))
}

/// A serializable read shows an item that is younger than the revision it names.
fn mixed_state(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for (index, op) in view.ops.iter().enumerate().filter(|(_, op)| op.level == Level::Serializable) {
        let (Call::One(Step::Get(key)), Some(revision)) = (&op.call, op.outcome.revision()) else { continue };
        let younger = view.acked(key).filter(|put| put.value.is_some() && put.revision > Some(revision));
        places.extend(younger.map(|put| (index, put)));
    }
    let (read, put) = one(rng, places)?;
    Some(edited(history, read, |op| answer_get(op, shown(put))))
}

fn change_edited(history: &History, edit: impl FnOnce(&mut Vec<Change>)) -> Option<History> {
    let mut edited = history.clone();
    edit(&mut edited.changes);
    Some(edited)
}

fn missed_change(history: &History, rng: &mut Rng) -> Option<History> {
    // Not the last: a watcher may end early.
    let last = history.changes.len().checked_sub(1)?;
    let missed = one(rng, (0..last).collect())?;
    change_edited(history, |changes| drop(changes.remove(missed)))
}

fn repeated_change(history: &History, rng: &mut Rng) -> Option<History> {
    let last = history.changes.len().checked_sub(1)?;
    let place = one(rng, (0..last).collect())?;
    let again = Change { revision: history.changes[place + 1].revision, ..history.changes[place].clone() };
    if history.changes[place + 1].key == again.key && again.value.is_none() {
        return None;
    }
    change_edited(history, |changes| changes.insert(place + 1, again))
}

fn altered_change(history: &History, rng: &mut Rng) -> Option<History> {
    let view = View::new(history);
    let mut places = Vec::new();
    for (index, change) in history.changes.iter().enumerate() {
        let others = view.acked(&change.key).filter(|put| put.value.is_some() && put.value != change.value);
        places.extend(others.map(|put| (index, put.value.clone())));
    }
    let (place, value) = one(rng, places)?;
    change_edited(history, |changes| changes[place].value = value)
}

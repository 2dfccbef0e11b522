//! Changes to good transactions on lists that no correct store could have caused.

use checker::cycles::{Action, Ended, Key, Transaction, Transactions, Value};
use types::{Rng, Time};

use super::table::{Spoiler, index, one, spoiler};

pub const SPOILERS: &[Spoiler<Transactions>] = &[
    spoiler("list without an acknowledged element", stale_read),
    spoiler("element lost everywhere", lost_element),
    spoiler("element twice in a list", duplicate),
    spoiler("element that nobody appended", phantom),
    spoiler("two elements exchanged in one read", exchanged),
    spoiler("aborted element seen", aborted),
    spoiler("element seen before it was appended", future),
    spoiler("list cut within a transaction", intermediate),
    spoiler("transaction seen in part", partial),
    spoiler("two reads of a list swapped", swapped),
    spoiler("update that did not see an update", lost_update),
    spoiler("own append not seen", own_append),
    spoiler("append invoked after it was seen", late_append),
    spoiler("unanswered append seen in part", half_unknown),
];

/// One read of a committed transaction.
#[derive(Clone, Copy)]
struct Read<'t> {
    txn: usize,
    action: usize,
    key: Key,
    values: &'t [Value],
    /// Whether its transaction appends to the same list.
    updates: bool,
}

fn appends(txn: &Transaction, list: Key) -> impl Iterator<Item = Value> + '_ {
    txn.actions.iter().filter_map(move |action| match action {
        Action::Append { key, value } if *key == list => Some(*value),
        _ => None,
    })
}

fn reads(txns: &Transactions) -> Vec<Read<'_>> {
    let mut reads = Vec::new();
    for (txn, transaction) in txns.list.iter().enumerate().filter(|(_, txn)| txn.ended == Ended::Committed) {
        for (action, done) in transaction.actions.iter().enumerate() {
            if let Action::ReadList { key, values } = done {
                let updates = appends(transaction, *key).next().is_some();
                reads.push(Read { txn, action, key: *key, values, updates });
            }
        }
    }
    reads
}

/// Reads of transactions that read the list once and do not append to it: free of contradictions in themselves.
fn plain_reads(txns: &Transactions) -> Vec<Read<'_>> {
    let all = reads(txns);
    let alone = |read: &Read<'_>| {
        all.iter().filter(|other| (other.txn, other.key) == (read.txn, read.key)).count() == 1
    };
    all.iter().copied().filter(|read| !read.updates && alone(read)).collect()
}

fn writer(txns: &Transactions, key: Key, value: Value) -> Option<usize> {
    txns.list.iter().position(|txn| appends(txn, key).any(|own| own == value))
}

fn before(txns: &Transactions, a: usize, b: usize) -> bool {
    let (a, b) = (&txns.list[a], &txns.list[b]);
    a.ended == Ended::Committed && a.returned < Some(b.invoked)
}

fn with_read(txns: &Transactions, read: &Read<'_>, values: Vec<Value>) -> Transactions {
    let mut txns = txns.clone();
    txns.list[read.txn].actions[read.action] = Action::ReadList { key: read.key, values };
    txns
}

fn stale_read(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let mut places = Vec::new();
    for read in plain_reads(txns) {
        for (at, value) in read.values.iter().enumerate() {
            if writer(txns, read.key, *value).is_some_and(|writer| before(txns, writer, read.txn)) {
                places.push((read, at));
            }
        }
    }
    let (read, at) = one(rng, places)?;
    Some(with_read(txns, &read, read.values[..at].to_vec()))
}

fn lost_element(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let mut places = Vec::new();
    for read in plain_reads(txns) {
        let lost = read.values.iter().filter(|value| {
            writer(txns, read.key, **value).is_some_and(|writer| before(txns, writer, read.txn))
        });
        places.extend(lost.copied());
    }
    let lost = one(rng, places)?;
    let mut txns = txns.clone();
    for action in txns.list.iter_mut().flat_map(|txn| &mut txn.actions) {
        if let Action::ReadList { values, .. } = action {
            values.retain(|value| *value != lost);
        }
    }
    Some(txns)
}

fn duplicate(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let read = one(rng, reads(txns).into_iter().filter(|read| !read.values.is_empty()).collect())?;
    let again = read.values[index(rng, read.values.len())];
    Some(with_read(txns, &read, [read.values, &[again]].concat()))
}

fn phantom(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let read = one(rng, reads(txns))?;
    Some(with_read(txns, &read, [read.values, &[Value::MAX]].concat()))
}

fn exchanged(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let all = reads(txns);
    let also_elsewhere = |read: &Read<'_>| {
        let mut others = all.iter().filter(|other| other.txn != read.txn && other.key == read.key);
        others.any(|other| other.values.len() >= read.values.len())
    };
    let long = all.iter().copied().filter(|read| read.values.len() > 1 && also_elsewhere(read));
    let read = one(rng, long.collect())?;
    let (mut values, at) = (read.values.to_vec(), index(rng, read.values.len() - 1));
    values.swap(at, at + 1);
    Some(with_read(txns, &read, values))
}

/// Values that somebody else than their writer saw, with the writer and the reader.
fn seen(txns: &Transactions) -> Vec<(usize, Read<'_>, Value)> {
    let mut seen = Vec::new();
    for read in reads(txns) {
        let by_others =
            read.values.iter().filter_map(|value| Some((writer(txns, read.key, *value)?, read, *value)));
        seen.extend(by_others.filter(|(writer, ..)| *writer != read.txn));
    }
    seen
}

fn aborted(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let (writer, ..) = one(rng, seen(txns))?;
    let mut txns = txns.clone();
    txns.list[writer].ended = Ended::Aborted;
    Some(txns)
}

fn future(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let mut places = Vec::new();
    for read in plain_reads(txns) {
        let later = txns.list.iter().enumerate().filter(|(index, _)| before(txns, read.txn, *index));
        places.extend(later.flat_map(|(_, txn)| appends(txn, read.key)).map(|value| (read, value)));
    }
    let (read, value) = one(rng, places)?;
    Some(with_read(txns, &read, [read.values, &[value]].concat()))
}

fn intermediate(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let mut places = Vec::new();
    for read in plain_reads(txns) {
        for at in 1..read.values.len() {
            let writers = [at - 1, at].map(|at| writer(txns, read.key, read.values[at]));
            if writers[0].is_some() && writers[0] == writers[1] {
                places.push((read, at));
            }
        }
    }
    let (read, at) = one(rng, places)?;
    Some(with_read(txns, &read, read.values[..at].to_vec()))
}

/// A transaction saw one append of another on one list; on a second list it now misses the other's append.
fn partial(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let (plain, mut places) = (plain_reads(txns), Vec::new());
    for a in &plain {
        for b in plain.iter().filter(|b| b.txn == a.txn && b.key != a.key) {
            for (at, value) in a.values.iter().enumerate() {
                let Some(writer) = writer(txns, a.key, *value) else { continue };
                if appends(&txns.list[writer], b.key).any(|value| b.values.contains(&value)) {
                    places.push((*a, at));
                }
            }
        }
    }
    let (read, at) = one(rng, places)?;
    Some(with_read(txns, &read, read.values[..at].to_vec()))
}

fn swapped(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let (plain, mut places) = (plain_reads(txns), Vec::new());
    for first in &plain {
        let later =
            plain.iter().filter(|second| second.key == first.key && before(txns, first.txn, second.txn));
        places.extend(later.filter(|second| second.values != first.values).map(|second| (*first, *second)));
    }
    let (first, second) = one(rng, places)?;
    let swapped = with_read(txns, &first, second.values.to_vec());
    Some(with_read(&swapped, &second, first.values.to_vec()))
}

/// Of two transactions that read a list once, and then append to it, the second now reads what the first read.
fn lost_update(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let all = reads(txns);
    let updates = |read: &&Read<'_>| {
        let actions = &txns.list[read.txn].actions;
        let own = |action: &Action| matches!(action, Action::Append { key, .. } if *key == read.key);
        let once = all.iter().filter(|other| (other.txn, other.key) == (read.txn, read.key)).count() == 1;
        once && read.updates && !actions[..read.action].iter().any(own)
    };
    let mut places = Vec::new();
    for first in all.iter().filter(updates) {
        let others = all.iter().filter(updates).filter(|second| second.key == first.key);
        places.extend(
            others.filter(|second| second.values.len() > first.values.len()).map(|second| (*first, *second)),
        );
    }
    let (first, second) = one(rng, places)?;
    Some(with_read(txns, &second, first.values.to_vec()))
}

fn own_append(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let own = |read: &Read<'_>| {
        let last = read.values.last().copied();
        let mut mine = txns.list[read.txn].actions[..read.action].iter();
        mine.any(|action| matches!(action, Action::Append { key, value } if *key == read.key && Some(*value) == last))
    };
    let read = one(rng, reads(txns).into_iter().filter(own).collect())?;
    Some(with_read(txns, &read, read.values[..read.values.len() - 1].to_vec()))
}

fn late_append(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let (writer, read, _) = one(rng, seen(txns))?;
    let late = Time(txns.list[read.txn].returned?.0 + 1);
    let mut txns = txns.clone();
    let txn = &mut txns.list[writer];
    (txn.invoked, txn.returned) = (late, txn.returned.max(Some(late)));
    Some(txns)
}

/// Of a transaction without an answer that was seen on two lists, one append is gone from every list, though
/// somebody read that list after somebody had seen the other.
fn half_unknown(txns: &Transactions, rng: &mut Rng) -> Option<Transactions> {
    let (seen, mut places) = (seen(txns), Vec::new());
    for (writer, a, _) in seen.iter().filter(|(writer, ..)| txns.list[*writer].ended == Ended::Unknown) {
        for (_, b, lost) in seen.iter().filter(|(other, b, _)| other == writer && b.key != a.key) {
            if before(txns, a.txn, b.txn) {
                places.push((b.key, *lost));
            }
        }
    }
    let (list, lost) = one(rng, places)?;
    let mut txns = txns.clone();
    for action in txns.list.iter_mut().flat_map(|txn| &mut txn.actions) {
        if let Action::ReadList { key, values } = action
            && *key == list
        {
            values.retain(|value| *value != lost);
        }
    }
    Some(txns)
}

//! The order of one register's versions, as far as it is known.

use super::graph::{Edges, Kind, Kinds, Node};
use super::registers::Touch;
use super::search::shortest_cycle;
use super::time::returned;
use super::{Key, Transaction, Transactions, violation};
use crate::{Revision, Violation};

/// A write to the key, counted from 1 in the order of values.
pub(super) type Version = u32;
/// What a register is before it is written.
pub(super) const INITIAL: Version = 0;

/// One version comes before another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub from: Version,
    pub to: Version,
    why: Why,
}

#[derive(Clone, Copy, Debug)]
enum Why {
    /// A transaction found the one and left the other.
    Replaced(Node),
    /// Their revisions say so.
    Revisions,
    /// The first transaction, which found or left the one, was over before the second was invoked.
    RealTime(Node, Node),
}

/// The steps between the versions of one key, without circles; and a circle, if there is one.
///
/// `touches` are those of the transactions that happened, `revisions` are by version, from 1.
pub(super) fn order(
    list: &[Transaction],
    touches: &[Touch],
    revisions: &[Option<Revision>],
) -> (Vec<Step>, Option<Vec<Step>>) {
    let mut sure: Vec<Step> = touches.iter().filter_map(replaced).collect();
    sure.extend(by_revision(touches, revisions));
    let known = |version: Version| (version as usize).checked_sub(1).and_then(|index| revisions[index]);
    // What revisions tell as well needs no second step.
    let told = |from: Version, to: Version| match (known(from), known(to)) {
        (Some(from), Some(to)) => from < to,
        _ => false,
    };
    sure.extend(real_time(list, touches, false, told));
    let all = [&sure[..], &real_time(list, touches, true, told)].concat();
    match cycle(&all, revisions.len()) {
        None => (all, None),
        // Reads that go back in time are explained better by transactions than by versions.
        Some(circle) if cycle(&sure, revisions.len()).is_none() => (sure, Some(circle)),
        Some(circle) => (Vec::new(), Some(circle)),
    }
}

fn replaced(touch: &Touch) -> Option<Step> {
    let (from, to) = (touch.found?, touch.left?);
    (from != to).then_some(Step { from, to, why: Why::Replaced(touch.txn) })
}

fn by_revision(touches: &[Touch], revisions: &[Option<Revision>]) -> Vec<Step> {
    let left = touches.iter().filter_map(|touch| touch.left);
    let mut known: Vec<(Revision, Version)> =
        left.filter_map(|version| Some((revisions[version as usize - 1]?, version))).collect();
    known.sort_unstable();
    let ascending = known.windows(2).filter(|pair| pair[0].0 < pair[1].0);
    ascending.map(|pair| Step { from: pair[0].1, to: pair[1].1, why: Why::Revisions }).collect()
}

/// What is over when a transaction is invoked is not newer than what that transaction finds or writes.
///
/// Looked at are all transactions, or only those that write. One sweep: the front holds those that are over and that
/// nobody who is over himself found over when he began. Steps that are `told` otherwise are left out.
fn real_time(
    list: &[Transaction],
    touches: &[Touch],
    reads: bool,
    told: impl Fn(Version, Version) -> bool,
) -> Vec<Step> {
    let touches: Vec<&Touch> = touches.iter().filter(|touch| reads || touch.left.is_some()).collect();
    let mut events = Vec::with_capacity(2 * touches.len());
    for (index, touch) in touches.iter().enumerate() {
        let txn = &list[touch.txn as usize];
        events.push((txn.invoked, false, index));
        events.extend(returned(txn).map(|returned| (returned, true, index)));
    }
    events.sort_unstable();
    // By touch: how many events came before its invocation.
    let mut begun = vec![0; touches.len()];
    let (mut front, mut steps) = (Vec::<(usize, Version, Node)>::new(), Vec::new());
    for (now, (_, returns, index)) in events.into_iter().enumerate() {
        let touch = touches[index];
        let found = touch.found.filter(|_| reads).or(touch.left);
        let Some((first, last)) = found.zip(touch.left.or(touch.found)) else { continue };
        if returns {
            front.retain(|(since, ..)| *since > begun[index]);
            if front.iter().all(|(_, version, _)| *version != last) {
                front.push((now, last, touch.txn));
            }
        } else {
            begun[index] = now;
            let older = front.iter().filter(|(_, version, _)| *version != first && !told(*version, first));
            steps.extend(older.map(|(_, version, txn)| Step {
                from: *version,
                to: first,
                why: Why::RealTime(*txn, touch.txn),
            }));
        }
    }
    steps
}

/// A circle of steps between the versions up to `last`.
fn cycle(steps: &[Step], last: usize) -> Option<Vec<Step>> {
    let mut edges = Edges::new(last + 1);
    for (index, step) in steps.iter().enumerate() {
        edges.add(step.from, step.to, Kind::Ww, index as Key);
    }
    let cycle = shortest_cycle(&edges.sorted(), Kind::Ww, Kinds::of(&[Kind::Ww]))?;
    Some(cycle.iter().map(|edge| steps[edge.key as usize]).collect())
}

/// E6 in words.
pub(super) fn circle(
    txns: &Transactions,
    key: Key,
    steps: &[Step],
    text: impl Fn(Version) -> String,
) -> Violation {
    let id = |txn: Node| txns.list[txn as usize].id;
    let mut ops = Vec::new();
    let lines = steps.iter().map(|step| {
        let why = match step.why {
            Why::Replaced(txn) => {
                ops.push(id(txn));
                format!("operation {} replaced it", id(txn).0)
            }
            Why::Revisions => "their revisions say so".to_owned(),
            Why::RealTime(before, after) => {
                ops.extend([id(before), id(after)]);
                let (before, after) = (id(before).0, id(after).0);
                format!("operation {before} was over before operation {after} was invoked")
            }
        };
        format!("{} before {}, as {why}", text(step.from), text(step.to))
    });
    let found = lines.collect::<Vec<_>>().join("; ");
    let expected = format!("versions of {} in one order", txns.key(key));
    ops.dedup();
    violation("cyclic version order", &expected, found, ops)
}

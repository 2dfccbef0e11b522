//! C10: after all faults are healed, is everything there that was acknowledged, once, and nothing else?
//!
//! ```text
//!   acknowledged   put a (2)   put b (3)   delete a (5)       every one of these
//!   changes            2           3      4       5           stands here, once, as it was asked
//!   final state    b                                          and is what is left
//! ```
//!
//! Rules:
//! - D1  an acknowledged write stands in the store's changes at its revision, whole and once;
//! - D2  every change was asked for by a write that was not refused, and an unanswered write happens at most once;
//! - D3  the final state is not older than any acknowledged write, of the store or of any key;
//! - D4  the changes, replayed, are the final state to the last version number.
//!
//! D1 and D4 need [`History::changes`]; D4 needs them up to the end. The final state is read when all is healed
//! and quiet. This checker asks less than [`check_revisions`](crate::check_revisions) and needs no reads: it is
//! for durability alone, also of histories too large or too poor for the others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use trace::OpId;

use crate::history::Text;
use crate::{Answer, Call, Found, History, Item, Operation, Outcome, Revision, Step, Verdict, Violation};

/// The store as it is when everything is over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalState {
    /// Its revision.
    pub revision: Revision,
    /// The keys of the history that exist, in any order.
    pub items: Vec<(Bytes, Item)>,
}

/// What one write did: keys and their values, `None` for a delete.
type Effect<'h> = Vec<(&'h Bytes, Option<&'h Bytes>)>;

/// Judges whether `last` and the history's changes hold every acknowledged write of `history`.
pub fn check_ledger(history: &History, last: &FinalState) -> Verdict {
    let judge = || {
        let ledger = Ledger::new(history)?;
        ledger.check_changes(history)?;
        ledger.check_final(last)?;
        check_replay(history, last)
    };
    match judge() {
        Ok(()) => Verdict::Holds,
        Err(violation) => Verdict::Violated(*violation),
    }
}

/// Who may have written what.
#[derive(Default)]
struct Ledger<'h> {
    /// Acknowledged writes by their revision.
    acked: BTreeMap<Revision, (OpId, Effect<'h>)>,
    /// By value: the write that was not refused, its key, and whether its revision is known.
    puts: BTreeMap<&'h Bytes, Put<'h>>,
    /// Keys that an operation without known revision may have deleted.
    maybe_deleted: BTreeSet<&'h Bytes>,
}

struct Put<'h> {
    op: OpId,
    key: &'h Bytes,
    revision: Option<Revision>,
}

impl<'h> Ledger<'h> {
    fn new(history: &'h History) -> Result<Ledger<'h>, Box<Violation>> {
        let mut ledger = Ledger::default();
        for (op, operation) in history.iter() {
            match (&operation.outcome, operation.outcome.revision()) {
                (Outcome::Refused, _) => {}
                (Outcome::Answered { .. }, Some(revision)) => ledger.add_acked(op, operation, revision)?,
                (Outcome::Answered { .. }, None) => ledger.add_maybe(op, effect(operation)),
                (Outcome::Unknown, _) => ledger.add_maybe(op, possible_effect(&operation.call)),
            }
        }
        Ok(ledger)
    }

    fn add_acked(
        &mut self,
        op: OpId,
        operation: &'h Operation,
        revision: Revision,
    ) -> Result<(), Box<Violation>> {
        let effect = effect(operation);
        if effect.is_empty() {
            return Ok(());
        }
        for (key, value) in &effect {
            if let Some(value) = value {
                self.puts.insert(value, Put { op, key, revision: Some(revision) });
            }
        }
        match self.acked.insert(revision, (op, effect)) {
            None => Ok(()),
            Some((other, _)) => {
                let expected = format!("one acknowledged write at revision {revision}");
                broken("two writes at one revision", expected, "two".into(), [op, other])
            }
        }
    }

    fn add_maybe(&mut self, op: OpId, effect: Effect<'h>) {
        for (key, value) in effect {
            match value {
                Some(value) => {
                    self.puts.insert(value, Put { op, key, revision: None });
                }
                None => {
                    self.maybe_deleted.insert(key);
                }
            }
        }
    }

    /// D1 and D2.
    fn check_changes(&self, history: &History) -> Result<(), Box<Violation>> {
        if !history.changes.is_sorted_by_key(|change| change.revision) {
            let found = "a change after one of a higher revision".to_owned();
            return broken("changes out of order", "ascending revisions".into(), found, None);
        }
        let mut values = BTreeSet::new();
        for group in history.changes.chunk_by(|a, b| a.revision == b.revision) {
            let revision = group[0].revision;
            for change in group {
                if let Some(value) = &change.value
                    && !values.insert(value)
                {
                    let op = self.puts.get(value).map(|put| put.op);
                    return broken(
                        "write applied twice",
                        format!("{} once", Text(value)),
                        change.to_string(),
                        op,
                    );
                }
            }
            let changed: Effect<'_> =
                group.iter().map(|change| (&change.key, change.value.as_ref())).collect();
            match self.acked.get(&revision) {
                Some((op, effect)) if !same(effect, &changed) => {
                    let expected = format!("[{}] at revision {revision}", effect_text(effect));
                    let found = format!("[{}]", effect_text(&changed));
                    return broken("acknowledged write changed", expected, found, [*op]);
                }
                Some(_) => {}
                None => changed
                    .iter()
                    .try_for_each(|(key, value)| self.check_unanswered(revision, key, *value))?,
            }
        }
        let watched = history.changes.last().map_or(history.start_revision, |last| last.revision);
        let seen = |revision: Revision| {
            history.changes.binary_search_by_key(&revision, |change| change.revision).is_ok()
        };
        match self.acked.iter().find(|(revision, _)| **revision <= watched && !seen(**revision)) {
            None => Ok(()),
            Some((revision, (op, effect))) => {
                let expected = format!("[{}] at revision {revision}", effect_text(effect));
                broken("acknowledged write lost", expected, "no change there".into(), [*op])
            }
        }
    }

    /// D2 for a revision that no acknowledged write claims.
    fn check_unanswered(
        &self,
        revision: Revision,
        key: &Bytes,
        value: Option<&Bytes>,
    ) -> Result<(), Box<Violation>> {
        let put = value.and_then(|value| self.puts.get(value));
        let asked = match value {
            Some(_) => put.is_some_and(|put| put.key == key && put.revision.is_none()),
            None => self.maybe_deleted.contains(key),
        };
        if asked {
            return Ok(());
        }
        let expected = match put.and_then(|put| put.revision) {
            Some(acked) => format!("that write at revision {acked}, as acknowledged"),
            None => "a change that an operation asked for".to_owned(),
        };
        let found = format!("{} at revision {revision}", effect_text(&[(key, value)]));
        broken("phantom write", expected, found, put.map(|put| put.op))
    }

    /// D3, and D2 for what is left.
    fn check_final(&self, last: &FinalState) -> Result<(), Box<Violation>> {
        if let Some((revision, (op, _))) = self.acked.last_key_value()
            && *revision > last.revision
        {
            let expected = format!("the final state at revision {revision} or later");
            return broken("acknowledged write lost", expected, format!("revision {}", last.revision), [*op]);
        }
        let items: BTreeMap<&Bytes, &Item> = last.items.iter().map(|(key, item)| (key, item)).collect();
        for (key, item) in &items {
            let put = self.puts.get(&item.value).filter(|put| put.key == *key);
            let Some(put) = put else {
                let found = format!("{} = {item}", Text(key));
                return broken("phantom write", "a value that was written to the key".into(), found, None);
            };
            if let (Some(acked), Some(shown)) = (put.revision, item.mod_revision)
                && acked != shown
            {
                let expected = format!("{} = {} written at revision {acked}", Text(key), Text(&item.value));
                return broken(
                    "acknowledged write moved",
                    expected,
                    format!("at revision {shown}"),
                    [put.op],
                );
            }
        }
        let mut newest: BTreeMap<&Bytes, (Revision, OpId, Option<&Bytes>)> = BTreeMap::new();
        for (revision, (op, effect)) in &self.acked {
            newest.extend(effect.iter().map(|(key, value)| (*key, (*revision, *op, *value))));
        }
        newest
            .into_iter()
            .try_for_each(|(key, newest)| self.check_newest(key, newest, items.get(key).copied()))
    }

    /// D3 for one key: `newest` is the last acknowledged write to it.
    fn check_newest(
        &self,
        key: &Bytes,
        (revision, op, value): (Revision, OpId, Option<&Bytes>),
        item: Option<&Item>,
    ) -> Result<(), Box<Violation>> {
        let survives = match item {
            None => value.is_none() || self.maybe_deleted.contains(key),
            Some(item) if Some(&item.value) == value => true,
            // Another value must be newer: of a write without known revision, and not at an older one.
            Some(item) => {
                let unanswered = self.puts.get(&item.value).is_some_and(|put| put.revision.is_none());
                unanswered && item.mod_revision.is_none_or(|shown| shown > revision)
            }
        };
        if survives {
            return Ok(());
        }
        let expected = format!("{} at revision {revision}, or a later write", effect_text(&[(key, value)]));
        let found = item.map_or(format!("{} absent", Text(key)), |item| format!("{} = {item}", Text(key)));
        broken("acknowledged write lost", expected, found, [op])
    }
}

/// D4.
fn check_replay(history: &History, last: &FinalState) -> Result<(), Box<Violation>> {
    if history.changes.last().map(|change| change.revision) != Some(last.revision) {
        return Ok(());
    }
    let mut replayed: BTreeMap<&Bytes, Item> = BTreeMap::new();
    for change in &history.changes {
        let Some(value) = &change.value else {
            replayed.remove(&change.key);
            continue;
        };
        let item = replayed.entry(&change.key).or_default();
        item.create_revision = item.create_revision.or(Some(change.revision));
        item.mod_revision = Some(change.revision);
        item.version = Some(item.version.unwrap_or(0) + 1);
        item.value = value.clone();
    }
    let found: BTreeMap<&Bytes, &Item> = last.items.iter().map(|(key, item)| (key, item)).collect();
    let keys: BTreeSet<&Bytes> = replayed.keys().chain(found.keys()).copied().collect();
    for key in keys {
        let (expected, found) = (replayed.get(key), found.get(key).copied());
        let equal = match (expected, found) {
            (Some(expected), Some(found)) => expected.may_be_told_as(found),
            (expected, found) => expected.is_none() && found.is_none(),
        };
        if !equal {
            let text = |item: Option<&Item>| {
                item.map_or(format!("{} absent", Text(key)), |item| format!("{} = {item}", Text(key)))
            };
            let rule = "final state differs from the changes";
            return broken(rule, text(expected), text(found), None);
        }
    }
    Ok(())
}

/// What an answered operation changed, by its own answer.
fn effect(operation: &Operation) -> Effect<'_> {
    let (steps, found): (&[Step], &[Found]) = match (&operation.call, operation.outcome.answer()) {
        (Call::One(step), Some(Answer::One(found))) => {
            (std::slice::from_ref(step), std::slice::from_ref(found))
        }
        (Call::Txn(txn), Some(Answer::Txn { succeeded, found })) => {
            (if *succeeded { &txn.then } else { &txn.otherwise }, found)
        }
        _ => return Vec::new(),
    };
    let effective = steps.iter().zip(found).filter(|(_, found)| **found != Found::Delete(0));
    effective.filter_map(|(step, _)| step_effect(step)).collect()
}

/// What an unanswered call may have changed, in either branch.
fn possible_effect(call: &Call) -> Effect<'_> {
    match call {
        Call::One(step) => step_effect(step).into_iter().collect(),
        Call::Txn(txn) => txn.then.iter().chain(&txn.otherwise).filter_map(step_effect).collect(),
    }
}

fn step_effect(step: &Step) -> Option<(&Bytes, Option<&Bytes>)> {
    match step {
        Step::Put(key, value) => Some((key, Some(value))),
        Step::Delete(key) => Some((key, None)),
        Step::Get(_) | Step::Range(..) => None,
    }
}

fn same(a: &Effect<'_>, b: &Effect<'_>) -> bool {
    let sorted = |effect: &Effect<'_>| {
        let mut effect: Vec<(Bytes, Option<Bytes>)> =
            effect.iter().map(|(key, value)| ((*key).clone(), value.cloned())).collect();
        effect.sort_unstable();
        effect
    };
    sorted(a) == sorted(b)
}

fn effect_text(effect: &[(&Bytes, Option<&Bytes>)]) -> String {
    let one = |(key, value): &(&Bytes, Option<&Bytes>)| match value {
        Some(value) => format!("{} = {}", Text(key), Text(value)),
        None => format!("{} deleted", Text(key)),
    };
    effect.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn broken(
    rule: &'static str,
    expected: String,
    found: String,
    ops: impl IntoIterator<Item = OpId>,
) -> Result<(), Box<Violation>> {
    Err(Box::new(Violation { rule, expected, found, ops: ops.into_iter().collect() }))
}

#[cfg(test)]
mod tests;

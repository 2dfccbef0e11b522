//! E1 within one transaction: it must agree with what it read and wrote itself.

use super::{Action, Ended, Key, Transaction, Transactions, Value, violation, words};
use crate::Violation;

const RULE: &str = "internal inconsistency";

/// Checks every committed transaction.
pub(super) fn check(txns: &Transactions) -> Result<(), Violation> {
    let committed = txns.list.iter().filter(|txn| txn.ended == Ended::Committed && txn.actions.len() > 1);
    committed.into_iter().try_for_each(|txn| check_one(txns, txn))
}

fn check_one(txns: &Transactions, txn: &Transaction) -> Result<(), Violation> {
    for (index, action) in txn.actions.iter().enumerate() {
        let (before, after) = (&txn.actions[..index], &txn.actions[index + 1..]);
        let agrees = match action {
            Action::Append { .. } | Action::Write { .. } => true,
            Action::ReadList { key, values } => list_agrees(before, after, *key, values),
            Action::Read { key, value, .. } => register_agrees(before, after, *key, *value),
        };
        if !agrees {
            let found = format!("{} in operation {}", words::actions(txns, &txn.actions), txn.id.0);
            let expected = "reads that agree with the transaction's own actions before them";
            return Err(violation(RULE, expected, found, vec![txn.id]));
        }
    }
    Ok(())
}

fn list_agrees(before: &[Action], after: &[Action], list: Key, values: &[Value]) -> bool {
    let appended = |actions: &[Action]| -> Vec<Value> {
        let mine = actions.iter().filter_map(|action| match action {
            Action::Append { key, value } if *key == list => Some(*value),
            _ => None,
        });
        mine.collect()
    };
    let read = before.iter().enumerate().rev().find_map(|(index, action)| match action {
        Action::ReadList { key, values } if *key == list => Some((index, values)),
        _ => None,
    });
    let fits = match read {
        Some((index, base)) => {
            let own = appended(&before[index..]);
            values.strip_prefix(&base[..]).is_some_and(|rest| rest == own)
        }
        None => values.ends_with(&appended(before)),
    };
    fits && !appended(after).iter().any(|value| values.contains(value))
}

fn register_agrees(before: &[Action], after: &[Action], register: Key, read: Option<Value>) -> bool {
    let known = before.iter().rev().find_map(|action| match action {
        Action::Write { key, value, .. } if *key == register => Some(Some(*value)),
        Action::Read { key, value, .. } if *key == register => Some(*value),
        _ => None,
    });
    let mut later = after.iter().filter_map(|action| match action {
        Action::Write { key, value, .. } if *key == register => Some(*value),
        _ => None,
    });
    known.is_none_or(|known| known == read) && !later.any(|value| Some(value) == read)
}

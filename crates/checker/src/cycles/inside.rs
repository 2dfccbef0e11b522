//! E1 within one transaction: it must agree with what it read and wrote itself.

use std::collections::BTreeMap;

use super::{Action, Ended, Key, Transaction, Transactions, Value, violation, words};
use crate::Violation;

/// Checks every committed transaction.
pub(super) fn check(txns: &Transactions) -> Result<(), Violation> {
    let mut committed = txns.list.iter().filter(|txn| txn.ended == Ended::Committed && txn.actions.len() > 1);
    match committed.find(|txn| !agrees_with_itself(txn)) {
        None => Ok(()),
        Some(txn) => {
            let found = format!("{} in operation {}", words::actions(txns, &txn.actions), txn.id.0);
            let expected = "reads that agree with the transaction's own actions before them";
            Err(violation("internal inconsistency", expected, found, vec![txn.id]))
        }
    }
}

fn agrees_with_itself(txn: &Transaction) -> bool {
    let mut lists: BTreeMap<Key, List<'_>> = BTreeMap::new();
    let mut registers: BTreeMap<Key, Register> = BTreeMap::new();
    txn.actions.iter().all(|action| match action {
        Action::Append { key, value } => lists.entry(*key).or_default().append(*value),
        Action::ReadList { key, values } => lists.entry(*key).or_default().read(values),
        Action::Write { key, value, .. } => registers.entry(*key).or_default().write(*value),
        Action::Read { key, value, .. } => registers.entry(*key).or_default().read(*value),
    })
}

/// What a transaction knows of a list.
#[derive(Default)]
struct List<'t> {
    read: Option<&'t [Value]>,
    /// What it appended since it read that.
    appended: Vec<Value>,
}

impl<'t> List<'t> {
    /// Whether the element is new.
    fn append(&mut self, value: Value) -> bool {
        self.appended.push(value);
        !self.read.is_some_and(|read| read.contains(&value))
    }

    fn read(&mut self, values: &'t [Value]) -> bool {
        let own = std::mem::take(&mut self.appended);
        let known = self.read.replace(values);
        match known {
            Some(known) => values.strip_prefix(known).is_some_and(|rest| rest == own),
            None => values.ends_with(&own),
        }
    }
}

/// What a transaction knows of a register.
#[derive(Default)]
struct Register {
    /// What it found there before it wrote.
    found: Option<Option<Value>>,
    now: Option<Option<Value>>,
}

impl Register {
    /// Whether the value is new.
    fn write(&mut self, value: Value) -> bool {
        self.now = Some(Some(value));
        self.found != self.now
    }

    fn read(&mut self, value: Option<Value>) -> bool {
        if self.now.is_none() {
            self.found = Some(value);
        }
        *self.now.get_or_insert(value) == value
    }
}

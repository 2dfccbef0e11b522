//! A store as etcd's documents describe it, written without looking at the checkers' own model.

use std::collections::BTreeMap;

use bytes::Bytes;
use checker::{Answer, Call, Change, Compare, Found, Item, Outcome, Revision, Step, Txn};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub revision: Revision,
    items: BTreeMap<Bytes, Item>,
}

impl Default for Store {
    fn default() -> Store {
        Store { revision: 1, items: BTreeMap::new() }
    }
}

impl Store {
    pub fn get(&self, key: &Bytes) -> Option<&Item> {
        self.items.get(key)
    }

    pub fn items(&self) -> impl Iterator<Item = (Bytes, Item)> + '_ {
        self.items.iter().map(|(key, item)| (key.clone(), item.clone()))
    }

    /// What `call` answers, and what it changes.
    pub fn execute(&mut self, call: &Call) -> (Outcome, Vec<Change>) {
        let mut changes = Vec::new();
        let next = self.revision + 1;
        let answer = match call {
            Call::One(step) => Answer::One(self.step(step, next, &mut changes)),
            Call::Txn(txn) => self.txn(txn, next, &mut changes),
        };
        if !changes.is_empty() {
            self.revision = next;
        }
        (Outcome::Answered { revision: Some(self.revision), answer }, changes)
    }

    fn txn(&mut self, txn: &Txn, next: Revision, changes: &mut Vec<Change>) -> Answer {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        let steps = if succeeded { &txn.then } else { &txn.otherwise };
        let found = steps.iter().map(|step| self.step(step, next, changes)).collect();
        Answer::Txn { succeeded, found }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let item = self.items.get(compare.key());
        match compare {
            Compare::Value(_, value) => item.is_some_and(|item| item.value == *value),
            Compare::Version(_, version) => item.map_or(0, |item| item.version.unwrap()) == *version,
            Compare::ModRevision(_, revision) => {
                item.map_or(0, |item| item.mod_revision.unwrap()) == *revision
            }
            Compare::CreateRevision(_, revision) => {
                item.map_or(0, |item| item.create_revision.unwrap()) == *revision
            }
        }
    }

    fn step(&mut self, step: &Step, next: Revision, changes: &mut Vec<Change>) -> Found {
        match step {
            Step::Get(key) => Found::Get(self.items.get(key).cloned()),
            Step::Range(from, to) => {
                let inside = self.items.iter().filter(|(key, _)| *key >= from && *key < to);
                Found::Range(inside.map(|(key, item)| (key.clone(), item.clone())).collect())
            }
            Step::Put(key, value) => {
                let old = self.items.get(key);
                let item = Item {
                    value: value.clone(),
                    mod_revision: Some(next),
                    create_revision: Some(old.map_or(next, |old| old.create_revision.unwrap())),
                    version: Some(old.map_or(0, |old| old.version.unwrap()) + 1),
                };
                self.items.insert(key.clone(), item);
                changes.push(Change { revision: next, key: key.clone(), value: Some(value.clone()) });
                Found::Put
            }
            Step::Delete(key) => {
                let deleted = self.items.remove(key).is_some();
                if deleted {
                    changes.push(Change { revision: next, key: key.clone(), value: None });
                }
                Found::Delete(deleted.into())
            }
        }
    }
}

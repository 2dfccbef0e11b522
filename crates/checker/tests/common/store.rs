//! A store as etcd's documents describe it, written without looking at the checkers' own model.

use std::collections::BTreeMap;

use bytes::Bytes;
use checker::{Answer, Call, Change, Compare, Found, Item, Outcome, Revision, Step, Txn};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub revision: Revision,
    items: BTreeMap<Bytes, Item>,
    /// What goes wrong now and then, if anything.
    bug: Option<Bug>,
    calls: u64,
    /// Former states, for the bugs that need them.
    past: Vec<(Revision, BTreeMap<Bytes, Item>)>,
}

/// What stores really got wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A put is acknowledged and not stored, but its revision is used.
    LosesPuts,
    /// A put is acknowledged and not stored, and the next write gets its revision.
    LosesPutsAndRevisions,
    /// A put is executed twice: a retry without a session table.
    AppliesTwice,
    /// A read is answered from an old state, as by a follower or a deposed leader.
    ReadsOldStates,
    /// The same, but the answer names the present revision.
    ReadsOldStatesAsNew,
    /// The last writes vanish once, as after a fail-over to a replica that never had them.
    RollsBack,
    /// A transaction does only its first write.
    TearsTransactions,
    /// A transaction does not look at its compares.
    IgnoresCompares,
    /// A write gets the revision of the one before.
    ReusesRevisions,
    /// A delete is counted and not done.
    KeepsDeleted,
}

impl Bug {
    pub const ALL: [Bug; 10] = [
        Bug::LosesPuts,
        Bug::LosesPutsAndRevisions,
        Bug::AppliesTwice,
        Bug::ReadsOldStates,
        Bug::ReadsOldStatesAsNew,
        Bug::RollsBack,
        Bug::TearsTransactions,
        Bug::IgnoresCompares,
        Bug::ReusesRevisions,
        Bug::KeepsDeleted,
    ];
}

impl Default for Store {
    fn default() -> Store {
        Store { revision: 1, items: BTreeMap::new(), bug: None, calls: 0, past: Vec::new() }
    }
}

impl Store {
    pub fn get(&self, key: &Bytes) -> Option<&Item> {
        self.items.get(key)
    }

    pub fn items(&self) -> impl Iterator<Item = (Bytes, Item)> + '_ {
        self.items.iter().map(|(key, item)| (key.clone(), item.clone()))
    }

    /// A store that errs about every tenth time it could.
    pub fn with_bug(bug: Bug) -> Store {
        Store { bug: Some(bug), ..Store::default() }
    }

    /// What `call` answers, and what it changes.
    pub fn execute(&mut self, call: &Call) -> (Outcome, Vec<Change>) {
        self.calls += 1;
        let Some(bug) = self.bug else { return self.execute_rightly(call) };
        self.past.push((self.revision, self.items.clone()));
        let one_in = |count| self.calls % count == count / 2;
        match (bug, call) {
            (Bug::LosesPuts | Bug::LosesPutsAndRevisions, Call::One(Step::Put(..))) if one_in(7) => {
                let (revision, items) = (self.revision, self.items.clone());
                let answer = self.execute_rightly(call);
                self.items = items;
                if bug == Bug::LosesPutsAndRevisions {
                    self.revision = revision;
                }
                answer
            }
            (Bug::AppliesTwice, Call::One(Step::Put(..))) if one_in(7) => {
                self.execute_rightly(call);
                self.execute_rightly(call)
            }
            (Bug::ReadsOldStates | Bug::ReadsOldStatesAsNew, Call::One(Step::Get(_))) if one_in(7) => {
                let (revision, items) = self.past[self.past.len().saturating_sub(8)].clone();
                let revision = if bug == Bug::ReadsOldStates { revision } else { self.revision };
                Store { revision, items, ..Store::default() }.execute_rightly(call)
            }
            (Bug::RollsBack, _) if self.calls == 25 => {
                (self.revision, self.items) = self.past[17].clone();
                self.execute_rightly(call)
            }
            (Bug::TearsTransactions, Call::Txn(txn)) => {
                let first = |steps: &[Step]| {
                    let mut written = false;
                    let keep = |step: &Step| !step.writes() || !std::mem::replace(&mut written, true);
                    steps.iter().cloned().map(keep_or_read(keep)).collect()
                };
                let torn = Txn {
                    compare: txn.compare.clone(),
                    then: first(&txn.then),
                    otherwise: first(&txn.otherwise),
                };
                let (outcome, changes) = self.execute_rightly(&Call::Txn(torn));
                (as_if_whole(outcome, txn), changes)
            }
            (Bug::IgnoresCompares, Call::Txn(txn)) if one_in(3) => {
                self.execute_rightly(&Call::Txn(Txn { compare: Vec::new(), ..txn.clone() }))
            }
            (Bug::ReusesRevisions, Call::One(Step::Put(..))) if one_in(7) && self.revision > 1 => {
                self.revision -= 1;
                self.execute_rightly(call)
            }
            (Bug::KeepsDeleted, Call::One(Step::Delete(_))) if one_in(3) => {
                let items = self.items.clone();
                let answer = self.execute_rightly(call);
                self.items = items;
                answer
            }
            _ => self.execute_rightly(call),
        }
    }

    fn execute_rightly(&mut self, call: &Call) -> (Outcome, Vec<Change>) {
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

/// Turns the writes that are not kept into reads, so that every step still has an answer.
fn keep_or_read(mut keep: impl FnMut(&Step) -> bool) -> impl FnMut(Step) -> Step {
    move |step| match &step {
        Step::Put(key, _) | Step::Delete(key) if !keep(&step) => Step::Get(key.clone()),
        _ => step,
    }
}

/// The answer of a torn transaction as its client sees it: every put done.
fn as_if_whole(outcome: Outcome, txn: &Txn) -> Outcome {
    let Outcome::Answered { revision, answer: Answer::Txn { succeeded, mut found } } = outcome else {
        return outcome;
    };
    let steps = if succeeded { &txn.then } else { &txn.otherwise };
    for (step, found) in steps.iter().zip(&mut found) {
        if matches!(step, Step::Put(..)) {
            *found = Found::Put;
        }
    }
    Outcome::Answered { revision, answer: Answer::Txn { succeeded, found } }
}

//! Which unseen write a gap most likely holds: a forecast from what is known to happen to each key.
//!
//! Only an order of trying. Going on from a state, the known facts about a key either fit or first fail at some
//! revision, its deadline. A write that mends the earliest deadline comes first, as jobs do that are done by
//! earliest deadline; one that would break what fits comes last.

use super::plan::Plan;
use crate::Revision;
use crate::lower::{Key, LowFound, LowItem, LowOp, LowStep, Value};
use crate::model::{Slot, Store};

/// How many facts ahead to look.
const FACTS_MAX: usize = 64;

/// By key: what is known to happen to it, by revision.
pub(super) struct Forecast {
    facts: Vec<Vec<(Revision, Fact)>>,
}

#[derive(Clone, Copy)]
enum Fact {
    Put(Value),
    Delete,
    Absent,
    Shows(LowItem),
}

impl Forecast {
    pub fn new(plan: &Plan<'_>) -> Forecast {
        let mut forecast = Forecast { facts: vec![Vec::new(); plan.lowered.keys.len()] };
        for (revision, op) in plan.writes() {
            forecast.add_write(&plan.lowered.ops[op], revision);
        }
        for (revision, op) in plan.reads() {
            forecast.add_read(&plan.lowered.ops[*op], *revision);
        }
        // Stable: at one revision the write stays before the reads.
        forecast.facts.iter_mut().for_each(|facts| facts.sort_by_key(|(revision, _)| *revision));
        forecast
    }

    fn add(&mut self, key: Key, revision: Revision, fact: Fact) {
        self.facts[key as usize].push((revision, fact));
    }

    fn add_write(&mut self, op: &LowOp, revision: Revision) {
        let found = op.answer.as_ref().map(|answer| &answer.found);
        for (index, step) in op.possible_steps().enumerate() {
            match step {
                LowStep::Put(key, value) => self.add(*key, revision, Fact::Put(*value)),
                LowStep::Delete(key) if found.is_none_or(|found| found[index] != LowFound::Delete(0)) => {
                    self.add(*key, revision, Fact::Delete);
                }
                _ => {}
            }
        }
    }

    fn add_read(&mut self, op: &LowOp, revision: Revision) {
        let Some(answer) = &op.answer else { return };
        for (step, found) in op.branch(answer.succeeded).iter().zip(&answer.found) {
            match (step, found) {
                (LowStep::Get(key), LowFound::Get(item)) => {
                    self.add(*key, revision, item.map_or(Fact::Absent, Fact::Shows));
                }
                (LowStep::Delete(key), LowFound::Delete(0)) => self.add(*key, revision, Fact::Absent),
                (LowStep::Range(from, to), LowFound::Range(items)) => {
                    for key in *from..*to {
                        let item = items.iter().find(|(shown, _)| *shown == key);
                        self.add(key, revision, item.map_or(Fact::Absent, |(_, item)| Fact::Shows(*item)));
                    }
                }
                _ => {}
            }
        }
    }

    /// Ranks a write at `revision` that has just changed some keys: less is better.
    pub fn rank(&self, store: &Store, changed: &[(Key, Slot)], revision: Revision) -> (u8, Revision) {
        let deadline = |key: Key, slot: Slot| self.deadline(key, slot, revision);
        let before = changed.iter().map(|(key, slot)| deadline(*key, *slot)).min().unwrap_or(Revision::MAX);
        let after =
            changed.iter().map(|(key, _)| deadline(*key, store.slot(*key))).min().unwrap_or(Revision::MAX);
        match (before, after) {
            (Revision::MAX, Revision::MAX) => (1, 0),
            (before, after) if after > before => (0, before),
            _ => (2, 0),
        }
    }

    /// The first revision at which a fact about `key` fails, going on from `slot`.
    fn deadline(&self, key: Key, mut slot: Slot, from: Revision) -> Revision {
        let facts = &self.facts[key as usize];
        let start = facts.partition_point(|(revision, _)| *revision < from);
        for (revision, fact) in facts[start..].iter().take(FACTS_MAX) {
            match fact {
                Fact::Put(value) => slot = slot.put(*value, *revision),
                Fact::Delete if !slot.exists() => return *revision,
                Fact::Delete => slot = Slot::default(),
                Fact::Absent if slot.exists() => return *revision,
                Fact::Shows(item) if !slot.shows(item) => return *revision,
                Fact::Absent | Fact::Shows(_) => return Revision::MAX,
            }
        }
        Revision::MAX
    }
}

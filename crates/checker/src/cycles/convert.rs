//! Histories of the etcd model as transactions on registers.
//!
//! A delete writes a value that nobody else writes and that nobody can read: a later read only finds the key
//! absent, and does not tell since when. So a read of an absent key counts only if nobody may have deleted the key.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Action, Ended, Key, Transaction, Transactions, Value};
use crate::lower::{Key as LowKey, LowFound, LowItem, LowOp, LowStep, LowTest, Lowered};
use crate::{History, Level, Revision, Verdict};

pub(super) fn from_history(history: &History) -> Result<Transactions, Verdict> {
    let lowered = Lowered::new(history).map_err(Verdict::Violated)?;
    if let Some(value) = lowered.repeated {
        return Err(Verdict::Undecided { reason: format!("{} is written twice", lowered.value(value)) });
    }
    let mut converter = Converter::new(&lowered);
    let mut list = Vec::with_capacity(lowered.ops.len());
    for op in &lowered.ops {
        let Some(operation) = history.get(op.id) else { continue };
        let actions = converter.actions(op);
        let ended = if op.answer.is_some() { Ended::Committed } else { Ended::Unknown };
        if !actions.is_empty() {
            list.push(Transaction {
                id: op.id,
                process: operation.client,
                invoked: operation.invoked,
                returned: operation.returned,
                ended,
                actions,
            });
        }
    }
    let key_names = lowered.keys.iter().map(|key| (*key).clone()).collect();
    Ok(Transactions { list, key_names, value_names: converter.names })
}

struct Converter {
    /// By key: whether somebody may have deleted it.
    deleted: Vec<bool>,
    /// By value: whether a current read or a compare that held shows it.
    seen: Vec<bool>,
    /// The value that a revision gave a key; 0 if answers disagree.
    at: BTreeMap<(LowKey, Revision), u32>,
    /// What values are called. Deletes get numbers of their own after those of values.
    names: Vec<Bytes>,
}

impl Converter {
    fn new(lowered: &Lowered<'_>) -> Converter {
        let values = lowered.values.iter().map(|value| (*value).clone());
        let mut converter = Converter {
            deleted: vec![false; lowered.keys.len()],
            seen: vec![false; lowered.values.len() + 1],
            at: BTreeMap::new(),
            names: [Bytes::from("nothing")].into_iter().chain(values).collect(),
        };
        for op in &lowered.ops {
            converter.note_writes(op);
            converter.note_reads(op);
        }
        converter
    }

    fn note_writes(&mut self, op: &LowOp) {
        let found = op.answer.as_ref().map(|answer| &answer.found);
        for (index, step) in op.possible_steps().enumerate() {
            match step {
                LowStep::Delete(key) if found.is_none_or(|found| found[index] != LowFound::Delete(0)) => {
                    self.deleted[*key as usize] = true;
                }
                LowStep::Put(key, value) => {
                    if let Some(revision) = op.revision {
                        self.note_revision(*key, revision, *value);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_reads(&mut self, op: &LowOp) {
        let Some(answer) = op.answer.as_ref().filter(|_| op.level == Level::Linearizable) else { return };
        for (key, item) in op.items() {
            self.seen[item.value as usize] = true;
            if let Some(revision) = item.mod_revision {
                self.note_revision(key, revision, item.value);
            }
        }
        for test in op.tests.iter().filter(|_| answer.succeeded) {
            if let LowTest::Value(_, value) = test {
                self.seen[*value as usize] = true;
            }
        }
    }

    fn note_revision(&mut self, key: LowKey, revision: Revision, value: u32) {
        let known = self.at.entry((key, revision)).or_insert(value);
        if *known != value {
            *known = 0;
        }
    }

    fn actions(&mut self, op: &LowOp) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(answer) = &op.answer else {
            let branch = [true, false].into_iter().find(|branch| self.was_seen(op.branch(*branch)));
            let steps = branch.map_or(&[][..], |branch| op.branch(branch));
            steps.iter().for_each(|step| actions.extend(self.write(op, step)));
            return actions;
        };
        if op.level == Level::Serializable {
            return actions;
        }
        if answer.succeeded {
            actions.extend(op.tests.iter().filter_map(|test| self.compared(test)));
        }
        for (step, found) in op.branch(answer.succeeded).iter().zip(&answer.found) {
            match (step, found) {
                (LowStep::Get(key), LowFound::Get(item)) => actions.extend(self.read(*key, item.as_ref())),
                (LowStep::Delete(key), LowFound::Delete(0)) => actions.extend(self.read(*key, None)),
                (LowStep::Range(from, to), LowFound::Range(items)) => {
                    self.read_range(*from..*to, items, &mut actions);
                }
                _ => actions.extend(self.write(op, step)),
            }
        }
        actions
    }

    fn was_seen(&self, steps: &[LowStep]) -> bool {
        steps.iter().any(|step| matches!(step, LowStep::Put(_, value) if self.seen[*value as usize]))
    }

    fn write(&mut self, op: &LowOp, step: &LowStep) -> Option<Action> {
        let (key, value) = match step {
            LowStep::Put(key, value) => (*key, Value::from(*value)),
            LowStep::Delete(key) => {
                self.names.push(format!("nothing (deleted by operation {})", op.id.0).into());
                (*key, self.names.len() as Value - 1)
            }
            LowStep::Get(_) | LowStep::Range(..) => return None,
        };
        Some(Action::Write { key: Key::from(key), value, revision: op.revision })
    }

    fn read(&self, key: LowKey, item: Option<&LowItem>) -> Option<Action> {
        let register = Key::from(key);
        match item {
            Some(item) => {
                let value = Some(Value::from(item.value));
                Some(Action::Read { key: register, value, revision: item.mod_revision })
            }
            None if self.deleted[key as usize] => None,
            None => Some(Action::Read { key: register, value: None, revision: None }),
        }
    }

    fn read_range(
        &self,
        keys: std::ops::Range<LowKey>,
        items: &[(LowKey, LowItem)],
        actions: &mut Vec<Action>,
    ) {
        let mut items = items.iter().peekable();
        for key in keys {
            let item = items.next_if(|(shown, _)| *shown == key).map(|(_, item)| item);
            actions.extend(self.read(key, item));
        }
    }

    /// What a compare that held tells about its key.
    fn compared(&self, test: &LowTest) -> Option<Action> {
        let key = Key::from(test.key());
        match test {
            LowTest::Value(_, value) => {
                Some(Action::Read { key, value: Some(Value::from(*value)), revision: None })
            }
            LowTest::Version(low, 0) | LowTest::Mod(low, 0) | LowTest::Create(low, 0) => {
                self.read(*low, None)
            }
            LowTest::Mod(low, revision) => {
                let value = self.at.get(&(*low, *revision)).filter(|value| **value != 0)?;
                Some(Action::Read { key, value: Some(Value::from(*value)), revision: Some(*revision) })
            }
            LowTest::Version(..) | LowTest::Create(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use types::Time;

    use super::*;
    use crate::{Call, ClientId, Compare, Found, Outcome, Step, check_history_cycles};

    /// A history of one client, each call over before the next; `None` if it was never answered.
    fn history(calls: Vec<(Call, Option<Found>)>) -> History {
        let mut history = History::new();
        for (call, found) in calls {
            let op = history.invoke(ClientId(1), Time(0), call);
            if let Some(found) = found {
                let answer = crate::Answer::One(found);
                history.complete(op, Time(0), Outcome::Answered { revision: None, answer });
            }
        }
        history
    }

    fn shown(value: &'static str) -> Option<Found> {
        Some(Found::Get(Some(crate::Item { value: value.into(), ..crate::Item::default() })))
    }

    fn count(history: &History) -> usize {
        Transactions::from_history(history).unwrap().list.len()
    }

    #[test]
    fn an_absent_key_tells_something_only_if_nobody_may_have_deleted_it() {
        let put = (Call::put("k", "1"), Some(Found::Put));
        let absent = (Call::get("k"), Some(Found::Get(None)));
        let lost = history(vec![put.clone(), absent.clone()]);
        assert_eq!(check_history_cycles(&lost).violation().unwrap().rule, "G-single-process");
        let deleted = history(vec![put, (Call::delete("k"), None), absent]);
        assert!(check_history_cycles(&deleted).holds());
        assert_eq!(count(&deleted), 1, "the delete that nobody saw is left out as well");
    }

    #[test]
    fn an_unanswered_transaction_did_the_branch_of_which_something_was_seen() {
        let put = |key: &'static str, value: &'static str| Step::Put(key.into(), value.into());
        let compare = Compare::Version("k".into(), 0);
        let txn = Call::txn(vec![compare], vec![put("k", "1")], vec![put("k", "2"), put("l", "3")]);
        let unseen = history(vec![(txn.clone(), None), (Call::get("l"), Some(Found::Get(None)))]);
        assert_eq!(count(&unseen), 1);
        let torn = history(vec![
            (txn, None),
            (Call::get("k"), shown("2")),
            (Call::get("l"), Some(Found::Get(None))),
        ]);
        assert_eq!(check_history_cycles(&torn).violation().unwrap().rule, "G-single-process");
    }

    #[test]
    fn a_compare_that_held_is_a_read() {
        let swap = |old: &'static str, new: &'static str| {
            let compare = Compare::Value("k".into(), old.into());
            Call::txn(vec![compare], vec![Step::Put("k".into(), new.into())], vec![])
        };
        let mut twice = history(vec![(Call::put("k", "1"), Some(Found::Put))]);
        for new in ["2", "3"] {
            let op = twice.invoke(ClientId(1), Time(0), swap("1", new));
            let answer = crate::Answer::Txn { succeeded: true, found: vec![Found::Put] };
            twice.complete(op, Time(0), Outcome::Answered { revision: None, answer });
        }
        assert_eq!(check_history_cycles(&twice).violation().unwrap().rule, "lost update");
    }
}

//! Histories in the form that checkers compute with: keys and values as small numbers, every call a transaction.
//!
//! Lowering already refuses what no store could have answered: an answer of the wrong shape, and a value that
//! nobody wrote to the key. Refused calls are left out: they have no effect, and seeing one is seeing a value
//! that nobody wrote. So are reads without an answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use trace::OpId;

use crate::history::Text;
use crate::{History, Level, Outcome, Revision, Violation};

mod names;

use names::Names;

/// A key's rank among all keys of the history.
pub(crate) type Key = u32;
/// A value's number, from 1; 0 is "no value".
pub(crate) type Value = u32;
/// What every value stands for that nobody ever saw or asked about.
pub(crate) const UNSEEN: Value = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LowItem {
    pub value: Value,
    pub version: Option<i64>,
    pub mod_revision: Option<Revision>,
    pub create_revision: Option<Revision>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LowStep {
    Get(Key),
    /// From the first key, inclusive, to the second, exclusive.
    Range(Key, Key),
    Put(Key, Value),
    Delete(Key),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LowTest {
    Value(Key, Value),
    Version(Key, i64),
    Mod(Key, Revision),
    Create(Key, Revision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LowFound {
    Get(Option<LowItem>),
    Range(Vec<(Key, LowItem)>),
    Put,
    Delete(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LowAnswer {
    pub succeeded: bool,
    pub found: Vec<LowFound>,
}

#[derive(Clone, Debug)]
pub(crate) struct LowOp {
    pub id: OpId,
    pub invoked: u64,
    /// `u64::MAX` if there is no answer.
    pub returned: u64,
    pub level: Level,
    pub tests: Vec<LowTest>,
    pub then: Vec<LowStep>,
    pub otherwise: Vec<LowStep>,
    pub answer: Option<LowAnswer>,
    pub revision: Option<Revision>,
}

/// A change that a watcher saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LowChange {
    pub revision: Revision,
    pub key: Key,
    /// 0 if it was deleted.
    pub value: Value,
}

#[derive(Debug)]
pub(crate) struct Lowered<'h> {
    pub keys: Vec<&'h Bytes>,
    pub values: Vec<&'h Bytes>,
    pub ops: Vec<LowOp>,
    pub changes: Vec<LowChange>,
    /// By value: which op writes it to which key; the last one if there are several.
    pub writers: Vec<Option<(usize, Key)>>,
    /// A value that two puts write, if there is one.
    pub repeated: Option<Value>,
}

impl LowAnswer {
    /// Every item that the answer shows, with its key where the step names none.
    pub fn items<'a>(&'a self, steps: &'a [LowStep]) -> impl Iterator<Item = (Key, LowItem)> + 'a {
        steps.iter().zip(&self.found).flat_map(|(step, found)| {
            let (one, many) = match (step, found) {
                (LowStep::Get(key), LowFound::Get(Some(item))) => (Some((*key, *item)), None),
                (_, LowFound::Range(items)) => (None, Some(items)),
                _ => (None, None),
            };
            one.into_iter().chain(many.into_iter().flatten().copied())
        })
    }
}

impl LowOp {
    /// The steps of one branch.
    pub fn branch(&self, succeeded: bool) -> &[LowStep] {
        if succeeded { &self.then } else { &self.otherwise }
    }

    /// Every item that the answer shows.
    pub fn items(&self) -> impl Iterator<Item = (Key, LowItem)> + '_ {
        self.answer.iter().flat_map(|answer| answer.items(self.branch(answer.succeeded)))
    }

    /// Whether it is answered and, by its answer, changed something.
    pub fn is_effective(&self) -> bool {
        self.answer.as_ref().is_some_and(|answer| {
            let steps = self.branch(answer.succeeded).iter().zip(&answer.found);
            steps.clone().any(|(step, found)| match (step, found) {
                (LowStep::Put(..), _) => true,
                (LowStep::Delete(_), LowFound::Delete(count)) => *count > 0,
                _ => false,
            })
        })
    }

    /// Whether, answered as it is, it cannot have changed anything.
    pub fn is_read(&self) -> bool {
        self.answer.is_some() && !self.is_effective()
    }

    /// The steps that may have been executed: of the branch that was answered, or of both.
    pub fn possible_steps(&self) -> impl Iterator<Item = &LowStep> {
        let (then, otherwise) = match &self.answer {
            Some(answer) => (answer.succeeded, !answer.succeeded),
            None => (true, true),
        };
        let then = then.then_some(&self.then).into_iter().flatten();
        then.chain(otherwise.then_some(&self.otherwise).into_iter().flatten())
    }

    /// Every key that it may have looked at or written.
    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        let steps = self.possible_steps().flat_map(|step| match step {
            LowStep::Get(key) | LowStep::Put(key, _) | LowStep::Delete(key) => *key..*key + 1,
            LowStep::Range(from, to) => *from..*to,
        });
        self.tests.iter().map(LowTest::key).chain(steps)
    }

    /// The keys that it may have written.
    pub fn written_keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.possible_steps().filter_map(|step| match step {
            LowStep::Put(key, _) | LowStep::Delete(key) => Some(*key),
            LowStep::Get(_) | LowStep::Range(..) => None,
        })
    }
}

impl LowTest {
    pub fn key(&self) -> Key {
        match self {
            LowTest::Value(key, _) | LowTest::Version(key, _) => *key,
            LowTest::Mod(key, _) | LowTest::Create(key, _) => *key,
        }
    }
}

impl<'h> Lowered<'h> {
    /// Lowers `history`.
    ///
    /// # Errors
    /// An answer that no store could have given.
    pub fn new(history: &'h History) -> Result<Lowered<'h>, Violation> {
        let names = Names::collect(history);
        let mut ops = Vec::with_capacity(history.operations().len());
        for (id, operation) in history.iter() {
            let dropped = operation.outcome == Outcome::Refused
                || (operation.outcome == Outcome::Unknown && !operation.call.may_write());
            if !dropped {
                ops.push(names.op(id, operation)?);
            }
        }
        let changes = history.changes.iter().map(|change| names.change(change)).collect();
        let mut lowered = Lowered {
            ops,
            changes,
            writers: vec![None; names.values.len() + 1],
            repeated: None,
            keys: names.keys,
            values: names.values,
        };
        lowered.find_writers();
        lowered.refuse_phantoms()?;
        Ok(lowered)
    }

    fn find_writers(&mut self) {
        for (index, op) in self.ops.iter().enumerate() {
            for step in op.then.iter().chain(&op.otherwise) {
                let LowStep::Put(key, value) = step else { continue };
                let writer = &mut self.writers[*value as usize];
                if writer.is_some() {
                    self.repeated = Some(*value);
                }
                *writer = Some((index, *key));
            }
        }
    }

    fn refuse_phantoms(&self) -> Result<(), Violation> {
        let seen =
            self.ops.iter().flat_map(|op| op.items().map(|(key, item)| (Some(op.id), key, item.value)));
        let watched = self.changes.iter().filter(|change| change.value != 0);
        for (op, key, value) in seen.chain(watched.map(|change| (None, change.key, change.value))) {
            let written = self.ops_writing(value).any(|written| written == key);
            if !written {
                return Err(Violation {
                    rule: "phantom value",
                    expected: format!("a value that was written to {}", self.key(key)),
                    found: format!(
                        "{}, which nobody wrote there, or whose write was refused",
                        self.value(value)
                    ),
                    ops: op.into_iter().collect(),
                });
            }
        }
        Ok(())
    }

    /// The keys to which `value` is written. Values are written once, unless `repeated` says otherwise.
    fn ops_writing(&self, value: Value) -> impl Iterator<Item = Key> + '_ {
        let once = self.writers[value as usize].into_iter().map(|(_, key)| key);
        let all = self.repeated.is_some().then_some(&self.ops).into_iter().flatten();
        once.chain(all.flat_map(move |op| {
            op.then.iter().chain(&op.otherwise).filter_map(move |step| match step {
                LowStep::Put(key, written) if *written == value => Some(*key),
                _ => None,
            })
        }))
    }

    pub fn key(&self, key: Key) -> Text<'h> {
        Text(self.keys[key as usize])
    }

    pub fn value(&self, value: Value) -> String {
        match (value as usize).checked_sub(1).and_then(|index| self.values.get(index)) {
            Some(value) => Text(value).to_string(),
            None => "a value that nobody saw".to_owned(),
        }
    }

    /// By value: whether an answer, a compare or a watcher mentions it.
    pub fn mentioned(&self) -> Vec<bool> {
        let mut mentioned = vec![false; self.values.len() + 1];
        for op in &self.ops {
            op.items().for_each(|(_, item)| mentioned[item.value as usize] = true);
            for test in &op.tests {
                if let LowTest::Value(_, value) = test {
                    mentioned[*value as usize] = true;
                }
            }
        }
        self.changes.iter().for_each(|change| mentioned[change.value as usize] = true);
        mentioned
    }

    /// By op: the unanswered op before it that differs from it in nothing that anybody could see.
    ///
    /// A search may assume that such ops take effect in the order in which they were invoked: in any order of
    /// all operations, exchanging two of them to that end keeps every answer and every real-time constraint.
    pub fn twins(&self, mentioned: &[bool]) -> Vec<Option<usize>> {
        let mut last = BTreeMap::new();
        let blur = |steps: &[LowStep]| steps.iter().map(|step| blurred(*step, mentioned)).collect::<Vec<_>>();
        let mut twins = vec![None; self.ops.len()];
        let mut unanswered: Vec<usize> =
            (0..self.ops.len()).filter(|index| self.ops[*index].answer.is_none()).collect();
        unanswered.sort_by_key(|index| self.ops[*index].invoked);
        for index in unanswered {
            let op = &self.ops[index];
            twins[index] = last.insert((&op.tests, blur(&op.then), blur(&op.otherwise)), index);
        }
        twins
    }
}

/// A put of a value that nobody mentions writes [`UNSEEN`]: any such value is like any other.
pub(crate) fn blurred(step: LowStep, mentioned: &[bool]) -> LowStep {
    match step {
        LowStep::Put(key, value) if !mentioned[value as usize] => LowStep::Put(key, UNSEEN),
        _ => step,
    }
}

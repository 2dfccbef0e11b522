//! Numbers for keys and values, and the lowering of one operation.

use bytes::Bytes;
use trace::OpId;

use super::{Key, LowAnswer, LowChange, LowFound, LowItem, LowOp, LowStep, LowTest, Value};
use crate::{Answer, Call, Change, Compare, Found, History, Item, Level, Operation, Step, Violation};

/// Every key and every value of a history, sorted.
pub(super) struct Names<'h> {
    pub keys: Vec<&'h Bytes>,
    pub values: Vec<&'h Bytes>,
}

impl<'h> Names<'h> {
    pub fn collect(history: &'h History) -> Names<'h> {
        let mut names = Names { keys: Vec::new(), values: Vec::new() };
        for operation in history.operations() {
            names.add_call(&operation.call);
            if let Some(answer) = operation.outcome.answer() {
                names.add_answer(answer);
            }
        }
        for change in &history.changes {
            names.keys.push(&change.key);
            names.values.extend(change.value.as_ref());
        }
        for list in [&mut names.keys, &mut names.values] {
            list.sort_unstable();
            list.dedup();
        }
        names
    }

    fn add_call(&mut self, call: &'h Call) {
        match call {
            Call::One(step) => self.add_step(step),
            Call::Txn(txn) => {
                for compare in &txn.compare {
                    self.keys.push(compare.key());
                    if let Compare::Value(_, value) = compare {
                        self.values.push(value);
                    }
                }
                txn.then.iter().chain(&txn.otherwise).for_each(|step| self.add_step(step));
            }
        }
    }

    fn add_step(&mut self, step: &'h Step) {
        match step {
            Step::Get(key) | Step::Delete(key) => self.keys.push(key),
            Step::Range(..) => {}
            Step::Put(key, value) => {
                self.keys.push(key);
                self.values.push(value);
            }
        }
    }

    fn add_answer(&mut self, answer: &'h Answer) {
        let found = match answer {
            Answer::One(found) => std::slice::from_ref(found),
            Answer::Txn { found, .. } => found,
        };
        for found in found {
            match found {
                Found::Get(item) => self.values.extend(item.iter().map(|item| &item.value)),
                Found::Range(items) => {
                    self.keys.extend(items.iter().map(|(key, _)| key));
                    self.values.extend(items.iter().map(|(_, item)| &item.value));
                }
                Found::Put | Found::Delete(_) => {}
            }
        }
    }

    /// How many keys are less than `key`; its number, if it is a key of the history.
    fn key(&self, key: &Bytes) -> Key {
        self.keys.partition_point(|other| *other < key) as Key
    }

    fn value(&self, value: &Bytes) -> Value {
        self.values.partition_point(|other| *other < value) as Value + 1
    }

    fn step(&self, step: &Step) -> LowStep {
        match step {
            Step::Get(key) => LowStep::Get(self.key(key)),
            Step::Range(from, to) => LowStep::Range(self.key(from), self.key(to)),
            Step::Put(key, value) => LowStep::Put(self.key(key), self.value(value)),
            Step::Delete(key) => LowStep::Delete(self.key(key)),
        }
    }

    fn test(&self, compare: &Compare) -> LowTest {
        match compare {
            Compare::Value(key, value) => LowTest::Value(self.key(key), self.value(value)),
            Compare::Version(key, version) => LowTest::Version(self.key(key), *version),
            Compare::ModRevision(key, revision) => LowTest::Mod(self.key(key), *revision),
            Compare::CreateRevision(key, revision) => LowTest::Create(self.key(key), *revision),
        }
    }

    fn item(&self, item: &Item) -> LowItem {
        LowItem {
            value: self.value(&item.value),
            version: item.version,
            mod_revision: item.mod_revision,
            create_revision: item.create_revision,
        }
    }

    pub fn change(&self, change: &Change) -> LowChange {
        let value = change.value.as_ref().map_or(0, |value| self.value(value));
        LowChange { revision: change.revision, key: self.key(&change.key), value }
    }

    pub fn op(&self, id: OpId, operation: &Operation) -> Result<LowOp, Violation> {
        let steps = |steps: &[Step]| steps.iter().map(|step| self.step(step)).collect::<Vec<_>>();
        let (tests, then, otherwise) = match &operation.call {
            Call::One(step) => (Vec::new(), vec![self.step(step)], Vec::new()),
            Call::Txn(txn) => (
                txn.compare.iter().map(|compare| self.test(compare)).collect(),
                steps(&txn.then),
                steps(&txn.otherwise),
            ),
        };
        let mut op = LowOp {
            id,
            invoked: operation.invoked.0,
            returned: u64::MAX,
            level: if operation.call.may_write() { Level::Linearizable } else { operation.level },
            tests,
            then,
            otherwise,
            answer: None,
            revision: operation.outcome.revision(),
        };
        if let Some(answer) = operation.outcome.answer() {
            op.answer = Some(self.answer(&op, operation, answer)?);
            op.returned = operation.returned.map_or(u64::MAX, |time| time.0);
        }
        Ok(op)
    }

    fn answer(&self, op: &LowOp, operation: &Operation, answer: &Answer) -> Result<LowAnswer, Violation> {
        let malformed = |expected: String| Violation {
            rule: "malformed answer",
            expected,
            found: answer.to_string(),
            ops: vec![op.id],
        };
        let (succeeded, found) = match (&operation.call, answer) {
            (Call::One(_), Answer::One(found)) => (true, std::slice::from_ref(found)),
            (Call::Txn(_), Answer::Txn { succeeded, found }) => (*succeeded, &found[..]),
            (Call::One(_), Answer::Txn { .. }) => return Err(malformed("the answer of one step".into())),
            (Call::Txn(_), Answer::One(_)) => return Err(malformed("the answer of a transaction".into())),
        };
        let steps = op.branch(succeeded);
        if steps.len() != found.len() {
            return Err(malformed(format!("{} answers", steps.len())));
        }
        let found: Option<Vec<LowFound>> =
            steps.iter().zip(found).map(|(step, found)| self.found(*step, found)).collect();
        match found {
            Some(found) => Ok(LowAnswer { succeeded, found }),
            None => Err(malformed("an answer of each step's own kind, within its bounds".into())),
        }
    }

    /// `None` if `found` cannot be an answer to `step`, whatever the store's state.
    fn found(&self, step: LowStep, found: &Found) -> Option<LowFound> {
        match (step, found) {
            (LowStep::Get(_), Found::Get(item)) => {
                Some(LowFound::Get(item.as_ref().map(|item| self.item(item))))
            }
            (LowStep::Range(from, to), Found::Range(items)) => {
                let items: Vec<_> =
                    items.iter().map(|(key, item)| (self.key(key), self.item(item))).collect();
                let inside = items.iter().all(|(key, _)| (from..to).contains(key));
                let ascending = items.windows(2).all(|pair| pair[0].0 < pair[1].0);
                (inside && ascending).then_some(LowFound::Range(items))
            }
            (LowStep::Put(..), Found::Put) => Some(LowFound::Put),
            (LowStep::Delete(_), Found::Delete(count @ 0..=1)) => Some(LowFound::Delete(*count)),
            _ => None,
        }
    }
}

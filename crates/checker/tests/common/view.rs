//! Questions about a history that mutations ask to find a place where a change is certainly wrong.

use bytes::Bytes;
use checker::{Answer, Call, Found, History, Item, Level, Operation, Outcome, Revision, Step};

/// What one operation certainly or possibly did to a key.
#[derive(Clone, Debug)]
pub struct Write {
    /// Index of the operation.
    pub op: usize,
    pub key: Bytes,
    /// `None` for a delete.
    pub value: Option<Bytes>,
    /// Whether it is answered, and so certain.
    pub acked: bool,
    pub revision: Option<Revision>,
}

/// A history with its writes worked out.
pub struct View<'h> {
    pub ops: &'h [Operation],
    pub writes: Vec<Write>,
}

/// One `Get` that is answered and linearizable, alone in its operation.
pub struct Read {
    pub op: usize,
    pub key: Bytes,
    pub item: Option<Item>,
}

impl<'h> View<'h> {
    pub fn new(history: &'h History) -> View<'h> {
        let ops = history.operations();
        let writes = ops.iter().enumerate().flat_map(|(index, op)| writes(index, op)).collect();
        View { ops, writes }
    }

    /// Whether `a` returned before `b` was invoked.
    pub fn before(&self, a: usize, b: usize) -> bool {
        self.ops[a].outcome != Outcome::Unknown
            && self.ops[a].returned.is_some_and(|end| end < self.ops[b].invoked)
    }

    pub fn reads(&self) -> impl Iterator<Item = Read> + '_ {
        self.ops.iter().enumerate().filter(|(_, op)| op.level == Level::Linearizable).filter_map(
            |(index, op)| match (&op.call, op.outcome.answer()) {
                (Call::One(Step::Get(key)), Some(Answer::One(Found::Get(item)))) => {
                    Some(Read { op: index, key: key.clone(), item: item.clone() })
                }
                _ => None,
            },
        )
    }

    /// Answered writes to `key`.
    pub fn acked(&self, key: &Bytes) -> impl Iterator<Item = &Write> + '_ {
        let key = key.clone();
        self.writes.iter().filter(move |write| write.acked && write.key == key)
    }

    pub fn writer(&self, value: &Bytes) -> Option<&Write> {
        self.writes.iter().find(|write| write.value.as_ref() == Some(value))
    }

    /// Whether `key` certainly exists for whoever asks after `put` returned and before `asker` could have.
    pub fn exists_for(&self, key: &Bytes, asker: usize) -> bool {
        let mut puts = self.acked(key).filter(|put| put.value.is_some() && self.before(put.op, asker));
        puts.any(|put| {
            let mut deletes = self
                .writes
                .iter()
                .filter(|write| write.key == *key && write.value.is_none() && write.op != asker);
            deletes.all(|delete| self.before(delete.op, put.op) || self.before(asker, delete.op))
        })
    }

    /// Whether an unanswered operation may have written `key`.
    pub fn unknown_writes(&self, key: &Bytes) -> bool {
        self.writes.iter().any(|write| !write.acked && write.key == *key)
    }

    /// Every operation whose answer shows `value`.
    pub fn seen_by(&self, value: &Bytes) -> impl Iterator<Item = usize> + '_ {
        let value = value.clone();
        let shows = move |op: &Operation| op.outcome.answer().is_some_and(|answer| shows(answer, &value));
        self.ops.iter().enumerate().filter(move |(_, op)| shows(op)).map(|(index, _)| index)
    }
}

fn shows(answer: &Answer, value: &Bytes) -> bool {
    let found = match answer {
        Answer::One(found) => std::slice::from_ref(found),
        Answer::Txn { found, .. } => found,
    };
    found.iter().any(|found| match found {
        Found::Get(item) => item.as_ref().is_some_and(|item| item.value == *value),
        Found::Range(items) => items.iter().any(|(_, item)| item.value == *value),
        Found::Put | Found::Delete(_) => false,
    })
}

fn writes(index: usize, op: &Operation) -> Vec<Write> {
    let both: Vec<Step>;
    let (steps, found): (&[Step], Option<&[Found]>) = match (&op.call, &op.outcome) {
        (_, Outcome::Refused) => return Vec::new(),
        (Call::One(step), Outcome::Answered { answer: Answer::One(found), .. }) => {
            (std::slice::from_ref(step), Some(std::slice::from_ref(found)))
        }
        (Call::One(step), _) => (std::slice::from_ref(step), None),
        (Call::Txn(txn), Outcome::Answered { answer: Answer::Txn { succeeded, found }, .. }) => {
            (if *succeeded { &txn.then } else { &txn.otherwise }, Some(found))
        }
        (Call::Txn(txn), _) => {
            both = txn.then.iter().chain(&txn.otherwise).cloned().collect();
            (&both, None)
        }
    };
    let effective = |i: &usize| found.is_none_or(|found| found[*i] != Found::Delete(0));
    let write = |i: usize| {
        let (key, value) = match &steps[i] {
            Step::Put(key, value) => (key.clone(), Some(value.clone())),
            Step::Delete(key) => (key.clone(), None),
            Step::Get(_) | Step::Range(..) => return None,
        };
        Some(Write { op: index, key, value, acked: found.is_some(), revision: op.outcome.revision() })
    };
    (0..steps.len()).filter(effective).filter_map(write).collect()
}

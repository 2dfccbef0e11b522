//! Why a search came no further than it did: its report for people.

use std::collections::BTreeSet;

use trace::OpId;

use super::search::{Placed, Search};
use crate::Violation;
use crate::lower::LowOp;
use crate::model::UNKNOWN;

/// Where the search was when it came furthest, to explain why it came no further.
pub(super) struct Deepest {
    pub len: usize,
    pub violation: Violation,
}

impl Search<'_> {
    /// Keeps the explanation of the dead end if no order came further.
    pub(super) fn remember_depth(&mut self) {
        if self.deepest.as_ref().is_some_and(|deepest| deepest.len >= self.trail.len()) {
            return;
        }
        let Some(stuck) = self.list.fence() else { return };
        let violation = self.explain(stuck);
        self.deepest = Some(Deepest { len: self.trail.len(), violation });
    }

    fn explain(&mut self, stuck: usize) -> Violation {
        let op = &self.lowered.ops[stuck];
        let branch = op.answer.as_ref().is_some_and(|answer| answer.succeeded);
        let mark = self.store.mark();
        let (expected, found, ops) = match self.store.run(op, branch, UNKNOWN) {
            Err(mismatch) => {
                let (expected, found) = self.store.explain(op, mismatch, self.lowered);
                (expected, found, std::iter::once(op.id).chain(self.last_writer(op)).collect())
            }
            Ok(_) => {
                let late = self.late_reader(mark);
                self.store.rollback(mark);
                let ops = late.into_iter().chain([op.id]).collect();
                ("nobody to see a value after it was overwritten".into(), "one who did".into(), ops)
            }
        };
        let placed = self.trail.len();
        let expected = format!("{expected}, in the order that explains most operations ({placed})");
        Violation { rule: "not linearizable", expected, found, ops }
    }

    /// One of those who still have to see a value that was overwritten since `mark`.
    fn late_reader(&self, mark: usize) -> Option<OpId> {
        let overwritten: Vec<_> =
            self.store.changed_since(mark).iter().map(|(_, before)| before.value).collect();
        let sees = |op: &usize| self.plan.seen[*op].iter().any(|value| overwritten.contains(value));
        let unplaced = self.list.ops.iter().filter(|op| !self.placed[**op]);
        unplaced.copied().find(sees).map(|op| self.lowered.ops[op].id)
    }

    /// Who wrote last to a key that `op` looks at, in the order so far.
    fn last_writer(&self, op: &LowOp) -> Option<OpId> {
        let keys: BTreeSet<_> = op.keys().collect();
        let writes = |placed: &&Placed| {
            let op = &self.lowered.ops[placed.op];
            !op.is_read() && op.written_keys().any(|key| keys.contains(&key))
        };
        self.trail.iter().rev().find(writes).map(|placed| self.lowered.ops[placed.op].id)
    }
}

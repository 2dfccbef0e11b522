//! The search for one partition.
//!
//! ```text
//!   calls and returns of answered ops, by time:   [a( [b( a] [c( b] c]      head ▶ … ▶ first return: the fence
//!   unanswered ops, by invocation:                 u  w
//! ```
//!
//! Whatever is called before the fence may come next; the op that returns at the fence must come before anything
//! that is called after it. Placing an op takes its entries out of the list, stepping back puts them in again.

use std::collections::BTreeSet;

use trace::OpId;

use super::Plan;
use crate::lower::{LowOp, Lowered};
use crate::model::{Store, UNKNOWN, digest};
use crate::{Revision, Violation};

/// What a search found.
pub(super) enum Found {
    /// An order.
    Order,
    /// That there is none.
    NoOrder(Violation),
    /// Nothing within its steps.
    OutOfSteps,
}

pub(super) struct Search<'a> {
    lowered: &'a Lowered<'a>,
    plan: &'a Plan,
    store: Store,
    steps: u64,
    steps_max: u64,
    list: List,
    /// By op: its call's entry in the list; 0 if it is not answered.
    entries: Vec<u32>,
    /// Unanswered ops, by invocation.
    unanswered: Vec<usize>,
    placed: Vec<bool>,
    placed_digest: u128,
    /// By value: how many answers that show it are not placed yet (L2).
    sightings: Vec<u32>,
    /// The order so far.
    trail: Vec<Placed>,
    frames: Vec<Frame>,
    candidates: Vec<Candidate>,
    visited: BTreeSet<u128>,
    deepest: Option<Deepest>,
}

/// Where the search was when it came furthest, to explain why it came no further.
struct Deepest {
    len: usize,
    violation: Violation,
}

/// One op placed, and how to take it back.
#[derive(Clone, Copy)]
struct Placed {
    op: usize,
    store_mark: usize,
}

/// One place in the order: what can stand there, and what is being tried.
struct Frame {
    candidates_start: usize,
    next: usize,
    trail_len: usize,
}

#[derive(Clone, Copy)]
struct Candidate {
    op: usize,
    branch: bool,
}

impl<'a> Search<'a> {
    pub fn new(lowered: &'a Lowered<'a>, plan: &'a Plan, steps_max: u64) -> Search<'a> {
        Search {
            lowered,
            plan,
            store: Store::new(lowered.keys.len()),
            steps: 0,
            steps_max,
            list: List::default(),
            entries: vec![0; lowered.ops.len()],
            unanswered: Vec::new(),
            placed: vec![false; lowered.ops.len()],
            placed_digest: 0,
            sightings: plan.sightings.clone(),
            trail: Vec::new(),
            frames: Vec::new(),
            candidates: Vec::new(),
            visited: BTreeSet::new(),
            deepest: None,
        }
    }

    /// Looks for an order of the ops of `partition`.
    pub fn judge(&mut self, partition: &[usize]) -> Found {
        self.begin(partition);
        self.open();
        while !self.list.is_empty() {
            if self.steps >= self.steps_max {
                return Found::OutOfSteps;
            }
            if self.advance() {
                self.open();
            } else {
                self.remember_depth();
                self.close();
                if self.frames.is_empty() {
                    return Found::NoOrder(self.deepest.take().expect("remembered just now").violation);
                }
            }
        }
        Found::Order
    }

    fn begin(&mut self, partition: &[usize]) {
        let ops = &self.lowered.ops;
        let (answered, mut unanswered): (Vec<usize>, Vec<usize>) =
            partition.iter().partition(|op| ops[**op].answer.is_some());
        unanswered.sort_by_key(|op| ops[*op].invoked);
        for (index, op) in answered.iter().enumerate() {
            self.entries[*op] = List::call_entry(index);
        }
        self.list = List::new(ops, answered);
        self.unanswered = unanswered;
        self.store.commit();
        self.trail.clear();
        self.frames.clear();
        self.candidates.clear();
        self.visited.clear();
        self.deepest = None;
    }

    /// Starts a new place in the order: takes every read that fits (L1), then lists what else may come next.
    fn open(&mut self) {
        let trail_len = self.trail.len();
        while self.place_a_read() {}
        let candidates_start = self.candidates.len();
        self.list_candidates();
        self.frames.push(Frame { candidates_start, next: candidates_start, trail_len });
    }

    /// Takes back the place that was opened last, and the choice that led to it.
    fn close(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.candidates.truncate(frame.candidates_start);
            self.take_back(frame.trail_len);
        }
        if !self.frames.is_empty() {
            self.take_back(self.trail.len() - 1);
        }
    }

    fn place_a_read(&mut self) -> bool {
        let lowered = self.lowered;
        let fits = self.list.before_fence().find(|op| {
            let op = &lowered.ops[*op];
            self.steps += 1;
            op.is_read() && {
                let branch = op.answer.as_ref().is_some_and(|answer| answer.succeeded);
                self.store.run(op, branch, UNKNOWN).is_ok()
            }
        });
        fits.is_some_and(|op| {
            let store_mark = self.store.mark();
            self.place(op, store_mark);
            true
        })
    }

    /// Lists the writes that may come next: by revision where it is known (L3), unanswered ones last (L4).
    fn list_candidates(&mut self) {
        let start = self.candidates.len();
        let ops = &self.lowered.ops;
        for op in self.list.before_fence() {
            if let Some(answer) = ops[op].answer.as_ref().filter(|_| !ops[op].is_read()) {
                self.candidates.push(Candidate { op, branch: answer.succeeded });
            }
        }
        let fence = self.list.fence().map_or(0, |op| ops[op].returned);
        let invoked = self.unanswered.partition_point(|op| ops[*op].invoked <= fence);
        for &op in &self.unanswered[..invoked] {
            let is_next = !self.placed[op] && self.plan.twins[op].is_none_or(|twin| self.placed[twin]);
            if is_next {
                self.candidates.push(Candidate { op, branch: true });
                if !ops[op].tests.is_empty() {
                    self.candidates.push(Candidate { op, branch: false });
                }
            }
        }
        let revisions = &self.plan.revisions;
        let rank = |revision: Revision| if revision == UNKNOWN { Revision::MAX } else { revision };
        self.candidates[start..].sort_by_key(|candidate| rank(revisions[candidate.op]));
    }

    /// Places the next candidate that leads somewhere new; false if there is none left.
    fn advance(&mut self) -> bool {
        while let Some(candidate) = self.next_candidate() {
            let mark = self.store.mark();
            if !self.run_candidate(candidate, mark) {
                continue;
            }
            self.place(candidate.op, mark);
            if self.overwrites_unseen(mark) || !self.visited.insert(self.placed_digest ^ self.store.digest())
            {
                self.take_back(self.trail.len() - 1);
                continue;
            }
            return true;
        }
        false
    }

    fn next_candidate(&mut self) -> Option<Candidate> {
        let frame = self.frames.last_mut()?;
        let candidate = self.candidates.get(frame.next).copied()?;
        frame.next += 1;
        Some(candidate)
    }

    fn run_candidate(&mut self, candidate: Candidate, mark: usize) -> bool {
        self.steps += 1;
        let op = &self.lowered.ops[candidate.op];
        let revision = self.plan.revisions[candidate.op];
        match self.store.run(op, candidate.branch, revision) {
            Err(_) => false,
            // An unanswered op that changes nothing here may as well never happen.
            Ok(changed) => {
                changed || op.answer.is_some() || {
                    self.store.rollback(mark);
                    false
                }
            }
        }
    }

    /// L2: whether a value has just been overwritten that somebody still has to see.
    fn overwrites_unseen(&self, mark: usize) -> bool {
        self.store
            .changed_since(mark)
            .iter()
            .any(|(_, before)| self.sightings.get(before.value as usize).is_some_and(|left| *left > 0))
    }

    fn place(&mut self, op: usize, store_mark: usize) {
        self.set_placed(op, true);
        self.list.remove(self.entries[op]);
        for value in &self.plan.seen[op] {
            self.sightings[*value as usize] = self.sightings[*value as usize].saturating_sub(1);
        }
        self.trail.push(Placed { op, store_mark });
    }

    fn take_back(&mut self, trail_len: usize) {
        while self.trail.len() > trail_len {
            let Some(Placed { op, store_mark }) = self.trail.pop() else { return };
            self.set_placed(op, false);
            self.list.restore(self.entries[op]);
            for value in &self.plan.seen[op] {
                let counted = self.plan.sightings[*value as usize] > 0;
                self.sightings[*value as usize] += u32::from(counted);
            }
            self.store.rollback(store_mark);
        }
    }

    fn set_placed(&mut self, op: usize, placed: bool) {
        self.placed[op] = placed;
        self.placed_digest ^= digest(0, &[op as u64]);
    }

    /// Keeps the explanation of the dead end if no order came further.
    fn remember_depth(&mut self) {
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

/// Calls and returns of the answered ops that are not placed, by time; a doubly linked list in two vectors.
///
/// Entry 0 is both ends. The `i`th op calls at entry `2i + 1` and returns at `2i + 2`.
#[derive(Default)]
struct List {
    next: Vec<u32>,
    prev: Vec<u32>,
    ops: Vec<usize>,
}

impl List {
    fn call_entry(index: usize) -> u32 {
        2 * index as u32 + 1
    }

    fn new(ops: &[LowOp], answered: Vec<usize>) -> List {
        let len = 2 * answered.len() + 1;
        // At equal times calls come first: the operations count as concurrent.
        let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(len);
        for (index, op) in answered.iter().enumerate() {
            let call = List::call_entry(index);
            events.push((ops[*op].invoked, false, call));
            events.push((ops[*op].returned, true, call + 1));
        }
        events.sort_unstable();
        let mut list = List { next: vec![0; len], prev: vec![0; len], ops: answered };
        let mut last = 0;
        for (_, _, entry) in events {
            list.next[last as usize] = entry;
            list.prev[entry as usize] = last;
            last = entry;
        }
        list.next[last as usize] = 0;
        list.prev[0] = last;
        list
    }

    fn is_empty(&self) -> bool {
        self.next[0] == 0
    }

    fn op(&self, entry: u32) -> usize {
        self.ops[(entry as usize - 1) / 2]
    }

    /// The ops that are called before the fence.
    fn before_fence(&self) -> impl Iterator<Item = usize> + '_ {
        let calls = std::iter::successors(Some(self.next[0]), |entry| Some(self.next[*entry as usize]));
        calls.take_while(|entry| entry % 2 == 1).map(|entry| self.op(entry))
    }

    /// The op that returns first.
    fn fence(&self) -> Option<usize> {
        let entries = std::iter::successors(Some(self.next[0]), |entry| Some(self.next[*entry as usize]));
        let mut entries = entries.skip_while(|entry| entry % 2 == 1);
        entries.next().filter(|entry| *entry != 0).map(|entry| self.op(entry))
    }

    fn remove(&mut self, call: u32) {
        if call != 0 {
            self.unlink(call);
            self.unlink(call + 1);
        }
    }

    /// Undoes the latest `remove` that is not undone.
    fn restore(&mut self, call: u32) {
        if call != 0 {
            self.relink(call + 1);
            self.relink(call);
        }
    }

    fn unlink(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    fn relink(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = entry;
        self.prev[next as usize] = entry;
    }
}

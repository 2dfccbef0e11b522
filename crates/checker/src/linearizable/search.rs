//! The search for one partition.
//!
//! ```text
//!   calls and returns of answered ops, by time:   [a( [b( a] [c( b] c]      head ▶ … ▶ first return: the fence
//!   unanswered ops, by invocation:                 u  w
//! ```
//!
//! Whatever is called before the fence may come next; the op that returns at the fence must come before anything
//! that is called after it. Placing an op takes its entries out of the list, stepping back puts them in again.
//!
//! Two ops without a common key can change places. So only ops are tried that touch a key of the fence's op, or
//! of another such op (L6); and a dead end is not blamed on choices that touch none of its keys (L7).

use std::collections::BTreeMap;

use super::Plan;
use super::explain::Deepest;
use super::list::List;
use crate::Violation;
use crate::lower::Lowered;
use crate::model::{Store, UNKNOWN, digest};

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
    pub lowered: &'a Lowered<'a>,
    pub plan: &'a Plan,
    pub store: Store,
    steps: u64,
    steps_max: u64,
    /// Whether only orders are tried in which known revisions ascend (L3).
    ascending: bool,
    pub list: List,
    /// By op: its call's entry in the list; 0 if it is not answered.
    entries: Vec<u32>,
    /// By op: the keys it touches.
    keys: Vec<Keys>,
    /// Unanswered ops, by invocation.
    unanswered: Vec<usize>,
    pub placed: Vec<bool>,
    placed_digest: u128,
    /// By value: how many answers that show it are not placed yet (L2).
    sightings: Vec<u32>,
    /// The order so far.
    pub trail: Vec<Placed>,
    frames: Vec<Frame>,
    candidates: Vec<Candidate>,
    /// Configurations from which no order goes on, and the keys to blame.
    failed: BTreeMap<u128, Keys>,
    pub deepest: Option<Deepest>,
}

/// One op placed, and how to take it back.
#[derive(Clone, Copy)]
pub(super) struct Placed {
    pub op: usize,
    store_mark: usize,
}

/// A set of keys, as a bit for each key's number modulo 128: two sets that share no bit share no key.
type Keys = u128;

/// One place in the order: what can stand there, and what is being tried.
struct Frame {
    /// The configuration: what is placed, and the state.
    digest: u128,
    candidates_start: usize,
    next: usize,
    trail_len: usize,
    /// Whether all candidates are listed, or only the most likely one.
    listed: bool,
    /// What the candidates touch, once they are listed.
    keys: Keys,
    /// The keys to blame for the candidates that failed later.
    blamed: Keys,
}

#[derive(Clone, Copy, PartialEq, Eq)]
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
            ascending: false,
            list: List::default(),
            entries: vec![0; lowered.ops.len()],
            keys: vec![0; lowered.ops.len()],
            unanswered: Vec::new(),
            placed: vec![false; lowered.ops.len()],
            placed_digest: 0,
            sightings: plan.sightings.clone(),
            trail: Vec::new(),
            frames: Vec::new(),
            candidates: Vec::new(),
            failed: BTreeMap::new(),
            deepest: None,
        }
    }

    /// Looks for an order of the ops of `partition`: first for one in which known revisions ascend, as in every
    /// history of a correct store, and then for any.
    pub fn judge(&mut self, partition: &[usize]) -> Found {
        let steps_left = self.steps_max.saturating_sub(self.steps);
        if partition.iter().any(|op| self.plan.revisions[*op] != UNKNOWN) {
            self.ascending = true;
            if let Found::Order = self.search(partition, self.steps + steps_left / 2) {
                return Found::Order;
            }
            self.ascending = false;
        }
        self.search(partition, self.steps_max)
    }

    fn search(&mut self, partition: &[usize], steps_max: u64) -> Found {
        self.begin(partition);
        self.open(0);
        while !self.list.is_empty() {
            if self.steps >= steps_max {
                return Found::OutOfSteps;
            }
            if let Some(digest) = self.advance() {
                self.open(digest);
                continue;
            }
            self.remember_depth();
            if !self.step_back() {
                return Found::NoOrder(self.deepest.take().expect("remembered just now").violation);
            }
        }
        Found::Order
    }

    fn begin(&mut self, partition: &[usize]) {
        // Of the partition before nothing is taken back: it is done, and has no key in common with this one.
        if !self.list.is_empty() {
            self.take_back(0);
        }
        let ops = &self.lowered.ops;
        let (answered, mut unanswered): (Vec<usize>, Vec<usize>) =
            partition.iter().partition(|op| ops[**op].answer.is_some());
        unanswered.sort_by_key(|op| ops[*op].invoked);
        for (index, op) in answered.iter().enumerate() {
            self.entries[*op] = List::call_entry(index);
        }
        for op in partition {
            self.keys[*op] = ops[*op].keys().fold(0, |keys, key| keys | 1 << (key % 128));
        }
        self.list = List::new(ops, answered);
        self.unanswered = unanswered;
        self.store.commit();
        self.trail.clear();
        self.frames.clear();
        self.candidates.clear();
        self.failed.clear();
        self.deepest = None;
    }

    /// Starts a new place in the order: takes every read that fits (L1), then tries what most likely comes next.
    fn open(&mut self, digest: u128) {
        let trail_len = self.trail.len();
        while self.place_a_read() {}
        let candidates_start = self.candidates.len();
        self.candidates.extend(self.likeliest());
        self.frames.push(Frame {
            digest,
            candidates_start,
            next: candidates_start,
            trail_len,
            listed: false,
            keys: 0,
            blamed: 0,
        });
    }

    /// Gives up the place that was opened last, and all before it that are not to blame (L7). False if none is
    /// left.
    fn step_back(&mut self) -> bool {
        let Some(frame) = self.frames.last() else { return false };
        let blamed = frame.keys | frame.blamed;
        self.close(blamed);
        while !self.frames.is_empty() {
            self.take_back(self.trail.len() - 1);
            self.list_candidates();
            if let Some(frame) = self.frames.last_mut()
                && frame.keys & blamed != 0
            {
                frame.blamed |= blamed;
                return true;
            }
            self.close(blamed);
        }
        false
    }

    fn close(&mut self, blamed: Keys) {
        if let Some(frame) = self.frames.pop() {
            self.failed.insert(frame.digest, blamed);
            self.candidates.truncate(frame.candidates_start);
            self.take_back(frame.trail_len);
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

    /// The write with the lowest known revision, else any answered one, that may come next (L3).
    fn likeliest(&self) -> Option<Candidate> {
        let keys = self.connected(false);
        let ops = &self.lowered.ops;
        let answered = self.list.before_fence().filter(|op| !ops[*op].is_read());
        let seen = self.unanswered_now().filter(|op| self.plan.revisions[*op] != UNKNOWN);
        let connected = answered.chain(seen).filter(|op| self.keys[*op] & keys != 0);
        let op = connected
            .min_by_key(|op| Some(self.plan.revisions[*op]).filter(|at| *at != UNKNOWN).ok_or(()))?;
        let branch = ops[op].answer.as_ref().is_none_or(|answer| answer.succeeded);
        Some(Candidate { op, branch })
    }

    /// Lists all writes that may come next, if that is not done yet: behind the likeliest. If revisions led here,
    /// an unanswered write is more likely than an answered one of a higher revision (L4).
    fn list_candidates(&mut self) {
        let Some(frame) = self.frames.last().filter(|frame| !frame.listed) else { return };
        let first = self.candidates.get(frame.candidates_start).copied();
        let keys = self.connected(true);
        let ops = &self.lowered.ops;
        let connected = |op: &usize| self.keys[*op] & keys != 0;
        let mut unanswered = Vec::new();
        for op in self.unanswered_now().filter(connected) {
            unanswered.push(Candidate { op, branch: true });
            if !ops[op].tests.is_empty() {
                unanswered.push(Candidate { op, branch: false });
            }
        }
        let answered = self.list.before_fence().filter(connected).filter(|op| !ops[*op].is_read());
        let answered = answered.map(|op| {
            let branch = ops[op].answer.as_ref().is_some_and(|answer| answer.succeeded);
            Candidate { op, branch }
        });
        let mut answered: Vec<Candidate> = answered.collect();
        answered.sort_by_key(|candidate| self.plan.revisions[candidate.op]);
        let by_revision = first.is_some_and(|first| self.plan.revisions[first.op] != UNKNOWN);
        if self.ascending && by_revision {
            answered.retain(|candidate| self.plan.revisions[candidate.op] == UNKNOWN);
        }
        let lists = if by_revision { [unanswered, answered] } else { [answered, unanswered] };
        let others = lists.into_iter().flatten().filter(|other| Some(*other) != first);
        self.candidates.extend(others);
        if let Some(frame) = self.frames.last_mut() {
            (frame.listed, frame.keys) = (true, keys);
        }
    }

    /// The unanswered writes that may come next: one of several twins (L4).
    fn unanswered_now(&self) -> impl Iterator<Item = usize> + '_ {
        let fence = self.list.fence().map_or(0, |op| self.lowered.ops[op].returned);
        let invoked = self.unanswered.partition_point(|op| self.lowered.ops[*op].invoked <= fence);
        let is_next =
            |op: &usize| !self.placed[*op] && self.plan.twins[*op].is_none_or(|twin| self.placed[twin]);
        self.unanswered[..invoked].iter().copied().filter(is_next)
    }

    /// The keys of the fence's op, and of all that may come before it and are connected with it by keys (L6).
    fn connected(&self, unanswered: bool) -> Keys {
        let mut keys = self.list.fence().map_or(0, |op| self.keys[op]);
        loop {
            let before = keys;
            let join =
                |keys: Keys, op: usize| if self.keys[op] & keys != 0 { keys | self.keys[op] } else { keys };
            keys = self.list.before_fence().fold(keys, join);
            if unanswered {
                keys = self.unanswered_now().fold(keys, join);
            }
            if keys == before {
                return keys;
            }
        }
    }

    /// Places the next candidate that may lead on, and returns the configuration; `None` if there is none left.
    fn advance(&mut self) -> Option<u128> {
        while let Some(candidate) = self.next_candidate() {
            let mark = self.store.mark();
            if !self.run_candidate(candidate, mark) {
                continue;
            }
            self.place(candidate.op, mark);
            let digest = self.placed_digest ^ self.store.digest();
            let failed = self.failed.get(&digest).copied();
            if failed.is_none() && !self.overwrites_unseen(mark) && self.is_as_seen(mark) {
                return Some(digest);
            }
            if let Some(frame) = self.frames.last_mut() {
                frame.blamed |= failed.unwrap_or(0);
            }
            self.take_back(self.trail.len() - 1);
        }
        None
    }

    fn next_candidate(&mut self) -> Option<Candidate> {
        let frame = self.frames.last()?;
        if frame.next >= self.candidates.len() {
            self.list_candidates();
        }
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

    /// L5: whether what has just been written is what those saw who saw it.
    fn is_as_seen(&self, mark: usize) -> bool {
        self.store.changed_since(mark).iter().all(|(key, _)| {
            let slot = self.store.slot(*key);
            self.plan
                .shown
                .get(slot.value as usize)
                .is_none_or(|shown| shown.iter().all(|item| slot.shows(item)))
        })
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
}

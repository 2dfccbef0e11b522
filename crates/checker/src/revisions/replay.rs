//! The replay (S2, S4), with a search for writes that nobody answered and nobody saw.
//!
//! At a revision without a known writer, every spare write that fits is a choice. When the replay fails later,
//! it comes back to the latest choice that could have mattered: one that touches a key of the failure, or that
//! could have. A failure that a choice has no part in fails again whatever is chosen there, so such choices are
//! passed over (conflict-directed backjumping).

use std::collections::BTreeSet;

use super::WORK_MAX;
use super::gaps::Forecast;
use super::order::Returns;
use super::plan::Plan;
use crate::lower::{Key, LowChange};
use crate::model::Store;
use crate::{Revision, Verdict, Violation};

pub(super) struct Replay<'a> {
    plan: &'a Plan<'a>,
    returns: &'a Returns,
    store: Store,
    /// Built at the first gap.
    forecast: Option<Forecast>,
    frames: Vec<Frame>,
    used: Vec<bool>,
    work: u64,
    /// The failure at the highest revision: what the best attempt could not explain.
    furthest: Option<(Revision, Violation)>,
}

/// One gap and what is tried there.
struct Frame {
    revision: Revision,
    mark: usize,
    candidates: Vec<usize>,
    next: usize,
    /// Spare writes that did not fit the state.
    misfits: Vec<usize>,
    /// Why candidates failed so far.
    reasons: Reason,
    /// Whether one of them failed for a reason in which it had no part; then so would any other without part.
    independent: bool,
}

/// The keys whose contents make a failure; `None`: anything might have prevented it.
type Reason = Option<BTreeSet<Key>>;

struct Failure {
    revision: Revision,
    violation: Violation,
    reason: Reason,
}

impl<'a> Replay<'a> {
    pub fn new(plan: &'a Plan<'a>, returns: &'a Returns) -> Replay<'a> {
        Replay {
            plan,
            returns,
            store: Store::new(plan.lowered.keys.len()),
            forecast: None,
            frames: Vec::new(),
            used: vec![false; plan.lowered.ops.len()],
            work: 0,
            furthest: None,
        }
    }

    /// Replays all revisions.
    ///
    /// # Errors
    /// What cannot be explained by any choice, or that the choices were too many.
    pub fn run(mut self) -> Result<(), Verdict> {
        let mut at = self.plan.start;
        let mut result = self.judge_reads(at);
        loop {
            if let Err(failure) = result {
                at = self.retreat(failure)?;
            }
            if at == self.plan.last {
                return Ok(());
            }
            at += 1;
            result = match self.plan.write(at) {
                Some(op) => self.apply(op, at),
                None => self.open_gap(at),
            };
            if self.frames.is_empty() {
                self.store.commit();
            }
        }
    }

    /// Executes `op` at `revision`, and judges all who saw that.
    fn apply(&mut self, op: usize, revision: Revision) -> Result<(), Box<Failure>> {
        self.work += 1;
        let mark = self.store.mark();
        let low = &self.plan.lowered.ops[op];
        let branch = low.answer.as_ref().map_or_else(|| self.store.branch(low), |answer| answer.succeeded);
        match self.store.run(low, branch, revision) {
            Err(mismatch) => {
                let (expected, found) = self.store.explain(low, mismatch, self.plan.lowered);
                return Err(self.failure("wrong answer", expected, found, op, revision));
            }
            Ok(false) => {
                let expected = format!("operation {} to write revision {revision}", low.id.0);
                return Err(self.failure(
                    "write without effect",
                    expected,
                    "nothing to change".into(),
                    op,
                    revision,
                ));
            }
            Ok(true) => {}
        }
        self.judge_changes(op, mark, revision)?;
        self.judge_reads(revision)
    }

    fn judge_reads(&mut self, revision: Revision) -> Result<(), Box<Failure>> {
        let plan = self.plan;
        for (_, op) in plan.reads_at(revision) {
            let low = &plan.lowered.ops[*op];
            let branch = low.answer.as_ref().is_some_and(|answer| answer.succeeded);
            if let Err(mismatch) = self.store.run(low, branch, revision) {
                let (expected, found) = self.store.explain(low, mismatch, plan.lowered);
                return Err(self.failure("wrong read", expected, found, *op, revision));
            }
        }
        Ok(())
    }

    fn judge_changes(&self, op: usize, mark: usize, revision: Revision) -> Result<(), Box<Failure>> {
        let Some(watched) = self.plan.changes_at(revision) else { return Ok(()) };
        if self.changed(mark) == sorted(watched) {
            return Ok(());
        }
        let text = |changes: &[(Key, u32)]| {
            let one = |(key, value): &(Key, u32)| match value {
                0 => format!("{} deleted", self.plan.lowered.key(*key)),
                _ => format!("{} = {}", self.plan.lowered.key(*key), self.plan.lowered.value(*value)),
            };
            format!("[{}] at revision {revision}", changes.iter().map(one).collect::<Vec<_>>().join(", "))
        };
        let (expected, found) = (text(&self.changed(mark)), text(&sorted(watched)));
        Err(self.failure("a watcher saw something else", expected, found, op, revision))
    }

    /// What changed since `mark`, in the form of a watcher's changes, by key.
    fn changed(&self, mark: usize) -> Vec<(Key, u32)> {
        let keys = self.store.changed_since(mark).iter().map(|(key, _)| *key);
        let mut changed: Vec<_> = keys.map(|key| (key, self.store.slot(key).value)).collect();
        changed.sort_unstable();
        changed.dedup();
        changed
    }

    fn failure(
        &self,
        rule: &'static str,
        expected: String,
        found: String,
        op: usize,
        revision: Revision,
    ) -> Box<Failure> {
        let writer = self.plan.write(revision).filter(|writer| *writer != op);
        let ops = std::iter::once(op).chain(writer).map(|op| self.plan.lowered.ops[op].id).collect();
        let expected = format!("{expected}, at revision {revision}");
        let violation = Violation { rule, expected, found, ops };
        Box::new(Failure { revision, violation, reason: Some(self.plan.keys(op).collect()) })
    }

    /// Starts to choose a writer for a revision that has none.
    fn open_gap(&mut self, revision: Revision) -> Result<(), Box<Failure>> {
        let mark = self.store.mark();
        let (mut candidates, mut misfits) = (Vec::new(), Vec::new());
        let spare = self.plan.spare.iter().copied();
        for op in spare.filter(|op| self.may_come_next(*op, revision)).collect::<Vec<_>>() {
            match self.rank(op, revision) {
                Some(rank) => candidates.push((rank, op)),
                None => misfits.push(op),
            }
        }
        candidates.sort_by_key(|(rank, _)| *rank);
        if candidates.is_empty() {
            return Err(Box::new(Failure { revision, violation: self.unexplained(revision), reason: None }));
        }
        let candidates = candidates.into_iter().map(|(_, op)| op).collect();
        let reasons = Some(BTreeSet::new());
        self.frames.push(Frame { revision, mark, candidates, next: 0, misfits, reasons, independent: false });
        let first = self.choose(None).expect("there are candidates");
        self.apply(first, revision)
    }

    fn may_come_next(&self, op: usize, revision: Revision) -> bool {
        !self.used[op]
            && self.plan.twins[op].is_none_or(|twin| self.used[twin])
            && self.returns.allow(revision, self.plan.lowered.ops[op].invoked)
    }

    /// Tries `op` at a gap; `None` if it does not fit the state, else how promising it is: less is better.
    fn rank(&mut self, op: usize, revision: Revision) -> Option<(u8, Revision)> {
        self.work += 1;
        let mark = self.store.mark();
        let low = &self.plan.lowered.ops[op];
        let branch = self.store.branch(low);
        let changed = self.store.run(low, branch, revision).unwrap_or(false);
        let watched = self.plan.changes_at(revision).is_none_or(|seen| self.changed(mark) == sorted(seen));
        let rank = (changed && watched).then(|| {
            let plan = self.plan;
            let forecast = self.forecast.get_or_insert_with(|| Forecast::new(plan));
            forecast.rank(&self.store, self.store.changed_since(mark), revision)
        });
        self.store.rollback(mark);
        rank
    }

    /// Takes the next candidate of the latest gap that touches `wanted`, or any if that is `None`.
    fn choose(&mut self, wanted: Reason) -> Option<usize> {
        let plan = self.plan;
        let frame = self.frames.last_mut()?;
        while let Some(&op) = frame.candidates.get(frame.next) {
            frame.next += 1;
            if touches(plan, op, &wanted) {
                self.used[op] = true;
                return Some(op);
            }
        }
        None
    }

    /// After a failure, makes the latest choice that matters anew. Returns the revision that stands then.
    ///
    /// # Errors
    /// The verdict, if there is no such choice.
    fn retreat(&mut self, mut failure: Box<Failure>) -> Result<Revision, Verdict> {
        let plan = self.plan;
        loop {
            self.remember(&failure);
            if self.work > WORK_MAX {
                let reason = format!("no way to place the writes that nobody saw within {WORK_MAX} steps");
                return Err(Verdict::Undecided { reason });
            }
            let Some(frame) = self.frames.last_mut() else {
                let (_, violation) = self.furthest.take().expect("remembered just now");
                return Err(Verdict::Violated(violation));
            };
            self.store.rollback(frame.mark);
            let chosen = std::mem::replace(&mut self.used[frame.candidates[frame.next - 1]], false);
            debug_assert!(chosen, "a gap that is open has a choice");
            widen(plan, &mut failure.reason, &frame.misfits);
            let has_part = touches(plan, frame.candidates[frame.next - 1], &failure.reason);
            frame.independent |= !has_part;
            merge(&mut frame.reasons, &failure.reason);
            let revision = frame.revision;
            match self.choose(if has_part { None } else { failure.reason.take() }) {
                Some(op) => match self.apply(op, revision) {
                    Ok(()) => return Ok(revision),
                    Err(next) => failure = next,
                },
                None => failure.reason = self.close_gap(),
            }
        }
    }

    /// Gives up the latest gap, and says what has to change before another try there makes sense.
    fn close_gap(&mut self) -> Reason {
        self.frames.pop().filter(|frame| frame.independent).and_then(|frame| frame.reasons)
    }

    fn remember(&mut self, failure: &Failure) {
        if self.furthest.as_ref().is_none_or(|(revision, _)| *revision < failure.revision) {
            self.furthest = Some((failure.revision, failure.violation.clone()));
        }
    }

    fn unexplained(&self, revision: Revision) -> Violation {
        let ops = self.plan.spare.iter().filter(|op| self.may_come_next(**op, revision)).take(4);
        Violation {
            rule: "revision gap",
            expected: format!("an operation that wrote revision {revision}"),
            found: format!("none that fits; {} unanswered writes that nobody saw", self.plan.spare.len()),
            ops: ops.map(|op| self.plan.lowered.ops[*op].id).collect(),
        }
    }
}

fn sorted(changes: &[LowChange]) -> Vec<(Key, u32)> {
    let mut sorted: Vec<_> = changes.iter().map(|change| (change.key, change.value)).collect();
    sorted.sort_unstable();
    sorted
}

fn touches(plan: &Plan<'_>, op: usize, reason: &Reason) -> bool {
    reason.as_ref().is_none_or(|keys| plan.keys(op).any(|key| keys.contains(&key)))
}

/// A write that would touch the failure, had it fitted here: what kept it from fitting is part of the reason.
fn widen(plan: &Plan<'_>, reason: &mut Reason, misfits: &[usize]) {
    let Some(keys) = reason else { return };
    let mut grown = true;
    while grown {
        let before = keys.len();
        for op in misfits {
            if plan.keys(*op).any(|key| keys.contains(&key)) {
                keys.extend(plan.keys(*op));
            }
        }
        grown = keys.len() > before;
    }
}

fn merge(all: &mut Reason, reason: &Reason) {
    match (all.as_mut(), reason) {
        (Some(all), Some(reason)) => all.extend(reason),
        _ => *all = None,
    }
}

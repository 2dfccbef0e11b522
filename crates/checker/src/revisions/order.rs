//! Real time (S3, and the second half of S5): one sweep over the places.
//!
//! A place is twice the distance from the start, and one more for reads: `0 reads, 2 write, 3 reads, 4 write, …`.
//! Reads at one revision share a place, as their order among themselves says nothing.

use super::plan::Plan;
use crate::{Level, Revision, Violation};

/// By place: the first return among all places from there on, and whose it is.
pub(super) struct Returns {
    start: Revision,
    first: Vec<Option<(u64, usize)>>,
}

impl Returns {
    /// Whether an op that was invoked at `invoked` could have made `revision`: nobody who saw that, or anything
    /// later, may have returned before.
    pub fn allow(&self, revision: Revision, invoked: u64) -> bool {
        let place = place(self.start, revision, true) + 1;
        self.first.get(place).copied().flatten().is_none_or(|(returned, _)| invoked <= returned)
    }
}

fn place(start: Revision, revision: Revision, writes: bool) -> usize {
    // Revisions are at most as many above the start as there are operations.
    let above = usize::try_from(revision - start).unwrap_or(0);
    2 * above + usize::from(!writes)
}

/// Checks S3 for every op whose place is known.
pub(super) fn check_real_time(plan: &Plan<'_>) -> Result<Returns, Violation> {
    check_futures(plan)?;
    let ops = &plan.lowered.ops;
    let reads = plan.reads().iter().filter(|(_, op)| ops[*op].level == Level::Linearizable);
    let reads = reads.map(|(revision, op)| (place(plan.start, *revision, false), *op));
    let writes = plan.writes().map(|(revision, op)| (place(plan.start, revision, true), op));
    let mut placed: Vec<(usize, usize)> = reads.chain(writes).collect();
    placed.sort_unstable();

    let places = place(plan.start, plan.last, false) + 2;
    let mut returns = Returns { start: plan.start, first: vec![None; places] };
    let mut next = places - 1;
    for group in placed.chunk_by(|a, b| a.0 == b.0).rev() {
        let place = group[0].0;
        let after = returns.first[next];
        (place + 1..next).for_each(|between| returns.first[between] = after);
        let here = group.iter().map(|(_, op)| (ops[*op].returned, *op)).min();
        for (_, op) in group {
            if let Some((returned, earlier)) = after
                && returned < ops[*op].invoked
            {
                return Err(out_of_order(plan, *op, earlier));
            }
        }
        returns.first[place] = after.into_iter().chain(here).min();
        next = place;
    }
    let after = returns.first[next];
    (0..next).for_each(|before| returns.first[before] = after);
    Ok(returns)
}

fn out_of_order(plan: &Plan<'_>, late: usize, early: usize) -> Violation {
    let (late, early) = (&plan.lowered.ops[late], &plan.lowered.ops[early]);
    let revision =
        |revision: Option<Revision>| revision.map_or("an earlier one".to_owned(), |r| r.to_string());
    Violation {
        rule: if late.is_read() { "stale read" } else { "revisions against real time" },
        expected: format!(
            "operation {} at revision {} or later, as operation {} had returned before it was invoked",
            late.id.0,
            revision(early.revision),
            early.id.0
        ),
        found: format!("revision {}", revision(late.revision)),
        ops: vec![late.id, early.id],
    }
}

/// Serializable reads may be old, but not newer than what had been asked when they returned.
fn check_futures(plan: &Plan<'_>) -> Result<(), Violation> {
    let ops = &plan.lowered.ops;
    let mut writes = plan.writes().peekable();
    let mut latest: Option<usize> = None;
    for (revision, read) in plan.reads() {
        while let Some((_, write)) = writes.next_if(|(at, _)| at <= revision) {
            if latest.is_none_or(|latest| ops[latest].invoked < ops[write].invoked) {
                latest = Some(write);
            }
        }
        if let Some(write) = latest.filter(|write| ops[*write].invoked > ops[*read].returned) {
            return Err(Violation {
                rule: "read of the future",
                expected: "a state of writes that had been asked for".into(),
                found: format!("revision {revision}, which includes operation {}", ops[write].id.0),
                ops: vec![ops[*read].id, ops[write].id],
            });
        }
    }
    Ok(())
}

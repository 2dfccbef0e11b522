//! C2: is there one order of all operations, each between its invocation and its return, that a store would
//! have answered like this? Needs no revisions.
//!
//! ```text
//!   history ──lower──▶ partitions of keys that no transaction ties together ──search each──▶ verdict
//! ```
//!
//! The search is that of Wing and Gong with Lowe's memory of configurations, as in porcupine: extend an order by
//! any operation that no other operation must precede, step back when nothing fits, and never visit the same
//! (set of operations, state) twice. Some things keep it near-linear on histories of real stores:
//!
//! - L1  a read that fits is taken at once: it changes nothing, so taking it later gains nothing;
//! - L2  a value may not be overwritten before everyone who saw it has been placed, as it never comes back
//!   (values are unique; one that is written twice is exempt);
//! - L3  orders in which known revisions ascend are tried before all others; revisions decide nothing;
//! - L4  unanswered writes are tried only when the likeliest does not fit, and those that differ in nothing visible
//!   only in order of invocation;
//! - L5  a value is written with the version and revisions that those saw who saw it;
//! - L6  two operations without a common key are tried in one order only;
//! - L7  after a dead end, choices that touch none of its keys are passed over.
//!
//! # Source
//! Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for Linearizability" (2017);
//! Horn and Kroening, "Faster Linearizability Checking via P-compositionality" (2015).

use crate::lower::{LowItem, LowOp, LowStep, Lowered, Value, blurred};
use crate::model::UNKNOWN;
use crate::{History, Level, Revision, Verdict};

mod explain;
mod list;
mod partition;
mod search;

use search::{Found, Search};

/// Enough steps for any history that is not built to be hard: some seconds.
pub const STEPS_DEFAULT: u64 = 20_000_000;

/// Judges whether `history` is linearizable, looking at most `steps_max` operations into their place.
///
/// Serializable reads promise less and are left out; see [`check_revisions`](crate::check_revisions).
pub fn check_linearizable(history: &History, steps_max: u64) -> Verdict {
    let mut lowered = match Lowered::new(history) {
        Ok(lowered) => lowered,
        Err(violation) => return Verdict::Violated(violation),
    };
    let plan = Plan::new(&mut lowered);
    let mut search = Search::new(&lowered, &plan, steps_max);
    for partition in partition::partitions(&lowered) {
        match search.judge(&partition) {
            Found::Order => {}
            Found::NoOrder(violation) => return Verdict::Violated(violation),
            Found::OutOfSteps => {
                let (count, keys) = (partition.len(), partition::keys_text(&lowered, &partition));
                return Verdict::Undecided {
                    reason: format!("no order of {count} operations on {keys} within {steps_max} steps"),
                };
            }
        }
    }
    Verdict::Holds
}

/// What is worked out once about all operations.
struct Plan {
    /// By op: the revision of what it writes, [`UNKNOWN`] if nobody saw it.
    revisions: Vec<Revision>,
    /// By op: an unanswered op that must take effect before it (L4).
    twins: Vec<Option<usize>>,
    /// By op: the values that its answer shows.
    seen: Vec<Vec<Value>>,
    /// By value: how many answers show it; 0 also if L2 does not hold for it.
    sightings: Vec<u32>,
    /// By value: an item of those that show it, if values are unique (L5).
    shown: Vec<Option<LowItem>>,
}

impl Plan {
    fn new(lowered: &mut Lowered<'_>) -> Plan {
        let mentioned = lowered.mentioned();
        let twins = lowered.twins(&mentioned);
        let revisions = write_revisions(lowered);
        for op in lowered.ops.iter_mut().filter(|op| op.answer.is_none()) {
            let blur = |step: &mut LowStep| *step = blurred(*step, &mentioned);
            op.then.iter_mut().chain(&mut op.otherwise).for_each(blur);
        }
        let seen: Vec<Vec<Value>> = lowered.ops.iter().map(values_seen).collect();
        let mut sightings = vec![0; mentioned.len()];
        let mut shown = vec![None; mentioned.len()];
        if lowered.repeated.is_none() {
            seen.iter().flatten().for_each(|value| sightings[*value as usize] += 1);
            let current = lowered.ops.iter().filter(|op| op.level == Level::Linearizable);
            current.flat_map(LowOp::items).for_each(|(_, item)| shown[item.value as usize] = Some(item));
        }
        Plan { revisions, twins, seen, sightings, shown }
    }
}

/// What `op` shows that must be current. A serializable read is not placed, so nothing waits for it.
fn values_seen(op: &LowOp) -> Vec<Value> {
    match op.level {
        Level::Linearizable => op.items().map(|(_, item)| item.value).collect(),
        Level::Serializable => Vec::new(),
    }
}

/// The revision that each op's answer names, or that somebody saw on a value that it alone writes.
fn write_revisions(lowered: &Lowered<'_>) -> Vec<Revision> {
    let named = |op: &LowOp| op.revision.filter(|_| op.is_effective()).unwrap_or(UNKNOWN);
    let mut revisions: Vec<Revision> = lowered.ops.iter().map(named).collect();
    if lowered.repeated.is_some() {
        return revisions;
    }
    for (key, item) in lowered.ops.iter().flat_map(LowOp::items) {
        if let (Some((writer, written)), Some(seen)) =
            (lowered.writers[item.value as usize], item.mod_revision)
            && written == key
            && lowered.ops[writer].revision.is_none()
        {
            revisions[writer] = seen;
        }
    }
    revisions
}

#[cfg(test)]
mod tests;

//! C1: does the store's own order of revisions explain everything, and does it respect real time?
//!
//! ```text
//!   revision   2        3        4        5
//!   writes     put a    (gap)    put b    txn        each write at the revision that its answer names
//!   reads          get a             range           each read in the state at the revision it names
//!                       ▲ an unanswered write that somebody saw, or that a search finds to fit
//! ```
//!
//! Rules:
//! - S1  every revision is made by exactly one write, and no write makes two;
//! - S2  replayed in order of revisions, the store answers what was answered, at every revision;
//! - S3  who returned before another was invoked has no higher place in that order;
//! - S4  what a watcher saw at a revision is what changed there;
//! - S5  a serializable read shows the exact state at its revision, and nothing that was not yet asked for.
//!
//! S1 to S3 together are strict serializability, with the store's revisions as the witness. One sort, one replay
//! and one sweep: O(n log n), where [`check_linearizable`](crate::check_linearizable) must search. Only gaps that
//! nobody saw into are searched for; a watcher's [`changes`](History::changes) leave little to search.

use crate::lower::Lowered;
use crate::{History, Verdict};

mod gaps;
mod order;
mod plan;
mod replay;

/// Writes looked into their place before giving up: a history of 10 million revisions replayed once, or fewer
/// replayed again and again because of gaps. Some seconds.
const WORK_MAX: u64 = 20_000_000;

/// Judges whether revisions explain `history`: see the rules of this module.
///
/// Every answer must name its revision; without, the verdict is undecided.
pub fn check_revisions(history: &History) -> Verdict {
    let judged = Lowered::new(history).map_err(Verdict::Violated).and_then(|lowered| {
        let plan = plan::Plan::new(&lowered, history.start_revision)?;
        let returns = order::check_real_time(&plan).map_err(Verdict::Violated)?;
        replay::Replay::new(&plan, &returns).run()
    });
    match judged {
        Ok(()) => Verdict::Holds,
        Err(verdict) => verdict,
    }
}

#[cfg(test)]
mod tests;

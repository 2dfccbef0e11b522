//! When a submitter's next proposal may leave: batching by waiting for the one before, without a fixed delay.
//!
//! ```text
//!   nothing under way ──▶ send at once          (one client: no delay at all)
//!   a proposal under way ──▶ collect until it is executed, or `hold_max` has passed
//! ```
//!
//! The more clients there are, the more gather while a proposal is under way, and the less each costs: every
//! proposal wakes each thread of every replica once, however many commands it holds. Nagle's algorithm
//! (RFC 896), with a bound for the case that a proposal is lost, and for disks so slow that they want several
//! writes under way.

use std::collections::VecDeque;
use std::time::Duration;

use types::Time;

/// Decides whether new commands may be proposed now.
#[derive(Clone, Debug)]
pub(crate) struct Pacing {
    hold_max: Duration,
    /// Proposals that are neither executed nor too old to wait for: the highest number each carried, and when
    /// it left.
    under_way: VecDeque<(u64, Time)>,
}

impl Pacing {
    /// Nothing is under way. A `hold_max` of zero never holds anything up.
    pub(crate) fn new(hold_max: Duration) -> Pacing {
        Pacing { hold_max, under_way: VecDeque::new() }
    }

    /// Whether to send now. `lowest` is the lowest number without an outcome: all below have been executed.
    pub(crate) fn may_send(&mut self, now: Time, lowest: u64) -> bool {
        let hold_max = self.hold_max;
        self.under_way.retain(|(last, sent_at)| *last >= lowest && now < *sent_at + hold_max);
        self.under_way.is_empty()
    }

    /// A proposal left, with numbers up to `last`.
    pub(crate) fn sent(&mut self, now: Time, last: u64) {
        self.under_way.push_back((last, now));
    }

    /// What is under way may be lost: do not wait for it.
    pub(crate) fn reset(&mut self) {
        self.under_way.clear();
    }

    /// When to stop waiting.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.under_way.back().map(|(_, sent_at)| *sent_at + self.hold_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_for_the_proposal_before_but_not_for_long() {
        let mut pacing = Pacing::new(Duration::from_nanos(10));
        assert!(pacing.may_send(Time(0), 1));
        pacing.sent(Time(0), 3);
        assert!(!pacing.may_send(Time(1), 3), "number 3 has no outcome");
        assert!(pacing.may_send(Time(1), 4));
        pacing.sent(Time(1), 5);
        assert_eq!(pacing.deadline(), Some(Time(11)));
        assert!(!pacing.may_send(Time(10), 4));
        assert!(pacing.may_send(Time(11), 4), "it may be lost");
    }

    #[test]
    fn zero_never_holds_anything_up() {
        let mut pacing = Pacing::new(Duration::ZERO);
        pacing.sent(Time(5), 1);
        assert!(pacing.may_send(Time(5), 1));
    }
}

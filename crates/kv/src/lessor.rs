//! The leader's lease clock: which leases have run out and must be revoked through the log.
//!
//! ```text
//!   promote ──▶ every lease has its full time again ──▶ renew moves it on
//!                        │ runs out
//!                        └──▶ expired: the caller proposes a revoke; it is reported again if that got lost
//! ```
//!
//! Only the leader's lessor knows anything; a follower's is empty. Promises:
//!
//! - L1  No lease is reported before its whole time to live has passed on this leader's monotonic clock
//!   since it was granted, renewed, or the leader promoted.
//! - L2  Once run out it is never renewed: a revoke may be under way.
//! - L3  Every operation is O(log n) in the number of leases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::Time;

use crate::LeaseId;

/// See the module's description.
#[derive(Clone, Debug, Default)]
pub struct Lessor {
    leading: bool,
    leases: BTreeMap<LeaseId, Lease>,
    /// When to report each lease, soonest first.
    due: BTreeSet<(Time, LeaseId)>,
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    ttl_seconds: i64,
    expires_at: Time,
    /// Its place in `due`: `expires_at`, or later once it has been reported.
    due_at: Time,
}

/// A reported lease is reported again if it was not revoked within this time: the proposal got lost.
const REPORT_AGAIN_AFTER: Duration = Duration::from_secs(3);

impl Lessor {
    /// A follower's lessor.
    pub fn new() -> Lessor {
        Lessor::default()
    }

    /// This node leads now: every lease gets its full time to live from `now`, since renewals that other
    /// leaders took are not known here. `leases` are the ids and granted seconds in the applied state.
    pub fn promote(&mut self, now: Time, leases: impl IntoIterator<Item = (LeaseId, i64)>) {
        self.demote();
        self.leading = true;
        for (id, ttl_seconds) in leases {
            self.granted(now, id, ttl_seconds);
        }
    }

    /// This node leads no longer, and forgets everything.
    pub fn demote(&mut self) {
        *self = Lessor::new();
    }

    /// Whether this node leads.
    pub fn is_leading(&self) -> bool {
        self.leading
    }

    /// A grant was applied. Does nothing on a follower.
    pub fn granted(&mut self, now: Time, id: LeaseId, ttl_seconds: i64) {
        if !self.leading {
            return;
        }
        self.revoked(id);
        let expires_at = now + seconds(ttl_seconds);
        self.leases.insert(id, Lease { ttl_seconds, expires_at, due_at: expires_at });
        self.due.insert((expires_at, id));
    }

    /// A revoke was applied.
    pub fn revoked(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.due.remove(&(lease.due_at, id));
        }
    }

    /// Gives a lease its full time again and returns that in seconds; `None` if it is unknown or has run out
    /// (L2), for which etcd's API answers a TTL of 0.
    pub fn renew(&mut self, id: LeaseId, now: Time) -> Option<i64> {
        let lease = self.leases.get(&id).copied().filter(|lease| now < lease.expires_at)?;
        self.granted(now, id, lease.ttl_seconds);
        Some(lease.ttl_seconds)
    }

    /// How long a lease still has; zero if it has run out, `None` if it is unknown.
    pub fn remaining(&self, id: LeaseId, now: Time) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.expires_at.since(now))
    }

    /// The time to live that a lease was granted, in seconds; `None` if it is unknown.
    pub fn granted_seconds(&self, id: LeaseId) -> Option<i64> {
        self.leases.get(&id).map(|lease| lease.ttl_seconds)
    }

    /// Up to `max` leases that have run out and were not reported lately, the longest overdue first.
    pub fn expired(&mut self, now: Time, max: usize) -> Vec<LeaseId> {
        let over: Vec<(Time, LeaseId)> =
            self.due.iter().take_while(|(due_at, _)| *due_at <= now).take(max).copied().collect();
        for (due_at, id) in &over {
            self.due.remove(&(*due_at, *id));
            let again_at = now + REPORT_AGAIN_AFTER;
            self.due.insert((again_at, *id));
            if let Some(lease) = self.leases.get_mut(id) {
                lease.due_at = again_at;
            }
        }
        over.into_iter().map(|(_, id)| id).collect()
    }

    /// When [`expired`](Lessor::expired) should be asked next; `None` while there is nothing to wait for.
    pub fn deadline(&self) -> Option<Time> {
        self.due.first().map(|(due_at, _)| *due_at)
    }
}

fn seconds(ttl_seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time(seconds * 1_000_000_000)
    }

    fn leading(leases: &[(LeaseId, i64)]) -> Lessor {
        let mut lessor = Lessor::new();
        lessor.promote(at(0), leases.iter().copied());
        lessor
    }

    /// L1, and etcd-api.md §4.6: a leader change pushes expiry out to the full TTL.
    #[test]
    fn after_promotion_every_lease_has_its_full_ttl() {
        let mut lessor = leading(&[(1, 10), (2, 5)]);
        lessor.demote();
        assert_eq!((lessor.deadline(), lessor.remaining(1, at(3))), (None, None));
        lessor.promote(at(4), [(1, 10), (2, 5)]);
        assert_eq!(lessor.remaining(1, at(4)), Some(Duration::from_secs(10)));
        assert_eq!(lessor.deadline(), Some(at(9)));
        assert_eq!(lessor.expired(Time(at(9).0 - 1), 10), []);
        assert_eq!(lessor.expired(at(9), 10), [2]);
    }

    #[test]
    fn renewal_moves_a_lease_on_until_it_has_run_out() {
        let mut lessor = leading(&[(7, 10)]);
        assert_eq!(lessor.renew(7, at(9)), Some(10));
        assert_eq!(lessor.deadline(), Some(at(19)));
        assert_eq!(lessor.renew(7, at(19)), None, "L2");
        assert_eq!(lessor.remaining(7, at(19)), Some(Duration::ZERO));
        assert_eq!(lessor.renew(8, at(1)), None);
    }

    #[test]
    fn a_reported_lease_is_reported_again_only_if_its_revoke_got_lost() {
        let mut lessor = leading(&[(1, 1), (2, 1), (3, 1)]);
        assert_eq!(lessor.expired(at(2), 2), [1, 2]);
        assert_eq!(lessor.expired(at(2), 2), [3]);
        assert_eq!(lessor.expired(at(2), 2), []);
        lessor.revoked(1);
        assert_eq!(lessor.deadline(), Some(at(2) + REPORT_AGAIN_AFTER));
        assert_eq!(lessor.expired(at(5), 9), [2, 3]);
        lessor.revoked(2);
        lessor.revoked(3);
        assert_eq!(lessor.deadline(), None);
    }

    #[test]
    fn a_follower_knows_nothing() {
        let mut lessor = Lessor::new();
        lessor.granted(at(0), 1, 5);
        assert!(!lessor.is_leading());
        assert_eq!((lessor.deadline(), lessor.renew(1, at(1))), (None, None));
    }

    /// The largest TTL there is, and a nonsensical one, neither overflow nor panic.
    #[test]
    fn extreme_ttls_are_harmless() {
        let mut lessor = leading(&[(1, i64::MAX), (2, -5)]);
        assert_eq!(lessor.expired(at(0), 9), [2]);
        assert_eq!(lessor.remaining(1, at(0)), Some(Time(u64::MAX).since(at(0))));
    }
}

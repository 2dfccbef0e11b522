//! Lease reads: as long as a quorum has promised not to elect anybody else, the leader answers by itself.
//!
//! ```text
//!   leader's clock:   sent ─────────────────────── lease ──────────────▶ until = sent + T / (1 + 4ε)
//!   follower's clock:      heard ── promise: votes for nobody else ──────────▶ heard + T
//! ```
//!
//! R12  A lease read is answered only while no other leader can have been elected: the promises of a quorum outlive the
//! lease, by whichever clock. It rests on how fast clocks run, so it is off unless `Config::lease_drift_ppm` (ε) is set:
//!
//! - The promise begins when the heartbeat is heard, the lease when it was sent, which is earlier.
//! - The lease is shorter than the promise by more than clocks may differ. Nobody is believed to keep within ε: an answer
//!   counts only if, since an earlier one, the follower's clock ran at most `1 + 4ε` times as fast as the leader's. (Two
//!   honest clocks differ by `1 + 2ε` and a little; the rest is room for how long messages take.) A clock that begins
//!   to run wrong is found out within two windows, which is what remains of the assumption.
//! - Whoever restarts has forgotten its promise, and keeps quiet for `T` after each start.
//! - A leader that told another to stand has no lease for the rest of its term.
//! - The clock of the cores counts the time that a machine is suspended.
//!
//! # Source
//! Gray and Cheriton, "Leases", SOSP'89; Ongaro's dissertation §6.4.1. Measuring the rates is our own.

use std::time::Duration;

use types::{NodeId, Now, Time, buggify};

use crate::raft::State;
use crate::{Config, Raft};

/// Not to elect anybody else before a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Promise {
    /// To whom; to nobody after a restart.
    pub leader: Option<NodeId>,
    pub until: Time,
}

/// What a leader knows of a peer's clock and of its promises.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct PeerClock {
    /// The rate is measured from here,
    anchor: Option<Sample>,
    /// and from here once that is old.
    next: Option<Sample>,
    /// When the latest heartbeat left whose answer counts.
    pub promised: Time,
}

/// One answer to a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sample {
    /// When the heartbeat left, by the leader's clock.
    pub sent: Time,
    /// When the answer arrived, by the leader's clock.
    pub heard: Time,
    /// What the peer's clock said in between.
    pub peer: Time,
}

/// Rates are measured over one to two windows of this many election timeouts.
const WINDOW_TIMEOUTS: u32 = 10;
const MILLION: u128 = 1_000_000;

impl PeerClock {
    /// Takes an answer; it counts if the peer's clock has not run too fast since the anchor.
    pub fn answered(&mut self, sample: Sample, drift_ppm: u64, window: Duration) {
        let Some(anchor) = self.anchor else {
            self.anchor = Some(sample);
            return;
        };
        let slack = 4 * u128::from(drift_ppm);
        // At least this much passed between the two readings, by the leader's clock.
        let mine = u128::from(sample.sent.0.saturating_sub(anchor.heard.0)) * (MILLION + slack);
        let peers = u128::from(sample.peer.0.saturating_sub(anchor.peer.0)) * MILLION;
        let least = u128::from(sample.sent.0.saturating_sub(anchor.heard.0)) * MILLION.saturating_sub(slack);
        if peers < least {
            // It has restarted, or its clock stood still: measure anew.
            (self.anchor, self.next) = (Some(sample), None);
            return;
        }
        if peers > 0 && peers <= mine {
            self.promised = self.promised.max(sample.sent);
        }
        match self.next {
            None if sample.heard.since(anchor.heard) >= window => self.next = Some(sample),
            Some(next) if sample.heard.since(next.heard) >= window => {
                (self.anchor, self.next) = (Some(next), Some(sample));
            }
            _ => {}
        }
    }
}

/// How long a lease lasts from the moment its heartbeat left.
fn length(config: &Config, drift_ppm: u64) -> Duration {
    let nanos = config.election_timeout.as_nanos() * MILLION / (MILLION + 4 * u128::from(drift_ppm));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

impl Raft {
    /// Notes the answer of a peer to a heartbeat that left at `sent`.
    pub(crate) fn note_clock(&mut self, now: Now, from: NodeId, (sent, peer): (Time, Time)) {
        let Some(drift_ppm) = self.config.lease_drift_ppm else { return };
        if buggify!(self.config.buggify, "raft.lease.not_measured") {
            return;
        }
        let window = self.config.election_timeout * WINDOW_TIMEOUTS;
        let is_unmeasured = planted!(self, TrustsClocks);
        let Some(progress) = self.progress(from) else { return };
        if is_unmeasured {
            progress.clock.promised = progress.clock.promised.max(sent);
        }
        progress.clock.answered(Sample { sent, heard: now.mono, peer }, drift_ppm, window);
    }

    /// Whether nobody else can have been elected yet (R12).
    pub(crate) fn holds_lease(&self, now: Now) -> bool {
        let (Some(drift_ppm), State::Leader(leading)) = (self.config.lease_drift_ppm, &self.state) else {
            return false;
        };
        let is_doubtful = leading.has_told_another_to_stand && !planted!(self, KeepsLeaseOnTransfer);
        if self.commit < leading.term_start || is_doubtful {
            return false;
        }
        let promised = |node: NodeId| match leading.progress.get(&node) {
            _ if node == self.config.id => now.mono,
            Some(progress) if self.counts(node, progress) => progress.clock.promised,
            _ => Time(0),
        };
        let length = length(&self.config, drift_ppm);
        // No heartbeat left at 0: a peer that never answered gives no lease.
        let granted = self.quorum_value(promised).filter(|sent| *sent > Time(0));
        granted.is_some_and(|sent| now.mono < sent + length)
    }

    /// A leader was heard: nobody else is elected for a while.
    pub(crate) fn promise_to(&mut self, now: Now, leader: NodeId) {
        if self.config.lease_drift_ppm.is_some() {
            let longer = if buggify!(self.config.buggify, "raft.lease.promised_longer") { 2 } else { 1 };
            let until = now.mono + self.config.election_timeout * longer;
            self.election.promise = Some(Promise { leader: Some(leader), until });
        }
    }

    /// After a start: there may have been a promise.
    pub(crate) fn promise_after_start(&mut self, now: Now) {
        if self.config.lease_drift_ppm.is_some() && !planted!(self, ForgetsPromise) {
            let until = now.mono + self.config.election_timeout;
            self.election.promise = Some(Promise { leader: None, until });
        }
    }

    /// Whether this replica has promised not to elect `candidate` yet.
    pub(crate) fn is_promised_to_other(&self, now: Now, candidate: NodeId) -> bool {
        let binds = |promise: Promise| now.mono < promise.until && promise.leader != Some(candidate);
        self.election.promise.is_some_and(binds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const DRIFT_PPM: u64 = 1_000;

    /// Answers every 100 ms, each half a millisecond under way in both directions, from a clock that runs at `rate_ppm`.
    fn answers(clock: &mut PeerClock, rate_ppm: u64, from_ms: u64, count: u64) {
        for number in 0..count {
            let sent = (from_ms + 100 * number) * 1_000_000;
            let peer = (sent + 500_000) / 1_000_000 * rate_ppm + (sent + 500_000) % 1_000_000;
            let sample = Sample { sent: Time(sent), heard: Time(sent + 1_000_000), peer: Time(peer) };
            clock.answered(sample, DRIFT_PPM, WINDOW);
        }
    }

    #[test]
    fn a_clock_counts_once_it_has_been_measured() {
        let mut clock = PeerClock::default();
        answers(&mut clock, 1_000_000, 1_000, 1);
        assert_eq!(clock.promised, Time(0), "one reading says nothing about a rate");
        answers(&mut clock, 1_000_000, 1_100, 20);
        assert_eq!(clock.promised, Time(3_000_000_000));
    }

    #[test]
    fn a_clock_within_the_bound_counts_and_one_far_beyond_never_does() {
        for (rate_ppm, counts) in [(1_000_900, true), (999_100, true), (1_010_000, false), (1_100_000, false)]
        {
            let mut clock = PeerClock::default();
            answers(&mut clock, rate_ppm, 1_000, 300);
            assert_eq!(clock.promised > Time(20_000_000_000), counts, "rate {rate_ppm}");
        }
    }

    #[test]
    fn a_clock_that_begins_to_run_wrong_is_found_out_within_two_windows() {
        let mut clock = PeerClock::default();
        answers(&mut clock, 1_000_000, 1_000, 500);
        let before = clock.promised;
        assert!(before > Time(50_000_000_000));
        // From 51 s on it is 2 % fast: what it shows later is 51 s and 1.02 times the rest.
        for number in 0..400u64 {
            let sent = 51_000_000_000 + 100_000_000 * number;
            let peer = 51_000_000_000 + (sent + 500_000 - 51_000_000_000) / 100 * 102;
            let sample = Sample { sent: Time(sent), heard: Time(sent + 1_000_000), peer: Time(peer) };
            clock.answered(sample, DRIFT_PPM, WINDOW);
        }
        assert!(clock.promised < Time(71_000_000_000), "{:?}", clock.promised);
    }

    #[test]
    fn a_peer_that_restarted_is_measured_anew() {
        let mut clock = PeerClock::default();
        answers(&mut clock, 1_000_000, 10_000, 20);
        let before = clock.promised;
        let sample =
            |sent: u64, peer: u64| Sample { sent: Time(sent), heard: Time(sent + 1), peer: Time(peer) };
        clock.answered(sample(20_000_000_000, 5), DRIFT_PPM, WINDOW);
        assert_eq!(clock.promised, before, "its clock began at 0 again");
        clock.answered(sample(21_000_000_000, 1_000_000_005), DRIFT_PPM, WINDOW);
        assert_eq!(clock.promised, Time(21_000_000_000));
    }
}

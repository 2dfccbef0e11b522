//! What a node counts about itself: plain atomics that any thread bumps and a front-end reads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use types::NodeId;

/// A node's counters since it started. Names follow etcd's metrics of the same meaning.
#[derive(Debug)]
pub struct Metrics {
    /// Whether a leader is known (`etcd_server_has_leader`).
    pub has_leader: AtomicBool,
    /// Whether this node leads (`etcd_server_is_leader`).
    pub is_leader: AtomicBool,
    /// Changes of the known leader to another one (`etcd_server_leader_changes_seen_total`).
    pub leader_changes: Counter,
    /// The last committed slot (`etcd_server_proposals_committed_total`).
    pub proposals_committed: Counter,
    /// The last applied slot (`etcd_server_proposals_applied_total`).
    pub proposals_applied: Counter,
    /// Commands of this node's clients without an outcome yet (`etcd_server_proposals_pending`).
    pub proposals_pending: Counter,
    /// Commands that ended without being applied (`etcd_server_proposals_failed_total`).
    pub proposals_failed: Counter,
    /// Linearizable reads that could not be served (`etcd_server_read_indexes_failed_total`).
    pub reads_failed: Counter,
    /// How long a sync of the log takes (`etcd_disk_wal_fsync_duration_seconds`).
    pub log_sync: Histogram<14>,
    /// How long the state engine takes to write one group (`etcd_disk_backend_commit_duration_seconds`).
    pub state_write: Histogram<14>,
    /// Bytes written to the log (`etcd_disk_wal_write_bytes_total`).
    pub log_bytes: Counter,
    /// Bytes of the log that were read again to find damage (`althing_scrub_bytes_total`).
    pub scrub_bytes: Counter,
    /// Damaged sectors that were found so (`althing_scrub_damage_total`).
    pub scrub_damage: Counter,
    /// States that were digested, to be compared with the other members' (`althing_state_audits_total`).
    pub state_audits: Counter,
    /// Comparisons that found another state at some member (`althing_state_mismatches_total`).
    pub state_mismatches: Counter,
    /// Checkpoints that were installed in the place of the state (`etcd_snap_db_save_total…` has no better name).
    pub checkpoints_installed: Counter,
    peers: Mutex<BTreeMap<NodeId, Arc<PeerMetrics>>>,
}

/// Counters of one peer.
#[derive(Debug, Default)]
pub struct PeerMetrics {
    /// `etcd_network_peer_sent_bytes_total`.
    pub sent_bytes: Counter,
    /// `etcd_network_peer_received_bytes_total`.
    pub received_bytes: Counter,
    /// Messages that were dropped because the peer could not be reached or did not keep up
    /// (`etcd_network_peer_sent_failures_total`).
    pub sent_failures: Counter,
    /// Lanes that are connected, of two (`etcd_network_active_peers` is 1 if it is not 0).
    pub lanes_connected: Counter,
}

/// A number that threads add to without ordering anything else by it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

/// A histogram of durations whose bucket bounds double from one millisecond, as etcd's disk histograms do.
#[derive(Debug)]
pub struct Histogram<const BUCKETS: usize> {
    buckets: [Counter; BUCKETS],
    above: Counter,
    sum_nanos: Counter,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramSnapshot {
    /// Upper bound in seconds and count at or below it, ascending; counts are cumulative.
    pub buckets: Vec<(f64, u64)>,
    /// How many durations there were.
    pub count: u64,
    /// Their sum in seconds.
    pub sum_seconds: f64,
}

const FIRST_BOUND: Duration = Duration::from_millis(1);

impl<const BUCKETS: usize> Default for Histogram<BUCKETS> {
    fn default() -> Self {
        Histogram {
            buckets: std::array::from_fn(|_| Counter::default()),
            above: Counter::default(),
            sum_nanos: Counter::default(),
        }
    }
}

impl<const BUCKETS: usize> Histogram<BUCKETS> {
    pub(crate) fn record(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_nanos.add(nanos);
        let bound = |index: usize| FIRST_BOUND.as_nanos() << index;
        match (0..BUCKETS).find(|index| u128::from(nanos) <= bound(*index)) {
            Some(index) => self.buckets[index].add(1),
            None => self.above.add(1),
        }
    }

    /// Returns the counts so far.
    pub fn snapshot(&self) -> HistogramSnapshot {
        let mut count = 0;
        let mut bound_seconds = FIRST_BOUND.as_secs_f64();
        let mut buckets = Vec::with_capacity(BUCKETS);
        for bucket in &self.buckets {
            count += bucket.get();
            buckets.push((bound_seconds, count));
            bound_seconds *= 2.0;
        }
        let sum_seconds = Duration::from_nanos(self.sum_nanos.get()).as_secs_f64();
        HistogramSnapshot { buckets, count: count + self.above.get(), sum_seconds }
    }
}

impl Metrics {
    /// Every peer there is at the moment, with its counters.
    pub fn peers(&self) -> Vec<(NodeId, Arc<PeerMetrics>)> {
        self.lock().iter().map(|(peer, counters)| (*peer, counters.clone())).collect()
    }

    /// The counters of a peer, which begin now if they are new.
    pub(crate) fn peer(&self, peer: NodeId) -> Arc<PeerMetrics> {
        self.lock().entry(peer).or_default().clone()
    }

    /// Nobody talks to this peer any more.
    pub(crate) fn forget_peer(&self, peer: NodeId) {
        self.lock().remove(&peer);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Arc<PeerMetrics>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            has_leader: AtomicBool::new(false),
            is_leader: AtomicBool::new(false),
            leader_changes: Counter::default(),
            proposals_committed: Counter::default(),
            proposals_applied: Counter::default(),
            proposals_pending: Counter::default(),
            proposals_failed: Counter::default(),
            reads_failed: Counter::default(),
            log_sync: Histogram::default(),
            state_write: Histogram::default(),
            log_bytes: Counter::default(),
            scrub_bytes: Counter::default(),
            scrub_damage: Counter::default(),
            state_audits: Counter::default(),
            state_mismatches: Counter::default(),
            checkpoints_installed: Counter::default(),
            peers: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_and_are_cumulative() {
        let histogram = Histogram::<3>::default();
        for millis in [1, 2, 3, 9] {
            histogram.record(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets, [(0.001, 1), (0.002, 2), (0.004, 3)]);
        assert_eq!(snapshot.count, 4);
        assert!((snapshot.sum_seconds - 0.015).abs() < 1e-9);
    }
}

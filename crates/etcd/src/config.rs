//! What an operator can set about the client port.

use std::time::Duration;

/// The version of etcd's API that this front-end implements; clients decide by it what they may ask.
pub const ETCD_API_VERSION: &str = "3.5.17";

/// etcd's "cluster version": major and minor of the API, patch 0.
pub const ETCD_CLUSTER_VERSION: &str = "3.5.0";

/// Bytes that a request may be larger on the wire than `max_request_bytes`, as in etcd.
const RECEIVE_OVERHEAD_BYTES: usize = 512 * 1024;

/// Settings of a [`Server`](crate::Server). The defaults are etcd's.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The largest request that may be written, in bytes (`--max-request-bytes`).
    pub max_request_bytes: usize,
    /// The most operations of a transaction (`--max-txn-ops`).
    pub max_txn_ops: usize,
    /// The most concurrent streams of one connection (`--max-concurrent-streams`).
    pub max_concurrent_streams: u32,
    /// The cluster's election timeout: bounds how long a request waits for a leader, and how short a lease
    /// may be.
    pub election_timeout: Duration,
    /// How often an idle watcher that asked for it is told how far it is
    /// (`--watch-progress-notify-interval`).
    pub watch_progress_interval: Duration,
    /// The quota of the store in bytes, for `Status` and metrics; 0 if there is none.
    pub quota_bytes: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        ServerConfig {
            max_request_bytes: 1536 * 1024,
            max_txn_ops: 128,
            max_concurrent_streams: u32::MAX,
            election_timeout: Duration::from_millis(1000),
            watch_progress_interval: Duration::from_secs(600),
            quota_bytes: 0,
        }
    }
}

impl ServerConfig {
    /// How long a request may take: disk and network, and two elections.
    pub(crate) fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// The largest message that is taken off the wire at all, in bytes.
    pub(crate) fn receive_bytes_max(&self) -> usize {
        self.max_request_bytes + RECEIVE_OVERHEAD_BYTES
    }

    /// The shortest lease: one and a half election timeouts, in whole seconds rounded up, so that a lease
    /// outlives a change of leader.
    pub(crate) fn lease_ttl_min_seconds(&self) -> i64 {
        let half_millis = self.election_timeout.as_millis().saturating_mul(3);
        i64::try_from(half_millis.div_ceil(2000)).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd-api.md §4.6: with etcd's 1 s election timeout, asked 1 got 2.
    #[test]
    fn the_shortest_lease_is_one_and_a_half_election_timeouts_rounded_up() {
        let of = |millis| ServerConfig {
            election_timeout: Duration::from_millis(millis),
            ..ServerConfig::default()
        };
        assert_eq!(of(1000).lease_ttl_min_seconds(), 2);
        assert_eq!(of(2000).lease_ttl_min_seconds(), 3);
        assert_eq!(of(100).lease_ttl_min_seconds(), 1);
    }
}

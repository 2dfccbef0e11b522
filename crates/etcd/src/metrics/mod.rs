//! What this front-end counts, and `/metrics`, the page on which it and the node tell it.
//!
//! Counters are fields and fixed arrays: nothing is looked up by label while a request is served. Names and
//! labels are etcd's wherever the figure means the same, so that its dashboards and alerts work
//! (`etcd-metrics.md`).

mod page;
mod process;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tonic::Code;

use crate::grpc::Method;

pub(crate) use page::{CONTENT_TYPE, page};
#[cfg(feature = "fuzzing")]
pub(crate) use process::fuzzing as read_process;

/// gRPC's status codes, 0 to 16.
const CODES: usize = 17;

/// Upper bounds of the histogram of RPC durations: Prometheus' defaults, and three below for a store whose
/// usual answer takes less than a millisecond.
const HANDLING_BOUNDS: [Duration; 14] = [
    Duration::from_micros(500),
    Duration::from_micros(1000),
    Duration::from_micros(2500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_millis(1000),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
];

/// A number that threads add to without ordering anything else by it.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }
    pub(crate) fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One RPC's counters.
#[derive(Debug, Default)]
struct Rpc {
    started: Counter,
    handled: [Counter; CODES],
    /// Not cumulative; the last one counts what is above every bound.
    took: [Counter; HANDLING_BOUNDS.len() + 1],
    took_nanos: Counter,
}

/// Everything that this front-end counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    /// By the method's number.
    rpcs: Vec<Rpc>,
    /// Bytes written to clients' connections, and read from them.
    pub(crate) sent_bytes: Counter,
    pub(crate) received_bytes: Counter,
    pub(crate) watch_streams: Counter,
    pub(crate) watchers: Counter,
    /// Watchers that read history because they are behind.
    pub(crate) slow_watchers: Counter,
    /// Events put into watchers' queues.
    pub(crate) events_sent: Counter,
    pub(crate) leases_granted: Counter,
    pub(crate) leases_revoked: Counter,
    pub(crate) leases_renewed: Counter,
    pub(crate) health_successes: Counter,
    pub(crate) health_failures: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            rpcs: Method::ALL.iter().map(|_| Rpc::default()).collect(),
            sent_bytes: Counter::default(),
            received_bytes: Counter::default(),
            watch_streams: Counter::default(),
            watchers: Counter::default(),
            slow_watchers: Counter::default(),
            events_sent: Counter::default(),
            leases_granted: Counter::default(),
            leases_revoked: Counter::default(),
            leases_renewed: Counter::default(),
            health_successes: Counter::default(),
            health_failures: Counter::default(),
        }
    }
}

impl Metrics {
    /// An RPC began; pass what this returns to `rpc_handled`.
    pub(crate) fn rpc_started(&self, method: Method) -> Instant {
        self.rpcs[method as usize].started.add(1);
        Instant::now()
    }

    /// An RPC ended.
    pub(crate) fn rpc_handled(&self, method: Method, code: Code, started: Instant) {
        let rpc = &self.rpcs[method as usize];
        rpc.handled[(code as usize).min(CODES - 1)].add(1);
        let took = started.elapsed();
        rpc.took[HANDLING_BOUNDS.partition_point(|bound| *bound < took)].add(1);
        rpc.took_nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// A code as grpc-go spells it in the label `grpc_code`.
fn code_label(code: usize) -> &'static str {
    const LABELS: [&str; CODES] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    LABELS[code]
}

//! What a replica is told about itself, its group, its time-outs and its windows.

use std::time::Duration;

use consensus::Membership;
use types::{Buggify, NodeId};

/// Identity, membership, time-outs and windows of one replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// This replica.
    pub id: NodeId,
    /// Who takes part in a group that is new, the same at every replica; nobody at a replica that joins a group.
    /// Whatever the log or the state machine say is later, and counts instead.
    pub membership: Membership,
    /// How often a leader that has nothing else to say shows that it lives.
    pub heartbeat_interval: Duration,
    /// The least time `T` without a leader before an election; each wait is drawn from `[T, 2T)`.
    /// A leader that did not hear from a quorum for `T` steps down.
    pub election_timeout: Duration,
    /// Commands proposed together become entries of at most this many bytes (or a single command).
    pub entry_bytes_max: u64,
    /// One `Append` carries at most this many bytes of entries (or a single entry).
    pub append_bytes_max: u64,
    /// Unacknowledged `Append`s under way to one peer.
    pub inflight_messages_max: u64,
    /// Bytes of entries in unacknowledged `Append`s under way to one peer.
    pub inflight_bytes_max: u64,
    /// Bytes of entries that a leader holds above its own applied slot before it answers `Busy`.
    pub unapplied_bytes_max: u64,
    /// Bytes of applied entries kept in memory for peers that are a little behind; older ones are read back.
    pub cache_bytes_max: u64,
    /// A checkpoint is due after this many applied entries.
    pub checkpoint_entries: u64,
    /// A checkpoint is due after this many bytes of applied entries.
    pub checkpoint_bytes: u64,
    /// Entries kept below a checkpoint for peers that are behind.
    pub retained_entries: u64,
    /// Bytes of entries kept below a checkpoint for peers that are behind.
    pub retained_bytes: u64,
    /// Chunks of a checkpoint under way to one peer.
    pub chunks_inflight_max: u64,
    /// Lease reads, and how far from true the rate of each replica's clock may be, in parts per million; `None` turns
    /// them off. The same at every replica: who does not keep promises must not be counted on.
    pub lease_drift_ppm: Option<u64>,
    /// A group that had nothing to do for this long falls silent; `None` for never. The same at every replica.
    pub quiesce_after: Option<Duration>,
    /// A leader makes room for a voter with a higher priority that could take over; whoever has priority 0 never leads.
    pub priority: u64,
    /// A learner lacks at most this many entries when it is made a voter.
    pub promotion_lag_max: u64,
    /// What is done more often than usual, for the simulator.
    pub buggify: Buggify,
    /// The bug that this replica suffers from.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::Planted>,
}

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

impl Config {
    /// The defaults. Times, the window in messages, `checkpoint_entries` and `retained_entries` are etcd 3.6's
    /// (`--heartbeat-interval`, `--election-timeout`, `MaxInflightMsgs`, `--snapshot-count`,
    /// `--snapshot-catchup-entries`).
    pub fn new(id: NodeId, voters: impl IntoIterator<Item = NodeId>) -> Config {
        Config {
            id,
            membership: Membership::of(voters),
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            entry_bytes_max: MIB,
            append_bytes_max: MIB,
            inflight_messages_max: 256,
            inflight_bytes_max: 8 * MIB,
            unapplied_bytes_max: 64 * MIB,
            cache_bytes_max: 8 * MIB,
            checkpoint_entries: 10_000,
            checkpoint_bytes: 64 * MIB,
            retained_entries: 5_000,
            retained_bytes: 64 * MIB,
            chunks_inflight_max: 4,
            lease_drift_ppm: None,
            quiesce_after: None,
            priority: 1,
            promotion_lag_max: 1_000,
            buggify: Buggify::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

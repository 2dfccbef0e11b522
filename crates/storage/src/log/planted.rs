//! Historical bugs that can be put back, to prove that the checks notice them.

/// Whether a bug is planted: the constant `false` unless the feature is on.
macro_rules! plants {
    ($options:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let plants = $options.planted == Some($crate::log::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let plants = {
            let _ = &$options;
            false
        };
        plants
    }};
}
pub(super) use plants;

#[cfg(feature = "planted")]
types::bank! {
    /// A sync returns without making anything durable (etcd #14140, found with lazyfs).
    "R15" SyncDoesNothing,
    /// A failed sync is tried again, and succeeds without the data (ATC'20: PostgreSQL and others).
    "A1" FailedSyncIsRetried,
    /// What cannot be read is taken for the end of the log ("Protocol-Aware Recovery", FAST'18).
    "A2" DamageIsTruncated,
    /// Term and vote reach the disk after the records of their batch (openraft `io_ordering.md`).
    "R21" MetaAfterRecords,
    /// After a failed sync the log goes on as if nothing had been (ATC'20: Redis and its append-only file).
    "A1" FailureIsForgotten,
    /// Opening trusts what the system's cache shows after a failed sync, and confirms it (ATC'20, and PostgreSQL's
    /// "fsyncgate" of 2018).
    "A1" CacheIsTrusted,
    /// The directory is not synced after a segment was created (ALICE, OSDI'14: LevelDB, Git, Mercurial and others).
    "A4" NameIsNotSynced,
    /// A segment's header is not synced before the first batch is written (ZOOKEEPER-1621: a log file without its
    /// header, and a server that does not start).
    "A4" HeaderIsNotSynced,
    /// What a crash tore stays where it is, and is later taken for damage (etcd's log, before it zeroed the rest of a
    /// segment on opening it).
    "A4" TornIsNotErased,
    /// Segments are removed newest first, so that a crash leaves a gap (ALICE: directory operations out of order).
    "A4" RemovalLeavesGap,
    /// Segments are removed before the batch that compacts them is durable (ALICE: removal of the old before the new
    /// is safe).
    "A4" RemovalBeforeSync,
    /// What recovery found in the cache of a killed process is not synced, and is gone after the next power cut (ALICE:
    /// recovery that is not crash-safe itself).
    "A4" RecoveryIsNotSynced,
    /// The meta record stands only in the batch that set it, and goes with its segment (the reason why etcd's log
    /// writes the hard state at the head of every segment).
    "A4" MetaIsNotRepeated,
    /// Nothing is compared with the stamp of the batch before, so a stale batch counts ("Redundancy Does Not Imply Fault
    /// Tolerance", FAST'17: most of eight systems have no defence against lost writes).
    "A2" ChainIsNotChecked,
    /// Zeros are the end of the log, whatever stands behind them (FAST'17: Kafka cuts its log at the first message that
    /// it cannot read).
    "A2" ZerosAreTheEnd,
    /// A read error while scrubbing is taken for nothing to see ("Simple Testing Can Prevent Most Critical Failures",
    /// OSDI'14: an error handler that does nothing).
    "A2" ScrubIgnoresErrors,
}

//! Known historical bugs that a test can plant, to prove that its checker notices them.

/// Whether a store suffers from a bug: the constant `false` unless the feature is on.
macro_rules! planted {
    ($bugs:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $bugs.0 == Some(crate::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let planted = {
            let _ = $bugs;
            false
        };
        planted
    }};
}

/// What a store suffers from; nothing unless the feature `planted` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bugs(#[cfg(feature = "planted")] pub(crate) Option<Planted>);

#[cfg(feature = "planted")]
types::bank! {
    /// The record of the applied slot is ahead of the changes, so that a crash skips an entry (etcd #14685: a crash
    /// in a defragmentation).
    "E" AppliedAhead,
    /// The record of the applied slot is behind the changes, so that a crash applies an entry again (etcd #13766: a
    /// crash under load).
    "E" AppliedBehind,
    /// After a restart the revision is the highest that a living key bears (etcd #17780: revisions decrease after a
    /// crash in a compaction).
    "R16" RevisionFromKeys,
    /// Compaction removes the changes of the compacted revision itself, which a watch may still ask for (etcd #18089
    /// and #19179).
    "E" SweepsFloor,
    /// A transaction reads at a revision that is compacted (etcd #18667).
    "E" ReadsCompactedInTxn,
    /// A transaction tells watchers its events twice (etcd #17247).
    "E" EventsTwice,
    /// Which commands were executed is forgotten on a restart (Jepsen on Redis-Raft: retries applied again).
    "R22" SessionsNotKept,
    /// Sessions expire once a group of entries instead of at each entry, so that replicas that group them in another
    /// way differ.
    "DET" ExpiresPerGroup,
    /// A checkpoint leaves out which commands were executed.
    "DET" CheckpointLosesSessions,
    /// A checkpoint leaves out the leases.
    "DET" CheckpointLosesLeases,
    /// A state is called whole before the last chunk of its checkpoint is there.
    "R8" HalfInstallIsServed,
}

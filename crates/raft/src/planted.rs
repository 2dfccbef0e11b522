//! Known historical bugs that a test can plant, to prove that its checker notices them.

/// Whether this replica suffers from a bug: the constant `false` unless the feature is on.
macro_rules! planted {
    ($raft:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $raft.config.planted == Some(crate::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

#[cfg(feature = "planted")]
macro_rules! bank {
    ($($(#[doc = $source:literal])+ $row:literal $bug:ident,)*) => {
        /// A bug of the bank in `docs/protocols/raft.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Planted {
            $($(#[doc = $source])+ $bug,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &[Planted] = &[$(Planted::$bug,)*];

            /// The row of the bank that it belongs to.
            pub fn row(self) -> &'static str {
                match self {
                    $(Planted::$bug => $row,)*
                }
            }

            /// What it does, and who suffered from it.
            pub fn source(self) -> &'static str {
                match self {
                    $(Planted::$bug => concat!($($source),+).trim_ascii(),)*
                }
            }
        }
    };
}

#[cfg(feature = "planted")]
bank! {
    /// Entries of earlier terms are committed by counting copies (LogCabin #44, 2013).
    "R1" CommitsOldTerms,
    /// Voters change in one step, and before an entry of the leader's own term is committed (Ongaro on raft-dev,
    /// 2015).
    "R2" SkipsJoint,
    /// While a configuration is joint, the new majority decides alone (what the two majorities of Raft §6 are for).
    "R4" CountsNewAlone,
    /// While a configuration is joint, the old majority decides alone.
    "R4" CountsOldAlone,
    /// A follower that takes a checkpoint keeps the configuration that it had (MatrixOne #24966 on Dragonboat).
    "R18" ForgetsCheckpointMembership,
    /// A configuration stays in force although its entry was cut off.
    "R3" KeepsTruncatedMembership,
    /// The vote is not in the durable meta record, so a restart votes again (hotstuff #15; two leaders in a
    /// term as in etcd #7280).
    "R3" ForgetsVote,
    /// An older, shorter append cuts off what follows it (openraft 9540c904, CCF #5674).
    "R7" OldAppendTruncates,
    /// A pre-candidate of an old term is not told the new one, and never catches up with it (hashicorp/raft
    /// #609, canonical/raft #279).
    "R11" PreVoteHidesTerm,
    /// A new leader answers reads before it has committed an entry of its own term (TiKV #6340).
    "R13" ReadsBeforeOwnCommit,
    /// A leader answers reads without asking whether it still leads (Jepsen's etcd 0.4 and Redis-Raft findings).
    "R13" ReadsWithoutRound,
    /// The number of a read round is used again, so that a late answer confirms the wrong one (etcd #20418).
    "R14" ReusesReadRounds,
    /// The leader counts and applies its own copy before it is durable (etcd #14370).
    "R16" CountsUnsynced,
    /// Another disk under a member's id votes and acknowledges as its former self (Vanlightly's `raft-tlaplus`, TiKV
    /// #9579).
    "R19" CountsAnyDisk,
    /// A group is founded by a majority, so that a founder without its disk can found it again with one that lagged.
    "R19" FoundsByMajority,
    /// An append after a gap is taken into an empty log and acknowledged (oxia #1239).
    "R20" AcksGap,
    /// Votes and acknowledgements do not wait for the term and vote to be durable (openraft `io_ordering.md`).
    "R21" AnswersBeforeMeta,
    /// Whoever restarts forgets its promise to the leader, and votes at once (what etcd's lease-based reads leave open).
    "R13" ForgetsPromise,
    /// A leader goes on with lease reads after it has told another to stand (TiKV #8034 is of this kind: a lease kept
    /// through a change of who may write).
    "R13" KeepsLeaseOnTransfer,
    /// Leases are counted in clocks that nobody compares.
    "R13" TrustsClocks,
    /// Acknowledgements do not wait for the entries to be durable (the gate is released early).
    "GATE" AcksBeforeDurable,
    /// Damaged records are taken for a shorter log ("Protocol-Aware Recovery", FAST'18).
    "A2" DamageIsTruncation,
}

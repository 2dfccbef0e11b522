//! Known historical bugs that a test can plant, to prove that its checker notices them.

/// Whether this replica suffers from one of these bugs: the constant `false` unless the feature is on.
macro_rules! planted {
    ($raft:expr, $($bug:ident),+) => {{
        #[cfg(feature = "planted")]
        let planted = matches!($raft.config.planted, Some($(crate::Planted::$bug)|+));
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

/// A gate, or none where this replica suffers from a bug that opens it early.
macro_rules! gated {
    ($raft:expr, $bug:ident, $gate:expr) => {
        if planted!($raft, $bug) { consensus::WriteSeq::NONE } else { $gate }
    };
}

#[cfg(feature = "planted")]
types::bank! {
    /// Entries of earlier terms are committed by counting copies (LogCabin #44, 2013).
    "R1" CommitsOldTerms,
    /// Voters change in one step, and before an entry of the leader's own term is committed (Ongaro on raft-dev,
    /// 2015; etcd's TLA+ specification lacked the same guard until 2026).
    "R2, R5" SkipsJoint,
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
    /// The configuration in force is the latest committed one instead of the latest in the log (etcd #7280 and
    /// #11284, where it is the latest applied one).
    "R3" ChangesLate,
    /// With five voters or more, what is committed is read off copies that are not in order (openraft #1802).
    "R6" CountsUnsorted,
    /// Entries are handed out while a checkpoint takes the place of the state machine (openraft eed681d5).
    "R8" AppliesDuringInstall,
    /// A checkpoint is installed although entries have overtaken it while it was staged (openraft eed681d5; this
    /// core had it until seed 4000616 found it).
    "R8" InstallsOvertaken,
    /// A voter is content with a log that is as long as its own (openraft a48a3282).
    "R9" ComparesLength,
    /// A voter is content with a log that ends with as late a term as its own (openraft a48a3282).
    "R9" ComparesTerm,
    /// A group of one that has something to replay does not stand after a restart (openraft #1246, braft #64).
    "R10" LoneNeverStands,
    /// The state machine is taken to have applied the whole log before a restart, and is handed none of it (openraft
    /// #1246).
    "R10" NeverReplays,
    /// A leader that hears nobody goes on leading those who hear it (Howard and Abraham 2020; Cloudflare 2020).
    "R12" LeadsUnheard,
    /// Whoever hears nobody stands at once, and is followed into its term: no pre-vote, no loyalty to a leader that is
    /// heard (Howard and Abraham 2020; Cloudflare 2020).
    "R12" FollowsWhoeverStands,
    /// The point of a read is what this leader has applied instead of what is committed (TiKV #9208: the index of the
    /// wrong copy).
    "R13" ReadsAtApplied,
    /// A follower believes the leader's commit index for entries that it has not compared (etcd's "tocommit is out of
    /// range", #10817, #13509 and #15699).
    "R15" TrustsCommitIndex,
    /// After damage the log falls back to the last checkpoint, and nobody hears of it (NuRaft #185).
    "R17" DamageFallsBack,
    /// Voters elect anybody, so that an empty log wins (Jepsen on Redis-Raft: total loss on failover).
    "R22" ElectsAnybody,
    /// A vote that arrives twice counts twice (Jepsen on Redis-Raft: split brain).
    "R22" CountsVotesTwice,
    /// An answer that arrives after the pre-vote was won counts as a vote (Jepsen on Redis-Raft: split brain).
    "R22" CountsPreVotes,
    /// Acknowledgements do not wait for the entries to be durable (the gate is released early).
    "GATE" AcksBeforeDurable,
    /// A vote leaves before it is durable.
    "GATE" VotesEarly,
    /// A candidate counts its own vote before it is durable.
    "GATE" CountsOwnVoteEarly,
    /// A candidate asks for votes before its term and its own vote are durable.
    "GATE" StandsEarly,
    /// A heartbeat of a new term is answered before the term is durable.
    "GATE" AnswersHeartbeatsEarly,
    /// An append of a new term is rejected before the term is durable.
    "GATE" RejectsEarly,
    /// Committed entries are handed out before they are durable here.
    "GATE" EmitsEarly,
    /// A checkpoint takes the place of the state machine before the entries handed out earlier are durable.
    "GATE" InstallsEarly,
    /// A damaged replica counts again before its log is whole ("Protocol-Aware Recovery", FAST'18).
    "A2" RepairEndsEarly,
    /// Damaged records are taken for a shorter log ("Protocol-Aware Recovery", FAST'18).
    "A2" DamageIsTruncation,
}

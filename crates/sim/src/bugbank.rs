//! The bug bank: known historical bugs, planted on purpose, to prove that the checks notice them.
//!
//! A simulator that misses a planted bug is the defect. How many seeds each bug takes is what the budget of
//! continuous integration is sized from: openraft's sub-quorum commit lived for four years, and its simulator,
//! once there was one, ran fewer iterations than it takes to find it.
//!
//! Rows are those of the bank in `docs/simulation.md`; the bugs themselves live where the code is that they
//! break, behind the feature `planted`.

use raft::Planted as RaftBug;
use storage::Planted as LogBug;

use crate::options::{Mutation, Options};
use crate::oracle::Broken;
use crate::run::run_seed;

/// A bug that can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// In the Raft core.
    Raft(RaftBug),
    /// In the log.
    Log(LogBug),
    /// In the simulated driver itself.
    Driver(DriverBug),
}

/// A rule of the contract that the simulated driver can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverBug {
    /// Messages leave before the write that they name is durable (C1).
    EarlySends,
    /// Events are handed out before the write that they name is durable (C1).
    EarlyEvents,
    /// A checkpoint is called durable without making the state durable.
    EarlyCheckpoint,
    /// Linearizable reads are served from whatever is applied here.
    LocalReads,
}

/// How a bug was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaughtAt {
    /// How many seeds it took, the one that caught it included.
    pub seeds: u64,
    /// The seed that caught it.
    pub seed: u64,
    /// What was broken.
    pub broken: Broken,
}

/// Every bug that can be planted.
pub fn all() -> Vec<Bug> {
    let log = LogBug::ALL.iter().copied();
    let driver =
        [DriverBug::EarlySends, DriverBug::EarlyEvents, DriverBug::EarlyCheckpoint, DriverBug::LocalReads];
    let raft = RaftBug::ALL.iter().copied().map(Bug::Raft);
    raft.chain(log.map(Bug::Log)).chain(driver.map(Bug::Driver)).collect()
}

/// Runs seeds from `from` on until one of them breaks a promise that it keeps without the bug; `None` if none of
/// `seeds_max` does.
pub fn run(bug: Bug, from: u64, seeds_max: u64) -> Option<CaughtAt> {
    let options = Options { planted: Some(bug), ..Options::default() };
    (0..seeds_max).find_map(|count| {
        let seed = from + count;
        let failure = run_seed(&options, seed).failure?;
        // What breaks without the bug too is another bug, and no catch.
        run_seed(&Options::default(), seed).is_ok().then_some(())?;
        Some(CaughtAt { seeds: count + 1, seed, broken: failure.broken })
    })
}

impl Bug {
    /// Where its story is told, if it harms only together with a coincidence that seeds seldom draw: a test that plants it
    /// and must see it. Such a bug is not searched for unless it is asked for by name.
    pub fn story(self) -> Option<&'static str> {
        use LogBug::{
            ChainIsNotChecked, FailureIsForgotten, HeaderIsNotSynced, MetaIsNotRepeated, RemovalLeavesGap,
            ScrubIgnoresErrors, TornIsNotErased, ZerosAreTheEnd,
        };
        Some(match self {
            Bug::Raft(RaftBug::ForgetsVote) => "raft::tests::bank::a_vote_survives_a_crash",
            Bug::Raft(RaftBug::ReusesReadRounds) => "raft::tests::bank::a_late_answer_confirms_no_later_read",
            Bug::Raft(RaftBug::AnswersBeforeMeta) => "raft::tests::bank::a_vote_waits_for_the_disk",
            Bug::Raft(RaftBug::SkipsJoint) => "raft::tests::bank::two_single_steps_from_one_configuration",
            Bug::Raft(RaftBug::CountsAnyDisk | RaftBug::FoundsByMajority) => {
                "raft::tests::incarnations::bugs_of_disks_are_seen_in_this_story"
            }
            Bug::Raft(RaftBug::KeepsTruncatedMembership) => {
                "raft::tests::membership::bugs_of_membership_are_caught_by_coming_and_going"
            }
            Bug::Raft(RaftBug::ForgetsPromise | RaftBug::KeepsLeaseOnTransfer | RaftBug::TrustsClocks) => {
                "raft::tests::leases::bugs_of_leases_are_seen_in_these_stories"
            }
            Bug::Log(
                FailureIsForgotten | HeaderIsNotSynced | TornIsNotErased | RemovalLeavesGap
                | ChainIsNotChecked | ZerosAreTheEnd | ScrubIgnoresErrors | MetaIsNotRepeated,
            ) => "storage::log::tests::planted",
            _ => return None,
        })
    }

    /// The bug's row in the bank.
    pub fn row(self) -> &'static str {
        match self {
            Bug::Raft(bug) => bug.row(),
            Bug::Log(bug) => bug.row(),
            Bug::Driver(DriverBug::EarlySends | DriverBug::EarlyEvents) => "GATE",
            Bug::Driver(DriverBug::EarlyCheckpoint) => "R16",
            Bug::Driver(DriverBug::LocalReads) => "R13",
        }
    }

    /// Its name: `Raft(CommitsOldTerms)`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// What it does, and who suffered from it.
    pub fn source(self) -> &'static str {
        match self {
            Bug::Raft(bug) => bug.source(),
            Bug::Log(bug) => bug.source(),
            Bug::Driver(DriverBug::EarlySends) => "Messages do not wait for the write that they name.",
            Bug::Driver(DriverBug::EarlyEvents) => {
                "Committed entries are handed out before they are durable here."
            }
            Bug::Driver(DriverBug::EarlyCheckpoint) => {
                "The log is compacted below a state that is not durable (etcd #14685 and #17780)."
            }
            Bug::Driver(DriverBug::LocalReads) => {
                "Linearizable reads do not ask for a read point (Jepsen on etcd 0.4 and Consul)."
            }
        }
    }

    pub(crate) fn in_raft(self) -> Option<RaftBug> {
        match self {
            Bug::Raft(bug) => Some(bug),
            _ => None,
        }
    }

    pub(crate) fn in_log(self) -> Option<LogBug> {
        match self {
            Bug::Log(bug) => Some(bug),
            _ => None,
        }
    }

    pub(crate) fn in_driver(self) -> Mutation {
        match self {
            Bug::Driver(bug) => Mutation(Some(bug)),
            _ => Mutation::default(),
        }
    }
}

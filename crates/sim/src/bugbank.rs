//! The bug bank: known historical bugs, planted on purpose, to prove that the checks notice them.
//!
//! A simulator that misses a planted bug is the defect. How many seeds each bug takes is what the budget of
//! continuous integration is sized from: openraft's sub-quorum commit lived for four years, and its simulator,
//! once there was one, ran fewer iterations than it takes to find it.
//!
//! Rows are those of the bank in `docs/simulation.md`; the bugs themselves live where the code is that they
//! break, behind the feature `planted`.

use consensus::Planted as SubmitterBug;
use kv::Planted as StateBug;
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
    /// In the state machine.
    State(StateBug),
    /// In what sends clients' commands and asks for their reads.
    Submitter(SubmitterBug),
    /// In the simulated driver itself.
    Driver(DriverBug),
    /// In the simulator: planted beside another bug, which it must then miss.
    Simulator(SimulatorBug),
}

/// What a simulator may fail to do without anybody's noticing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatorBug {
    /// Whatever is broken, nothing is reported.
    ChecksNothing,
    /// Nothing ever goes wrong.
    InjectsNothing,
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
    /// A read is served as soon as its point is known, whatever is applied here.
    UnappliedReads,
    /// A checkpoint is called installed before it is.
    EarlyInstall,
    /// A restarted node goes on with the session of its first life.
    ReusesSessions,
    /// Commands get the time at which they are applied here.
    StampsAtApply,
}

impl DriverBug {
    /// All of them.
    pub const ALL: &[DriverBug] = &[
        DriverBug::EarlySends,
        DriverBug::EarlyEvents,
        DriverBug::EarlyCheckpoint,
        DriverBug::LocalReads,
        DriverBug::UnappliedReads,
        DriverBug::EarlyInstall,
        DriverBug::ReusesSessions,
        DriverBug::StampsAtApply,
    ];
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
    let raft = RaftBug::ALL.iter().copied().map(Bug::Raft);
    let log = LogBug::ALL.iter().copied().map(Bug::Log);
    let state = StateBug::ALL.iter().copied().map(Bug::State);
    let submitter = SubmitterBug::ALL.iter().copied().map(Bug::Submitter);
    let driver = DriverBug::ALL.iter().copied().map(Bug::Driver);
    let simulator = [SimulatorBug::ChecksNothing, SimulatorBug::InjectsNothing].map(Bug::Simulator);
    raft.chain(log).chain(state).chain(submitter).chain(driver).chain(simulator).collect()
}

/// Runs seeds from `from` on until one of them breaks a promise that it keeps without the bug; `None` if none of
/// `seeds_max` does.
pub fn run(bug: Bug, from: u64, seeds_max: u64) -> Option<CaughtAt> {
    search(&Options { planted: Some(bug), ..Options::default() }, from, seeds_max)
}

fn search(options: &Options, from: u64, seeds_max: u64) -> Option<CaughtAt> {
    (0..seeds_max).find_map(|count| {
        let seed = from + count;
        let failure = run_seed(options, seed).failure?;
        // What breaks without the bug too is another bug, and no catch.
        run_seed(&Options::default(), seed).is_ok().then_some(())?;
        Some(CaughtAt { seeds: count + 1, seed, broken: failure.broken })
    })
}

impl Bug {
    /// Where its story is told, if it harms only together with a coincidence that seeds seldom draw: a test that plants it
    /// and must see it. Such a bug is not searched for unless it is asked for by name.
    pub fn story(self) -> Option<&'static str> {
        if let Bug::Simulator(_) = self {
            return Some("sim::bugbank::tests::a_simulator_that_does_nothing_is_noticed");
        }
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
            Bug::Raft(RaftBug::LeadsUnheard) => "raft::tests::bank::a_leader_that_hears_nobody_makes_room",
            Bug::Raft(RaftBug::FollowsWhoeverStands) => {
                "raft::tests::bank::whoever_hears_nobody_deposes_nobody"
            }
            Bug::Raft(RaftBug::InstallsOvertaken) => {
                "raft::tests::checkpoints::a_checkpoint_that_is_installed_although_it_is_overtaken_is_seen"
            }
            Bug::Raft(RaftBug::DamageFallsBack) => "raft::tests::bank::damage_is_no_reason_to_fall_back",
            Bug::Raft(RaftBug::DamageIsTruncation) => "raft::tests::bank::a_damaged_replica_does_not_vote",
            Bug::Raft(RaftBug::RepairEndsEarly) => {
                "raft::tests::bank::a_repair_is_over_when_the_log_is_whole"
            }
            Bug::Raft(RaftBug::CountsVotesTwice) => "raft::tests::bank::a_vote_counts_once",
            Bug::Raft(RaftBug::VotesEarly) => "raft::tests::bank::only_a_vote_waits_for_the_disk",
            Bug::Raft(RaftBug::CountsOwnVoteEarly) => {
                "raft::tests::bank::a_lone_candidate_waits_for_its_disk"
            }
            Bug::Raft(RaftBug::StandsEarly) => "raft::tests::bank::a_candidate_waits_for_its_disk",
            Bug::Raft(RaftBug::AnswersHeartbeatsEarly) => {
                "raft::tests::bank::an_answer_to_a_heartbeat_waits_for_the_disk"
            }
            Bug::Raft(RaftBug::RejectsEarly) => "raft::tests::bank::a_rejection_waits_for_the_disk",
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
            Bug::Submitter(SubmitterBug::ReusesReadTokens) => {
                "consensus::submitter::tests::a_token_that_is_used_again_lets_a_late_answer_serve_a_later_read"
            }
            Bug::State(StateBug::SweepsFloor) => {
                "kv::planted::a_watch_from_the_compacted_revision_misses_a_delete_that_was_removed"
            }
            Bug::State(StateBug::ReadsCompactedInTxn) => {
                "kv::planted::a_transaction_that_reads_below_the_compacted_revision_is_refused"
            }
            Bug::State(StateBug::EventsTwice) => "kv::planted::watchers_are_told_what_history_holds",
            Bug::State(StateBug::ExpiresPerGroup) => {
                "kv::planted::sessions_expire_in_whatever_groups_entries_come"
            }
            Bug::State(StateBug::CheckpointLosesLeases) => "kv::planted::a_checkpoint_holds_everything",
            Bug::State(StateBug::HalfInstallIsServed) => {
                "kv::planted::half_a_checkpoint_is_not_called_a_state"
            }
            _ => return None,
        })
    }

    /// The bug's row in the bank.
    pub fn row(self) -> &'static str {
        match self {
            Bug::Raft(bug) => bug.row(),
            Bug::Log(bug) => bug.row(),
            Bug::State(bug) => bug.row(),
            Bug::Submitter(bug) => bug.row(),
            Bug::Simulator(_) => "A3",
            Bug::Driver(DriverBug::EarlySends | DriverBug::EarlyEvents | DriverBug::EarlyInstall) => "GATE",
            Bug::Driver(DriverBug::EarlyCheckpoint) => "R16",
            Bug::Driver(DriverBug::LocalReads | DriverBug::UnappliedReads) => "R13",
            Bug::Driver(DriverBug::ReusesSessions) => "R22",
            Bug::Driver(DriverBug::StampsAtApply) => "DET",
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
            Bug::State(bug) => bug.source(),
            Bug::Submitter(bug) => bug.source(),
            Bug::Simulator(SimulatorBug::ChecksNothing) => {
                "Whatever is broken, nothing is reported (TigerBeetle PR #3652: a simulator that had not been running)."
            }
            Bug::Simulator(SimulatorBug::InjectsNothing) => "Nothing ever goes wrong in any world.",
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
            Bug::Driver(DriverBug::UnappliedReads) => {
                "A read does not wait until its point is applied (tsoracle #209: decided is not applied)."
            }
            Bug::Driver(DriverBug::EarlyInstall) => {
                "A checkpoint is called installed before the state machine has it (ZooKeeper-3911 is of this kind)."
            }
            Bug::Driver(DriverBug::ReusesSessions) => {
                "A restarted node goes on with the session of its first life, and counts from 1 again (Jepsen on \
                 Redis-Raft: answers of other requests)."
            }
            Bug::Driver(DriverBug::StampsAtApply) => {
                "Sessions expire by each replica's own clock: commands get the time at which they are applied."
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

    pub(crate) fn in_state(self) -> Option<StateBug> {
        match self {
            Bug::State(bug) => Some(bug),
            _ => None,
        }
    }

    pub(crate) fn in_submitter(self) -> Option<SubmitterBug> {
        match self {
            Bug::Submitter(bug) => Some(bug),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Caught by seeds almost at once: what checks, and what breaks disks, must be at work.
    const CANARIES: [Bug; 3] = [
        Bug::Raft(RaftBug::ReadsBeforeOwnCommit),
        Bug::Log(LogBug::SyncDoesNothing),
        Bug::Log(LogBug::NameIsNotSynced),
    ];

    fn caught(idle: Option<SimulatorBug>) -> usize {
        let options = |bug| Options { planted: Some(bug), idle, ..Options::default() };
        CANARIES.iter().filter(|bug| search(&options(**bug), 0, 12).is_some()).count()
    }

    #[test]
    fn a_simulator_that_does_nothing_is_noticed() {
        assert_eq!(caught(None), CANARIES.len());
        assert_eq!(caught(Some(SimulatorBug::ChecksNothing)), 0);
        assert_eq!(caught(Some(SimulatorBug::InjectsNothing)), 0);
    }

    #[test]
    fn every_bug_has_a_name_of_its_own() {
        let mut names: Vec<String> = all().into_iter().map(Bug::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}

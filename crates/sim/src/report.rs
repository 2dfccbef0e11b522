//! What a run found out.

use std::fmt;
use std::time::Duration;

use types::buggify::{Coverage, SITES};

use crate::oracle::Broken;

/// One run's result.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed that was run.
    pub seed: u64,
    /// The protocol that was run.
    pub protocol: &'static str,
    /// Replicas in the cluster.
    pub nodes: u64,
    /// What happened.
    pub counters: Counters,
    /// How much time passed in the world.
    pub virtual_time: Duration,
    /// The digest of everything that happened: the same for the same seed, options and build.
    pub hash: u128,
    /// The broken promise, if there is one.
    pub failure: Option<Failure>,
}

/// A broken promise and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was broken.
    pub broken: Broken,
    /// When, since the world began.
    pub at: Duration,
    /// The command that repeats the run.
    pub replay: String,
}

/// How much of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Things that happened in the world.
    pub events: u64,
    /// Operations that clients asked for.
    pub asked: u64,
    /// Operations that were answered.
    pub answered: u64,
    /// Operations that were refused: they had no effect.
    pub refused: u64,
    /// Operations whose outcome stayed unknown.
    pub unknown: u64,
    /// Messages sent.
    pub messages: u64,
    /// Messages lost.
    pub lost: u64,
    /// Messages delivered twice.
    pub doubled: u64,
    /// Writes that were synced.
    pub syncs: u64,
    /// Slots committed.
    pub committed: u64,
    /// Epochs that had a leader.
    pub leaders: u64,
    /// Configurations committed.
    pub changes: u64,
    /// Checkpoints installed from a peer.
    pub installs: u64,
    /// Lives of nodes that ended in a crash.
    pub crashes: u64,
    /// Checks that ran out of their budget and left the verdict to the others.
    pub undecided: u64,
    /// How often each named site was reached and fired, in the order of `types::buggify::SITES`; empty in builds
    /// without them.
    #[serde(skip)]
    pub sites: Vec<Coverage>,
    /// Faults that began, by kind.
    pub faults: std::collections::BTreeMap<&'static str, u64>,
}

impl Report {
    /// Whether every promise held.
    pub fn is_ok(&self) -> bool {
        self.failure.is_none()
    }
}

impl Counters {
    /// All faults together.
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// The named sites that fired at least once, and those that never did.
    pub fn sites_by_firing(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let named = SITES.iter().map(|(name, _)| *name).zip(&self.sites);
        let (fired, quiet): (Vec<_>, Vec<_>) = named.partition(|(_, coverage)| coverage.fired > 0);
        (fired.into_iter().map(|(name, _)| name).collect(), quiet.into_iter().map(|(name, _)| name).collect())
    }

    /// Adds another run's counters to these.
    pub fn add(&mut self, other: &Counters) {
        let pairs = [
            (&mut self.events, other.events),
            (&mut self.asked, other.asked),
            (&mut self.answered, other.answered),
            (&mut self.refused, other.refused),
            (&mut self.unknown, other.unknown),
            (&mut self.messages, other.messages),
            (&mut self.lost, other.lost),
            (&mut self.doubled, other.doubled),
            (&mut self.syncs, other.syncs),
            (&mut self.committed, other.committed),
            (&mut self.leaders, other.leaders),
            (&mut self.changes, other.changes),
            (&mut self.installs, other.installs),
            (&mut self.crashes, other.crashes),
            (&mut self.undecided, other.undecided),
        ];
        for (mine, theirs) in pairs {
            *mine += theirs;
        }
        self.sites = add_coverage(std::mem::take(&mut self.sites), other.sites.clone());
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
    }
}

/// Adds site by site; what has no sites adds nothing.
pub(crate) fn add_coverage(mut sum: Vec<Coverage>, other: Vec<Coverage>) -> Vec<Coverage> {
    if sum.is_empty() {
        return other;
    }
    for (mine, theirs) in sum.iter_mut().zip(other) {
        mine.reached += theirs.reached;
        mine.fired += theirs.fired;
    }
    sum
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counters { events, asked, answered, unknown, messages, crashes, leaders, .. } = self.counters;
        write!(
            f,
            "seed {}: {} nodes, {:.1} s, {events} events, {asked} operations ({answered} answered, {unknown} \
             unknown), {messages} messages, {} faults, {crashes} crashes, {leaders} leaders, trace {:032x}",
            self.seed,
            self.nodes,
            self.virtual_time.as_secs_f64(),
            self.counters.faults_total(),
            self.hash
        )?;
        if let Some(failure) = &self.failure {
            write!(f, "\n{failure}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED at {:.3} s: {}\nreplay: {}", self.at.as_secs_f64(), self.broken, self.replay)
    }
}

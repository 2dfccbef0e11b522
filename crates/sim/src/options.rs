//! What a person can ask of a run.

use std::fmt;
use std::str::FromStr;

use consensus::WriteSeq;

use crate::schedule::Schedule;

/// The protocols that can be simulated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// `raft`
    #[default]
    Raft,
}

/// What to run. The seed decides everything that is not said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which protocol.
    pub protocol: Protocol,
    /// How many replicas; else the seed decides.
    pub nodes: Option<u64>,
    /// The weather; else the seed decides.
    pub schedule: Option<Schedule>,
    /// What to call the schedule's file in the line that replays a run.
    pub schedule_file: Option<String>,
    /// Whether what is rare and legal is done more often at named sites (`types::buggify`). Nothing comes of it in a
    /// build without the feature of that name.
    pub buggify: bool,
    /// The bug to plant.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::bugbank::Bug>,
    /// What the simulator itself fails to do.
    #[cfg(feature = "planted")]
    pub idle: Option<crate::bugbank::SimulatorBug>,
}

impl Options {
    /// The command that repeats a run of `seed`.
    pub fn replay_line(&self, seed: u64) -> String {
        let mut line = format!("althing sim --protocol {} --seed {seed}", self.protocol);
        if let Some(nodes) = self.nodes {
            line.push_str(&format!(" --nodes {nodes}"));
        }
        if self.schedule.is_some() {
            line.push_str(&format!(" --schedule {}", self.schedule_file.as_deref().unwrap_or("FILE")));
        }
        if self.buggify {
            line.push_str(" --buggify");
        }
        line
    }

    /// How the driver shall break its own rules.
    pub(crate) fn mutation(&self) -> Mutation {
        #[cfg(feature = "planted")]
        return self.planted.map(crate::bugbank::Bug::in_driver).unwrap_or_default();
        #[cfg(not(feature = "planted"))]
        Mutation {}
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Protocol::Raft => f.write_str("raft"),
        }
    }
}

/// A name that is no protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no protocol is called `{name}`; there is: raft")]
pub struct UnknownProtocol {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Protocol {
    type Err = UnknownProtocol;

    fn from_str(name: &str) -> Result<Protocol, UnknownProtocol> {
        match name {
            "raft" => Ok(Protocol::Raft),
            _ => Err(UnknownProtocol { name: name.to_owned() }),
        }
    }
}

/// How this driver breaks its own rules, when it is told to; nothing unless the feature `planted` is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mutation(#[cfg(feature = "planted")] pub(crate) Option<crate::bugbank::DriverBug>);

/// Whether the simulator fails to do something that it is there for: the constant `false` unless the feature is on.
macro_rules! idles {
    ($options:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let idles = $options.idle == Some(crate::bugbank::SimulatorBug::$bug);
        #[cfg(not(feature = "planted"))]
        let idles = {
            let _ = $options;
            false
        };
        idles
    }};
}
pub(crate) use idles;

/// Whether a driver breaks this rule: the constant `false` unless the feature is on.
macro_rules! breaks {
    ($mutation:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let breaks = $mutation.0 == Some(crate::bugbank::DriverBug::$bug);
        #[cfg(not(feature = "planted"))]
        let breaks = false;
        breaks
    }};
}

impl Mutation {
    /// The gate of a message.
    pub(crate) fn send_gate(self, after: WriteSeq) -> WriteSeq {
        if breaks!(self, EarlySends) { WriteSeq::NONE } else { after }
    }

    /// The gate of an event.
    pub(crate) fn event_gate(self, after: WriteSeq) -> WriteSeq {
        if breaks!(self, EarlyEvents) { WriteSeq::NONE } else { after }
    }

    /// Whether a checkpoint really makes the state durable.
    pub(crate) fn persists(self) -> bool {
        !breaks!(self, EarlyCheckpoint)
    }

    /// Whether a checkpoint is called installed only once it is.
    pub(crate) fn waits_for_installs(self) -> bool {
        !breaks!(self, EarlyInstall)
    }

    /// Whether commands keep the time that was put on their entry.
    pub(crate) fn keeps_time(self) -> bool {
        !breaks!(self, StampsAtApply)
    }

    /// Whether a read waits until its point is applied.
    pub(crate) fn waits_for_apply(self) -> bool {
        !breaks!(self, UnappliedReads)
    }

    /// Whether every life of a node opens a session of its own.
    pub(crate) fn draws_sessions(self) -> bool {
        !breaks!(self, ReusesSessions)
    }

    /// Whether linearizable reads wait for a point in the log.
    pub(crate) fn asks_for_reads(self) -> bool {
        !breaks!(self, LocalReads)
    }
}

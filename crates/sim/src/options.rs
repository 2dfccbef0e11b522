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
    /// The bug to plant, by its name in the bug bank.
    #[cfg(feature = "planted")]
    pub planted: Option<&'static str>,
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
        line
    }

    /// The name of the planted bug, if there is one.
    pub(crate) fn planted(&self) -> Option<&'static str> {
        #[cfg(feature = "planted")]
        return self.planted;
        #[cfg(not(feature = "planted"))]
        None
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

/// How this driver breaks its own rules, when it is told to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Not at all.
    #[default]
    None,
    /// Messages leave before the write that they name is durable.
    #[cfg(feature = "planted")]
    EarlySends,
    /// Events are handed out before the write that they name is durable.
    #[cfg(feature = "planted")]
    EarlyEvents,
    /// A checkpoint is called durable without making the state durable.
    #[cfg(feature = "planted")]
    EarlyCheckpoint,
    /// Linearizable reads are served from whatever is applied here.
    #[cfg(feature = "planted")]
    LocalReads,
}

impl Mutation {
    /// The mutation that a bug's name asks for.
    pub(crate) fn named(name: Option<&str>) -> Mutation {
        match name {
            #[cfg(feature = "planted")]
            Some("early-sends") => Mutation::EarlySends,
            #[cfg(feature = "planted")]
            Some("early-events") => Mutation::EarlyEvents,
            #[cfg(feature = "planted")]
            Some("early-checkpoint") => Mutation::EarlyCheckpoint,
            #[cfg(feature = "planted")]
            Some("local-reads") => Mutation::LocalReads,
            _ => Mutation::None,
        }
    }

    /// The gate of a message.
    pub(crate) fn send_gate(self, after: WriteSeq) -> WriteSeq {
        #[cfg(feature = "planted")]
        if self == Mutation::EarlySends {
            return WriteSeq::NONE;
        }
        after
    }

    /// The gate of an event.
    pub(crate) fn event_gate(self, after: WriteSeq) -> WriteSeq {
        #[cfg(feature = "planted")]
        if self == Mutation::EarlyEvents {
            return WriteSeq::NONE;
        }
        after
    }

    /// Whether a checkpoint really makes the state durable.
    pub(crate) fn persists(self) -> bool {
        #[cfg(feature = "planted")]
        if self == Mutation::EarlyCheckpoint {
            return false;
        }
        true
    }

    /// Whether linearizable reads wait for a point in the log.
    pub(crate) fn asks_for_reads(self) -> bool {
        #[cfg(feature = "planted")]
        if self == Mutation::LocalReads {
            return false;
        }
        true
    }
}

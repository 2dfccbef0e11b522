//! Small worlds, explored whole: the very same protocol core in every order of events that a few bounds allow.
//!
//! ```text
//!   state ──▶ every step that may come next ──▶ states ──▶ … breadth first, each state once
//!     deliver │ deliver and keep a copy │ write durable │ timer │ time passes │ propose │ read │ crash and restart
//! ```
//!
//! A run of the simulator is one path out of a world without bounds; this is all paths of a small one. Most bugs of
//! consensus protocols need few nodes, entries and faults, but a certain order of them. After every step the promises
//! of [`Broken`] are checked: the core's own invariants, one leader per epoch, agreement, leader completeness, what is
//! committed stays durable on a majority, reads see what was committed. A broken promise comes with a shortest path.
//!
//! What is real here: the core, the contract's gates (`consensus::GateQueue`) and the order of writes. What is
//! simplified: each input is a batch of its own, time is one nanosecond that has passed or not (`local`), the state
//! machine remembers nothing of what it applied, checkpoints are never due, disks do not rot.

mod ghost;
mod local;
mod model;
mod search;
mod state;
mod store;
mod symmetry;
mod table;
mod walk;

pub use ghost::PROMISES;
pub use walk::{Path, PathError};

use crate::options::{Options, Protocol};
use crate::oracle::Broken;

/// What a world may at most contain. Losses have no bound: a message may always stay away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Replicas.
    pub nodes: u8,
    /// The highest epoch that any of them enters.
    pub terms: u64,
    /// Commands that clients propose.
    pub proposals: u8,
    /// Read points that clients ask for.
    pub reads: u8,
    /// Timers that fire, and moments in which time passes without one.
    pub timers: u8,
    /// Crashes.
    pub crashes: u8,
    /// Messages that arrive once more.
    pub duplicates: u8,
    /// Give up beyond this many states: a hundred bytes each.
    pub states_max: u64,
}

/// Two terms and what two timers make of them: enough for one leader after another, and a minute's work.
impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            nodes: 3,
            terms: 2,
            proposals: 0,
            reads: 0,
            timers: 2,
            crashes: 0,
            duplicates: 0,
            states_max: 40_000_000,
        }
    }
}

/// How far an exploration is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Different states of the world.
    pub states: u64,
    /// Steps between them.
    pub transitions: u64,
    /// Steps on the shortest path to the states that are expanded now, or were last.
    pub depth: u64,
    /// Different states of single nodes.
    pub nodes: u64,
    /// Different messages.
    pub messages: u64,
}

/// What an exploration found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explored {
    /// How far it came.
    pub progress: Progress,
    /// Whether that is everything within the bounds.
    pub exhausted: bool,
    /// The first promise that was broken, and a shortest path to it.
    pub violation: Option<(Broken, Path)>,
}

impl Explored {
    fn of_nothing(broken: Broken) -> Explored {
        let path = Path { steps: Vec::new(), story: Vec::new() };
        Explored { progress: Progress::default(), exhausted: false, violation: Some((broken, path)) }
    }
}

/// Explores everything within `bounds`, until a promise is broken or `watch`, which is shown the progress now and then,
/// says false. The same bounds, options and build find the same.
pub fn explore(bounds: &Bounds, options: &Options, watch: &mut dyn FnMut(&Progress) -> bool) -> Explored {
    match options.protocol {
        Protocol::Raft => search::search::<raft::Raft>(bounds, options, watch),
    }
}

/// Walks one path, as [`Path::steps`] has it or a person wrote it, and says what happens; with the promise that its last
/// step breaks.
///
/// # Errors
/// [`PathError`] if a step makes no sense where it stands.
pub fn walk(bounds: &Bounds, options: &Options, text: &str) -> Result<(Path, Option<Broken>), PathError> {
    match options.protocol {
        Protocol::Raft => walk::replay::<raft::Raft>(bounds, options, text),
    }
}

#[cfg(test)]
mod tests;

//! The weather is a document: a list of faults that a seed generates and a person can edit and replay.
//!
//! ```text
//!   # althing weather 1
//!   net loss=0.4% dup=0.1% delay=0.2ms..3ms
//!   at 1200ms for 300ms crash leader point=sync
//!   at 1500ms for 1s cut n1,n2|n2,n3
//!   at 2100ms for 50ms cut n2>n1
//! ```
//!
//! One fault a line: when, for how long, what, to whom, parameters. The `net` line is the weather between the
//! faults. Every generated schedule prints to text that parses back to itself; the grammar of each kind
//! stands at [`Fault`].

mod generate;
mod shape;
#[cfg(test)]
mod tests;
mod text;

use std::time::Duration;

use storage::Armed;
use types::{NodeId, Time};

pub(crate) use generate::generate;
pub use shape::Shape;
pub use text::ScheduleError;

/// The weather of a whole run. Its text form is [`Display`](std::fmt::Display) and
/// [`FromStr`](std::str::FromStr).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// What every message meets, always.
    pub net: Weather,
    /// The faults, in the order of their times.
    pub faults: Vec<Timed>,
}

/// One fault, when it begins and how long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timed {
    /// When it begins, since the world began.
    pub at: Time,
    /// How long it lasts; for a crash, how long the node stays down.
    pub lasts: Duration,
    /// What it is.
    pub fault: Fault,
}

/// What the network does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Messages lost, in parts per million.
    pub loss_ppm: u32,
    /// Messages delivered twice, in parts per million.
    pub dup_ppm: u32,
    /// The shortest way of a message.
    pub delay_min: Duration,
    /// The longest way of a message. Messages of one link overtake each other where this differs from the
    /// shortest.
    pub delay_max: Duration,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `crash WHO [point=POINT] [rot=COUNT]`: the process dies with what it had not synced.
    Crash {
        /// Who dies.
        who: Target,
        /// At which moment of its work.
        point: CrashPoint,
        /// Bits of its durable log that flip while it is down. The world refuses what a correct cluster could
        /// not survive.
        rot: u32,
    },
    /// `wipe WHO`: the process dies, and comes back under its id with an empty disk. The world refuses what a correct
    /// cluster could not survive.
    Wipe {
        /// Who loses its disk.
        who: Target,
    },
    /// `disk WHO fault=FAULT act=ACT [skip=COUNT] [times=COUNT]`: what the process asks of its disk goes wrong, by the
    /// words of the sweep. The next effects of that kind are meant, after some that go well; what has not happened when
    /// the fault ends does not happen. The world refuses what a correct cluster could not survive.
    Disk {
        /// Whose disk.
        who: Target,
        /// What goes wrong with what.
        armed: Armed,
    },
    /// `pause WHO`: the process stands still, its clocks go on.
    Pause {
        /// Who stands still.
        who: Target,
    },
    /// `cut SHAPE`: messages are lost between some nodes.
    Cut {
        /// Between whom.
        shape: Shape,
    },
    /// `clog SHAPE`: messages are held back until the fault ends.
    Clog {
        /// Between whom.
        shape: Shape,
    },
    /// `storm SHAPE loss=PPM dup=PPM delay=MIN..MAX`: worse weather.
    Storm {
        /// Between whom.
        shape: Shape,
        /// What messages meet there.
        net: Weather,
    },
    /// `reset SHAPE`: connections break, and whoever was to hear over them is told so. It happens at once, and lasts no
    /// longer.
    Reset {
        /// Between whom.
        shape: Shape,
    },
    /// `poison WHO`: a node proposes bytes that are no command, as a front-end with a bug would. It happens at once, and
    /// lasts no longer.
    Poison {
        /// Who proposes it.
        who: Target,
    },
    /// `slowcpu WHO extra=DURATION`: every batch of inputs waits longer before it is taken.
    SlowCpu {
        /// Whose processor.
        who: Target,
        /// By how much.
        extra: Duration,
    },
    /// `slowdisk WHO extra=DURATION`: every sync takes longer.
    SlowDisk {
        /// Whose disk.
        who: Target,
        /// By how much.
        extra: Duration,
    },
    /// `slowapply WHO extra=DURATION`: every batch that is applied takes longer.
    SlowApply {
        /// Whose state machine.
        who: Target,
        /// By how much.
        extra: Duration,
    },
    /// `member WHO do=CHANGE`: the operator asks for a change of membership. It is asked for once, and lasts no longer.
    Member {
        /// Whom it is about.
        who: Target,
        /// What shall become of it.
        change: MemberChange,
    },
    /// `transfer WHO`: the operator asks the leader to let this node lead; `all` leaves the choice to the leader.
    Transfer {
        /// Who shall lead.
        to: Target,
    },
    /// `drift WHO ppm=PARTS`: the monotonic clock gains (or loses) so many parts per million while it lasts. A person may
    /// write more than leases are made for; then they are not to blame.
    Drift {
        /// Whose clock.
        who: Target,
        /// How much it gains.
        ppm: i64,
    },
    /// `suspend WHO`: the machine sleeps, and its network with it: a pause during which messages to it are lost. Its
    /// clocks go on, as `CLOCK_BOOTTIME` does; on one that stands still no lease can be built.
    Suspend {
        /// Who sleeps.
        who: Target,
    },
    /// `strobe WHO step=MILLISECONDS every=DURATION`: the wall clock jumps to and fro while it lasts, and ends where it
    /// was.
    Strobe {
        /// Whose clock.
        who: Target,
        /// By how much.
        step_ms: i64,
        /// How often.
        every: Duration,
    },
    /// `clock WHO step=MILLISECONDS`: the wall clock jumps. It does not jump back when the fault ends.
    Clock {
        /// Whose clock.
        who: Target,
        /// By how much.
        step_ms: i64,
    },
}

/// What the operator asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberChange {
    /// Becomes a voter once it has caught up: `add`.
    Add,
    /// Becomes a learner: `learner`.
    AddLearner,
    /// A learner becomes a voter: `promote`.
    Promote,
    /// Goes: `remove`.
    Remove,
    /// Is known by another description: `describe`.
    Describe,
    /// A learner takes a voter's place, in one step: `replace-nOLD`.
    Replace(NodeId),
}

/// Whom a fault hits; found out when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// This node: `n1`.
    Node(NodeId),
    /// Whoever leads in the highest epoch: `leader`. Nobody if nobody does.
    Leader,
    /// The running node that follows the leader in the order of ids: `follower`.
    Follower,
    /// Every node: `all`.
    All,
}

/// Where in its work a node crashes. Except for `Now` the node dies at the next such moment, or when the
/// fault's patience ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CrashPoint {
    /// At once, wherever it is: `now`.
    Now,
    /// Before the next write reaches the disk: `write`.
    Write,
    /// Within the disk operations of the next write or sync: `disk`.
    Disk,
    /// Between the next write and its sync: `sync`.
    Sync,
    /// At the next sync, which fails: `syncfails`.
    SyncFails,
    /// After the next sync, before anything that waited for it is released: `synced`.
    Synced,
    /// After the next sync of a meta record (a vote, say), when what waited for it has just left: `promised`.
    Promised,
    /// Half-way through the actions of the next batch: `send`.
    Send,
    /// Before the next committed entries are applied: `apply`.
    Apply,
    /// While making the state machine durable: `checkpoint`.
    Checkpoint,
    /// While starting again, right after recovery: `recovery`.
    Recovery,
}

impl Schedule {
    /// When the last fault is over.
    pub fn end(&self) -> Time {
        self.faults.iter().map(|timed| timed.at + timed.lasts).max().unwrap_or_default()
    }
}

impl Fault {
    /// The word that begins the fault's text.
    pub fn kind(&self) -> &'static str {
        match self {
            Fault::Crash { rot: 0, .. } => "crash",
            Fault::Crash { .. } => "rot",
            Fault::Wipe { .. } => "wipe",
            Fault::Disk { armed, .. } => armed.fault.name(),
            Fault::Pause { .. } => "pause",
            Fault::Cut { .. } => "cut",
            Fault::Clog { .. } => "clog",
            Fault::Storm { .. } => "storm",
            Fault::Reset { .. } => "reset",
            Fault::Poison { .. } => "poison",
            Fault::SlowCpu { .. } => "slowcpu",
            Fault::SlowDisk { .. } => "slowdisk",
            Fault::SlowApply { .. } => "slowapply",
            Fault::Suspend { .. } => "suspend",
            Fault::Strobe { .. } => "strobe",
            Fault::Clock { .. } => "clock",
            Fault::Drift { .. } => "drift",
            Fault::Member { .. } => "member",
            Fault::Transfer { .. } => "transfer",
        }
    }
}

//! The clusters that are swept: small, short, and each with another part of a disk's life in it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use types::NodeId;

use crate::schedule::{Schedule, Weather};
use crate::setup::{Climate, OpMix, Pace, Setup, Tuning, Workload};

/// What a cluster does while its disks are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scenario {
    /// A single member writes.
    Single,
    /// Three members write steadily.
    Steady,
    /// The leader crashes between a write and its sync, and comes back.
    LeaderCrash,
    /// A follower crashes and comes back.
    FollowerRestart,
    /// Checkpoints are taken, and the log is compacted below them.
    Checkpoint,
    /// A member is cut off until it can only be helped by a checkpoint.
    Transfer,
    /// Segments are so small that every few batches begin a new one.
    Roll,
    /// The log of a member has rotted, and is repaired from its peers.
    Repair,
    /// An idle group loses its power as a whole, and starts again.
    IdleRestart,
    /// Many clients write at once, and the log is compacted at once behind them.
    Burst,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Scenario; 10] = [
        Scenario::Single,
        Scenario::Steady,
        Scenario::LeaderCrash,
        Scenario::FollowerRestart,
        Scenario::Checkpoint,
        Scenario::Transfer,
        Scenario::Roll,
        Scenario::Repair,
        Scenario::IdleRestart,
        Scenario::Burst,
    ];

    /// Its name in command lines.
    pub fn name(self) -> &'static str {
        match self {
            Scenario::Single => "single",
            Scenario::Steady => "steady",
            Scenario::LeaderCrash => "leader-crash",
            Scenario::FollowerRestart => "follower-restart",
            Scenario::Checkpoint => "checkpoint",
            Scenario::Transfer => "transfer",
            Scenario::Roll => "roll",
            Scenario::Repair => "repair",
            Scenario::IdleRestart => "idle-restart",
            Scenario::Burst => "burst",
        }
    }

    pub(super) fn seed(self) -> u64 {
        self as u64
    }

    /// The atlas: no two members are damaged at once.
    pub(super) fn may_be_damaged(self, node: NodeId) -> bool {
        self != Scenario::Repair || node == ROTTEN
    }

    pub(super) fn schedule(self) -> Schedule {
        let faults = match self {
            Scenario::LeaderCrash => "at 350ms for 120ms crash leader point=sync\n",
            Scenario::FollowerRestart => "at 300ms for 150ms crash follower\n",
            Scenario::Transfer => "at 150ms for 400ms cut n3|n1,n2\n",
            Scenario::Repair => "at 350ms for 50ms crash n3 rot=60\n",
            Scenario::IdleRestart => "at 350ms for 100ms crash all\n",
            _ => "",
        };
        let net = "# althing weather 1\nnet loss=0% dup=0% delay=0.1ms..0.5ms\n";
        format!("{net}{faults}").parse().expect("the schedules are constants that can be parsed")
    }

    pub(super) fn setup(self) -> Setup {
        let mut setup = quiet();
        match self {
            Scenario::Single => setup.nodes = 1,
            Scenario::Checkpoint => {
                (setup.tuning.checkpoint_entries, setup.tuning.keep_entries) = (12, 5);
                setup.pace.segment_bytes = 8 << 10;
            }
            Scenario::Transfer => {
                (setup.tuning.checkpoint_entries, setup.tuning.keep_entries) = (10, 0);
                setup.pace.segment_bytes = 8 << 10;
            }
            Scenario::Roll => setup.pace.segment_bytes = 4 << 10,
            // So that what has rotted must be read back, and not only from memory.
            Scenario::Repair => (setup.tuning.cache_bytes, setup.pace.segment_bytes) = (0, 8 << 10),
            Scenario::IdleRestart => setup.workload.think = Duration::from_millis(150),
            Scenario::Burst => {
                setup.workload.clients = 8;
                setup.workload.think = Duration::from_millis(4);
                setup.storm = Duration::from_millis(200);
                (setup.tuning.checkpoint_entries, setup.tuning.keep_entries) = (15, 0);
                setup.pace.segment_bytes = 4 << 10;
            }
            Scenario::Steady | Scenario::LeaderCrash | Scenario::FollowerRestart => {}
        }
        setup
    }
}

/// The member whose log has rotted in [`Scenario::Repair`].
const ROTTEN: NodeId = NodeId(3);

/// Three members on fair machines, four clients, and no faults of their own.
fn quiet() -> Setup {
    Setup {
        nodes: 3,
        spares: 0,
        storm: Duration::from_millis(700),
        pace: Pace {
            step: (Duration::ZERO, Duration::from_micros(20)),
            sync: (Duration::from_micros(200), Duration::from_micros(800)),
            apply: (Duration::from_micros(50), Duration::from_micros(200)),
            skew: Duration::ZERO,
            drift_ppm: 0,
            worst_clock: None,
            engine_persist_ppm: 20_000,
            segment_bytes: 32 << 10,
            compare_every: 64,
        },
        tuning: Tuning {
            heartbeat: Duration::from_millis(20),
            election: Duration::from_millis(80),
            message_bytes: 2_000,
            window_messages: 16,
            checkpoint_entries: 100_000,
            keep_entries: 50,
            chunk_bytes: 500,
            batch_bytes: 1 << 20,
            hold: Duration::ZERO,
            apply_entries: 64,
            cache_bytes: 500,
            quiesce_after: None,
            preferred: None,
            lease_drift_ppm: None,
        },
        workload: Workload {
            clients: 4,
            keys: 3,
            think: Duration::from_millis(40),
            patience: Duration::from_millis(300),
            roam_ppm: 50_000,
            mix: OpMix { put: 6, get: 2, stale_get: 1, delete: 1, swap: 1, pair: 1 },
        },
        climate: Climate {
            net: Weather::FAIR,
            gap: Duration::ZERO,
            fault_max: Duration::ZERO,
            crash: 0,
            blackout: 0,
            wipe: 0,
            rot: 0,
            disk: 0,
            disk_faults: Vec::new(),
            disk_acts: Vec::new(),
            pause: 0,
            cut: 0,
            clog: 0,
            storm: 0,
            slow: 0,
            clock: 0,
            churn: 0,
            split_vote: 0,
            member: 0,
            transfer: 0,
            reset: 0,
            poison: 0,
        },
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no scenario.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no scenario is called `{name}`; there are: {}", Scenario::ALL.map(Scenario::name).join(", "))]
pub struct UnknownScenario {
    /// What was asked for.
    pub name: String,
}

impl FromStr for Scenario {
    type Err = UnknownScenario;

    fn from_str(name: &str) -> Result<Scenario, UnknownScenario> {
        let named = Scenario::ALL.into_iter().find(|scenario| scenario.name() == name);
        named.ok_or_else(|| UnknownScenario { name: name.to_owned() })
    }
}

//! The seeded world: clock, network, disks, faults and clients around the real cores.
//!
//! ```text
//!   seed ──▶ setup, schedule ──▶ world: queue ──▶ node: driver ─ core ─ log ─ kv ─ submitter
//!                                  ▲                │   │
//!                                  └── network ◀────┘   └──▶ oracle, history ──▶ checkers ──▶ report
//! ```
//!
//! One process, one thread, one seed. What runs is what is deployed: the protocol core, the log with its real
//! bytes, the state machine and the submitter. Only time, the network, the disks' medium and the clients are
//! made up. Promises:
//!
//! - W1  **Same seed, same run**: the same options, seed and build give the same events, byte for byte.
//! - W2  **Weather is keyed, not drawn from a stream**: what one link or node meets does not depend on what
//!   others do, so that an edited fault changes nothing but its consequences.
//! - W3  **Survivable**: whatever the weather does, a correct cluster keeps its promises; hence every broken
//!   promise is a bug.
//! - W4  **Replayable**: a failure names the one command that repeats it.
//!
//! What is checked stands at [`Broken`] and in `docs/simulation.md`.

#[cfg(feature = "planted")]
pub mod bugbank;
mod convert;
mod explain;
pub mod explore;
mod keys;
mod life;
mod network;
mod node;
mod operator;
mod options;
mod oracle;
mod queue;
mod raft_subject;
mod report;
mod run;
mod schedule;
mod setup;
mod shadow;
mod shared;
mod shrink;
mod subject;
pub mod sweep;
mod watching;
mod workload;
mod world;

pub use options::{Options, Protocol, UnknownProtocol};
pub use oracle::{Broken, PROMISES};
pub use report::{Counters, Failure, Report};
pub use run::{PROGRESS_MIN, run, run_recorded, run_seed, schedule_of, trace_header};
pub use schedule::{CrashPoint, Fault, MemberChange, Schedule, ScheduleError, Shape, Target, Timed, Weather};
pub use setup::{Climate, OpMix, Pace, Setup, Tuning, Workload};
pub use shrink::{NothingFails, Shrunk, Tried, shrink};
pub use storage::DiskFault;
pub use subject::Subject;

//! The durable slot-addressed log and the state engine, on a [`Disk`] trait.
//!
//! Two things are kept, with different promises:
//! - the **log** ([`Log`]) is the durable truth: nothing is acknowledged before it is in here and synced;
//! - the **engine** ([`Engine`]) holds the state machine's data. It is written atomically with the slot it
//!   reflects and *not* synced per write: after a crash it is replayed from the log.
//!
//! Every byte of the log is specified in `docs/storage-format.md`.
//!
//! **Invariant:** no files, clocks or threads here. The real disk and the embedded LSM engine are in `node`,
//! the simulated disk and the in-memory engine are here, and everything above runs on either.

mod disk;
mod engine;
mod log;

pub use disk::{
    Act, Armed, Disk, DiskError, DiskFault, DiskFile, Effect, Plan, SimDisk, SimFile, UnknownFault,
};
pub use engine::{Engine, EngineError, KEY_LEN_MAX, MemEngine, MemView, Scan, Space, View, WriteBatch};
#[cfg(feature = "planted")]
pub use log::Planted;
#[cfg(feature = "fuzzing")]
pub use log::fuzzing;
pub use log::{
    Identity, Log, LogOp, LogOptions, OpenLogError, ReadLogError, Recovery, ScrubCursor, ScrubDamage,
    Scrubbed, WriteLogError,
};

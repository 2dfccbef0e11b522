//! The real world around the same cores: threads, disks and sockets that drive one replica.
//!
//! ```text
//!   front-ends (tokio) ──Handle──▶ core thread ──▶ disk thread ──▶ gated messages ──▶ peers
//!                                     │  ▲             └─ Durable ─┘
//!                                     ▼  └── Applied
//!                                 apply thread ──▶ results, events, applied slot ──▶ front-ends
//! ```
//!
//! **Invariant:** a core sees nothing but recordable inputs; what it names as a gate is held until the log is
//! synced; a failed write or sync ends the process.

mod disk;
mod engine;
mod handle;

pub use disk::{OpenDiskError, RealDisk, RealFile};
pub use engine::{StateEngine, StateView};
pub use handle::{Applied, Handle, NodeStatus, ProposeError, ReadError};

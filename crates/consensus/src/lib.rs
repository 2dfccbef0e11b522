//! What every protocol core shares: the [`Protocol`] and [`Consensus`] traits and the pieces both drivers use.
//!
//! ```text
//!   Recv, Timer, Durable, Request ──▶ step* ──▶ flush ──▶ Persist, Send{after}, Event{after}
//!                                       core                         │
//!         driver: holds what names a write until that write is durable (`GateQueue`)
//! ```
//!
//! A core is a value: no clock, no socket, no disk, no thread, no ambient randomness. The contract of a core
//! and its driver, quoted by number elsewhere:
//!
//! - C1  **Gates are data.** A message or event names the write that must be durable before it may leave.
//! - C2  **One FIFO of writes** per replica. `WriteSeq` grows by one a write and is never reused while the
//!   process lives; votes and log records share it.
//! - C3  **A failed write or sync is a crash.** There is no input for it.
//! - C4  **Recovery tells `Ok`, `Missing` and `Damaged` apart** per slot ([`types::SlotState`]).
//! - C5  **Deadlines, not ticks**: an idle core has no deadline or a far one.
//! - C6  **`step* → flush`**: one flush emits at most one `Persist`, and coalesced messages.
//! - C7  **Two lanes**: control messages never queue behind bulk ones, or behind a disk write they do not name.
//! - C8  **Unknown is an outcome**: a proposal that was not answered may still commit.
//! - C9  **Total on input**: no bytes from a peer, client or disk make a core panic or loop.
//! - C10 **Invariants are checked** by `check_invariants`, after every step in the simulator.

#[macro_use]
mod planted;

mod errands;
mod gate;
mod membership;
mod pacing;
mod protocol;
mod replication;
mod submitter;

pub use errands::Errand;
pub use gate::GateQueue;
pub use membership::{Change, ChangeRefusal, Member, Membership, Standing};
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use protocol::{Action, Dest, Input, Lane, Out, Protocol, Recovered, StoreOp, WriteSeq};
pub use replication::{
    Capabilities, CheckpointMeta, CommittedEntry, Consensus, Entry, EntryKind, Event, FaultModel, ReadLevel,
    ReconfigureMode, Refusal, Request, Role, Status, Token, TransferId,
};
pub use submitter::{Outcome, SubmitRequest, Submitter, SubmitterConfig};

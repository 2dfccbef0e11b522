//! The etcd data model as a deterministic state machine: revisions, transactions, leases, watch history.
//!
//! ```text
//!   CommittedEntry ──▶ Kv::apply ──▶ one atomic engine write {changes, session table, applied slot}
//!                          │
//!                          └──▶ results for waiting clients, events for watchers
//!   Reader (clonable, any thread) ──▶ Range, history of events, at a consistent revision
//! ```
//!
//! Semantics are etcd's to the letter; where etcd is known to be wrong, `docs/etcd-compat.md` says what is done
//! instead. **Invariant:** applying a command never panics and never depends on anything but the state and
//! the entry: same log, same bytes.

#[macro_use]
mod planted;

mod api;
mod checkpoint;
mod codec;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod history;
mod key_range;
mod layout;
mod lease;
mod lessor;
mod machine;
mod meta;
mod range;
mod reader;
mod record;
mod session;
mod store;
mod sweep;
mod txn;
mod validate;
mod varint;
mod write;

pub use api::*;
pub use checkpoint::{CheckpointError, CheckpointSummary, CheckpointWriter, ChunkVerifier, InstallError};
pub use key_range::KeyRange;
pub use layout::SPACES;
pub use lease::LEASE_TTL_MAX_SECONDS;
pub use lessor::Lessor;
pub use machine::{ApplyOutput, Content, Executed, Kv, LeaseChange, OpenKvError, Outcome, RevisionEvents};
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use reader::{EventsError, EventsPage, LeaseInfo, ReadError, Reader};
pub use validate::{KEY_LEN_MAX, is_read_only, validate, validate_range, validate_txn};

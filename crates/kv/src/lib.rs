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

mod api;

pub use api::*;

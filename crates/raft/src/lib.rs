//! Raft: leader election, pipelined log replication, linearizable reads and checkpoint transfer, with no I/O.
//!
//! ```text
//!   Follower ──timeout──▶ PreCandidate ──majority──▶ Candidate ──majority──▶ Leader
//!      ▲ ▲                     │                         │                      │
//!      │ └─────── a current leader, or a higher term ────┴──────────────────────┘
//!      └── repaired ── Recovering          (and a leader that hears from no quorum)
//! ```
//!
//! Promises, quoted by number in comments, asserted by `check_invariants` where one replica can see them:
//!
//! - R1  At most one leader per term: votes are durable before they are sent (Raft §5.2).
//! - R2  A leader never rewrites its own log; nobody rewrites a committed slot (§5.3).
//! - R3  Term, vote and entries are durable before the answer that rests on them (Figure 2).
//! - R4  Only entries of the leader's own term are committed by counting, and only durable copies count (§5.4.2).
//! - R5  A slot is handed to the state machine once, in order, committed, and durable here.
//! - R6  A read point is at or above everything that was committed when the read was asked for (dissertation §6.4).
//! - R7  An acknowledgement covers only what matches the leader's log, without gaps, durably.
//! - R8  Terms never decrease along a log.
//! - R9  A replica that lost durable memory takes no part in a quorum that its memory could matter to.
//! - R10 A leader without a quorum for an election timeout steps down; a follower that hears a leader ignores
//!   candidates that it did not send (dissertation §6.2, §4.2.3, §3.10).
//! - R11 Membership changes one step at a time, and two configurations in a row share a majority: the one in force is the
//!   latest in the log, committed or not, and no change begins before it is committed (§6).
//! - R12 A lease read is answered only while no other leader can have been elected (§6.4.1).
//! - R13 A member counts only by the disk that it founded the group, or was promoted, with.
//!
//! One file per story, each reached from `Raft::step`:
//!
//! | file | story |
//! |---|---|
//! | `election` | time-outs, pre-votes, votes, stepping down |
//! | `propose` | commands become entries; followers forward theirs |
//! | `replicate`, `progress` | the leader's side of replication, and what it knows of each peer |
//! | `append` | the follower's side |
//! | `commit` | counting, handing entries to the state machine, compaction |
//! | `read`, `lease` | read rounds, and reads without them |
//! | `configurations`, `reconfigure` | who takes part, and changes of it |
//! | `incarnations` | which disk speaks for a member; founding a group |
//! | `handover` | the leader chooses its successor |
//! | `quiesce` | silence of an idle group |
//! | `transfer`, `install` | both sides of a checkpoint on its way to a lagging peer |
//! | `recovery` | restart, damage and repair |
//! | `log`, `writes` | the log in memory, the FIFO of durable writes |
//!
//! Not here: sockets, disks and clocks (the drivers), sessions and retries (`consensus::Submitter`), what commands
//! mean (`kv`).

#[macro_use]
mod planted;

mod append;
mod commit;
mod config;
mod configurations;
mod election;
mod handover;
mod incarnations;
mod install;
mod invariants;
mod lease;
mod log;
mod message;
mod progress;
mod propose;
mod quiesce;
mod raft;
mod read;
mod reconfigure;
mod record;
mod recovery;
mod replicate;
mod transfer;
mod writes;

pub use config::Config;
pub use message::Message;
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use raft::Raft;
pub use record::{Integrity, Meta, Record, Stamp};

#[cfg(test)]
mod tests;

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

mod apply_thread;
mod audit;
mod checkpoints;
mod cluster;
mod config;
mod core_thread;
mod disk;
mod disk_thread;
mod engine;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod handle;
mod identify;
mod inputs;
mod intake;
mod join;
mod leases;
mod mailbox;
mod mem_disk;
mod member;
mod member_file;
mod metrics;
mod node;
mod peers;
mod questions;
mod repair;
mod scrub;
mod shared;
mod stores;
mod waiters;

pub use cluster::{Cluster, ClusterError, InitialMember, added_member_id, cluster_id, member_id};
pub use config::{Config, NodeError, StartError, Storage, check_peer_urls};
pub use disk::{OpenDiskError, RealDisk, RealFile};
pub use engine::{StateEngine, StateView};
pub use handle::{Applied, ErrandError, Handle, Next, NodeStatus, ProposeError, ReadError, Subscription};
pub use join::JoinError;
pub use leases::LeaseTimes;
pub use member::{MemberContext, MemberInfo};
pub use metrics::{Counter, Histogram, HistogramSnapshot, Metrics, PeerMetrics};
pub use node::Node;
pub use repair::{Patient, RepairError, Survey};
pub use shared::AppliedEvents;

//! Scenarios on a small deterministic cluster; the wider weather is the simulator's.

mod bank;
mod checkpoints;
mod election;
mod incarnations;
mod leases;
mod machine;
mod membership;
mod recovery;
mod replication;
mod requests;
mod weather;
pub(crate) mod world;

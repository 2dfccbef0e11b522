//! Scenarios on a small deterministic cluster; the wider weather is the simulator's.

mod bank;
mod election;
mod machine;
mod replication;
mod weather;
mod world;

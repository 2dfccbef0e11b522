//! Scenarios on a small deterministic cluster; the wider weather is the simulator's.

mod election;
mod machine;
mod weather;
mod world;

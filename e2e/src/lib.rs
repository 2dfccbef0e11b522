//! Slow tests with real processes and real clients.
//!
//! Each suite starts its own clusters on loopback ports of its own, in temporary directories, and leaves nothing
//! behind. They are programs, not `#[test]`s: they print what they did, and `cargo xtask e2e` runs them all.

pub mod bad_input;
pub mod clients;
pub mod cluster;
pub mod etcdctl;
pub mod load;
pub mod members;
pub mod plug;
pub mod tools;

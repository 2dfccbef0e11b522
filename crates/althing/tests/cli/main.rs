//! The program as people start it: real processes on loopback, one server or a whole `dev` cluster.
#![allow(clippy::unwrap_used)] // a helper of a test fails as the test does

mod commands;
mod dev;
mod lock;
mod process;
mod serve;

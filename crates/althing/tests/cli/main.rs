//! The program as people start it: real processes on loopback, one server or a whole `dev` cluster.

mod commands;
mod dev;
mod lock;
mod process;
mod serve;

//! The etcd v3 gRPC front-end: bytes to commands and back, with etcd's codes and texts.
//!
//! ```text
//!   socket ─▶ HTTP/1 or HTTP/2 ─┬─▶ plain:  /health /version /metrics
//!                               └─▶ router ─▶ KV, Lease, Lock, Election, … ─▶ node::Handle, kv::Reader
//!                                         └─▶ Watch ◀── hub ◀── pump ◀── node's applied events
//! ```
//!
//! [`Server::serve`] is all that a program needs; [`proto`] has the messages and clients for those who ask.
//!
//! Promises:
//! - E1  Codes and texts of refusals are etcd's (`errors.rs`); what differs stands in `docs/etcd-compat.md`.
//! - E2  A write that may have happened is never answered with something that clients retry by themselves.
//! - E3  Bytes from clients are decoded in place and never trusted: whatever comes, the answer is a status.
//!
//! Not here: what requests mean (`kv`), how they are replicated (`node`).

mod auth;
mod cluster;
mod config;
mod convert;
mod counted_io;
mod errors;
mod front;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gathered_io;
mod grpc;
mod health;
mod kv_service;
mod lease;
mod maintenance;
mod metrics;
mod plain;
pub mod proto;
mod quota;
mod recipes;
mod router;
mod server;
mod watch;

pub use config::{ETCD_API_VERSION, ETCD_CLUSTER_VERSION, ServerConfig};
pub use server::Server;

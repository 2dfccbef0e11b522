//! The store as its users see it: entries in, answers, events and reads out. One module a subject; statements
//! of etcd's behaviour are quoted by the section of etcd's API that they belong to: 4.3 headers and revisions,
//! 4.4 KV, 4.5 Watch, 4.6 Lease (`docs/etcd-compat.md` explains the differences).
#![allow(clippy::unwrap_used)]

mod apply;
mod checkpoint;
mod codec;
mod compaction;
mod format;
mod generate;
mod harness;
mod lease;
mod model;
mod model_test;
#[cfg(feature = "planted")]
mod planted;
mod put;
mod range;
mod reader;
mod revisions;
mod txn;
mod watch;

//! The Watch service: events of keys and ranges, from history and as they happen (`etcd-api.md` §4.5).
//!
//! ```text
//!   node's applied events ──▶ Hub ── matches by key ──▶ one Queue a stream ──▶ gRPC stream
//!                              ▲ │ queue is full                  ▲
//!                 caught up    │ └──▶ lagging ── reads history ───┘
//!                              └───────────┘ (the stream's driver)
//! ```
//!
//! Promises, quoted by number in comments and tests:
//!
//! - W1  A watcher gets every event of its range from its start revision on, once, in revision order.
//! - W2  All events of one revision stand in one response, unless the watcher asked for fragments.
//! - W3  A progress response at revision r follows every event up to r.
//! - W4  Memory is bounded by the number of watchers, not by how slow they are: a slow one keeps a revision
//!   to go on from, and reads history when its client has caught up.
//! - W5  An event is matched by looking its key up, and encoded once for all who want it.

mod driver;
mod frame;
mod hub;
mod index;
mod notice;
mod pump;
mod queue;
mod ranges;
mod replay;
mod service;
#[cfg(test)]
mod tests;

#[cfg(feature = "fuzzing")]
pub(crate) use driver::fuzzing as read_request;
pub(crate) use hub::Hub;
pub(crate) use notice::{Change, Notice};
pub(crate) use pump::pump;
pub(crate) use ranges::prefix_end;
pub(crate) use service::watch;

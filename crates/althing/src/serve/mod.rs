//! `althing serve`: one member of a cluster, started by etcd's own flags.
//!
//! ```text
//!   args, ETCD_*, file ──▶ Settings ──▶ Config ──▶ node + etcd front-end ──▶ until a signal or a failure
//! ```

mod args;
mod config;
mod file;
mod flags;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod notify;
mod run;
mod settings;
mod signals;
mod url;

pub use args::{ServeArgs, with_two_dashes};
pub use run::run;
pub use signals::shutdown_requested;

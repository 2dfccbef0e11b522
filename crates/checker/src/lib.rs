//! Judges a finished history: linearizable? durable? did every replica agree?

mod agreement;
pub mod cycles;
mod history;
pub mod leases;
mod ledger;
mod linearizable;
mod lower;
mod model;
mod replicas;
mod revisions;
mod verdict;
pub mod watch;

pub use agreement::Agreement;
pub use cycles::{check_cycles, check_history_cycles};
pub use history::{
    Answer, Call, Change, ClientId, Compare, Found, History, Item, Level, Operation, Outcome,
    ReadHistoryError, Revision, Step, Txn,
};
pub use leases::{check_fences, check_leases};
pub use ledger::{FinalState, check_ledger};
pub use linearizable::{STEPS_DEFAULT, check_linearizable};
pub use replicas::{Divergence, Point, Replicas, check_replicas};
pub use revisions::check_revisions;
pub use verdict::{Verdict, Violation};
pub use watch::check_watch;

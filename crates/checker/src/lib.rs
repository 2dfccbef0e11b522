//! Judges a finished history: linearizable? durable? did every replica agree?

mod agreement;
pub mod cycles;
mod history;
mod ledger;
mod linearizable;
mod lower;
mod model;
mod revisions;
mod verdict;

pub use agreement::Agreement;
pub use cycles::{check_cycles, check_history_cycles};
pub use history::{
    Answer, Call, Change, ClientId, Compare, Found, History, Item, Level, Operation, Outcome,
    ReadHistoryError, Revision, Step, Txn,
};
pub use ledger::{FinalState, check_ledger};
pub use linearizable::{STEPS_DEFAULT, check_linearizable};
pub use revisions::check_revisions;
pub use verdict::{Verdict, Violation};

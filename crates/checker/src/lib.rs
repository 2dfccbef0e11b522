//! Judges a finished history: linearizable? durable? did every replica agree?

mod history;
mod verdict;

pub use history::{
    Answer, Call, Change, ClientId, Compare, Found, History, Item, Level, Operation, Outcome,
    ReadHistoryError, Revision, Step, Txn,
};
pub use verdict::{Verdict, Violation};

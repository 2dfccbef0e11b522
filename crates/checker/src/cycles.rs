//! C4: do the dependencies between transactions, as reads reveal them, run in a circle?
//!
//! ```text
//!   T1 appends 1 to x   ──ww──▶   T3 appends 2 to x      [1, 2] was read: T3 wrote after T1
//!   T1 appends 1 to x   ──wr──▶   T2 reads x = [1]       T2 saw what T1 wrote
//!   T2 reads x = [1]    ──rw──▶   T3 appends 2 to x      T2 missed what T3 wrote
//!   T2 returns          ──time──▶ T4 is invoked          and so do a client's own transactions, one after another
//! ```
//!
//! A history that fits one order of transactions, real time included, has no circle; one circle refutes it, and
//! its edges say what went wrong. The mildest explanation is reported first:
//!
//! - E1  a transaction disagrees with its own earlier actions; it sees what nobody wrote, what was aborted (G1a,
//!   or a *dirty update* if somebody then wrote on top of it) or what its writer replaced itself (G1b);
//! - E2  lists hold an element twice, or two reads of a list are not prefixes of each other;
//! - E3  two transactions replace the same version of a key (*lost update*);
//! - E4  a circle of writes (G0); of writes and reads that saw them (G1c); with one read that missed a write
//!   (G-single); with several (G2);
//! - E5  the same with a client's own order (`-process`) or with real time (`-realtime`);
//! - E6  the versions of a register, as far as they are known, run in a circle.
//!
//! The order of a list's versions is read off the list. That of a register is pieced together: the initial state
//! is first, a transaction replaces what it read, known revisions ascend, and what is over before something else
//! begins is not newer. Where that leaves two versions unordered nothing is inferred, so that a register may hide
//! an anomaly; lists hide none.
//!
//! Time is linear but for sorting; real time costs three edges a transaction, through a chain of moments.
//!
//! # Source
//! Kingsbury and Alvaro, "Elle: Inferring Isolation Anomalies from Experimental Observations" (VLDB 2020); Adya,
//! "Weak Consistency: A Generalized Theory and Optimistic Implementations" (1999).

use bytes::Bytes;
use trace::OpId;
use types::Time;

use crate::history::Text;
use crate::{ClientId, History, Revision, Verdict, Violation};

mod convert;
mod fan;
mod graph;
mod inside;
mod lists;
mod registers;
mod search;
mod time;
mod versions;
mod words;
mod writers;

/// A key's number. Lists and registers are named apart: list 1 and register 1 are two things.
pub type Key = u64;

/// A value's number. Among all transactions, aborted ones too, no two writes to a key have the same value.
pub type Value = u64;

/// One thing that a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Added an element to the end of a list.
    Append {
        /// The list.
        key: Key,
        /// The element.
        value: Value,
    },
    /// Read a whole list.
    ReadList {
        /// The list.
        key: Key,
        /// Its elements, oldest first; none if it did not exist.
        values: Vec<Value>,
    },
    /// Replaced a register's value.
    Write {
        /// The register.
        key: Key,
        /// Its new value.
        value: Value,
        /// The store's number for this change, if the client was told: ascends with the changes of one register.
        revision: Option<Revision>,
    },
    /// Read a register.
    Read {
        /// The register.
        key: Key,
        /// Its value; `None` if it had never been written.
        value: Option<Value>,
        /// The number of the change that wrote the value, if the reader was told.
        revision: Option<Revision>,
    },
}

/// How a transaction ended, as far as its client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It happened.
    Committed,
    /// It did not happen, nor ever will.
    Aborted,
    /// It may have happened, or may yet.
    Unknown,
}

/// One transaction of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// What reports call it.
    pub id: OpId,
    /// Who asked. Its transactions follow one another, unless one's end is unknown.
    pub process: ClientId,
    /// When it was asked, on the one clock of all transactions.
    pub invoked: Time,
    /// When its end was known; looked at only if it is committed. Equal times count as concurrent.
    pub returned: Option<Time>,
    /// How it ended.
    pub ended: Ended,
    /// What it did, in order. Reads are looked at only if it is committed.
    pub actions: Vec<Action>,
}

/// Transactions in any order, and what their keys and values are called in reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transactions {
    /// All that were asked.
    pub list: Vec<Transaction>,
    /// By key: its name. A key beyond the end is called by its number.
    pub key_names: Vec<Bytes>,
    /// By value: its name. A value beyond the end is called by its number.
    pub value_names: Vec<Bytes>,
}

impl Transactions {
    /// The operations of `history` as transactions on registers.
    ///
    /// Left out are serializable reads, unanswered writes that nobody saw, and reads of an absent key that somebody
    /// may have deleted: they tell nothing about order. Successful compares count as reads.
    ///
    /// # Errors
    /// [`Verdict::Violated`] if an answer is one that no store could have given; [`Verdict::Undecided`] if a value
    /// is written twice.
    pub fn from_history(history: &History) -> Result<Transactions, Verdict> {
        convert::from_history(history)
    }

    fn key(&self, key: Key) -> String {
        name(&self.key_names, key)
    }

    fn value(&self, value: Value) -> String {
        name(&self.value_names, value)
    }
}

fn name(names: &[Bytes], number: u64) -> String {
    let name = usize::try_from(number).ok().and_then(|index| names.get(index));
    name.map_or_else(|| number.to_string(), |name| Text(name).to_string())
}

/// Judges whether any order of `transactions` that respects real time could have shown what they saw: see the
/// anomalies of this module.
///
/// Undecided only if two writes to a key have the same value.
pub fn check_cycles(transactions: &Transactions) -> Verdict {
    match judge(transactions) {
        Ok(()) => Verdict::Holds,
        Err(verdict) => verdict,
    }
}

/// Judges `history` by [`check_cycles`].
pub fn check_history_cycles(history: &History) -> Verdict {
    Transactions::from_history(history).map_or_else(|verdict| verdict, |list| check_cycles(&list))
}

fn judge(txns: &Transactions) -> Result<(), Verdict> {
    inside::check(txns).map_err(Verdict::Violated)?;
    let lists = lists::Lists::new(txns)?;
    let registers = registers::Registers::new(txns)?;
    let mut happened: Vec<bool> = txns.list.iter().map(|txn| txn.ended == Ended::Committed).collect();
    lists.mark_seen(&mut happened);
    registers.mark_seen(&mut happened);

    let mut edges = graph::Edges::new(txns.list.len());
    lists.add_edges(&happened, &mut edges);
    let circle_of_versions = registers.add_edges(&happened, &mut edges);
    time::add_edges(&txns.list, &happened, &mut edges);
    let found = search::find_cycle(&edges.sorted()).map(|cycle| words::of_cycle(txns, &cycle));
    // A circle of transactions says more than one of versions.
    match found.or(circle_of_versions) {
        Some(violation) => Err(Verdict::Violated(violation)),
        None => Ok(()),
    }
}

fn violation(rule: &'static str, expected: &str, found: String, ops: Vec<OpId>) -> Violation {
    Violation { rule, expected: expected.to_owned(), found, ops }
}

#[cfg(test)]
mod tests;

//! Who wrote what.

use std::ops::Range;

use super::graph::Node;
use super::{Action, Ended, Key, Transactions, Value, violation};
use crate::{Verdict, Violation};

/// One write that was asked for, whatever became of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub key: Key,
    pub value: Value,
    pub txn: Node,
    /// How many writes its transaction did after it, to any key.
    pub left: u32,
    /// Whether its transaction writes nothing to the key after it.
    pub last: bool,
}

/// Every write, sorted by key and value.
pub(super) struct Writers {
    pub list: Vec<Written>,
}

impl Writers {
    /// The writes that `select` picks out of the actions.
    ///
    /// # Errors
    /// Undecided if a value is written to a key twice.
    pub fn new(
        txns: &Transactions,
        select: impl Fn(&Action) -> Option<(Key, Value)>,
    ) -> Result<Writers, Verdict> {
        let mut list = Vec::new();
        for (index, txn) in txns.list.iter().enumerate() {
            let first = list.len();
            for (left, (key, value)) in (0..).zip(txn.actions.iter().rev().filter_map(&select)) {
                let last = list[first..].iter().all(|later: &Written| later.key != key);
                list.push(Written { key, value, txn: index as Node, left, last });
            }
        }
        list.sort_unstable_by_key(|write| (write.key, write.value));
        match list.windows(2).find(|pair| (pair[0].key, pair[0].value) == (pair[1].key, pair[1].value)) {
            None => Ok(Writers { list }),
            Some(pair) => {
                let (key, value) = (txns.key(pair[0].key), txns.value(pair[0].value));
                Err(Verdict::Undecided { reason: format!("{value} is written to {key} twice") })
            }
        }
    }

    /// The index of the write of `value` to `key`.
    pub fn find(&self, key: Key, value: Value) -> Option<usize> {
        self.list.binary_search_by_key(&(key, value), |write| (write.key, write.value)).ok()
    }

    /// The indexes of all writes to `key`.
    pub fn of_key(&self, key: Key) -> Range<usize> {
        let first = self.list.partition_point(|write| write.key < key);
        first..first + self.list[first..].partition_point(|write| write.key == key)
    }

    /// The write that `reader` saw, if it is one that it may see.
    ///
    /// # Errors
    /// Nobody wrote that, or it was aborted; `on_top` tells which committed transaction went on from there.
    pub fn seen(
        &self,
        txns: &Transactions,
        reader: Node,
        (key, value): (Key, Value),
        on_top: impl FnOnce() -> Option<Node>,
    ) -> Result<usize, Violation> {
        let id = |txn: Node| txns.list[txn as usize].id;
        let (key_name, value_name) = (txns.key(key), txns.value(value));
        let Some(index) = self.find(key, value) else {
            let found = format!("operation {} read {value_name}, which nobody wrote there", id(reader).0);
            let expected = format!("a value that was written to {key_name}");
            return Err(violation("phantom value", &expected, found, vec![id(reader)]));
        };
        let writer = self.list[index].txn;
        if txns.list[writer as usize].ended != Ended::Aborted {
            return Ok(index);
        }
        let aborted = format!("operation {} read {key_name} = {value_name}", id(reader).0);
        let aborted =
            format!("{aborted}, which operation {} had written before it was aborted", id(writer).0);
        let expected = "nothing of an aborted transaction";
        match on_top() {
            None => Err(violation("G1a (aborted read)", expected, aborted, vec![id(reader), id(writer)])),
            Some(top) => {
                let found = format!("{aborted}, and operation {} wrote on top of it", id(top).0);
                let ops = vec![id(top), id(writer), id(reader)];
                Err(violation("dirty update", expected, found, ops))
            }
        }
    }

    /// E1: another transaction must not see a write that its own transaction replaced.
    ///
    /// # Errors
    /// G1b.
    pub fn check_final(&self, txns: &Transactions, reader: Node, index: usize) -> Result<(), Violation> {
        let write = self.list[index];
        if write.last || write.txn == reader {
            return Ok(());
        }
        let (reader, writer) = (txns.list[reader as usize].id, txns.list[write.txn as usize].id);
        let found = format!(
            "operation {} saw {} = {}, which operation {} went on to change itself",
            reader.0,
            txns.key(write.key),
            txns.value(write.value),
            writer.0
        );
        let expected = "only what a transaction left behind";
        Err(violation("G1b (intermediate read)", expected, found, vec![reader, writer]))
    }
}

//! Lists that are only appended to: the longest read of a list is the order of its versions.

use super::fan::Fan;
use super::graph::{Edges, Kind, Node};
use super::writers::Writers;
use super::{Action, Ended, Key, Transactions, Value, violation, words};
use crate::{Verdict, Violation};

/// All that is known about all lists.
pub(super) struct Lists<'t> {
    writers: Writers,
    /// By key.
    reads: Vec<Read<'t>>,
    /// By key: who appended each element of the longest read, as indexes into `writers`.
    orders: Vec<Vec<usize>>,
}

struct Read<'t> {
    key: Key,
    txn: Node,
    values: &'t [Value],
    /// Whether the transaction had appended nothing to the list before.
    external: bool,
}

impl<'t> Lists<'t> {
    /// Gathers what `txns` say about lists.
    ///
    /// # Errors
    /// E1 or E2 is broken, or an element is appended twice.
    pub fn new(txns: &'t Transactions) -> Result<Lists<'t>, Verdict> {
        let writers = Writers::new(txns, |action| match action {
            Action::Append { key, value } => Some((*key, *value)),
            _ => None,
        })?;
        let mut lists = Lists { writers, reads: reads(txns), orders: Vec::new() };
        let orders: Result<Vec<_>, _> = lists.of_keys().map(|reads| lists.order(txns, reads)).collect();
        lists.orders = orders.map_err(Verdict::Violated)?;
        Ok(lists)
    }

    fn of_keys(&self) -> impl Iterator<Item = &[Read<'t>]> {
        self.reads.chunk_by(|a, b| a.key == b.key)
    }

    /// Who made each version of one list.
    fn order(&self, txns: &Transactions, reads: &[Read<'t>]) -> Result<Vec<usize>, Violation> {
        let Some(longest) = reads.iter().max_by_key(|read| read.values.len()) else { return Ok(Vec::new()) };
        check_repeats(txns, longest)?;
        for read in reads {
            if !longest.values.starts_with(read.values) {
                let (a, b) = (txns.list[read.txn as usize].id, txns.list[longest.txn as usize].id);
                let (text, other) = (words::list(txns, read.values), words::list(txns, longest.values));
                let key = txns.key(read.key);
                let found = format!("{key} = {text} in operation {}, {other} in operation {}", a.0, b.0);
                return Err(violation(
                    "incompatible order",
                    "one list to begin the other",
                    found,
                    vec![a, b],
                ));
            }
        }
        let order: Result<Vec<usize>, Violation> =
            (0..longest.values.len()).map(|at| self.writer(txns, longest, at)).collect();
        let order = order?;
        self.check_own_order(txns, longest, &order)?;
        for read in reads.iter().filter(|read| read.external) {
            if let Some(last) = read.values.len().checked_sub(1) {
                self.writers.check_final(txns, read.txn, order[last])?;
            }
        }
        Ok(order)
    }

    fn writer(&self, txns: &Transactions, read: &Read<'t>, at: usize) -> Result<usize, Violation> {
        let committed = |value: &Value| {
            let writer = self.writers.list[self.writers.find(read.key, *value)?].txn;
            (txns.list[writer as usize].ended == Ended::Committed).then_some(writer)
        };
        let on_top = || read.values[at + 1..].iter().find_map(committed);
        self.writers.seen(txns, read.txn, (read.key, read.values[at]), on_top)
    }

    /// E2: what one transaction appended stands as it appended it. If others come between, that is a circle.
    fn check_own_order(
        &self,
        txns: &Transactions,
        read: &Read<'t>,
        order: &[usize],
    ) -> Result<(), Violation> {
        let write = |index: &usize| &self.writers.list[*index];
        let turned = |pair: &&[usize]| {
            write(&pair[0]).txn == write(&pair[1]).txn && write(&pair[0]).left < write(&pair[1]).left
        };
        match order.windows(2).find(turned) {
            None => Ok(()),
            Some(pair) => {
                let ids = [read.txn, write(&pair[0]).txn].map(|txn| txns.list[txn as usize].id);
                let (key, list) = (txns.key(read.key), words::list(txns, read.values));
                let found = format!(
                    "{key} = {list} in operation {}, but operation {} appended {} first",
                    ids[0].0,
                    ids[1].0,
                    txns.value(write(&pair[1]).value)
                );
                let expected = "the elements of one transaction in its order";
                Err(violation("incompatible order", expected, found, ids.to_vec()))
            }
        }
    }

    /// Marks the transactions without an answer of which an element was seen.
    pub fn mark_seen(&self, happened: &mut [bool]) {
        let seen = self.orders.iter().flatten().map(|write| self.writers.list[*write].txn);
        seen.for_each(|txn| happened[txn as usize] = true);
    }

    /// Adds what lists say about the order of the transactions that `happened`.
    pub fn add_edges(&self, happened: &[bool], edges: &mut Edges) {
        for (reads, order) in self.of_keys().zip(&self.orders) {
            let key = reads[0].key;
            let txns: Vec<Node> = order.iter().map(|write| self.writers.list[*write].txn).collect();
            txns.windows(2).for_each(|pair| edges.add(pair[0], pair[1], Kind::Ww, key));
            // Appends that happened and that nobody saw come after all that was seen.
            let unseen = Fan::new(edges, self.unseen(key, order, happened));
            if let Some(last) = txns.last() {
                unseen.reach(edges, *last, Kind::Ww, key);
            }
            for read in reads.iter().filter(|read| read.external) {
                let length = read.values.len();
                if length > 0 {
                    edges.add(txns[length - 1], read.txn, Kind::Wr, key);
                }
                match txns.get(length) {
                    Some(next) => edges.add(read.txn, *next, Kind::Rw, key),
                    None => unseen.reach(edges, read.txn, Kind::Rw, key),
                }
            }
        }
    }

    fn unseen(&self, key: Key, order: &[usize], happened: &[bool]) -> Vec<Node> {
        let range = self.writers.of_key(key);
        let mut seen = vec![false; range.len()];
        order.iter().for_each(|write| seen[write - range.start] = true);
        let unseen = range.clone().filter(|write| !seen[write - range.start]);
        unseen.map(|write| self.writers.list[write].txn).filter(|txn| happened[*txn as usize]).collect()
    }
}

/// Every read of a committed transaction, by key.
fn reads(txns: &Transactions) -> Vec<Read<'_>> {
    let mut reads = Vec::new();
    for (index, txn) in txns.list.iter().enumerate().filter(|(_, txn)| txn.ended == Ended::Committed) {
        for (at, action) in txn.actions.iter().enumerate() {
            let Action::ReadList { key, values } = action else { continue };
            let mut before = txn.actions[..at].iter();
            let external =
                !before.any(|action| matches!(action, Action::Append { key: own, .. } if own == key));
            reads.push(Read { key: *key, txn: index as Node, values, external });
        }
    }
    reads.sort_by_key(|read| read.key);
    reads
}

fn check_repeats(txns: &Transactions, read: &Read<'_>) -> Result<(), Violation> {
    let mut values = read.values.to_vec();
    values.sort_unstable();
    match values.windows(2).find(|pair| pair[0] == pair[1]) {
        None => Ok(()),
        Some(pair) => {
            let id = txns.list[read.txn as usize].id;
            let (key, list) = (txns.key(read.key), words::list(txns, read.values));
            let found = format!("{} twice in {key} = {list} in operation {}", txns.value(pair[0]), id.0);
            Err(violation("duplicate element", "every element once", found, vec![id]))
        }
    }
}

//! Edges of time: a client's own order, and who returned before whom was invoked.
//!
//! Real time relates every transaction with nearly every other. A chain of moments tells the same with three edges
//! a transaction:
//!
//! ```text
//!   T1 ├────┤ ├──┤ T3            T1 ─▶ m1 ─▶ T3 ─▶ m2 ─▶ T4
//!   T2  ├─────────────┤ ├─┤ T4   T2 ──────────────▶ m2          m1 ─▶ m2
//! ```

use std::collections::BTreeMap;

use types::Time;

use super::graph::{Edges, Kind, Node};
use super::{Ended, Transaction};
use crate::ClientId;

/// Adds the edges of time between those of `list` that happened.
pub(super) fn add_edges(list: &[Transaction], happened: &[bool], edges: &mut Edges) {
    let mut events: Vec<(Time, bool, Node)> = Vec::with_capacity(2 * list.len());
    for (index, txn) in list.iter().enumerate().filter(|(index, _)| happened[*index]) {
        events.push((txn.invoked, false, index as Node));
        if let Some(returned) = returned(txn) {
            events.push((returned, true, index as Node));
        }
    }
    // At one time invocations come first: what touches is concurrent.
    events.sort_unstable();
    let mut chain = Chain::default();
    let mut last: BTreeMap<ClientId, Node> = BTreeMap::new();
    for (_, returns, txn) in events {
        let process = list[txn as usize].process;
        if returns {
            chain.returned(edges, txn);
            last.insert(process, txn);
        } else {
            chain.invoked(edges, txn);
            if let Some(before) = last.get(&process) {
                edges.add(*before, txn, Kind::Process, 0);
            }
        }
    }
}

/// When `txn` was over for all to know.
pub(super) fn returned(txn: &Transaction) -> Option<Time> {
    txn.returned.filter(|_| txn.ended == Ended::Committed)
}

#[derive(Default)]
struct Chain {
    /// The last moment after which somebody was invoked.
    past: Option<Node>,
    /// The moment that gathers those who return now.
    present: Option<Node>,
}

impl Chain {
    fn returned(&mut self, edges: &mut Edges, txn: Node) {
        let moment = match self.present {
            Some(moment) => moment,
            None => {
                let moment = edges.add_node();
                if let Some(past) = self.past {
                    edges.add(past, moment, Kind::Link, 0);
                }
                moment
            }
        };
        self.present = Some(moment);
        edges.add(txn, moment, Kind::RealTime, 0);
    }

    fn invoked(&mut self, edges: &mut Edges, txn: Node) {
        self.past = self.present.take().or(self.past);
        if let Some(past) = self.past {
            edges.add(past, txn, Kind::Link, 0);
        }
    }
}

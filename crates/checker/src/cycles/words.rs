//! Circles and transactions in words.

use super::graph::{Edge, Kind, Node};
use super::{Action, Key, Transaction, Transactions, Value};
use crate::Violation;

/// Elements of a list that a report shows.
const SHOWN_MAX: usize = 8;

/// `circle`, a closed path of edges, as a violation.
pub(super) fn of_cycle(txns: &Transactions, circle: &[Edge]) -> Violation {
    let hops = hops(circle);
    let ids: Vec<_> = hops.iter().map(|hop| txns.list[hop.from as usize].id).collect();
    let text = hops.iter().map(|hop| hop_text(txns, hop)).collect::<Vec<_>>().join("; ");
    Violation {
        rule: rule(circle),
        expected: "transactions in one order".to_owned(),
        found: format!("a circle of {}: {text}", hops.len()),
        ops: ids,
    }
}

/// What such a circle is called (Adya 1999; Kingsbury and Alvaro 2020, §4.1).
fn rule(circle: &[Edge]) -> &'static str {
    let count = |kind: Kind| circle.iter().filter(|edge| edge.kind == kind).count();
    let order = match (count(Kind::RealTime), count(Kind::Process)) {
        (0, 0) => 0,
        (0, _) => 1,
        _ => 2,
    };
    let names = match (count(Kind::Rw), count(Kind::Wr)) {
        (0, 0) => ["G0", "G0-process", "G0-realtime"],
        (0, _) => ["G1c", "G1c-process", "G1c-realtime"],
        (1, _) => ["G-single", "G-single-process", "G-single-realtime"],
        _ => ["G2", "G2-process", "G2-realtime"],
    };
    names[order]
}

/// The edges from transaction to transaction: a link belongs to the edge that led to it.
fn hops(circle: &[Edge]) -> Vec<Edge> {
    let mut hops: Vec<Edge> = Vec::new();
    for edge in circle {
        match hops.last_mut() {
            Some(hop) if edge.kind == Kind::Link => hop.to = edge.to,
            _ => hops.push(*edge),
        }
    }
    hops
}

fn hop_text(txns: &Transactions, hop: &Edge) -> String {
    let txn = |node: Node| &txns.list[node as usize];
    let (from, to) = (txn(hop.from), txn(hop.to));
    let (before, after) = (from.id.0, to.id.0);
    match hop.kind {
        Kind::Ww => {
            let (key, old, new) = (txns.key(hop.key), wrote(txns, from, hop.key), wrote(txns, to, hop.key));
            format!("operation {before} {old} to {key} before operation {after} {new}")
        }
        Kind::Wr => {
            let (read, key) = (read(txns, to, hop.key), txns.key(hop.key));
            format!("operation {after} read {key} = {read}, as operation {before} had left it")
        }
        Kind::Rw => {
            let (read, key) = (read(txns, from, hop.key), txns.key(hop.key));
            let new = wrote(txns, to, hop.key);
            format!("operation {before} read {key} = {read}, before operation {after} {new}")
        }
        Kind::Process => {
            format!("client {} asked for operation {after} after operation {before}", to.process.0)
        }
        Kind::RealTime | Kind::Link => {
            format!("operation {before} returned before operation {after} was invoked")
        }
    }
}

/// What `txn` wrote to `key`; a hop does not tell whether that is a list or a register.
fn wrote(txns: &Transactions, txn: &Transaction, key: Key) -> String {
    let written = txn.actions.iter().filter_map(|action| match action {
        Action::Append { key: list, value } if *list == key => {
            Some(format!("appended {}", txns.value(*value)))
        }
        Action::Write { key: register, value, .. } if *register == key => {
            Some(format!("wrote {}", txns.value(*value)))
        }
        _ => None,
    });
    written.collect::<Vec<_>>().join(" and ")
}

/// What `txn` found at `key` before it wrote there.
fn read(txns: &Transactions, txn: &Transaction, key: Key) -> String {
    let found = txn.actions.iter().find_map(|action| match action {
        Action::ReadList { key: list, values } if *list == key => Some(self::list(txns, values)),
        Action::Read { key: register, value, .. } if *register == key => {
            Some(value.map_or_else(|| "nothing".to_owned(), |value| txns.value(value)))
        }
        _ => None,
    });
    found.unwrap_or_default()
}

/// A list; of a long one, its end.
pub(super) fn list(txns: &Transactions, values: &[Value]) -> String {
    let hidden = values.len().saturating_sub(SHOWN_MAX);
    let shown: Vec<String> = values[hidden..].iter().map(|value| txns.value(*value)).collect();
    let before = if hidden > 0 { format!("{hidden} more, ") } else { String::new() };
    format!("[{before}{}]", shown.join(", "))
}

/// Everything that a transaction did.
pub(super) fn actions(txns: &Transactions, actions: &[Action]) -> String {
    let one = |action: &Action| match action {
        Action::Append { key, value } => format!("append {} to {}", txns.value(*value), txns.key(*key)),
        Action::ReadList { key, values } => format!("read {} = {}", txns.key(*key), list(txns, values)),
        Action::Write { key, value, .. } => format!("write {} = {}", txns.key(*key), txns.value(*value)),
        Action::Read { key, value, .. } => {
            let value = value.map_or_else(|| "nothing".to_owned(), |value| txns.value(value));
            format!("read {} = {value}", txns.key(*key))
        }
    };
    actions.iter().map(one).collect::<Vec<_>>().join(", ")
}

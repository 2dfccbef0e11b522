//! Edges from many transactions to each of some others, but never from one to itself, at a linear price.

use super::Key;
use super::graph::{Edges, Kind, Node};

/// ```text
///   members    a    b    c    d
///   upto      a ◀─ b ◀─ c ◀─ d      one node each: leads to its member and all before it
///   from      a ─▶ b ─▶ c ─▶ d      … and all after it
/// ```
pub(super) struct Fan {
    members: Vec<Node>,
    /// The first node of each row; a fan of one member needs none.
    upto: Node,
    from: Node,
}

impl Fan {
    /// A fan to `members`.
    pub fn new(edges: &mut Edges, mut members: Vec<Node>) -> Fan {
        members.sort_unstable();
        members.dedup();
        let mut fan = Fan { members, upto: 0, from: 0 };
        if fan.members.len() > 1 {
            fan.upto = fan.add_row(edges);
            fan.from = fan.add_row(edges);
            for index in 1..fan.members.len() as Node {
                edges.add(fan.upto + index, fan.upto + index - 1, Kind::Link, 0);
                edges.add(fan.from + index - 1, fan.from + index, Kind::Link, 0);
            }
        }
        fan
    }

    fn add_row(&self, edges: &mut Edges) -> Node {
        let mut first = None;
        for member in &self.members {
            let node = edges.add_node();
            first = first.or(Some(node));
            edges.add(node, *member, Kind::Link, 0);
        }
        first.unwrap_or_default()
    }

    /// Leads from `node` to every member but itself.
    pub fn reach(&self, edges: &mut Edges, node: Node, kind: Kind, key: Key) {
        if let [member] = self.members[..] {
            return edges.add(node, member, kind, key);
        }
        let len = self.members.len();
        let (before, after) = match self.members.binary_search(&node) {
            Ok(index) => (index, index + 1),
            Err(_) => (0, 0),
        };
        if before > 0 {
            edges.add(node, self.upto + before as Node - 1, kind, key);
        }
        if after < len {
            edges.add(node, self.from + after as Node, kind, key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Graph;
    use super::*;
    use std::collections::BTreeSet;

    /// All transactions that `node` leads to.
    fn reached(graph: &Graph, node: Node) -> Vec<Node> {
        let (mut seen, mut open) = (BTreeSet::new(), vec![node]);
        while let Some(node) = open.pop() {
            for index in graph.outgoing(node) {
                let to = graph.edges[index].to;
                if seen.insert(to) && to >= 6 {
                    open.push(to);
                }
            }
        }
        seen.into_iter().filter(|node| *node < 6).collect()
    }

    #[test]
    fn a_fan_leads_to_everybody_but_the_asker() {
        for members in [vec![], vec![3], vec![4, 1], vec![1, 3, 4, 5]] {
            for asker in 0..6 {
                let mut edges = Edges::new(6);
                Fan::new(&mut edges, members.clone()).reach(&mut edges, asker, Kind::Rw, 0);
                let graph = edges.sorted();
                let mut others: Vec<Node> =
                    members.iter().copied().filter(|member| *member != asker).collect();
                others.sort_unstable();
                assert_eq!(reached(&graph, asker), others, "{asker} to {members:?}");
            }
        }
    }
}

//! Who must come before whom, and which transactions hang together in circles.

use super::Key;

/// A transaction by its index, or a node of no meaning of its own that spares edges.
pub(super) type Node = u32;

/// Why one transaction precedes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The second wrote over what the first wrote.
    Ww,
    /// The second saw what the first wrote.
    Wr,
    /// The first did not see what the second wrote.
    Rw,
    /// One client asked for the second after it knew the end of the first.
    Process,
    /// The first returned before the second was invoked.
    RealTime,
    /// Leads on from a node that is no transaction; part of the edge that led there.
    Link,
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Edge {
    pub from: Node,
    pub to: Node,
    pub kind: Kind,
    /// What it is about; without meaning for edges of time.
    pub key: Key,
}

/// A graph that is still growing.
#[derive(Debug)]
pub(super) struct Edges {
    nodes: u32,
    list: Vec<Edge>,
}

/// Edges by the node that they start from.
#[derive(Debug)]
pub(super) struct Graph {
    nodes: u32,
    pub edges: Vec<Edge>,
    starts: Vec<u32>,
}

impl Kinds {
    pub const fn of(kinds: &[Kind]) -> Kinds {
        let (mut bits, mut index) = (0, 0);
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u8;
            index += 1;
        }
        Kinds(bits)
    }

    pub const fn and(self, other: Kinds) -> Kinds {
        Kinds(self.0 | other.0)
    }

    pub fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }
}

impl Edges {
    /// No edges between so many transactions.
    pub fn new(transactions: usize) -> Edges {
        Edges { nodes: transactions as u32, list: Vec::new() }
    }

    /// A node beyond the transactions.
    pub fn add_node(&mut self) -> Node {
        self.nodes += 1;
        self.nodes - 1
    }

    /// Adds an edge, unless it leads nowhere.
    pub fn add(&mut self, from: Node, to: Node, kind: Kind, key: Key) {
        if from != to {
            self.list.push(Edge { from, to, kind, key });
        }
    }

    /// The graph of these edges.
    pub fn sorted(self) -> Graph {
        let (nodes, mut edges) = (self.nodes, self.list);
        edges.sort_by_key(|edge| edge.from);
        let mut starts = vec![0; nodes as usize + 1];
        for edge in &edges {
            starts[edge.from as usize + 1] += 1;
        }
        for node in 0..nodes as usize {
            starts[node + 1] += starts[node];
        }
        Graph { nodes, edges, starts }
    }
}

impl Graph {
    pub fn node_count(&self) -> usize {
        self.nodes as usize
    }

    /// The indexes of the edges that start from `node`.
    pub fn outgoing(&self, node: Node) -> std::ops::Range<usize> {
        self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize
    }

    /// By node: the number of its strongly connected component, looking at edges of `kinds` only.
    ///
    /// # Source
    /// Tarjan, "Depth-First Search and Linear Graph Algorithms" (1972), without recursion.
    pub fn components(&self, kinds: Kinds) -> Vec<u32> {
        const NONE: u32 = u32::MAX;
        let nodes = self.nodes as usize;
        let (mut index, mut low) = (vec![NONE; nodes], vec![0; nodes]);
        let mut component = vec![NONE; nodes];
        let (mut stack, mut path) = (Vec::new(), Vec::<(Node, usize)>::new());
        let (mut visited, mut components) = (0, 0);
        for root in 0..self.nodes {
            if index[root as usize] != NONE {
                continue;
            }
            path.push((root, self.outgoing(root).start));
            while let Some((node, next)) = path.last_mut() {
                let at = *node as usize;
                if index[at] == NONE {
                    (index[at], low[at]) = (visited, visited);
                    visited += 1;
                    stack.push(*node);
                }
                if *next < self.starts[at + 1] as usize {
                    let edge = self.edges[*next];
                    *next += 1;
                    let to = edge.to as usize;
                    if !kinds.has(edge.kind) {
                    } else if index[to] == NONE {
                        path.push((edge.to, self.starts[to] as usize));
                    } else if component[to] == NONE {
                        low[at] = low[at].min(index[to]);
                    }
                    continue;
                }
                if low[at] == index[at] {
                    while let Some(member) = stack.pop() {
                        component[member as usize] = components;
                        if member as usize == at {
                            break;
                        }
                    }
                    components += 1;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent as usize] = low[*parent as usize].min(low[at]);
                }
            }
        }
        component
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WW: Kinds = Kinds::of(&[Kind::Ww]);

    #[test]
    fn components_are_the_circles_of_the_kinds_looked_at() {
        let mut edges = Edges::new(6);
        for (from, to, kind) in [(0, 1, Kind::Ww), (1, 2, Kind::Ww), (2, 0, Kind::Ww), (2, 3, Kind::Ww)] {
            edges.add(from, to, kind, 0);
        }
        edges.add(3, 4, Kind::Ww, 0);
        edges.add(4, 3, Kind::Rw, 0);
        let graph = edges.sorted();
        let parts = graph.components(WW);
        assert!(parts[0] == parts[1] && parts[1] == parts[2]);
        assert!(parts[3] != parts[2] && parts[4] != parts[3] && parts[5] != parts[4]);
        let parts = graph.components(WW.and(Kinds::of(&[Kind::Rw])));
        assert!(parts[3] == parts[4] && parts[3] != parts[0]);
    }

    #[test]
    fn long_chains_need_no_deep_stack() {
        let mut edges = Edges::new(200_000);
        (1..200_000).for_each(|node| edges.add(node - 1, node, Kind::Ww, 0));
        edges.add(199_999, 0, Kind::Ww, 0);
        let graph = edges.sorted();
        assert!(graph.components(WW).iter().all(|component| *component == 0));
    }
}

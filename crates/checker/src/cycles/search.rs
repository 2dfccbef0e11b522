//! The shortest circle of the mildest kind.

use std::collections::VecDeque;

use super::graph::{Edge, Graph, Kind, Kinds, Node};

/// Edges from which a circle is looked for, of each kind. More would only shorten a report.
const STARTS_MAX: usize = 400;
/// Edges followed, of each kind, for the same reason.
const WORK_MAX: usize = 20_000_000;

/// The edge that makes a circle of its kind, and what the rest of the circle may consist of.
const CIRCLES: [(Kind, Kinds); 4] = [
    (Kind::Ww, Kinds::of(&[Kind::Ww])),
    (Kind::Wr, Kinds::of(&[Kind::Ww, Kind::Wr])),
    (Kind::Rw, Kinds::of(&[Kind::Ww, Kind::Wr])),
    (Kind::Rw, Kinds::of(&[Kind::Ww, Kind::Wr, Kind::Rw])),
];

const ORDERS: [Kinds; 3] = [
    Kinds::of(&[Kind::Link]),
    Kinds::of(&[Kind::Link, Kind::Process]),
    Kinds::of(&[Kind::Link, Kind::Process, Kind::RealTime]),
];

const EVERYTHING: Kinds = CIRCLES[3].1.and(ORDERS[2]);

/// A circle of edges in `graph`; `None` if there is none.
pub(super) fn find_cycle(graph: &Graph) -> Option<Vec<Edge>> {
    let components = graph.components(EVERYTHING);
    if !graph.edges.iter().any(|edge| within(edge, &components)) {
        return None;
    }
    let kinds = ORDERS.iter().flat_map(|order| CIRCLES.map(|(first, rest)| (first, rest.and(*order))));
    kinds.into_iter().find_map(|(first, rest)| shortest_cycle(graph, first, rest))
}

fn within(edge: &Edge, components: &[u32]) -> bool {
    components[edge.from as usize] == components[edge.to as usize]
}

/// The shortest circle found through an edge of the kind `first`, that goes on by edges of the kinds `rest`.
pub(super) fn shortest_cycle(graph: &Graph, first: Kind, rest: Kinds) -> Option<Vec<Edge>> {
    let components = graph.components(rest.and(Kinds::of(&[first])));
    let starts = graph.edges.iter().filter(|edge| edge.kind == first && within(edge, &components));
    let mut paths = Paths::new(graph, &components, rest);
    let mut best: Option<Vec<Edge>> = None;
    for edge in starts.take(STARTS_MAX) {
        let length_max = best.as_ref().map_or(u32::MAX, |best| length(best));
        if paths.work > WORK_MAX || length_max <= 2 {
            break;
        }
        if let Some(path) = paths.shortest(edge.to, edge.from, length_max - 1) {
            best = Some([vec![*edge], path].concat());
        }
    }
    best
}

/// How many transactions a circle has.
fn length(cycle: &[Edge]) -> u32 {
    cycle.iter().map(cost).sum()
}

fn cost(edge: &Edge) -> u32 {
    u32::from(edge.kind != Kind::Link)
}

/// Searches in breadth, in which a [`Kind::Link`] is no step.
struct Paths<'g> {
    graph: &'g Graph,
    components: &'g [u32],
    kinds: Kinds,
    /// By node: the search that reached it last, at which distance, by which edge.
    reached: Vec<(u32, u32, usize)>,
    searches: u32,
    work: usize,
}

impl<'g> Paths<'g> {
    fn new(graph: &'g Graph, components: &'g [u32], kinds: Kinds) -> Paths<'g> {
        let reached = vec![(0, 0, 0); graph.node_count()];
        Paths { graph, components, kinds, reached, searches: 0, work: 0 }
    }

    /// The shortest path, if it is shorter than `length_max`.
    fn shortest(&mut self, from: Node, to: Node, length_max: u32) -> Option<Vec<Edge>> {
        self.searches += 1;
        self.reached[from as usize] = (self.searches, 0, usize::MAX);
        let mut queue = VecDeque::from([(from, 0)]);
        while let Some((node, distance)) = queue.pop_front() {
            if node == to {
                return Some(self.way(from, to));
            }
            if distance > self.reached[node as usize].1 || distance + 1 >= length_max {
                continue;
            }
            for index in self.graph.outgoing(node) {
                self.work += 1;
                let edge = &self.graph.edges[index];
                let (search, known, _) = self.reached[edge.to as usize];
                let distance = distance + cost(edge);
                let shorter = search != self.searches || distance < known;
                if shorter && self.kinds.has(edge.kind) && within(edge, self.components) {
                    self.reached[edge.to as usize] = (self.searches, distance, index);
                    match cost(edge) {
                        0 => queue.push_front((edge.to, distance)),
                        _ => queue.push_back((edge.to, distance)),
                    }
                }
            }
        }
        None
    }

    fn way(&self, from: Node, to: Node) -> Vec<Edge> {
        let (mut node, mut path) = (to, Vec::new());
        while node != from {
            let edge = self.graph.edges[self.reached[node as usize].2];
            path.push(edge);
            node = edge.from;
        }
        path.reverse();
        path
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::Edges;
    use super::*;

    fn graph(nodes: usize, edges: &[(Node, Node, Kind)]) -> Graph {
        let mut list = Edges::new(nodes);
        edges.iter().for_each(|(from, to, kind)| list.add(*from, *to, *kind, 0));
        list.sorted()
    }

    #[test]
    fn of_two_circles_the_milder_and_shorter_is_found() {
        use Kind::{Link, RealTime, Rw, Wr, Ww};
        let edges = [(0, 1, Wr), (1, 2, Ww), (2, 3, Ww), (3, 0, Ww), (2, 0, Rw), (4, 5, Rw), (5, 4, Ww)];
        let cycle = find_cycle(&graph(6, &edges)).unwrap();
        assert_eq!(cycle.iter().map(|edge| edge.from).collect::<Vec<_>>(), [0, 1, 2, 3], "no rw is milder");
        // Links are no steps: 4 and 5 hang together by two edges.
        let edges = [(0, 1, Rw), (1, 2, Ww), (2, 0, Ww), (3, 4, Rw), (4, 5, Link), (5, 6, Link), (6, 3, Ww)];
        assert_eq!(length(&find_cycle(&graph(7, &edges)).unwrap()), 2);
        let edges = [(0, 1, RealTime), (1, 2, Link), (2, 3, RealTime)];
        assert_eq!(find_cycle(&graph(4, &edges)), None);
    }
}

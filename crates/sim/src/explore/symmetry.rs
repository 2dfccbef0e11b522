//! Nodes are alike: a world with two of them exchanged has the same future, so only one of the two is explored.
//!
//! Nothing looks into a core for that. What a node does under another name is found out by letting it do so: every
//! move is made under all permutations of the names, and what comes of it are images of each other. Where that leads
//! to contradictions nodes are not alike, and the exploration says so.

/// All permutations of the nodes, numbered; 0 leaves everything as it is.
#[derive(Debug)]
pub(super) struct Permutations {
    /// Where each permutation puts each node.
    maps: Vec<Vec<u8>>,
    /// Which permutation is "first the second, then the first".
    products: Vec<Vec<usize>>,
    inverses: Vec<usize>,
}

/// The images of numbered things under every permutation.
#[derive(Debug)]
pub(super) struct Images {
    width: usize,
    images: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;
/// Beyond so many nodes there are too many permutations to be worth it.
const NODES_MAX: u8 = 4;

impl Permutations {
    pub(super) fn of(nodes: u8) -> Permutations {
        let mut maps = vec![(0..nodes).collect::<Vec<u8>>()];
        if nodes <= NODES_MAX {
            maps.extend(permutations(nodes));
            maps.dedup();
        }
        let number = |map: &Vec<u8>| maps.iter().position(|known| known == map).unwrap_or_default();
        let then = |second: &Vec<u8>, first: &Vec<u8>| -> usize {
            number(&first.iter().map(|node| second[usize::from(*node)]).collect())
        };
        let products: Vec<Vec<usize>> =
            maps.iter().map(|second| maps.iter().map(|first| then(second, first)).collect()).collect();
        let inverse = |row: &Vec<usize>| row.iter().position(|product| *product == 0).unwrap_or_default();
        let inverses = products.iter().map(inverse).collect();
        Permutations { maps, products, inverses }
    }

    pub(super) fn len(&self) -> usize {
        self.maps.len()
    }

    /// Where a permutation puts a node.
    pub(super) fn map(&self, permutation: usize, node: u8) -> u8 {
        self.maps[permutation][usize::from(node)]
    }

    /// First `first`, then `second`.
    pub(super) fn product(&self, second: usize, first: usize) -> usize {
        self.products[second][first]
    }

    pub(super) fn inverse(&self, permutation: usize) -> usize {
        self.inverses[permutation]
    }
}

/// All of them, in the order of their digits.
fn permutations(nodes: u8) -> Vec<Vec<u8>> {
    let mut found = vec![Vec::new()];
    for _ in 0..nodes {
        let longer = |start: &Vec<u8>| {
            let rest = (0..nodes).filter(|node| !start.contains(node));
            rest.map(|node| [start.as_slice(), &[node]].concat()).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(longer).collect();
    }
    found
}

impl Images {
    pub(super) fn new(permutations: &Permutations) -> Images {
        Images { width: permutations.len(), images: Vec::new() }
    }

    /// The image of a thing that has taken part in an orbit.
    pub(super) fn get(&self, number: u32, permutation: usize) -> u32 {
        self.images[number as usize * self.width + permutation]
    }

    /// Notes that these are images of the first of them, in the order of the permutations. Returns whether that agrees
    /// with what was noted before.
    pub(super) fn note(&mut self, orbit: &[u32], permutations: &Permutations) -> bool {
        let end = orbit.iter().max().map_or(0, |most| (*most as usize + 1) * self.width);
        self.images.resize(self.images.len().max(end), UNKNOWN);
        let mut agrees = true;
        for (first, number) in orbit.iter().enumerate() {
            for second in 0..self.width {
                let image = orbit[permutations.product(second, first)];
                let place = &mut self.images[*number as usize * self.width + second];
                agrees &= *place == UNKNOWN || *place == image;
                *place = image;
            }
        }
        agrees
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_form_a_group() {
        let all = Permutations::of(3);
        assert_eq!((all.len(), Permutations::of(5).len()), (6, 1));
        for p in 0..all.len() {
            assert_eq!((all.product(p, 0), all.product(0, p)), (p, p));
            assert_eq!(all.product(all.inverse(p), p), 0);
            for q in 0..all.len() {
                let one_by_one = |node| all.map(p, all.map(q, node));
                assert!((0..3).all(|node| all.map(all.product(p, q), node) == one_by_one(node)));
            }
        }
    }

    #[test]
    fn contradictions_are_noticed() {
        let all = Permutations::of(2);
        let mut images = Images::new(&all);
        assert!(images.note(&[7, 8], &all));
        assert_eq!((images.get(7, 1), images.get(8, 1), images.get(8, 0)), (8, 7, 8));
        assert!(images.note(&[8, 7], &all));
        assert!(!images.note(&[7, 9], &all));
    }
}

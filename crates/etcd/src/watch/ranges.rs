//! Ranges of keys, and which of many hold a key.
//!
//! A treap ordered by first key, in which every node knows the furthest end below it: a lookup skips every
//! subtree that ends before the key ("augmented tree", Cormen et al., *Introduction to Algorithms*, §14.3).

use std::cmp::Ordering;

use bytes::Bytes;

/// Keys from `start` up to `end`, exclusive; without an end, all from `start` on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeyRange {
    pub(crate) start: Bytes,
    pub(crate) end: End,
}

/// Where a range ends. Ordered as places on the line of keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Before(Bytes),
    Never,
}

impl KeyRange {
    #[cfg(test)]
    fn contains(&self, key: &[u8]) -> bool {
        *self.start <= *key && self.end.is_after(key)
    }
}

/// The first key after all that begin with `prefix`; `None` if there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(Bytes::from(end))
}

impl End {
    fn is_after(&self, key: &[u8]) -> bool {
        match self {
            End::Before(end) => key < &end[..],
            End::Never => true,
        }
    }
}

/// A number for each of many ranges, several to a range if need be.
#[derive(Debug)]
pub(super) struct RangeMap {
    root: Tree,
    /// Draws the treap's priorities.
    rng: types::Rng,
}

type Tree = Option<Box<Node>>;

#[derive(Debug)]
struct Node {
    range: KeyRange,
    members: Vec<u64>,
    /// The furthest end of this node and all below it.
    end_max: End,
    /// No less than that of any node below.
    priority: u64,
    left: Tree,
    right: Tree,
}

impl Default for RangeMap {
    fn default() -> RangeMap {
        RangeMap { root: None, rng: types::Rng::new(0) }
    }
}

impl RangeMap {
    pub(super) fn insert(&mut self, range: KeyRange, member: u64) {
        if let Some(node) = find(&mut self.root, &range) {
            node.members.push(member);
            return;
        }
        let (left, right) = split(self.root.take(), &range);
        let end_max = range.end.clone();
        let priority = self.rng.next_u64();
        let node = Node { range, members: vec![member], end_max, priority, left: None, right: None };
        self.root = merge(merge(left, Some(Box::new(node))), right);
    }

    pub(super) fn remove(&mut self, range: &KeyRange, member: u64) {
        let Some(node) = find(&mut self.root, range) else { return };
        if let Some(at) = node.members.iter().position(|other| *other == member) {
            node.members.swap_remove(at);
        }
        if node.members.is_empty() {
            self.root = without(self.root.take(), range);
        }
    }

    /// Calls `found` with every member whose range holds `key`.
    pub(super) fn holding(&self, key: &[u8], found: &mut impl FnMut(u64)) {
        visit(&self.root, key, found);
    }
}

fn order(a: &KeyRange, b: &KeyRange) -> Ordering {
    a.start.cmp(&b.start).then_with(|| a.end.cmp(&b.end))
}

fn visit(tree: &Tree, key: &[u8], found: &mut impl FnMut(u64)) {
    let Some(node) = tree else { return };
    if !node.end_max.is_after(key) {
        return;
    }
    visit(&node.left, key, found);
    if *node.range.start <= *key {
        if node.range.end.is_after(key) {
            node.members.iter().for_each(|member| found(*member));
        }
        visit(&node.right, key, found);
    }
}

fn find<'a>(tree: &'a mut Tree, range: &KeyRange) -> Option<&'a mut Node> {
    let node = tree.as_deref_mut()?;
    match order(range, &node.range) {
        Ordering::Less => find(&mut node.left, range),
        Ordering::Greater => find(&mut node.right, range),
        Ordering::Equal => Some(node),
    }
}

/// Splits into what stands before `range` and what stands after it.
fn split(tree: Tree, range: &KeyRange) -> (Tree, Tree) {
    let Some(mut node) = tree else { return (None, None) };
    if order(&node.range, range) == Ordering::Less {
        let (before, after) = split(node.right.take(), range);
        node.right = before;
        (Some(measured(node)), after)
    } else {
        let (before, after) = split(node.left.take(), range);
        node.left = after;
        (before, Some(measured(node)))
    }
}

/// Joins two trees, everything in `left` standing before everything in `right`.
fn merge(left: Tree, right: Tree) -> Tree {
    let (mut left, mut right) = match (left, right) {
        (Some(left), Some(right)) => (left, right),
        (one, other) => return one.or(other),
    };
    if left.priority >= right.priority {
        left.right = merge(left.right.take(), Some(right));
        Some(measured(left))
    } else {
        right.left = merge(Some(left), right.left.take());
        Some(measured(right))
    }
}

fn without(tree: Tree, range: &KeyRange) -> Tree {
    let mut node = tree?;
    match order(range, &node.range) {
        Ordering::Less => node.left = without(node.left.take(), range),
        Ordering::Greater => node.right = without(node.right.take(), range),
        Ordering::Equal => return merge(node.left.take(), node.right.take()),
    }
    Some(measured(node))
}

fn measured(mut node: Box<Node>) -> Box<Node> {
    let below = [&node.left, &node.right].into_iter().flatten().map(|child| &child.end_max);
    let end_max = below.chain([&node.range.end]).max().cloned();
    if let Some(end_max) = end_max {
        node.end_max = end_max;
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(start: u8, end: u8) -> KeyRange {
        let end = if end == 0 { End::Never } else { End::Before(Bytes::copy_from_slice(&[end])) };
        KeyRange { start: Bytes::copy_from_slice(&[start]), end }
    }

    fn holding(map: &RangeMap, key: u8) -> Vec<u64> {
        let mut found = Vec::new();
        map.holding(&[key], &mut |member| found.push(member));
        found.sort_unstable();
        found
    }

    /// Against the obvious way of doing it, over random insertions and removals.
    #[test]
    fn the_tree_finds_what_a_scan_of_all_ranges_finds() {
        let mut rng = types::Rng::new(7);
        let mut map = RangeMap::default();
        let mut all: Vec<(KeyRange, u64)> = Vec::new();
        for member in 0..600 {
            let draw = rng.next_u64();
            let (start, end) = ((draw >> 8) as u8 % 40, (draw >> 16) as u8 % 48);
            map.insert(range(start, end), member);
            all.push((range(start, end), member));
            if draw.is_multiple_of(3) {
                let (gone, member) = all.swap_remove((draw >> 24) as usize % all.len());
                map.remove(&gone, member);
            }
            let key = (draw >> 32) as u8 % 48;
            let mut expected: Vec<u64> =
                all.iter().filter(|(range, _)| range.contains(&[key])).map(|(_, member)| *member).collect();
            expected.sort_unstable();
            assert_eq!(holding(&map, key), expected, "after member {member}");
        }
        for (range, member) in all {
            map.remove(&range, member);
        }
        assert!(map.root.is_none());
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_that_does_not_begin_with_it() {
        assert_eq!(prefix_end(b"a/"), Some(Bytes::from_static(b"a0")));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(Bytes::from_static(b"b")));
        assert_eq!(prefix_end(b"\xff"), None);
    }

    #[test]
    fn a_range_without_an_end_outreaches_every_other() {
        let mut map = RangeMap::default();
        map.insert(range(9, 0), 1);
        map.insert(range(10, 12), 2);
        assert_eq!(holding(&map, 11), [1, 2]);
        assert_eq!(holding(&map, 250), [1]);
        assert_eq!(holding(&map, 8), []);
    }
}

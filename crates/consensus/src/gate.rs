//! Holds what may not leave before a write is durable: contract C1, the same text for both drivers.

use std::collections::VecDeque;

use crate::WriteSeq;

/// Items behind durability gates, released in order as writes become durable.
///
/// The gates of a core never decrease from one gated item to the next by more than the FIFO allows: an item
/// may name an older write than the item before it. Release keeps the order of items with equal gates, and
/// an item whose own gate is open does not wait for a later write.
#[derive(Clone, Debug)]
pub struct GateQueue<T> {
    durable: WriteSeq,
    held: VecDeque<(WriteSeq, T)>,
}

impl<T> Default for GateQueue<T> {
    fn default() -> Self {
        GateQueue { durable: WriteSeq::NONE, held: VecDeque::new() }
    }
}

impl<T> GateQueue<T> {
    /// Passes `item` through at once if its gate is open, or holds it and returns `None`.
    pub fn admit(&mut self, after: WriteSeq, item: T) -> Option<T> {
        if after <= self.durable {
            return Some(item);
        }
        // Insert behind everything with the same or an earlier gate; nearly always at the back.
        let at = self.held.iter().rposition(|(gate, _)| *gate <= after).map_or(0, |before| before + 1);
        self.held.insert(at, (after, item));
        None
    }

    /// Opens every gate up to `upto` and returns what that releases, in order.
    pub fn open(&mut self, upto: WriteSeq) -> impl Iterator<Item = T> {
        self.durable = self.durable.max(upto);
        let open = self.held.partition_point(|(gate, _)| *gate <= self.durable);
        self.held.drain(..open).map(|(_, item)| item)
    }

    /// The last write known to be durable.
    pub fn durable(&self) -> WriteSeq {
        self.durable
    }

    /// What is held and the write that each waits for, in the order in which they will be released.
    pub fn held(&self) -> impl Iterator<Item = &(WriteSeq, T)> {
        self.held.iter()
    }

    /// How many items are held.
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_until_durable_and_keeps_order() {
        let mut gates = GateQueue::default();
        assert_eq!(gates.admit(WriteSeq::NONE, "free"), Some("free"));
        assert_eq!(gates.admit(WriteSeq(1), "a"), None);
        assert_eq!(gates.admit(WriteSeq(2), "b"), None);
        assert_eq!(gates.admit(WriteSeq(1), "c"), None);
        assert_eq!(gates.open(WriteSeq(1)).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(gates.len(), 1);
        assert_eq!(gates.open(WriteSeq(5)).collect::<Vec<_>>(), ["b"]);
        assert_eq!(gates.admit(WriteSeq(4), "d"), Some("d"));
    }
}

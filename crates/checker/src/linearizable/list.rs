//! The operations that still have no place, by time.

use crate::lower::LowOp;

/// Calls and returns of the answered ops that are not placed, by time; a doubly linked list in two vectors.
///
/// Entry 0 is both ends. The `i`th op calls at entry `2i + 1` and returns at `2i + 2`.
#[derive(Default)]
pub(super) struct List {
    next: Vec<u32>,
    prev: Vec<u32>,
    /// Every op that was ever in it.
    pub ops: Vec<usize>,
}

impl List {
    pub fn call_entry(index: usize) -> u32 {
        2 * index as u32 + 1
    }

    pub fn new(ops: &[LowOp], answered: Vec<usize>) -> List {
        let len = 2 * answered.len() + 1;
        // At equal times calls come first: the operations count as concurrent.
        let mut events: Vec<(u64, bool, u32)> = Vec::with_capacity(len);
        for (index, op) in answered.iter().enumerate() {
            let call = List::call_entry(index);
            events.push((ops[*op].invoked, false, call));
            events.push((ops[*op].returned, true, call + 1));
        }
        events.sort_unstable();
        let mut list = List { next: vec![0; len], prev: vec![0; len], ops: answered };
        let mut last = 0;
        for (_, _, entry) in events {
            list.next[last as usize] = entry;
            list.prev[entry as usize] = last;
            last = entry;
        }
        list.next[last as usize] = 0;
        list.prev[0] = last;
        list
    }

    pub fn is_empty(&self) -> bool {
        self.next.first().is_none_or(|first| *first == 0)
    }

    fn op(&self, entry: u32) -> usize {
        self.ops[(entry as usize - 1) / 2]
    }

    /// The ops that are called before the fence.
    pub fn before_fence(&self) -> impl Iterator<Item = usize> + '_ {
        let calls = std::iter::successors(Some(self.next[0]), |entry| Some(self.next[*entry as usize]));
        calls.take_while(|entry| entry % 2 == 1).map(|entry| self.op(entry))
    }

    /// The op that returns first.
    pub fn fence(&self) -> Option<usize> {
        let entries = std::iter::successors(Some(self.next[0]), |entry| Some(self.next[*entry as usize]));
        let mut entries = entries.skip_while(|entry| entry % 2 == 1);
        entries.next().filter(|entry| *entry != 0).map(|entry| self.op(entry))
    }

    pub fn remove(&mut self, call: u32) {
        if call != 0 {
            self.unlink(call);
            self.unlink(call + 1);
        }
    }

    /// Undoes the latest `remove` that is not undone.
    pub fn restore(&mut self, call: u32) {
        if call != 0 {
            self.relink(call + 1);
            self.relink(call);
        }
    }

    fn unlink(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = next;
        self.prev[next as usize] = prev;
    }

    fn relink(&mut self, entry: u32) {
        let (prev, next) = (self.prev[entry as usize], self.next[entry as usize]);
        self.next[prev as usize] = entry;
        self.prev[next as usize] = entry;
    }
}

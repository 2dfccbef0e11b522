//! Which operations can be judged without looking at the others.
//!
//! Linearizability is local: a store is linearizable if and only if each part is, when no operation touches two
//! parts. A transaction ties its keys together, and a range all keys inside it.

use crate::Level;
use crate::lower::{Key, LowOp, Lowered};

/// The ops of each partition, in the order in which they were lowered.
pub(super) fn partitions(lowered: &Lowered<'_>) -> Vec<Vec<usize>> {
    let mut parts = Parts { parent: (0..lowered.keys.len() as Key).collect() };
    for op in lowered.ops.iter().filter(is_placed) {
        let mut keys = op.keys();
        if let Some(first) = keys.next() {
            keys.for_each(|key| parts.join(first, key));
        }
    }
    let mut partitions = vec![Vec::new(); lowered.keys.len()];
    for (index, op) in lowered.ops.iter().enumerate().filter(|(_, op)| is_placed(op)) {
        // An op without keys is a range over keys that never existed; lowering has checked that it is empty.
        if let Some(key) = op.keys().next() {
            partitions[parts.root(key) as usize].push(index);
        }
    }
    partitions.retain(|partition| !partition.is_empty());
    partitions
}

/// Serializable reads promise less than an order by real time, so they have no place in it.
fn is_placed(op: &&LowOp) -> bool {
    op.level == Level::Linearizable
}

/// The keys of a partition, for a report.
pub(super) fn keys_text(lowered: &Lowered<'_>, partition: &[usize]) -> String {
    let mut all: Vec<Key> = partition.iter().flat_map(|index| lowered.ops[*index].keys()).collect();
    all.sort_unstable();
    all.dedup();
    match all[..] {
        [key] => format!("key {}", lowered.key(key)),
        [first, ..] => format!("{} keys from {} on", all.len(), lowered.key(first)),
        [] => "no key".to_owned(),
    }
}

struct Parts {
    parent: Vec<Key>,
}

impl Parts {
    fn root(&mut self, mut key: Key) -> Key {
        while self.parent[key as usize] != key {
            let above = self.parent[self.parent[key as usize] as usize];
            self.parent[key as usize] = above;
            key = above;
        }
        key
    }

    fn join(&mut self, a: Key, b: Key) {
        let (a, b) = (self.root(a), self.root(b));
        self.parent[a.max(b) as usize] = a.min(b);
    }
}

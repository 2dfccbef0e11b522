//! Which watchers want a key (W5).

use std::collections::HashMap;

use bytes::Bytes;

use super::ranges::{End, KeyRange, RangeMap, prefix_end};

/// What a watcher watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Key(Bytes),
    Range(KeyRange),
}

impl Target {
    /// Every key that begins with `prefix`.
    pub(super) fn below(prefix: Bytes) -> Target {
        let end = prefix_end(&prefix).map_or(End::Never, End::Before);
        Target::Range(KeyRange { start: prefix, end })
    }
}

/// Members by what they watch.
#[derive(Debug, Default)]
pub(super) struct Index {
    keys: HashMap<Bytes, Vec<u64>>,
    ranges: RangeMap,
}

impl Index {
    pub(super) fn insert(&mut self, target: &Target, member: u64) {
        match target {
            Target::Key(key) => self.keys.entry(key.clone()).or_default().push(member),
            Target::Range(range) => self.ranges.insert(range.clone(), member),
        }
    }

    pub(super) fn remove(&mut self, target: &Target, member: u64) {
        match target {
            Target::Key(key) => {
                let Some(members) = self.keys.get_mut(key) else { return };
                members.retain(|other| *other != member);
                if members.is_empty() {
                    self.keys.remove(key);
                }
            }
            Target::Range(range) => self.ranges.remove(range, member),
        }
    }

    /// Calls `found` with every member that wants `key`.
    pub(super) fn wanting(&self, key: &[u8], mut found: impl FnMut(u64)) {
        if let Some(members) = self.keys.get(key) {
            members.iter().for_each(|member| found(*member));
        }
        self.ranges.holding(key, &mut found);
    }
}

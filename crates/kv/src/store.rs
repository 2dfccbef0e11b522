//! An engine's view with the changes of a group of entries laid over it: later entries of the group read what
//! earlier ones wrote, and all of it becomes one engine write.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

use bytes::Bytes;
use storage::{EngineError, Scan, Space, View, WriteBatch};
use types::{Buggify, buggify};

use crate::layout::SPACES;
use crate::planted::Bugs;

/// See the module's description. Without changes it is just the view.
#[derive(Clone, Debug)]
pub(crate) struct Store<V> {
    view: V,
    /// By space: new values, or `None` where a key was removed.
    changes: [BTreeMap<Bytes, Option<Bytes>>; SPACES.len()],
    pub(crate) bugs: Bugs,
    pub(crate) buggify: Buggify,
}

/// Keys and values in ascending order of keys.
pub(crate) type Rows<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + 'a>;

impl<V: View> Store<V> {
    /// No changes yet.
    pub(crate) fn new(view: V) -> Store<V> {
        Store::with_bugs(view, Bugs::default())
    }

    /// The same, for a store that suffers from a bug.
    pub(crate) fn with_bugs(view: V, bugs: Bugs) -> Store<V> {
        Store { view, changes: Default::default(), bugs, buggify: Buggify::default() }
    }

    /// The same, with some things done more often than usual.
    pub(crate) fn with_buggify(self, buggify: &Buggify) -> Store<V> {
        Store { buggify: buggify.clone(), ..self }
    }

    /// What the changes lie over.
    pub(crate) fn view(&self) -> &V {
        &self.view
    }

    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self.changes[usize::from(space.0)].get(key) {
            Some(change) => Ok(change.clone()),
            None if buggify!(self.buggify, "kv.store.scans_for_a_key") => self.scan_for(space, key),
            None => self.view.get(space, key),
        }
    }

    fn scan_for(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let bound = Bound::Included(Bytes::copy_from_slice(key));
        let mut rows = self.view.scan(Scan { space, low: bound.clone(), high: bound, descending: false });
        Ok(rows.next().transpose()?.map(|(_, value)| value))
    }

    pub(crate) fn put(&mut self, space: Space, key: Bytes, value: Bytes) {
        self.changes[usize::from(space.0)].insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, space: Space, key: Bytes) {
        self.changes[usize::from(space.0)].insert(key, None);
    }

    /// Visits the keys between two bounds, ascending. The bounds must not cross.
    pub(crate) fn scan(&self, space: Space, (low, high): (Bound<Bytes>, Bound<Bytes>)) -> Rows<'_> {
        let over = self.changes[usize::from(space.0)].range((low.clone(), high.clone()));
        let base = self.view.scan(Scan { space, low, high, descending: false });
        if over.clone().next().is_none() && !buggify!(self.buggify, "kv.store.merges_with_nothing") {
            return base;
        }
        Box::new(Merged { base: base.peekable(), over: over.peekable() })
    }

    /// Visits a whole space, ascending.
    pub(crate) fn scan_all(&self, space: Space) -> Rows<'_> {
        self.scan(space, (Bound::Unbounded, Bound::Unbounded))
    }

    /// All changes as one atomic write.
    pub(crate) fn into_batch(self) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for (space, changes) in SPACES.into_iter().zip(self.changes) {
            batch.changes.extend(changes.into_iter().map(|(key, value)| (space, key, value)));
        }
        batch
    }
}

/// Merges two ascending streams; a change hides the view's row of the same key.
struct Merged<'a> {
    base: Peekable<Rows<'a>>,
    over: Peekable<btree_map::Range<'a, Bytes, Option<Bytes>>>,
}

impl Iterator for Merged<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some((key, change)) = self.over.peek().copied() else { return self.base.next() };
            match self.base.peek() {
                Some(Err(_)) => return self.base.next(),
                Some(Ok((base_key, _))) if base_key < key => return self.base.next(),
                Some(Ok((base_key, _))) if base_key == key => drop(self.base.next()),
                _ => {}
            }
            self.over.next();
            if let Some(value) = change {
                return Some(Ok((key.clone(), value.clone())));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::LATEST;
    use storage::{Engine, MemEngine};

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn rows(store: &Store<impl View>, low: &str, high: &str) -> String {
        let bounds = (Bound::Included(bytes(low)), Bound::Excluded(bytes(high)));
        let rows = store.scan(LATEST, bounds).map(Result::unwrap);
        rows.map(|(key, value)| String::from_utf8([&key[..], &value[..]].concat()).unwrap() + " ").collect()
    }

    #[test]
    fn changes_hide_add_to_and_remove_from_the_view() {
        let engine = MemEngine::default();
        let mut batch = WriteBatch::default();
        for key in ["b", "d", "f"] {
            batch.put(LATEST, bytes(key), bytes("0"));
        }
        engine.write(batch).unwrap();
        let mut store = Store::new(engine.view());
        assert_eq!(rows(&store, "a", "z"), "b0 d0 f0 ");
        for (key, value) in [("a", "1"), ("d", "1"), ("e", "1"), ("g", "1")] {
            store.put(LATEST, bytes(key), bytes(value));
        }
        store.remove(LATEST, bytes("f"));
        store.remove(LATEST, bytes("g"));
        assert_eq!(rows(&store, "a", "z"), "a1 b0 d1 e1 ");
        assert_eq!(rows(&store, "b", "e"), "b0 d1 ");
        assert_eq!(store.get(LATEST, b"f").unwrap(), None);

        engine.write(store.into_batch()).unwrap();
        assert_eq!(rows(&Store::new(engine.view()), "a", "z"), "a1 b0 d1 e1 ");
    }
}

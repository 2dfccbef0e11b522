//! Rows of the LSM tree that were read recently: a put looks up what it replaces, and a lookup in the tree costs several
//! times what the rest of the put does.
//!
//! The cache belongs to one *generation* of the tree, the number of loads that it holds; a view of another generation
//! passes it by. A load brings the rows that are here up to date, so that what is in use stays.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::unsync::Cache;

/// Memory for rows.
const CACHE_BYTES: u64 = 40 << 20;

/// What a row takes besides its key and value, about.
const ROW_BYTES: u64 = 128;

/// Rows that the cache is made for at first; it grows.
const ROWS_AT_FIRST: usize = 1024;

/// How many loads the tree holds.
pub(super) type Generation = u64;

#[derive(Debug)]
pub(super) struct RowCache {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    generation: Generation,
    /// By the tree's own keys; `None` is a key that is not there.
    rows: Cache<Bytes, Option<Bytes>, RowWeight>,
}

#[derive(Clone, Debug)]
struct RowWeight;

impl Weighter<Bytes, Option<Bytes>> for RowWeight {
    fn weight(&self, key: &Bytes, value: &Option<Bytes>) -> u64 {
        (key.len() + value.as_ref().map_or(0, Bytes::len)) as u64 + ROW_BYTES
    }
}

impl Default for RowCache {
    fn default() -> RowCache {
        let rows = Cache::with_weighter(ROWS_AT_FIRST, CACHE_BYTES, RowWeight);
        RowCache { state: Mutex::new(State { generation: 0, rows }) }
    }
}

impl RowCache {
    /// What a view of `generation` finds at `key`, if that is known.
    pub(super) fn get(&self, generation: Generation, key: &[u8]) -> Option<Option<Bytes>> {
        let state = self.lock();
        if state.generation == generation { state.rows.get(key).cloned() } else { None }
    }

    /// A view of `generation` has found `value` at `key`.
    pub(super) fn insert(&self, generation: Generation, key: &[u8], value: &Option<Bytes>) {
        let mut state = self.lock();
        if state.generation == generation {
            state.rows.insert(Bytes::copy_from_slice(key), value.clone());
        }
    }

    /// The tree is now at `generation`, and these rows have changed.
    pub(super) fn advance(
        &self,
        generation: Generation,
        visit: impl FnOnce(&mut dyn FnMut(&[u8], &Option<Bytes>)),
    ) {
        let mut state = self.lock();
        state.generation = generation;
        visit(&mut |key, value| {
            if let Some(mut row) = state.rows.peek_mut(key) {
                row.clone_from(value);
            }
        });
    }

    /// The tree is now at `generation`, and nothing is as it was.
    pub(super) fn clear(&self, generation: Generation) {
        let mut state = self.lock();
        state.generation = generation;
        state.rows.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_belong_to_a_generation_and_loads_bring_them_up_to_date() {
        let cache = RowCache::default();
        let value = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        assert_eq!(cache.get(0, b"a"), None);
        cache.insert(0, b"a", &value("1"));
        cache.insert(0, b"gone", &None);
        assert_eq!((cache.get(0, b"a"), cache.get(0, b"gone")), (Some(value("1")), Some(None)));

        cache.advance(1, |row| {
            row(b"a", &value("2"));
            row(b"never read", &value("3"));
        });
        assert_eq!((cache.get(0, b"a"), cache.get(1, b"a")), (None, Some(value("2"))));
        assert_eq!((cache.get(1, b"gone"), cache.get(1, b"never read")), (Some(None), None));
        cache.insert(0, b"b", &value("old"));
        assert_eq!(cache.get(1, b"b"), None, "an old view says nothing about the tree of now");

        cache.clear(2);
        assert_eq!(cache.get(2, b"a"), None);
    }
}

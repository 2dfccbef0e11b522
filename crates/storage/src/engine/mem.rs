//! The in-memory engine: deterministic, for the simulator and for `--ephemeral`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use imbl::OrdMap;

use super::{Engine, EngineError, KEY_LEN_MAX, Scan, Space, View, WriteBatch};

/// An engine that keeps everything in memory.
///
/// Its maps are persistent B-trees: a view takes O(1), and writing while views live copies only the O(log n)
/// nodes on the way to a key. `persist` remembers the maps, and [`MemEngine::crash`] goes back to them, so
/// that the simulator can lose what was not persisted.
#[derive(Clone, Debug, Default)]
pub struct MemEngine {
    state: Arc<Mutex<MemState>>,
}

#[derive(Debug, Default)]
struct MemState {
    current: Maps,
    persisted: Maps,
}

/// All spaces at one moment; clones share their nodes.
#[derive(Clone, Debug, Default)]
struct Maps {
    spaces: BTreeMap<Space, OrdMap<Bytes, Bytes>>,
    /// Bytes of all keys and values.
    size_bytes: u64,
}

/// A view of a [`MemEngine`].
#[derive(Clone, Debug)]
pub struct MemView {
    maps: Maps,
}

impl MemEngine {
    /// Forgets everything since the last `persist`, as a power loss would.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.current = state.persisted.clone();
    }

    fn lock(&self) -> MutexGuard<'_, MemState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemEngine {
    type View = MemView;

    fn view(&self) -> MemView {
        MemView { maps: self.lock().current.clone() }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if let Some((_, key, _)) = batch.changes.iter().find(|(_, key, _)| key.len() > KEY_LEN_MAX) {
            return Err(EngineError::key_too_long(key.len()));
        }
        let mut state = self.lock();
        for (space, key, value) in batch.changes {
            state.current.set(space, key, value);
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.persisted = state.current.clone();
        Ok(())
    }

    fn clear(&self) -> Result<(), EngineError> {
        let current = &mut self.lock().current;
        let kept = current.spaces.remove(&Space(0)).unwrap_or_default();
        let size_bytes = kept.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        *current = Maps { spaces: BTreeMap::from([(Space(0), kept)]), size_bytes };
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.lock().current.size_bytes
    }
}

impl Maps {
    fn set(&mut self, space: Space, key: Bytes, value: Option<Bytes>) {
        let map = self.spaces.entry(space).or_default();
        let key_bytes = key.len() as u64;
        let new_bytes = value.as_ref().map_or(0, |value| key_bytes + value.len() as u64);
        let old = match value {
            Some(value) => map.insert(key, value),
            None => map.remove(&key),
        };
        let old_bytes = old.map_or(0, |old| key_bytes + old.len() as u64);
        self.size_bytes = self.size_bytes + new_bytes - old_bytes;
    }
}

impl View for MemView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.maps.spaces.get(&space).and_then(|map| map.get(key)).cloned())
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        let Some(map) = self.maps.spaces.get(&scan.space) else { return Box::new(std::iter::empty()) };
        if scan.is_empty() {
            return Box::new(std::iter::empty());
        }
        let range = map.range((scan.low, scan.high)).map(|(key, value)| Ok((key.clone(), value.clone())));
        if scan.descending { Box::new(range.rev()) } else { Box::new(range) }
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn keys(view: &MemView, low: Bound<Bytes>, high: Bound<Bytes>, descending: bool) -> Vec<Bytes> {
        let scan = Scan { space: Space(1), low, high, descending };
        view.scan(scan).map(|pair| pair.unwrap().0).collect()
    }

    fn filled(names: &[&str]) -> MemEngine {
        let engine = MemEngine::default();
        let mut batch = WriteBatch::default();
        for name in names {
            batch.put(Space(1), bytes(name), bytes("v"));
        }
        engine.write(batch).unwrap();
        engine
    }

    #[test]
    fn a_view_does_not_see_later_writes() {
        let engine = filled(&["a", "b"]);
        let view = engine.view();
        let mut batch = WriteBatch::default();
        batch.remove(Space(1), bytes("a"));
        batch.put(Space(1), bytes("b"), bytes("new"));
        engine.write(batch).unwrap();

        assert_eq!(view.get(Space(1), b"b").unwrap(), Some(bytes("v")));
        assert_eq!(keys(&view, Bound::Unbounded, Bound::Unbounded, false), ["a", "b"]);
        assert_eq!(keys(&engine.view(), Bound::Unbounded, Bound::Unbounded, false), ["b"]);
        assert_eq!(engine.size_bytes(), 4);
    }

    #[test]
    fn a_scan_keeps_to_its_bounds_in_both_directions() {
        let view = filled(&["a", "b", "c", "d"]).view();
        let (included, excluded) = (Bound::Included, Bound::Excluded);
        assert_eq!(keys(&view, included(bytes("b")), excluded(bytes("d")), false), ["b", "c"]);
        assert_eq!(keys(&view, excluded(bytes("b")), included(bytes("d")), true), ["d", "c"]);
        assert_eq!(keys(&view, excluded(bytes("b")), Bound::Unbounded, true), ["d", "c"]);
        let empty: [&str; 0] = [];
        assert_eq!(keys(&view, excluded(bytes("b")), excluded(bytes("b")), false), empty);
        assert_eq!(keys(&view, included(bytes("c")), included(bytes("b")), true), empty);
    }

    #[test]
    fn clearing_keeps_the_first_space() {
        let engine = filled(&["a", "b"]);
        let mut batch = WriteBatch::default();
        batch.put(Space(0), bytes("mark"), bytes("v"));
        engine.write(batch).unwrap();
        engine.clear().unwrap();
        assert_eq!(engine.view().get(Space(0), b"mark").unwrap(), Some(bytes("v")));
        assert_eq!(engine.view().get(Space(1), b"a").unwrap(), None);
        assert_eq!(engine.size_bytes(), 5);
    }

    #[test]
    fn a_crash_loses_what_was_not_persisted() {
        let engine = filled(&["a"]);
        engine.persist().unwrap();
        engine.clear().unwrap();
        let mut batch = WriteBatch::default();
        batch.put(Space(1), bytes("b"), bytes("v"));
        engine.write(batch).unwrap();
        engine.crash();
        assert_eq!(keys(&engine.view(), Bound::Unbounded, Bound::Unbounded, false), ["a"]);
    }
}

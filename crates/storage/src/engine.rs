//! Ordered key-value spaces that a state machine keeps its data in.
//!
//! A state machine writes one [`WriteBatch`] per group of log entries, holding its changes *and* the slot they
//! reflect, so that state and slot can never disagree. Batches are atomic but not durable until
//! [`Engine::persist`]: what a crash takes away is replayed from the log.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// One of an engine's ordered key spaces. The state machine gives them their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u8);

/// Changes that are applied together or not at all, in order.
#[derive(Clone, Debug, Default)]
pub struct WriteBatch {
    /// Space, key, and the new value or `None` to remove the key.
    pub changes: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl WriteBatch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Bytes, value: Bytes) {
        self.changes.push((space, key, Some(value)));
    }

    /// Removes a key; it need not exist.
    pub fn remove(&mut self, space: Space, key: Bytes) {
        self.changes.push((space, key, None));
    }
}

/// Why an engine could not read or write.
#[derive(Debug, thiserror::Error)]
#[error("the state engine cannot {operation}: {reason}")]
pub struct EngineError {
    /// What was tried.
    pub operation: &'static str,
    /// The engine's own words.
    pub reason: String,
}

/// A range of keys to visit, in ascending or descending order.
#[derive(Clone, Debug)]
pub struct Scan {
    /// Where.
    pub space: Space,
    /// From here.
    pub low: Bound<Bytes>,
    /// To here.
    pub high: Bound<Bytes>,
    /// From high to low.
    pub descending: bool,
}

/// A consistent, unchanging view of an engine. Cheap to make, clone and drop; does not hold up writers.
pub trait View: Clone + Send + Sync + 'static {
    /// Returns the value of a key.
    ///
    /// # Errors
    /// [`EngineError`] if the underlying store cannot be read; likewise below.
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError>;

    /// Returns the keys and values of a range, lazily.
    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_>;
}

/// An ordered, atomic, multi-space key-value store. Clones share the store; one of them writes.
pub trait Engine: Clone + Send + Sync + 'static {
    /// What [`view`](Engine::view) returns.
    type View: View;

    /// Returns the state after the latest batch.
    fn view(&self) -> Self::View;

    /// Applies a batch atomically; visible to views taken afterwards. Not durable by itself.
    ///
    /// # Errors
    /// [`EngineError`] if the store failed; the caller must crash, as after any failed write.
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Makes every batch so far durable.
    ///
    /// # Errors
    /// As for `write`.
    fn persist(&self) -> Result<(), EngineError>;

    /// Removes everything from every space, as part of replacing the state by a checkpoint. Not atomic: the
    /// caller marks the engine as incomplete first.
    ///
    /// # Errors
    /// As for `write`.
    fn clear(&self) -> Result<(), EngineError>;

    /// Bytes that the store takes on its medium, approximately.
    fn size_bytes(&self) -> u64;
}

/// The in-memory engine: deterministic, for the simulator and for `--ephemeral`.
///
/// `persist` keeps a second reference to the maps, and [`MemEngine::crash`] goes back to it, so that the
/// simulator can lose what was not persisted.
#[derive(Clone, Debug, Default)]
pub struct MemEngine {
    state: Arc<Mutex<MemState>>,
}

#[derive(Debug, Default)]
struct MemState {
    current: Arc<Maps>,
    persisted: Arc<Maps>,
}

type Maps = BTreeMap<Space, Arc<BTreeMap<Bytes, Bytes>>>;

/// A view of a [`MemEngine`]: shares its maps until the next write copies what it changes.
#[derive(Clone, Debug)]
pub struct MemView {
    maps: Arc<Maps>,
}

impl MemEngine {
    /// Forgets everything since the last `persist`, as a power loss would.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.current = state.persisted.clone();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, MemState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Engine for MemEngine {
    type View = MemView;

    fn view(&self) -> MemView {
        MemView { maps: self.lock().current.clone() }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut state = self.lock();
        let maps = Arc::make_mut(&mut state.current);
        for (space, key, value) in batch.changes {
            let map = Arc::make_mut(maps.entry(space).or_default());
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
        Ok(())
    }

    fn persist(&self) -> Result<(), EngineError> {
        let mut state = self.lock();
        state.persisted = state.current.clone();
        Ok(())
    }

    fn clear(&self) -> Result<(), EngineError> {
        self.lock().current = Arc::default();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let maps = self.lock().current.clone();
        maps.values().flat_map(|map| map.iter()).map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

impl View for MemView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        Ok(self.maps.get(&space).and_then(|map| map.get(key)).cloned())
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        let Some(map) = self.maps.get(&scan.space) else { return Box::new(std::iter::empty()) };
        if is_empty(&scan.low, &scan.high) {
            return Box::new(std::iter::empty());
        }
        let range = map.range((scan.low, scan.high)).map(|(key, value)| Ok((key.clone(), value.clone())));
        if scan.descending { Box::new(range.rev()) } else { Box::new(range) }
    }
}

/// Whether no key can lie between the bounds (`BTreeMap::range` panics on some of these).
fn is_empty(low: &Bound<Bytes>, high: &Bound<Bytes>) -> bool {
    match (low, high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high) | Bound::Included(high)) => {
            low >= high
        }
    }
}

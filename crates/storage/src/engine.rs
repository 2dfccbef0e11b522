//! Ordered key-value spaces that a state machine keeps its data in.
//!
//! A state machine writes one [`WriteBatch`] per group of log entries, holding its changes *and* the slot they
//! reflect, so that state and slot can never disagree. Batches are atomic but not durable until
//! [`Engine::persist`]: what a crash takes away is replayed from the log.

mod mem;

use std::ops::Bound;

use bytes::Bytes;

pub use mem::{MemEngine, MemView};

/// One of an engine's ordered key spaces. The state machine gives them their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Space(pub u8);

/// The longest key that an engine takes, in bytes; a longer one is refused by `write`, on every engine alike. Embedded
/// stores take up to 65,535 bytes, and an engine may add a few of its own.
pub const KEY_LEN_MAX: usize = 65_000;

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
#[derive(Clone, Debug, thiserror::Error)]
#[error("the state engine cannot {operation}: {reason}")]
pub struct EngineError {
    /// What was tried.
    pub operation: &'static str,
    /// The engine's own words.
    pub reason: String,
}

impl EngineError {
    /// A key is longer than [`KEY_LEN_MAX`].
    pub fn key_too_long(len: usize) -> EngineError {
        let reason = format!("a key is {len} bytes long; at most {KEY_LEN_MAX} are possible");
        EngineError { operation: "write", reason }
    }
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

impl Scan {
    /// Whether no key can lie between the bounds. Ordered maps refuse some of these.
    pub fn is_empty(&self) -> bool {
        match (&self.low, &self.high) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(low), Bound::Included(high)) => low > high,
            (Bound::Included(low) | Bound::Excluded(low), Bound::Excluded(high) | Bound::Included(high)) => {
                low >= high
            }
        }
    }
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

    /// Removes everything from every space but the first, `Space(0)`, as part of replacing the state by a
    /// checkpoint. Not atomic: the caller first writes into that space that the engine is incomplete.
    ///
    /// # Errors
    /// As for `write`.
    fn clear(&self) -> Result<(), EngineError>;

    /// Bytes that the store takes on its medium, approximately.
    fn size_bytes(&self) -> u64;
}

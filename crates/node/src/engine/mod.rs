//! The state engines that a node can run on: on disk, or in memory.

mod buffered;
mod layer;
mod lsm;
mod row_cache;

use std::path::Path;

use bytes::Bytes;
use storage::{Engine, EngineError, MemEngine, MemView, Scan, Space, View, WriteBatch};

pub use buffered::{Buffered, BufferedView};
use lsm::Lsm;

/// An engine chosen at start: `--ephemeral` or not.
#[derive(Clone)]
pub enum StateEngine {
    /// On disk.
    Disk(Buffered),
    /// In memory; gone when the process ends.
    Memory(MemEngine),
}

/// A view of a [`StateEngine`].
#[derive(Clone)]
pub enum StateView {
    /// On disk.
    Disk(BufferedView),
    /// In memory.
    Memory(MemView),
}

impl StateEngine {
    /// Opens or creates the engine on disk in directory `path`.
    ///
    /// # Errors
    /// [`EngineError`] if the files cannot be created, read or understood.
    pub fn open(path: &Path) -> Result<StateEngine, EngineError> {
        Buffered::start(Lsm::open(path)?).map(StateEngine::Disk)
    }

    /// Starts an empty engine in memory.
    pub fn memory() -> StateEngine {
        StateEngine::Memory(MemEngine::default())
    }
}

impl Engine for StateEngine {
    type View = StateView;

    fn view(&self) -> StateView {
        match self {
            StateEngine::Disk(disk) => StateView::Disk(disk.view()),
            StateEngine::Memory(memory) => StateView::Memory(memory.view()),
        }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        match self {
            StateEngine::Disk(disk) => disk.write(batch),
            StateEngine::Memory(memory) => memory.write(batch),
        }
    }

    fn persist(&self) -> Result<(), EngineError> {
        match self {
            StateEngine::Disk(disk) => disk.persist(),
            StateEngine::Memory(memory) => memory.persist(),
        }
    }

    fn clear(&self) -> Result<(), EngineError> {
        match self {
            StateEngine::Disk(disk) => disk.clear(),
            StateEngine::Memory(memory) => memory.clear(),
        }
    }

    fn size_bytes(&self) -> u64 {
        match self {
            StateEngine::Disk(disk) => disk.size_bytes(),
            StateEngine::Memory(memory) => memory.size_bytes(),
        }
    }
}

impl View for StateView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self {
            StateView::Disk(disk) => disk.get(space, key),
            StateView::Memory(memory) => memory.get(space, key),
        }
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        match self {
            StateView::Disk(disk) => disk.scan(scan),
            StateView::Memory(memory) => memory.scan(scan),
        }
    }
}

#[cfg(test)]
mod tests;

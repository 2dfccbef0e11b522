//! Checkpoints: the whole state as a sequence of self-describing chunks.

use bytes::Bytes;
use storage::{EngineError, View};
use types::{Epoch, Slot};

/// Cuts an unchanging view of the state into chunks.
#[derive(Debug)]
pub struct CheckpointWriter<V: View> {
    view: V,
}

/// Checks chunks one by one as they arrive, and in the end that they are a whole checkpoint.
#[derive(Debug, Default)]
pub struct ChunkVerifier {}

/// What a whole checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSummary {
    /// The last slot whose effect it holds, and the epoch of that slot's entry.
    pub at: (Slot, Epoch),
    /// How many records it holds.
    pub records: u64,
    /// The digest of the state: what [`crate::Kv::digest`] returns.
    pub digest: u128,
}

/// Why chunks are not a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Placeholder.
    #[error("chunk {index} cannot be read")]
    Unreadable {
        /// Which chunk.
        index: u64,
    },
}

/// Why a checkpoint was not installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The chunks are not a whole, intact checkpoint; the old state is untouched.
    #[error("the staged checkpoint is refused")]
    Refused(#[source] CheckpointError),
    /// A chunk that had been verified read back differently; the store is now incomplete.
    #[error("the staged checkpoint changed while it was being installed")]
    Changed(#[source] CheckpointError),
    /// The engine failed; the caller must crash.
    #[error("cannot write the state")]
    Engine(#[from] EngineError),
}

#[allow(unused_variables, clippy::todo, dead_code)]
impl<V: View> CheckpointWriter<V> {
    /// The last slot whose effect the checkpoint holds, and the epoch of that slot's entry.
    pub fn at(&self) -> (Slot, Epoch) {
        todo!()
    }

    /// Returns chunk `index` and whether it is the last. The first time chunks must be asked for in order;
    /// any earlier chunk may be asked for again. `None` if `index` is out of that order.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn chunk(&mut self, index: u64) -> Result<Option<(Bytes, bool)>, EngineError> {
        todo!()
    }
}

#[allow(unused_variables, clippy::todo)]
impl ChunkVerifier {
    /// Before the first chunk.
    pub fn new() -> ChunkVerifier {
        ChunkVerifier::default()
    }

    /// Checks the next chunk.
    ///
    /// # Errors
    /// [`CheckpointError`] if it is damaged or is not the next one. Nothing may be accepted after that.
    pub fn accept(&mut self, chunk: &Bytes) -> Result<(), CheckpointError> {
        todo!()
    }

    /// Checks that the last chunk has been seen and that everything adds up.
    ///
    /// # Errors
    /// [`CheckpointError`] if not.
    pub fn finish(self) -> Result<CheckpointSummary, CheckpointError> {
        todo!()
    }
}

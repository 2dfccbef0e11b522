//! Putting a checkpoint in the place of the state.

use bytes::Bytes;
use storage::{Engine, EngineError, WriteBatch};
use types::{Buggify, Epoch, Slot, Wire, buggify};

use super::{CheckpointError, CheckpointSummary, ChunkVerifier, Row};
use crate::layout::{MEMBERSHIP_KEY, META, META_KEY};
use crate::meta::Meta;
use crate::planted::Bugs;

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

/// Checks all chunks without touching the state.
pub(crate) fn verify(
    expected: (Slot, Epoch),
    read: &mut impl FnMut(u64) -> Option<Bytes>,
) -> Result<(), InstallError> {
    let summary = for_each_chunk(read, |_| Ok(())).map_err(InstallError::refused)?;
    let found = summary.at;
    if found != expected {
        return Err(InstallError::Refused(CheckpointError::Elsewhere { expected, found }));
    }
    Ok(())
}

/// Replaces the state by chunks that have been verified. They are verified again, because whatever they are
/// staged on may fail meanwhile.
pub(crate) fn replace(
    engine: &impl Engine,
    bugs: Bugs,
    buggify: &Buggify,
    read: &mut impl FnMut(u64) -> Option<Bytes>,
) -> Result<(), InstallError> {
    start_over(engine)?;
    if buggify!(buggify, "kv.install.starts_over_twice") {
        start_over(engine)?;
    }
    let mut meta = None;
    for_each_chunk(read, |rows| {
        let mut batch = WriteBatch::default();
        for (space, key, value) in rows {
            if space == META && key == META_KEY {
                // Kept until everything else is durable: it says that the state is complete.
                if planted!(bugs, HalfInstallIsServed) {
                    batch.put(space, own(key), own(value.clone()));
                }
                meta = Some(value);
            } else {
                batch.put(space, own(key), own(value));
                if buggify!(buggify, "kv.install.row_by_row") {
                    engine.write(std::mem::take(&mut batch))?;
                }
            }
        }
        engine.write(batch)?;
        if buggify!(buggify, "kv.install.persists_each_chunk") {
            engine.persist()?;
        }
        Ok(())
    })?;
    engine.persist()?;
    let meta = meta.expect("a verified checkpoint begins with its meta record");
    let mut batch = WriteBatch::default();
    batch.put(META, Bytes::from_static(META_KEY), own(meta));
    engine.write(batch)?;
    Ok(engine.persist()?)
}

/// Marks the engine, durably, as waiting for a checkpoint, and empties it of all but that mark.
pub(crate) fn start_over(engine: &impl Engine) -> Result<(), EngineError> {
    let mut batch = WriteBatch::default();
    batch.put(META, Bytes::from_static(META_KEY), Meta::incomplete().to_bytes());
    // `clear` spares this space.
    batch.remove(META, Bytes::from_static(MEMBERSHIP_KEY));
    engine.write(batch)?;
    engine.persist()?;
    engine.clear()
}

impl InstallError {
    /// A failure that came before anything was changed.
    fn refused(self) -> InstallError {
        match self {
            InstallError::Changed(reason) => InstallError::Refused(reason),
            other => other,
        }
    }
}

fn for_each_chunk(
    read: &mut impl FnMut(u64) -> Option<Bytes>,
    mut take: impl FnMut(Vec<Row>) -> Result<(), EngineError>,
) -> Result<CheckpointSummary, InstallError> {
    let mut verifier = ChunkVerifier::new();
    for index in 0.. {
        if verifier.is_finished() {
            break;
        }
        let chunk = read(index).ok_or(InstallError::Changed(CheckpointError::Missing { index }))?;
        take(verifier.accept_rows(&chunk).map_err(InstallError::Changed)?)?;
    }
    verifier.finish().map_err(InstallError::Changed)
}

/// A copy that does not keep the whole chunk in memory.
fn own(bytes: Bytes) -> Bytes {
    Bytes::copy_from_slice(&bytes)
}

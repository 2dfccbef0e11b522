//! The state engines that a node can run on: an LSM tree on disk, or memory.
//!
//! Durability: the LSM's journal is not synced per write. What a crash takes away is replayed from the log; the
//! LSM promises only that a batch is there whole or not at all, also across spaces, because it syncs its
//! journal before it writes a memtable out.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::{BlockSizePolicy, CompressionPolicy};
use fjall::{
    CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
};
use storage::{Engine, EngineError, KEY_LEN_MAX, MemEngine, MemView, Scan, Space, View, WriteBatch};

/// Spaces 0 to `SPACES - 1` exist.
const SPACES: u8 = 8;

/// Bytes of recently read blocks kept in memory, over all spaces.
const BLOCK_CACHE_BYTES: u64 = 32 << 20;

/// Bytes of recent writes a space keeps in memory before they are written out as a table.
const MEMTABLE_BYTES: u64 = 8 << 20;

/// Files kept open.
const OPEN_FILES_MAX: usize = 256;

/// An engine chosen at start: `--ephemeral` or not.
#[derive(Clone)]
pub enum StateEngine {
    /// On disk.
    Lsm(Lsm),
    /// In memory; gone when the process ends.
    Memory(MemEngine),
}

/// A view of a [`StateEngine`].
#[derive(Clone)]
pub enum StateView {
    /// On disk.
    Lsm(LsmView),
    /// In memory.
    Memory(MemView),
}

/// The LSM tree.
#[derive(Clone)]
pub struct Lsm {
    database: Database,
    /// By the number of the space.
    spaces: Arc<[Keyspace]>,
}

/// A snapshot of the LSM tree.
#[derive(Clone)]
pub struct LsmView {
    snapshot: Arc<Snapshot>,
    spaces: Arc<[Keyspace]>,
}

impl StateEngine {
    /// Opens or creates the LSM engine in directory `path`.
    ///
    /// # Errors
    /// [`EngineError`] if the files cannot be created, read or understood.
    pub fn open_lsm(path: &Path) -> Result<StateEngine, EngineError> {
        Lsm::open(path).map(StateEngine::Lsm)
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
            StateEngine::Lsm(lsm) => StateView::Lsm(lsm.view()),
            StateEngine::Memory(memory) => StateView::Memory(memory.view()),
        }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        match self {
            StateEngine::Lsm(lsm) => lsm.write(batch),
            StateEngine::Memory(memory) => memory.write(batch),
        }
    }

    fn persist(&self) -> Result<(), EngineError> {
        match self {
            StateEngine::Lsm(lsm) => lsm.database.persist(PersistMode::SyncAll).map_err(failed("sync")),
            StateEngine::Memory(memory) => memory.persist(),
        }
    }

    fn clear(&self) -> Result<(), EngineError> {
        match self {
            StateEngine::Lsm(lsm) => {
                lsm.spaces.iter().skip(1).try_for_each(Keyspace::clear).map_err(failed("clear"))
            }
            StateEngine::Memory(memory) => memory.clear(),
        }
    }

    fn size_bytes(&self) -> u64 {
        match self {
            StateEngine::Lsm(lsm) => lsm.size_bytes(),
            StateEngine::Memory(memory) => memory.size_bytes(),
        }
    }
}

impl View for StateView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        match self {
            StateView::Lsm(lsm) => lsm.get(space, key),
            StateView::Memory(memory) => memory.get(space, key),
        }
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        match self {
            StateView::Lsm(lsm) => lsm.scan(scan),
            StateView::Memory(memory) => memory.scan(scan),
        }
    }
}

impl Lsm {
    fn open(path: &Path) -> Result<Lsm, EngineError> {
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(1)
            .journal_compression(CompressionType::None)
            .manual_journal_persist(true)
            .open()
            .map_err(|error| EngineError {
                operation: "open",
                reason: format!("{}: {error}", path.display()),
            })?;
        let spaces: Result<Vec<_>, _> =
            (0..SPACES).map(|space| database.keyspace(&format!("space-{space}"), space_options)).collect();
        Ok(Lsm { database, spaces: spaces.map_err(failed("open"))?.into() })
    }

    fn view(&self) -> LsmView {
        LsmView { snapshot: Arc::new(self.database.snapshot()), spaces: self.spaces.clone() }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut lsm_batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), batch.changes.len());
        for (space, key, value) in batch.changes {
            let keyspace = in_space(&self.spaces, space, "write")?;
            if key.len() > KEY_LEN_MAX {
                return Err(EngineError::key_too_long(key.len()));
            }
            match value {
                Some(value) => lsm_batch.insert(keyspace, &key[..], &value[..]),
                None => lsm_batch.remove(keyspace, &key[..]),
            }
        }
        lsm_batch.commit().map_err(failed("write"))
    }

    /// Tables and memtables; not the journal, whose size is fixed in advance and says nothing about the data.
    fn size_bytes(&self) -> u64 {
        let tables: u64 = self.spaces.iter().map(Keyspace::disk_space).sum();
        tables + self.database.write_buffer_size()
    }
}

impl LsmView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let found = self.snapshot.get(in_space(&self.spaces, space, "read")?, key);
        // Copied, so that a small value held by a caller does not keep a block of the cache alive.
        Ok(found.map_err(failed("read"))?.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        if scan.is_empty() {
            return Box::new(std::iter::empty());
        }
        match in_space(&self.spaces, scan.space, "read") {
            Err(error) => Box::new(std::iter::once(Err(error))),
            Ok(space) => {
                let range = self.snapshot.range(space, (scan.low, scan.high));
                if scan.descending { Box::new(range.rev().map(pair)) } else { Box::new(range.map(pair)) }
            }
        }
    }
}

fn pair(guard: Guard) -> Result<(Bytes, Bytes), EngineError> {
    let (key, value) = guard.into_inner().map_err(failed("read"))?;
    Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
}

fn in_space<'a>(
    spaces: &'a [Keyspace],
    space: Space,
    operation: &'static str,
) -> Result<&'a Keyspace, EngineError> {
    spaces.get(usize::from(space.0)).ok_or_else(|| EngineError {
        operation,
        reason: format!("space {} does not exist: there are {SPACES}", space.0),
    })
}

fn failed(operation: &'static str) -> impl Fn(fjall::Error) -> EngineError {
    move |error| EngineError { operation, reason: error.to_string() }
}

/// What has just been written stays uncompressed: it will be rewritten soon, and CPU is what we save.
fn space_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .data_block_compression_policy(CompressionPolicy::new([
            CompressionType::None,
            CompressionType::None,
            CompressionType::Lz4,
        ]))
}

#[cfg(test)]
mod tests {
    use std::ops::Bound;

    use super::*;

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn write(engine: &StateEngine, space: u8, pairs: &[(&str, Option<&str>)]) {
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            match value {
                Some(value) => batch.put(Space(space), bytes(key), bytes(value)),
                None => batch.remove(Space(space), bytes(key)),
            }
        }
        engine.write(batch).unwrap();
    }

    fn keys(view: &StateView, low: Bound<&str>, high: Bound<&str>, descending: bool) -> Vec<Bytes> {
        let scan = Scan { space: Space(2), low: low.map(bytes), high: high.map(bytes), descending };
        view.scan(scan).map(|pair| pair.unwrap().0).collect()
    }

    fn all(view: &StateView) -> Vec<Bytes> {
        keys(view, Bound::Unbounded, Bound::Unbounded, false)
    }

    /// Both engines, which must not differ in anything that a state machine can see.
    fn engines() -> (tempfile::TempDir, [StateEngine; 2]) {
        let directory = tempfile::tempdir().unwrap();
        let lsm = StateEngine::open_lsm(directory.path()).unwrap();
        (directory, [lsm, StateEngine::memory()])
    }

    #[test]
    fn a_view_stays_as_it_was_through_writes_and_a_clear() {
        let (_directory, engines) = engines();
        for engine in engines {
            write(&engine, 2, &[("a", Some("1")), ("b", Some("2"))]);
            let view = engine.view();
            write(&engine, 2, &[("a", Some("new")), ("b", None), ("c", Some("3"))]);
            assert_eq!(
                (all(&view), all(&engine.view())),
                (vec![bytes("a"), bytes("b")], vec![bytes("a"), bytes("c")])
            );
            engine.clear().unwrap();
            assert_eq!(view.get(Space(2), b"a").unwrap(), Some(bytes("1")));
            assert_eq!((all(&view), all(&engine.view())), (vec![bytes("a"), bytes("b")], vec![]));
            write(&engine, 2, &[("d", Some("4"))]);
            assert_eq!(all(&engine.view()), ["d"]);
        }
    }

    #[test]
    fn a_scan_keeps_to_its_space_and_bounds_in_both_directions() {
        let (_directory, engines) = engines();
        for engine in engines {
            write(&engine, 2, &[("a", Some("")), ("b", Some("")), ("c", Some("")), ("d", Some(""))]);
            write(&engine, 3, &[("bb", Some(""))]);
            let view = engine.view();
            use Bound::{Excluded, Included, Unbounded};
            assert_eq!(keys(&view, Included("b"), Excluded("d"), false), ["b", "c"]);
            assert_eq!(keys(&view, Excluded("b"), Included("d"), true), ["d", "c"]);
            assert_eq!(keys(&view, Excluded("b"), Unbounded, true), ["d", "c"]);
            assert!(keys(&view, Excluded("b"), Excluded("b"), false).is_empty());
            assert!(keys(&view, Included("c"), Included("b"), true).is_empty());
        }
    }

    #[test]
    fn a_key_that_is_too_long_is_refused_and_leaves_nothing_of_its_batch() {
        let (_directory, engines) = engines();
        for engine in engines {
            let mut batch = WriteBatch::default();
            batch.put(Space(2), bytes("a"), bytes("1"));
            batch.put(Space(2), Bytes::from(vec![b'k'; KEY_LEN_MAX + 1]), bytes("1"));
            assert!(engine.write(batch).is_err());
            assert!(all(&engine.view()).is_empty());
            write(&engine, 2, &[(&"k".repeat(KEY_LEN_MAX), Some("longest"))]);
        }
    }

    #[test]
    fn what_was_persisted_is_there_after_reopening() {
        let directory = tempfile::tempdir().unwrap();
        let engine = StateEngine::open_lsm(directory.path()).unwrap();
        for round in 0..200 {
            write(
                &engine,
                2,
                &[(&format!("key {round:04}"), Some("value")), ("latest", Some(&round.to_string()))],
            );
        }
        engine.persist().unwrap();
        assert!(engine.size_bytes() > 0);
        drop(engine);
        let engine = StateEngine::open_lsm(directory.path()).unwrap();
        let view = engine.view();
        assert_eq!(view.get(Space(2), b"latest").unwrap(), Some(bytes("199")));
        assert_eq!(all(&view).len(), 201);
    }
}

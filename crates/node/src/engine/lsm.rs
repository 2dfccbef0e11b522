//! The LSM tree, all spaces in one key space so that a load is atomic over all of them. A key is its space's number
//! and then the key.

use std::convert::Infallible;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{BlockSizePolicy, CompressionPolicy, PinningPolicy};
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, Readable, Slice, Snapshot};
use storage::{EngineError, Scan, Space, View};

use super::layer::Layer;
use super::row_cache::{Generation, RowCache};

/// The one key space.
const KEYSPACE: &str = "state";

/// Bytes of recently read blocks kept in memory.
const BLOCK_CACHE_BYTES: u64 = 8 << 20;

/// Loads that gather before they are merged into the rest: each merge rewrites much of the tree.
const L0_TABLES: u8 = 10;

/// Files kept open.
const OPEN_FILES_MAX: usize = 256;

pub(super) struct Lsm {
    database: Database,
    rows: Keyspace,
    cache: Arc<RowCache>,
    loads: AtomicU64,
}

/// A snapshot of the LSM tree.
#[derive(Clone)]
pub(super) struct LsmView {
    snapshot: Arc<Snapshot>,
    rows: Keyspace,
    cache: Arc<RowCache>,
    generation: Generation,
}

impl Lsm {
    pub(super) fn open(path: &Path) -> Result<Lsm, EngineError> {
        let database = Database::builder(path)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .worker_threads(1)
            .open()
            .map_err(|error| EngineError {
                operation: "open",
                reason: format!("{}: {error}", path.display()),
            })?;
        let rows = database.keyspace(KEYSPACE, options).map_err(failed("open"))?;
        Ok(Lsm { database, rows, cache: Arc::default(), loads: AtomicU64::new(0) })
    }

    /// The tree as it is. Not to be called while rows are being loaded.
    pub(super) fn view(&self) -> LsmView {
        let generation = self.loads.load(Ordering::Relaxed);
        let (rows, cache) = (self.rows.clone(), self.cache.clone());
        LsmView { snapshot: Arc::new(self.database.snapshot()), rows, cache, generation }
    }

    /// Adds everything in `layer`, whole or not at all; durable once it returns.
    pub(super) fn load(&self, layer: &Layer) -> Result<(), EngineError> {
        let mut load = self.rows.start_ingestion().map_err(failed("write"))?;
        layer.visit(|space, key, change| {
            let key = prefixed(space, key);
            match change {
                Some(value) => load.write(key, Slice::from(&value[..])),
                None => load.write_tombstone(key),
            }
            .map_err(failed("write"))
        })?;
        load.finish().map_err(failed("write"))?;
        let generation = self.loads.fetch_add(1, Ordering::Relaxed) + 1;
        self.cache.advance(generation, |changed| {
            let Ok(()) = layer.visit::<Infallible>(|space, key, change| {
                changed(&prefixed(space, key), change);
                Ok(())
            });
        });
        Ok(())
    }

    /// Removes everything from every space but the first, at once.
    pub(super) fn clear(&self) -> Result<(), EngineError> {
        let mut load = self.rows.start_ingestion().map_err(failed("clear"))?;
        let snapshot = self.database.snapshot();
        for row in snapshot.range(&self.rows, [1_u8]..) {
            load.write_tombstone(row.key().map_err(failed("read"))?).map_err(failed("clear"))?;
        }
        load.finish().map_err(failed("clear"))?;
        self.cache.clear(self.loads.fetch_add(1, Ordering::Relaxed) + 1);
        Ok(())
    }

    /// Tables; not the journal, which is not used.
    pub(super) fn size_bytes(&self) -> u64 {
        self.rows.disk_space()
    }
}

impl View for LsmView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let key = prefixed(space, key);
        if let Some(known) = self.cache.get(self.generation, &key) {
            return Ok(known);
        }
        let found = self.snapshot.get(&self.rows, &key).map_err(failed("read"))?;
        // Copied, so that a small value does not keep a block of the tree's cache alive.
        let found = found.map(|value| Bytes::copy_from_slice(&value));
        self.cache.insert(self.generation, &key, &found);
        Ok(found)
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        if scan.is_empty() {
            return Box::new(std::iter::empty());
        }
        let space = scan.space;
        let bound = |bound: Bound<Bytes>| bound.map(|key| prefixed(space, &key));
        let low = match scan.low {
            Bound::Unbounded => Bound::Included(prefixed(space, &[])),
            low => bound(low),
        };
        let high = match (scan.high, space.0.checked_add(1)) {
            (Bound::Unbounded, Some(next)) => Bound::Excluded(prefixed(Space(next), &[])),
            (high, _) => bound(high),
        };
        let range = self.snapshot.range(&self.rows, (low, high));
        if scan.descending { Box::new(range.rev().map(pair)) } else { Box::new(range.map(pair)) }
    }
}

fn prefixed(space: Space, key: &[u8]) -> Slice {
    let mut short = [0; 128];
    match short.get_mut(1..=key.len()) {
        Some(rest) => {
            rest.copy_from_slice(key);
            short[0] = space.0;
            Slice::from(&short[..=key.len()])
        }
        None => Slice::from([&[space.0], key].concat()),
    }
}

fn pair(guard: Guard) -> Result<(Bytes, Bytes), EngineError> {
    let (key, value) = guard.into_inner().map_err(failed("read"))?;
    let key =
        key.get(1..).ok_or(EngineError { operation: "read", reason: "a key without its space".into() })?;
    Ok((Bytes::copy_from_slice(key), Bytes::copy_from_slice(&value)))
}

fn failed(operation: &'static str) -> impl Fn(fjall::Error) -> EngineError {
    move |error| EngineError { operation, reason: error.to_string() }
}

/// What has just been written stays uncompressed: it will be rewritten soon, and CPU is what we save.
fn options() -> KeyspaceCreateOptions {
    let compression = [CompressionType::None, CompressionType::None, CompressionType::Lz4];
    KeyspaceCreateOptions::default()
        .data_block_size_policy(BlockSizePolicy::all(4 << 10))
        .data_block_compression_policy(CompressionPolicy::new(compression))
        .index_block_pinning_policy(PinningPolicy::all(true))
        .filter_block_pinning_policy(PinningPolicy::all(true))
        .compaction_strategy(Arc::new(Leveled::default().with_l0_threshold(L0_TABLES)))
}

//! Recent writes in memory, in versions.
//!
//! One thread writes, any number read. A reader sees the rows as they were at its *version*, so that a view is a number
//! and nothing is copied for it. Rows are never removed: a layer as a whole is dropped once its rows are elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use storage::{Scan, Space, WriteBatch};

/// The number of a batch: a view at a version sees it and all before it.
pub(super) type Version = u64;

/// A key's new value, or `None` where it was removed.
pub(super) type Change = Option<Bytes>;

/// What a row takes in memory besides its key and value, about.
const ROW_BYTES: u64 = 128;

/// The first and the last number of rows that a scan reads under one lock.
const PAGE_ROWS: (usize, usize) = (16, 1024);

#[derive(Debug, Default)]
pub(super) struct Layer {
    rows: RwLock<Rows>,
}

#[derive(Debug, Default)]
struct Rows {
    spaces: BTreeMap<Space, BTreeMap<Bytes, Versions>>,
    size_bytes: u64,
}

/// What a key was changed to, in ascending order of versions.
#[derive(Debug)]
enum Versions {
    One((Version, Change)),
    Many(Vec<(Version, Change)>),
}

impl Layer {
    /// Adds a batch; `version` is higher than of any before it. Returns what the layer takes in memory now.
    pub(super) fn write(&self, version: Version, batch: WriteBatch) -> u64 {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (space, key, change) in batch.changes {
            rows.size_bytes += (key.len() + change.as_ref().map_or(0, Bytes::len)) as u64 + ROW_BYTES;
            let space = rows.spaces.entry(space).or_default();
            match space.get_mut(&key) {
                Some(versions) => versions.push(version, change),
                None => drop(space.insert(key, Versions::One((version, change)))),
            }
        }
        rows.size_bytes
    }

    /// What the key was changed to, if it was.
    pub(super) fn get(&self, version: Version, space: Space, key: &[u8]) -> Option<Change> {
        self.read().spaces.get(&space)?.get(key)?.at(version).cloned()
    }

    /// Calls `take` with the latest change of every key, ascending by space and key.
    pub(super) fn visit<E>(
        &self,
        mut take: impl FnMut(Space, &Bytes, &Change) -> Result<(), E>,
    ) -> Result<(), E> {
        for (space, rows) in &self.read().spaces {
            for (key, versions) in rows {
                versions.at(Version::MAX).map_or(Ok(()), |change| take(*space, key, change))?;
            }
        }
        Ok(())
    }

    /// The changes in a range, lazily.
    pub(super) fn scan(self: &Arc<Layer>, version: Version, scan: Scan) -> LayerScan {
        let layer = self.clone();
        LayerScan { layer, version, scan: Some(scan), page: VecDeque::new(), page_rows: PAGE_ROWS.0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.read().spaces.is_empty()
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.read().size_bytes
    }

    fn read(&self) -> RwLockReadGuard<'_, Rows> {
        self.rows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Versions {
    fn push(&mut self, version: Version, change: Change) {
        match self {
            Versions::One(last) if last.0 == version => last.1 = change,
            Versions::One(last) => *self = Versions::Many(vec![std::mem::take(last), (version, change)]),
            Versions::Many(all) => match all.last_mut() {
                Some(last) if last.0 == version => last.1 = change,
                _ => all.push((version, change)),
            },
        }
    }

    fn at(&self, version: Version) -> Option<&Change> {
        match self {
            Versions::One((at, change)) => (*at <= version).then_some(change),
            Versions::Many(all) => {
                let count = all.partition_point(|(at, _)| *at <= version);
                all[..count].last().map(|(_, change)| change)
            }
        }
    }
}

/// A scan of a layer. It holds the lock for one page at a time, so that a slow reader does not hold up the writer.
pub(super) struct LayerScan {
    layer: Arc<Layer>,
    version: Version,
    /// What is left to read; `None` at the end.
    scan: Option<Scan>,
    page: VecDeque<(Bytes, Change)>,
    page_rows: usize,
}

impl Iterator for LayerScan {
    type Item = (Bytes, Change);

    fn next(&mut self) -> Option<(Bytes, Change)> {
        if self.page.is_empty() {
            self.read_page();
        }
        self.page.pop_front()
    }
}

impl LayerScan {
    fn read_page(&mut self) {
        let Some(mut scan) = self.scan.take_if(|scan| !scan.is_empty()) else { return };
        let rows = self.layer.read();
        let Some(space) = rows.spaces.get(&scan.space) else { return };
        let range = space.range((scan.low.clone(), scan.high.clone()));
        let changes = |(key, versions): (&Bytes, &Versions)| {
            versions.at(self.version).map(|change| (key.clone(), change.clone()))
        };
        match scan.descending {
            false => self.page.extend(range.filter_map(changes).take(self.page_rows)),
            true => self.page.extend(range.rev().filter_map(changes).take(self.page_rows)),
        }
        if self.page.len() < self.page_rows {
            return;
        }
        if let Some((last, _)) = self.page.back() {
            let rest = if scan.descending { &mut scan.high } else { &mut scan.low };
            *rest = Bound::Excluded(last.clone());
            self.scan = Some(scan);
            self.page_rows = (self.page_rows * 2).min(PAGE_ROWS.1);
        }
    }
}

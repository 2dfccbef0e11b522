//! Range: which pairs a range holds at a revision, and etcd's order, filters and limit on top.
//!
//! The latest revision is one lookup for a single key, and one scan of `LATEST` for more. An older revision
//! merges `LATEST` with `VERSIONS`: a pair of `LATEST` is what its key held then if it is old enough;
//! otherwise one replaced pair may be.

use std::cmp::Ordering;

use bytes::Bytes;
use storage::{EngineError, View};
use types::buggify;

use crate::layout::{LATEST, VERSIONS, parse_version_key, version_bounds, version_bounds_since};
use crate::record::{OldPair, Pair};
use crate::store::{Rows, Store};
use crate::{
    KeyRange, KeyValue, KvError, RangeRequest, RangeResponse, ReadError, Revision, SortOrder, SortTarget,
};

/// Serves a range outside of a transaction.
pub(crate) fn range<V: View>(
    store: &Store<V>,
    current: Revision,
    compacted: Revision,
    request: &RangeRequest,
) -> Result<RangeResponse, ReadError> {
    crate::validate_range(request)?;
    if request.revision > current {
        return Err(KvError::FutureRevision.into());
    }
    if request.revision > 0 && request.revision < compacted {
        return Err(KvError::Compacted.into());
    }
    if request.revision <= 0 && buggify!(store.buggify, "kv.range.reads_as_if_old") {
        let mut result = Collector::new(request);
        let keys = KeyRange::new(&request.key, &request.range_end);
        visit_old(store, &keys, current, |key, pair| result.offer(key, Lazy::Pair(pair)))?;
        return Ok(result.finish());
    }
    Ok(range_unchecked(store, current, request)?)
}

/// Serves a range at a revision that is known to be readable.
pub(crate) fn range_unchecked<V: View>(
    store: &Store<V>,
    current: Revision,
    request: &RangeRequest,
) -> Result<RangeResponse, EngineError> {
    let keys = KeyRange::new(&request.key, &request.range_end);
    let mut result = Collector::new(request);
    if request.revision <= 0 || request.revision >= current {
        visit_latest(store, &keys, |key, pair| {
            result.offer(key, pair)?;
            Ok(true)
        })?;
    } else {
        visit_old(store, &keys, request.revision, |key, pair| result.offer(key, Lazy::Pair(pair)))?;
    }
    Ok(result.finish())
}

/// A pair that is decoded only if somebody looks at it.
pub(crate) enum Lazy {
    Encoded(Bytes),
    Pair(Pair),
}

impl Lazy {
    pub(crate) fn decode(self) -> Result<Pair, EngineError> {
        match self {
            Lazy::Encoded(bytes) => Pair::decode(bytes),
            Lazy::Pair(pair) => Ok(pair),
        }
    }
}

/// Reads one key's latest pair.
pub(crate) fn latest<V: View>(store: &Store<V>, key: &[u8]) -> Result<Option<Pair>, EngineError> {
    store.get(LATEST, key)?.map(Pair::decode).transpose()
}

/// Visits the latest pairs of a range in key order until `visit` returns `false`.
pub(crate) fn visit_latest<V: View>(
    store: &Store<V>,
    keys: &KeyRange,
    mut visit: impl FnMut(Bytes, Lazy) -> Result<bool, EngineError>,
) -> Result<(), EngineError> {
    if let KeyRange::Point(key) = keys
        && !buggify!(store.buggify, "kv.range.scans_a_point")
    {
        if let Some(pair) = store.get(LATEST, key)? {
            visit(key.clone(), Lazy::Encoded(pair))?;
        }
        return Ok(());
    }
    let Some(bounds) = keys.bounds() else { return Ok(()) };
    for row in store.scan(LATEST, bounds) {
        let (key, pair) = row?;
        if !visit(key, Lazy::Encoded(pair))? {
            break;
        }
    }
    Ok(())
}

/// Reads the pair that a key held at an older revision.
pub(crate) fn old<V: View>(
    store: &Store<V>,
    key: &[u8],
    revision: Revision,
) -> Result<Option<Pair>, EngineError> {
    if let Some(pair) = latest(store, key)?
        && pair.mod_revision <= revision
    {
        return Ok(Some(pair));
    }
    let newest = store.scan(VERSIONS, version_bounds_since(key, revision)).next().transpose()?;
    let Some((_, value)) = newest else { return Ok(None) };
    let old = OldPair::decode(value)?;
    Ok((old.superseded > revision).then_some(old.pair))
}

/// Visits the pairs that a range held at an older revision, in key order.
fn visit_old<V: View>(
    store: &Store<V>,
    keys: &KeyRange,
    revision: Revision,
    mut visit: impl FnMut(Bytes, Pair) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    if let KeyRange::Point(key) = keys {
        return match old(store, key, revision)? {
            Some(pair) => visit(key.clone(), pair),
            None => Ok(()),
        };
    }
    let (Some(latest_bounds), Some(version_bounds)) = (keys.bounds(), version_bounds(keys)) else {
        return Ok(());
    };
    let mut living = living_at(store.scan(LATEST, latest_bounds), revision).peekable();
    let mut replaced = replaced_at(store.scan(VERSIONS, version_bounds), revision).peekable();
    // A key has at most one pair at a revision, so the two streams never hold the same key.
    loop {
        let living_first = match (living.peek(), replaced.peek()) {
            (None, None) => return Ok(()),
            (Some(Ok((a, _))), Some(Ok((b, _)))) => a < b,
            (Some(_), None) | (Some(Err(_)), _) => true,
            (None, Some(_)) | (_, Some(Err(_))) => false,
        };
        let next = if living_first { living.next() } else { replaced.next() };
        if let Some(row) = next {
            let (key, pair) = row?;
            visit(key, pair)?;
        }
    }
}

type Found = Result<(Bytes, Pair), EngineError>;

fn living_at(rows: Rows<'_>, revision: Revision) -> impl Iterator<Item = Found> {
    rows.filter_map(move |row| {
        let decode = || {
            let (key, value) = row?;
            let pair = Pair::decode(value)?;
            Ok((pair.mod_revision <= revision).then_some((key, pair)))
        };
        decode().transpose()
    })
}

fn replaced_at(rows: Rows<'_>, revision: Revision) -> impl Iterator<Item = Found> {
    rows.filter_map(move |row| {
        let decode = || {
            let (key, value) = row?;
            let (key, modified) = parse_version_key(&key)?;
            if modified > revision {
                return Ok(None);
            }
            let old = OldPair::decode(value)?;
            Ok((old.superseded > revision).then_some((key, old.pair)))
        };
        decode().transpose()
    })
}

/// Counts every pair and keeps those that the request asks for.
///
/// As in etcd the limit is applied to the rows in key order, and one row more than the limit is kept to know
/// whether there are more, unless an order or a filter is given; then it is applied after those. A target
/// without an order therefore sorts the first `limit + 1` rows and drops the last of them.
struct Collector<'r> {
    request: &'r RangeRequest,
    limit: Option<usize>,
    sort: Option<(SortTarget, bool)>,
    /// Rows to keep in key order; beyond that they are only counted.
    keep_max: usize,
    count: i64,
    kvs: Vec<KeyValue>,
}

impl<'r> Collector<'r> {
    fn new(request: &'r RangeRequest) -> Collector<'r> {
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let descending = request.sort_order == SortOrder::Descend;
        let by_key_ascending = request.sort_target == SortTarget::Key && !descending;
        let sort = (!by_key_ascending).then_some((request.sort_target, descending));
        let keep_all = sort.is_some() && request.sort_order != SortOrder::None;
        let keep_max = match limit {
            _ if request.count_only => 0,
            Some(limit) if !(keep_all || (sort.is_some() && is_filtered(request))) => limit.saturating_add(1),
            _ => usize::MAX,
        };
        Collector { request, limit, sort, keep_max, count: 0, kvs: Vec::new() }
    }

    fn offer(&mut self, key: Bytes, pair: Lazy) -> Result<(), EngineError> {
        self.count += 1;
        if self.kvs.len() >= self.keep_max {
            return Ok(());
        }
        let kv = pair.decode()?.with_key(key);
        if passes(self.request, &kv) {
            self.kvs.push(kv);
            self.shed();
        }
        Ok(())
    }

    /// Keeps memory in proportion to the limit while everything must be looked at.
    fn shed(&mut self) {
        let Some(limit) = self.limit else { return };
        if self.keep_max == usize::MAX && self.kvs.len() / 2 > limit.saturating_add(64) {
            self.sort();
            self.kvs.truncate(limit.saturating_add(1));
        }
    }

    /// Stable, so that equal pairs stay in key order, in both directions.
    fn sort(&mut self) {
        let Some((target, descending)) = self.sort else { return };
        self.kvs.sort_by(|a, b| {
            let order = compare(target, a, b);
            if descending { order.reverse() } else { order }
        });
    }

    fn finish(mut self) -> RangeResponse {
        self.sort();
        let more = self.limit.is_some_and(|limit| self.kvs.len() > limit);
        self.kvs.truncate(self.limit.unwrap_or(usize::MAX));
        if self.request.keys_only {
            self.kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        RangeResponse { kvs: self.kvs, more, count: self.count }
    }
}

fn is_filtered(request: &RangeRequest) -> bool {
    let bounds = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    bounds.iter().any(|bound| *bound != 0)
}

fn passes(request: &RangeRequest, kv: &KeyValue) -> bool {
    let above = |min: Revision, revision: Revision| min == 0 || revision >= min;
    let below = |max: Revision, revision: Revision| max == 0 || revision <= max;
    below(request.max_mod_revision, kv.mod_revision)
        && above(request.min_mod_revision, kv.mod_revision)
        && below(request.max_create_revision, kv.create_revision)
        && above(request.min_create_revision, kv.create_revision)
}

fn compare(target: SortTarget, a: &KeyValue, b: &KeyValue) -> Ordering {
    match target {
        SortTarget::Key => a.key.cmp(&b.key),
        SortTarget::Version => a.version.cmp(&b.version),
        SortTarget::Create => a.create_revision.cmp(&b.create_revision),
        SortTarget::Mod => a.mod_revision.cmp(&b.mod_revision),
        SortTarget::Value => a.value.cmp(&b.value),
    }
}

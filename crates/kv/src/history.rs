//! History by revision: what a watch that starts in the past must be told.

use std::ops::Bound;

use bytes::Bytes;
use storage::{EngineError, View};

use crate::layout::{REVISIONS, VERSIONS, parse_revision_key, revision_key, undecodable, version_key};
use crate::range::latest;
use crate::record::{Change, OldPair, Pair};
use crate::store::Store;
use crate::{Event, EventKind, EventsPage, KeyRange, KeyValue, Revision, RevisionEvents};

/// Changes looked at for one page, so that a narrow watch over a long history does not hog its thread.
const CHANGES_PER_PAGE: usize = 10_000;

/// Bytes of values in one page, so that catching up over large values does not take memory without bound. One
/// revision may hold more.
const VALUE_BYTES_PER_PAGE: usize = 4 << 20;

/// Reads the events of `keys` with revisions `from..=upto`, which are known to be readable; `compacted` is
/// the lowest such revision.
pub(crate) fn events<V: View>(
    store: &Store<V>,
    compacted: Revision,
    keys: &KeyRange,
    (from, upto): (Revision, Revision),
    limit: usize,
) -> Result<EventsPage, EngineError> {
    let mut page = EventsPage { events: Vec::new(), next: from.max(0) };
    if upto < page.next {
        return Ok(page);
    }
    let low = Bound::Included(revision_key(page.next, 0));
    let high = Bound::Included(revision_key(upto, u32::MAX));
    let (mut looked_at, mut found, mut value_bytes) = (0, 0, 0);
    for row in store.scan(REVISIONS, (low, high)) {
        let (row, change) = row?;
        let (revision, _) = parse_revision_key(&row)?;
        if revision >= page.next {
            let full = found >= limit.max(1) || value_bytes >= VALUE_BYTES_PER_PAGE;
            if full || looked_at >= CHANGES_PER_PAGE {
                page.next = revision;
                return Ok(page);
            }
            page.next = revision.saturating_add(1);
        }
        looked_at += 1;
        let change = Change::decode(change)?;
        if keys.contains(&change.key) {
            let event = event(store, compacted, revision, change)?;
            found += 1;
            value_bytes += event.kv.value.len() + event.prev_kv.as_ref().map_or(0, |kv| kv.value.len());
            push(&mut page.events, revision, event);
        }
    }
    page.next = upto.saturating_add(1);
    Ok(page)
}

fn push(events: &mut Vec<RevisionEvents>, revision: Revision, event: Event) {
    match events.last_mut() {
        Some(last) if last.revision == revision => last.events.push(event),
        _ => events.push(RevisionEvents { revision, events: vec![event] }),
    }
}

fn event<V: View>(
    store: &Store<V>,
    compacted: Revision,
    revision: Revision,
    change: Change,
) -> Result<Event, EngineError> {
    let Change { kind, previous, key } = change;
    // What the key held at `revision - 1` is readable only if that is not compacted.
    let prev_kv = if previous > 0 && revision > compacted {
        Some(replaced(store, &key, previous)?.with_key(key.clone()))
    } else {
        None
    };
    let kv = match kind {
        EventKind::Delete => KeyValue { key, mod_revision: revision, ..KeyValue::default() },
        EventKind::Put => written(store, &key, revision)?.with_key(key),
    };
    Ok(Event { kind, kv, prev_kv })
}

/// The pair that a put of `revision` wrote: still the latest, or replaced since.
fn written<V: View>(store: &Store<V>, key: &Bytes, revision: Revision) -> Result<Pair, EngineError> {
    match latest(store, key)? {
        Some(pair) if pair.mod_revision == revision => Ok(pair),
        _ => replaced(store, key, revision),
    }
}

fn replaced<V: View>(store: &Store<V>, key: &Bytes, modified: Revision) -> Result<Pair, EngineError> {
    let value = store.get(VERSIONS, &version_key(key, modified))?;
    Ok(OldPair::decode(value.ok_or_else(|| undecodable("history of a key"))?)?.pair)
}

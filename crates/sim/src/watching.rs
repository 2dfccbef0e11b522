//! Clients that watch: each hears what one replica applies, loses its stream now and then, and goes on elsewhere where it
//! broke off.
//!
//! ```text
//!   attach ──▶ history from `next` on (Reader::events) ──▶ what is applied here ──▶ crash, or another node ─┐
//!     ▲─────────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! What was heard is judged when the run is over (C5, `checker::watch`), against the history of a replica of the core.

use bytes::Bytes;
use checker::watch::{Event, Heard, Keys, Message, Timeline, Watch, WatchRequest, WatchStream};
use checker::{History, Item, Revision, Verdict, check_watch};
use kv::{EventKind, EventsError, KeyValue, Reader, RevisionEvents};
use storage::MemEngine;
use types::{NodeId, Rng, Time};

use crate::keys::{self, Purpose};
use crate::workload::key;

/// All watchers of a world.
#[derive(Debug)]
pub(crate) struct Watchers {
    seed: u64,
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    /// First key, and end of the range; empty for the one key.
    range: (Bytes, Bytes),
    prev_kv: bool,
    /// Which life of which node it listens to.
    at: Option<(NodeId, u64)>,
    /// The first revision that it has not been told of; `None` before its first stream.
    next: Option<Revision>,
    streams: Vec<WatchStream>,
}

/// A page of history holds so many events.
const PAGE: usize = 16;
/// One in so many applications is followed by a progress notification.
const PROGRESS_EVERY: u64 = 8;

impl Watchers {
    /// Half of the worlds have watchers, of one key or of all.
    pub(crate) fn draw(seed: u64, keys_max: u64) -> Watchers {
        let mut rng = keys::rng(seed, Purpose::Watch, [0; 3]);
        let count = *rng.pick(&[0, 0, 1, 2]).unwrap_or(&0);
        let watchers = (0..count).map(|_| {
            let all = (Bytes::from_static(b"k"), Bytes::from_static(b"l"));
            let range = if rng.below(2) == 0 { all } else { (key(rng.below(keys_max)), Bytes::new()) };
            Watcher { range, prev_kv: rng.below(2) == 0, at: None, next: None, streams: Vec::new() }
        });
        Watchers { seed, watchers: watchers.collect() }
    }

    /// Their numbers.
    pub(crate) fn numbers(&self) -> std::ops::Range<usize> {
        0..self.watchers.len()
    }

    /// The generator of a watcher's choice at this moment.
    pub(crate) fn rng(&self, number: usize, now: Time) -> Rng {
        keys::rng(self.seed, Purpose::Watch, [number as u64 + 1, now.0, 0])
    }

    /// A watcher turns to a replica, and hears first what it has missed.
    pub(crate) fn attach(&mut self, number: usize, at: (NodeId, u64), reader: &Reader<MemEngine>, now: Time) {
        let Some(watcher) = self.watchers.get_mut(number) else { return };
        // A state that is incomplete serves nobody.
        let Ok(revision) = reader.revision() else { return };
        let (from, to) = watcher.range.clone();
        let watched = if to.is_empty() { Keys::One(from) } else { Keys::Range(from, to) };
        let request = WatchRequest { prev_kv: watcher.prev_kv, ..WatchRequest::new(watched, watcher.next) };
        let created = Heard { at: now, message: Message::Created(revision) };
        watcher.streams.push(WatchStream { request, heard: vec![created], awaited: None });
        watcher.next.get_or_insert(revision + 1);
        watcher.at = Some(at);
        watcher.catch_up(reader, revision, now);
    }

    /// A replica has applied something, up to `revision`.
    pub(crate) fn applied(
        &mut self,
        at: (NodeId, u64),
        events: &[RevisionEvents],
        revision: Revision,
        now: Time,
    ) {
        for (number, watcher) in (0..).zip(&mut self.watchers).filter(|(_, watcher)| watcher.at == Some(at)) {
            watcher.tell(events, revision, now);
            let mut rng = keys::rng(self.seed, Purpose::Watch, [number, now.0, 1]);
            if rng.below(PROGRESS_EVERY) == 0 {
                watcher.hear(Message::Progress(revision), now);
            }
        }
    }

    /// A replica has installed a checkpoint: what it jumped over stands in its history.
    pub(crate) fn jumped(
        &mut self,
        at: (NodeId, u64),
        reader: &Reader<MemEngine>,
        revision: Revision,
        now: Time,
    ) {
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.at == Some(at)) {
            watcher.catch_up(reader, revision, now);
        }
    }

    /// A node has died.
    pub(crate) fn left(&mut self, node: NodeId) {
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.at.is_some_and(|at| at.0 == node)) {
            watcher.at = None;
        }
    }

    /// Everything up to here must have been told to all that listen to this life.
    pub(crate) fn await_all(&mut self, at: (NodeId, u64), revision: Revision) {
        for watcher in self.watchers.iter_mut().filter(|watcher| watcher.at == Some(at)) {
            watcher.streams.last_mut().into_iter().for_each(|stream| stream.awaited = Some(revision));
        }
    }

    /// Judges what all have heard against the changes of `history`.
    pub(crate) fn judge(&self, history: &History) -> Verdict {
        let timeline = Timeline::from_history(history);
        for (number, watcher) in self.watchers.iter().enumerate() {
            let watch = Watch { name: format!("watch {number}"), streams: watcher.streams.clone() };
            let verdict = check_watch(&timeline, &watch);
            if !verdict.holds() {
                return verdict;
            }
        }
        Verdict::Holds
    }
}

impl Watcher {
    fn catch_up(&mut self, reader: &Reader<MemEngine>, revision: Revision, now: Time) {
        let (from, to) = self.range.clone();
        while let Some(next) = self.next.filter(|next| *next <= revision) {
            match reader.events(&from, &to, next, revision, PAGE) {
                Ok(page) if page.next > next => {
                    self.tell(&page.events, revision, now);
                    self.next = Some(page.next);
                }
                Ok(_) | Err(EventsError::Compacted { .. } | EventsError::Read(_)) => break,
            }
        }
    }

    fn tell(&mut self, revisions: &[RevisionEvents], header: Revision, now: Time) {
        let mut told = Vec::new();
        for revision in revisions {
            // A replica that has restarted applies again what it had applied before.
            if self.next.is_some_and(|next| revision.revision < next) {
                continue;
            }
            let wanted = revision.events.iter().filter(|event| self.wants(&event.kv.key));
            told.extend(wanted.map(|event| self.event(revision.revision, event)));
            self.next = Some(revision.revision + 1);
        }
        if !told.is_empty() {
            self.hear(Message::Events { revision: header, events: told }, now);
        }
    }

    fn wants(&self, key: &Bytes) -> bool {
        let (from, to) = &self.range;
        if to.is_empty() { key == from } else { from <= key && key < to }
    }

    fn event(&self, revision: Revision, event: &kv::Event) -> Event {
        let is_put = event.kind == EventKind::Put;
        let previous = event.prev_kv.as_ref().filter(|_| self.prev_kv).map(item);
        Event { revision, key: event.kv.key.clone(), item: is_put.then(|| item(&event.kv)), previous }
    }

    fn hear(&mut self, message: Message, now: Time) {
        self.streams.last_mut().into_iter().for_each(|stream| {
            stream.heard.push(Heard { at: now, message: message.clone() });
        });
    }
}

fn item(kv: &KeyValue) -> Item {
    Item {
        value: kv.value.clone(),
        mod_revision: Some(kv.mod_revision),
        create_revision: Some(kv.create_revision),
        version: Some(kv.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::Change;

    const AT: (NodeId, u64) = (NodeId(1), 1);

    fn put(revision: Revision) -> RevisionEvents {
        let (key, value) = (Bytes::from_static(b"k00"), Bytes::from(format!("v{revision}")));
        let (mod_revision, create_revision, version) = (revision, 2, revision - 1);
        let kv = KeyValue { key, value, mod_revision, create_revision, version, ..KeyValue::default() };
        RevisionEvents { revision, events: vec![kv::Event { kind: EventKind::Put, kv, prev_kv: None }] }
    }

    fn history(last: Revision) -> History {
        let mut history = History::new();
        history.changes = (2..=last)
            .map(|revision| {
                let kv = put(revision).events.remove(0).kv;
                Change { revision, key: kv.key, value: Some(kv.value) }
            })
            .collect();
        history
    }

    fn watchers() -> Watchers {
        let range = (Bytes::from_static(b"k"), Bytes::from_static(b"l"));
        let request = WatchRequest::new(Keys::prefix(b"k"), Some(2));
        let stream = WatchStream { request, heard: Vec::new(), awaited: None };
        let watcher = Watcher { range, prev_kv: false, at: Some(AT), next: Some(2), streams: vec![stream] };
        Watchers { seed: 1, watchers: vec![watcher] }
    }

    #[test]
    fn what_a_replica_applies_is_told_once_also_if_it_applies_it_again() {
        let mut watchers = watchers();
        watchers.applied(AT, &[put(2), put(3)], 3, Time(1));
        watchers.applied(AT, &[put(3), put(4)], 4, Time(2));
        watchers.await_all(AT, 4);
        assert!(watchers.judge(&history(4)).holds(), "{}", watchers.judge(&history(4)));
    }

    #[test]
    fn a_replica_that_leaves_out_a_revision_is_found_out() {
        let mut watchers = watchers();
        watchers.applied(AT, &[put(2)], 2, Time(1));
        watchers.applied(AT, &[put(4)], 4, Time(2));
        assert!(watchers.judge(&history(4)).violated());
        let mut watchers = self::watchers();
        watchers.applied(AT, &[put(2)], 2, Time(1));
        watchers.await_all(AT, 3);
        assert!(watchers.judge(&history(3)).violated(), "the last one never came");
    }
}

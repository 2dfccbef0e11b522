//! The node's one place where applied events meet live watchers.
//!
//! A watcher is *live* (registered here, W1 by being offered every revision in turn) or *lagging* (its stream's
//! driver reads history for it). It becomes live under the lock that `publish` holds, at the revision after
//! the last one that it was given, so nothing falls between and nothing comes twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kv::{EventKind, Revision, RevisionEvents};
use tokio::sync::watch;

use super::frame::{Frame, Shared};
use super::index::{Index, Target};
use super::queue::Queue;

/// Which events a watcher wants, and how.
#[derive(Clone, Debug)]
pub(super) struct Wish {
    pub(super) target: Target,
    /// The revision it asked to start from; 0: from now on.
    pub(super) start: Revision,
    pub(super) no_put: bool,
    pub(super) no_delete: bool,
    pub(super) prev_kv: bool,
    pub(super) fragment: bool,
    pub(super) progress_notify: bool,
}

impl Wish {
    /// Whether it wants this kind of event.
    pub(super) fn admits(&self, kind: EventKind) -> bool {
        match kind {
            EventKind::Put => !self.no_put,
            EventKind::Delete => !self.no_delete,
        }
    }
}

/// A registered watcher.
#[derive(Debug)]
struct Live {
    queue: Arc<Queue>,
    watch_id: i64,
    wish: Arc<Wish>,
    /// Events below are not for it: it has had them, or starts later.
    next: Revision,
    /// Whether it was sent something since the last progress tick.
    sent: bool,
}

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Hub {
    registry: Mutex<Registry>,
    published: watch::Sender<Revision>,
    /// Encoded events of one response that a fragmenting watcher gets at most.
    fragment_bytes: usize,
}

#[derive(Debug)]
struct Registry {
    /// Every event up to here has been offered to the live watchers.
    published: Revision,
    next_number: u64,
    live: HashMap<u64, Live>,
    index: Index,
}

impl Hub {
    /// A hub that has seen everything up to `published`.
    pub(crate) fn new(published: Revision, fragment_bytes: usize) -> Hub {
        let registry = Registry { published, next_number: 0, live: HashMap::new(), index: Index::default() };
        Hub { registry: Mutex::new(registry), published: watch::Sender::new(published), fragment_bytes }
    }

    /// Offers applied revisions, ascending, to the live watchers. If one was left out, everybody reads
    /// history.
    pub(crate) fn publish(&self, revisions: &[RevisionEvents]) {
        let mut registry = self.registry();
        for revision in revisions {
            if revision.revision <= registry.published {
                continue;
            }
            if revision.revision > registry.published + 1 {
                registry.demote_all();
            }
            registry.offer(revision, self.fragment_bytes);
            registry.published = revision.revision;
        }
        self.published.send_replace(registry.published);
    }

    /// Events up to `upto` happened that this hub was not shown: everybody reads history.
    pub(crate) fn skip(&self, upto: Revision) {
        let mut registry = self.registry();
        if upto > registry.published {
            registry.demote_all();
            registry.published = upto;
        }
        self.published.send_replace(registry.published);
    }

    /// Waits until every event up to `revision` has been offered.
    pub(super) async fn reached(&self, revision: Revision) {
        // The sender lives as long as the hub, so waiting cannot fail.
        self.published.subscribe().wait_for(|published| *published >= revision).await.ok();
    }

    /// Makes a watcher live from revision `next` on. `None` if events from there on have been offered
    /// already, so that it must read history first.
    pub(super) fn register(
        &self,
        queue: &Arc<Queue>,
        watch_id: i64,
        wish: &Arc<Wish>,
        next: Revision,
    ) -> Option<u64> {
        let mut registry = self.registry();
        if next <= registry.published {
            return None;
        }
        Some(registry.add(queue, watch_id, wish, next))
    }

    /// Makes a watcher live for everything that is published from now on.
    pub(super) fn register_now(&self, queue: &Arc<Queue>, watch_id: i64, wish: &Arc<Wish>) -> u64 {
        let mut registry = self.registry();
        let next = registry.published + 1;
        registry.add(queue, watch_id, wish, next)
    }

    /// Forgets a watcher.
    pub(super) fn unregister(&self, number: u64) {
        self.registry().remove(number);
    }

    /// Tells these watchers how far they are, if they are live, want it, and were not sent anything since the
    /// last time. (W3: under the lock, everything published is in their queue.)
    pub(super) fn tick_progress(&self, numbers: impl Iterator<Item = u64>) {
        let mut registry = self.registry();
        let revision = registry.published;
        for number in numbers {
            let Some(live) = registry.live.get_mut(&number) else { continue };
            let due = live.wish.progress_notify && !std::mem::take(&mut live.sent);
            if due && live.wish.start <= revision {
                live.queue.push(Frame { watch_id: live.watch_id, revision, ..Frame::default() });
            }
        }
    }

    /// Tells a stream how far all its watchers are, if all are live and none starts in the future (W3).
    pub(super) fn progress_of_all(&self, queue: &Queue, mut numbers: impl Iterator<Item = u64>) {
        let registry = self.registry();
        let revision = registry.published;
        let synced = |number| registry.live.get(&number).is_some_and(|live| live.wish.start <= revision);
        if numbers.all(synced) && !queue.has_lagging() {
            queue.push(Frame { watch_id: -1, revision, ..Frame::default() });
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    fn add(&mut self, queue: &Arc<Queue>, watch_id: i64, wish: &Arc<Wish>, next: Revision) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.index.insert(&wish.target, number);
        let live = Live { queue: queue.clone(), watch_id, wish: wish.clone(), next, sent: false };
        self.live.insert(number, live);
        number
    }

    fn remove(&mut self, number: u64) -> Option<Live> {
        let live = self.live.remove(&number)?;
        self.index.remove(&live.wish.target, number);
        Some(live)
    }

    /// Everybody reads history from where they are.
    fn demote_all(&mut self) {
        let after = self.published + 1;
        for (_, live) in self.live.drain() {
            live.queue.lag(live.watch_id, live.next.max(after));
        }
        self.index = Index::default();
    }

    /// Offers one revision to all who want it: to each in one response (W2).
    fn offer(&mut self, revision: &RevisionEvents, fragment_bytes: usize) {
        let events: Vec<Shared<'_>> = revision.events.iter().map(Shared::new).collect();
        let mut wanted: Vec<(u64, usize)> = Vec::new();
        for (at, event) in events.iter().enumerate() {
            self.index.wanting(&event.event().kv.key, |number| wanted.push((number, at)));
        }
        if events.len() > 1 {
            wanted.sort_unstable();
        }
        let mut full = Vec::new();
        for group in wanted.chunk_by(|a, b| a.0 == b.0) {
            let number = group[0].0;
            let Some(live) = self.live.get_mut(&number) else { continue };
            if !live.offer(revision.revision, group, &events, fragment_bytes) {
                full.push(number);
            }
        }
        for number in full {
            self.remove(number);
        }
    }
}

impl Live {
    /// Returns whether the queue took what this watcher wants of the revision.
    fn offer(
        &mut self,
        revision: Revision,
        group: &[(u64, usize)],
        events: &[Shared<'_>],
        fragment_bytes: usize,
    ) -> bool {
        if revision < self.next {
            return true;
        }
        let wish = &self.wish;
        let encoded: Vec<Bytes> = group
            .iter()
            .map(|(_, at)| &events[*at])
            .filter(|event| wish.admits(event.event().kind))
            .map(|event| event.encoded(wish.prev_kv))
            .collect();
        if encoded.is_empty() {
            return true;
        }
        let frame = || {
            let frame = Frame::of_events(self.watch_id, revision, encoded);
            if wish.fragment { frame.fragments(fragment_bytes) } else { vec![frame] }
        };
        self.sent = true;
        self.queue.offer(frame, self.watch_id, revision)
    }
}

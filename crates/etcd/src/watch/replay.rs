//! History for several watchers from one reading of it.

use std::collections::BTreeSet;

use kv::{EventsPage, Revision, RevisionEvents};

use super::frame::{Frame, Shared};
use super::hub::Wish;
use super::index::Index;

/// A response is closed at the end of a revision once its events take so many bytes.
const RESPONSE_BYTES: usize = 1 << 20;

/// Several watchers that read the same page.
pub(super) struct Replay<'a> {
    watchers: Vec<Reading<'a>>,
    index: Index,
    fragment_bytes: usize,
    done: Vec<Frame>,
}

struct Reading<'a> {
    wish: &'a Wish,
    /// Where it goes on.
    next: Revision,
    /// The response being filled.
    open: Frame,
    open_bytes: usize,
}

impl<'a> Replay<'a> {
    /// `watchers` are ids, the revisions from which they read, and their wishes.
    pub(super) fn new(
        watchers: impl Iterator<Item = (i64, Revision, &'a Wish)>,
        fragment_bytes: usize,
    ) -> Replay<'a> {
        let mut replay =
            Replay { watchers: Vec::new(), index: Index::default(), fragment_bytes, done: Vec::new() };
        for (watch_id, next, wish) in watchers {
            replay.index.insert(&wish.target, replay.watchers.len() as u64);
            let open = Frame { watch_id, ..Frame::default() };
            replay.watchers.push(Reading { wish, next, open, open_bytes: 0 });
        }
        replay
    }

    /// The responses with the page's events: whole revisions, several to a response (W2). `revision` is the
    /// store's at the time of reading.
    pub(super) fn run(mut self, page: &EventsPage, revision: Revision) -> Vec<Frame> {
        for of_revision in &page.events {
            self.replay(of_revision);
        }
        for at in 0..self.watchers.len() {
            self.close(at);
        }
        for frame in &mut self.done {
            frame.revision = revision;
        }
        self.done
    }

    fn replay(&mut self, of_revision: &RevisionEvents) {
        let mut touched = BTreeSet::new();
        for event in &of_revision.events {
            let event = Shared::new(event);
            let Replay { index, watchers, .. } = self;
            index.wanting(&event.event().kv.key, |at| {
                let at = usize::try_from(at).unwrap_or(usize::MAX);
                let Some(watcher) = watchers.get_mut(at) else { return };
                if of_revision.revision >= watcher.next && watcher.wish.admits(event.event().kind) {
                    let encoded = event.encoded(watcher.wish.prev_kv);
                    watcher.open_bytes += encoded.len();
                    watcher.open.events.push(encoded);
                    touched.insert(at);
                }
            });
        }
        for at in touched {
            if self.watchers[at].open_bytes >= RESPONSE_BYTES {
                self.close(at);
            }
        }
    }

    fn close(&mut self, at: usize) {
        let watcher = &mut self.watchers[at];
        let empty = Frame { watch_id: watcher.open.watch_id, ..Frame::default() };
        let frame = std::mem::replace(&mut watcher.open, empty);
        watcher.open_bytes = 0;
        if frame.events.is_empty() {
            return;
        }
        if watcher.wish.fragment {
            self.done.extend(frame.fragments(self.fragment_bytes));
        } else {
            self.done.push(frame);
        }
    }
}

//! C5: does every watch tell the history, whole and in order, and nothing else?
//!
//! ```text
//!   the store's changes    2    3    4    5    6    7         replayed: with versions and previous values
//!   watch k from 3              ├k───────k▶ broken
//!   … resumed from 6                           ├────k▶        each stream is the exact slice of what it asked for
//! ```
//!
//! The promises of etcd's API guarantees, and those that its robustness tests hold it to:
//! - W1  ordered: revisions never fall;
//! - W2  unique: no event comes twice;
//! - W3  reliable: no event is left out between two that came;
//! - W4  atomic: the events of one revision come together;
//! - W5  resumable: a watch from a revision begins with the first event there;
//! - W6  bookmarkable: after a progress notification nothing comes that is not newer, and nothing was missing;
//! - W7  filter: only what was asked for comes, and nothing from before the start;
//! - W8  previous values are those of the history;
//! - W9  and so are the values themselves, with versions and creation.
//!
//! Together: what a stream delivered equals the slice of the history from its start to the last revision that it
//! told of. Who asks for what is compacted is told so, with the revision up to which it is (W10): the only end of a
//! stream after which a watcher may go on elsewhere.
//!
//! Linear in the number of events, and in the slice of history between the first and the last.
//!
//! # Source
//! etcd, "API guarantees", section Watch APIs; `tests/robustness/validate/watch.go` for the list of what is checked.

use bytes::Bytes;
use types::Time;

use crate::{Item, Revision, Verdict};

mod judge;
mod timeline;

pub use timeline::{Compaction, Timeline};

/// Which keys a watch asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// One key.
    One(Bytes),
    /// From the first, inclusive, to the second, exclusive.
    Range(Bytes, Bytes),
    /// From this one to the end.
    From(Bytes),
}

/// What a stream asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub keys: Keys,
    /// The first revision; `None` for what comes after the creation of the watch.
    pub start: Option<Revision>,
    /// Whether puts are filtered out.
    pub no_put: bool,
    /// Whether deletes are filtered out.
    pub no_delete: bool,
    /// Whether events bring the previous state of their key.
    pub prev_kv: bool,
}

/// One change of one key, as a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub revision: Revision,
    /// Which key.
    pub key: Bytes,
    /// What it became, with as much of its metadata as the watcher was told; `None` if it was deleted.
    pub item: Option<Item>,
    /// What it was before; `None` if it was absent, or if the watcher was not told.
    pub previous: Option<Item>,
}

/// What the server said, after the pieces of a fragmented message were put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The watch exists. The header's revision, after which a watch without start begins.
    Created(Revision),
    /// Some events.
    Events {
        /// The header's revision.
        revision: Revision,
        /// In the order in which they came.
        events: Vec<Event>,
    },
    /// All events up to this revision have been sent.
    Progress(Revision),
    /// The watch is cancelled: what comes next is lost up to this revision (`compact_revision`).
    Compacted(Revision),
}

/// A message and when it arrived, on the clock of the compactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Time,
    /// What.
    pub message: Message,
}

/// One stream of a watch: from its request to its end, whatever ended it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchStream {
    /// What was asked.
    pub request: WatchRequest,
    /// What came, in order.
    pub heard: Vec<Heard>,
    /// The revision for which the watcher waited in vain or with success, if it waited: everything up to there
    /// must have come.
    pub awaited: Option<Revision>,
}

/// A watch as its user sees it: streams, each of which resumes where the one before broke off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// What reports call it.
    pub name: String,
    /// Its streams, in order.
    pub streams: Vec<WatchStream>,
}

impl Keys {
    /// The keys that begin with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Keys {
        let mut end = prefix.to_vec();
        while let Some(byte) = end.pop() {
            if byte < u8::MAX {
                end.push(byte + 1);
                return Keys::Range(Bytes::copy_from_slice(prefix), end.into());
            }
        }
        Keys::From(Bytes::copy_from_slice(prefix))
    }

    /// Whether `key` is among them.
    pub fn contain(&self, key: &Bytes) -> bool {
        match self {
            Keys::One(one) => key == one,
            Keys::Range(from, to) => from <= key && key < to,
            Keys::From(from) => from <= key,
        }
    }
}

impl WatchRequest {
    /// All changes of `keys` from `start` on, without previous values.
    pub fn new(keys: Keys, start: Option<Revision>) -> WatchRequest {
        WatchRequest { keys, start, no_put: false, no_delete: false, prev_kv: false }
    }

    /// Whether it asks for `event`, whenever that was.
    pub fn wants(&self, event: &Event) -> bool {
        let filtered = if event.item.is_some() { self.no_put } else { self.no_delete };
        !filtered && self.keys.contain(&event.key)
    }
}

/// Judges whether `watch` tells the history of `timeline`: see the promises of this module.
pub fn check_watch(timeline: &Timeline, watch: &Watch) -> Verdict {
    match judge::judge(timeline, watch) {
        Ok(()) => Verdict::Holds,
        Err(violation) => Verdict::Violated(*violation),
    }
}

#[cfg(test)]
mod tests;

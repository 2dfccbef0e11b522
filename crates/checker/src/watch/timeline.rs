//! The history that watches are held against.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::Time;

use super::{Event, WatchRequest};
use crate::{Change, History, Item, Revision};

/// Every change of the store from an empty one on, replayed, and every compaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    events: Vec<Event>,
    /// The store's revision at the end.
    last: Revision,
    /// What was compacted.
    pub compactions: Vec<Compaction>,
}

/// One request to forget the past, answered or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// States before this revision are gone.
    pub revision: Revision,
    /// When it was asked for: before, nobody can have been told of it.
    pub asked: Time,
}

impl Timeline {
    /// Replays `changes`, which begin with the store's first and miss none; `last` is the store's revision after
    /// all of them.
    pub fn new(changes: &[Change], last: Revision) -> Timeline {
        let mut events = Vec::with_capacity(changes.len());
        let mut items: BTreeMap<&Bytes, Item> = BTreeMap::new();
        for change in changes {
            let previous = items.remove(&change.key);
            let item =
                change.value.as_ref().map(|value| after_put(previous.as_ref(), value, change.revision));
            if let Some(item) = &item {
                items.insert(&change.key, item.clone());
            }
            events.push(Event { revision: change.revision, key: change.key.clone(), item, previous });
        }
        // Stable: what one transaction did stays in its order.
        events.sort_by_key(|event| event.revision);
        Timeline { events, last, compactions: Vec::new() }
    }

    /// Replays what was watched of `history` from its start to its end.
    pub fn from_history(history: &History) -> Timeline {
        let last = history.changes.last().map_or(history.start_revision, |change| change.revision);
        Timeline::new(&history.changes, last)
    }

    /// Every change with its key's states before and after, by revision.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The store's revision at the end.
    pub fn last(&self) -> Revision {
        self.last
    }

    /// The first revision in `from..upto` at which something happened that `request` asks for.
    pub(super) fn next(&self, request: &WatchRequest, from: Revision, upto: Revision) -> Option<Revision> {
        let first = self.events.partition_point(|event| event.revision < from);
        let events = self.events[first..].iter().take_while(|event| event.revision < upto);
        events.into_iter().find(|event| request.wants(event)).map(|event| event.revision)
    }

    /// What happened at `revision` that `request` asks for.
    pub(super) fn at<'a>(
        &'a self,
        request: &'a WatchRequest,
        revision: Revision,
    ) -> impl Iterator<Item = &'a Event> {
        let first = self.events.partition_point(|event| event.revision < revision);
        let events = self.events[first..].iter().take_while(move |event| event.revision == revision);
        events.filter(|event| request.wants(event))
    }

    /// Whether somebody who heard something at `at` may have met a compaction that `fits`.
    pub(super) fn compacted(&self, at: Time, fits: impl Fn(Revision) -> bool) -> bool {
        self.compactions.iter().any(|compaction| compaction.asked <= at && fits(compaction.revision))
    }
}

fn after_put(previous: Option<&Item>, value: &Bytes, revision: Revision) -> Item {
    Item {
        value: value.clone(),
        mod_revision: Some(revision),
        create_revision: previous.map_or(Some(revision), |item| item.create_revision),
        version: Some(previous.and_then(|item| item.version).unwrap_or(0) + 1),
    }
}

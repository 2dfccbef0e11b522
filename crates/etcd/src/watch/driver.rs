//! What one watch stream's client asks for, and the history that its watchers need.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kv::{EventsError, EventsPage, Revision};
use tonic::{Status, Streaming};

use super::frame::Frame;
use super::hub::Wish;
use super::index::Target;
use super::queue::Queue;
use super::ranges::{End, KeyRange};
use super::replay::Replay;
use crate::errors;
use crate::front::Front;
use crate::proto::etcdserverpb as pb;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;

/// Events read from history at once. A page is whole revisions, so it may hold more.
const PAGE_EVENTS: usize = 256;

/// The id in responses that belong to no watcher.
const NO_WATCHER: i64 = -1;

/// One stream's side that listens and catches up.
pub(super) struct Driver {
    front: Arc<Front>,
    queue: Arc<Queue>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
}

struct Watcher {
    wish: Arc<Wish>,
    /// Its number in the hub, when it last became live.
    number: Option<u64>,
}

impl Driver {
    pub(super) fn new(front: Arc<Front>, queue: Arc<Queue>) -> Driver {
        Driver { front, queue, watchers: BTreeMap::new(), next_id: 0 }
    }

    /// Serves the stream until its client is gone, no leader is known for too long (if that matters to the
    /// client), or the server stops. A client that has nothing more to ask still gets its events.
    pub(super) async fn run(mut self, mut requests: Streaming<pb::WatchRequest>, demands_leader: bool) {
        let front = self.front.clone();
        let mut ticks = tokio::time::interval(front.config.watch_progress_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ticks.reset();
        let interrupted = front.interrupted(demands_leader);
        tokio::pin!(interrupted);
        let mut asking = true;
        while !self.queue.is_abandoned() {
            let room = self.queue.has_room();
            let behind = self.queue.has_lagging();
            tokio::select! {
                biased;
                status = &mut interrupted => return self.queue.end(Err(status)),
                request = requests.message(), if asking && room => match request {
                    Ok(Some(request)) => self.handle(request).await,
                    Ok(None) => asking = false,
                    Err(status) => return self.queue.end(Err(status)),
                },
                _ = ticks.tick() => self.tick(),
                () = self.queue.changed.notified() => {}
                () = std::future::ready(()), if behind && room => self.catch_up().await,
            }
        }
    }

    async fn handle(&mut self, request: pb::WatchRequest) {
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.progress().await,
            None => {}
        }
    }

    fn create(&mut self, request: pb::WatchCreateRequest) {
        let revision = self.front.handle.revision();
        let asked_id = request.watch_id;
        let (wish, watch_id) = match wish(request) {
            Err(reason) => return self.refuse(revision, reason),
            Ok(_) if self.watchers.contains_key(&asked_id) && asked_id != 0 => {
                return self.refuse(revision, errors::WATCH_ID_TAKEN);
            }
            Ok(wish) => (Arc::new(wish), self.choose_id(asked_id)),
        };
        // Before any event of the watcher: the hub and the driver put those into the same queue.
        self.queue.push(Frame { watch_id, revision, created: true, ..Frame::default() });
        let next = if wish.start == 0 { revision + 1 } else { wish.start };
        let number = self.go_live(watch_id, &wish, next);
        self.watchers.insert(watch_id, Watcher { wish, number });
        self.front.metrics.watchers.add(1);
        self.queue.set_watchers(self.watchers.len());
    }

    fn choose_id(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.watchers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn refuse(&self, revision: Revision, reason: &str) {
        self.queue.push(Frame {
            watch_id: NO_WATCHER,
            revision,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Frame::default()
        });
    }

    /// Makes a watcher live, or notes that it must read history from `next` on.
    fn go_live(&self, watch_id: i64, wish: &Arc<Wish>, next: Revision) -> Option<u64> {
        // Only then register: from that moment on the hub may note anew that the watcher lags.
        self.queue.caught_up(watch_id);
        let number = self.front.hub.register(&self.queue, watch_id, wish, next);
        if number.is_none() {
            self.queue.lag(watch_id, next);
        }
        number
    }

    fn cancel(&mut self, watch_id: i64) {
        if self.forget(watch_id) {
            let revision = self.front.handle.revision();
            self.queue.push(Frame { watch_id, revision, canceled: true, ..Frame::default() });
        }
    }

    fn forget(&mut self, watch_id: i64) -> bool {
        let Some(watcher) = self.watchers.remove(&watch_id) else { return false };
        if let Some(number) = watcher.number {
            self.front.hub.unregister(number);
        }
        self.queue.caught_up(watch_id);
        self.queue.set_watchers(self.watchers.len());
        self.front.metrics.watchers.subtract(1);
        true
    }

    fn tick(&self) {
        self.front.hub.tick_progress(self.watchers.values().filter_map(|watcher| watcher.number));
    }

    /// Answers only if every watcher of the stream is live; else the client asks again.
    async fn progress(&self) {
        if self.watchers.is_empty() || self.queue.has_lagging() {
            return;
        }
        tokio::select! {
            () = self.front.hub.reached(self.front.handle.revision()) => {}
            () = self.front.stopped() => return,
        }
        let numbers = self.watchers.values().map(|watcher| watcher.number.unwrap_or(u64::MAX));
        self.front.hub.progress_of_all(&self.queue, numbers);
    }

    /// Reads one page of history for all watchers that are behind.
    async fn catch_up(&mut self) {
        let mut behind: Vec<(i64, Revision)> = self.queue.lagging().into_iter().collect();
        let Some(from) = behind.iter().map(|(_, next)| *next).min() else { return };
        let upto = self.front.handle.revision();
        let page = match self.read(&behind, from, upto).await {
            Ok(page) => page,
            Err(EventsError::Compacted { compacted, .. }) => {
                return self.cancel_compacted(&behind, compacted);
            }
            Err(EventsError::Read(error)) => return self.queue.end(Err(errors::of_read(error))),
        };
        behind.retain(|(watch_id, _)| self.watchers.contains_key(watch_id));
        let wishes = behind.iter().map(|(id, next)| (*id, *next, &*self.watchers[id].wish));
        Replay::new(wishes, self.front.config.receive_bytes_max())
            .run(&page, upto)
            .into_iter()
            .for_each(|frame| self.queue.push(frame));
        for (watch_id, next) in behind {
            self.advance(watch_id, next.max(page.next), upto);
        }
    }

    async fn read(
        &self,
        behind: &[(i64, Revision)],
        from: Revision,
        upto: Revision,
    ) -> Result<EventsPage, EventsError> {
        if from > upto {
            return Ok(EventsPage { events: Vec::new(), next: from });
        }
        let (key, end) = match behind {
            [(only, _)] => self.watchers.get(only).map_or_else(everything, |one| bounds(&one.wish.target)),
            _ => everything(),
        };
        let reader = self.front.reader.clone();
        let read = move || reader.events(&key, &end, from, upto, PAGE_EVENTS);
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(_stopping) => Err(EventsError::Read(kv::ReadError::Incomplete)),
        }
    }

    /// Everything below `next` was looked at for this watcher.
    fn advance(&mut self, watch_id: i64, next: Revision, upto: Revision) {
        let Some(watcher) = self.watchers.get(&watch_id) else { return };
        if next <= upto {
            return self.queue.lag(watch_id, next);
        }
        let number = self.go_live(watch_id, &watcher.wish, next);
        if let Some(watcher) = self.watchers.get_mut(&watch_id) {
            watcher.number = number;
        }
    }

    fn cancel_compacted(&mut self, behind: &[(i64, Revision)], compacted: Revision) {
        for (watch_id, _) in behind.iter().filter(|(_, next)| *next < compacted) {
            self.forget(*watch_id);
            self.queue.push(Frame {
                watch_id: *watch_id,
                canceled: true,
                compact_revision: compacted,
                ..Frame::default()
            });
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        for watcher in self.watchers.values() {
            if let Some(number) = watcher.number {
                self.front.hub.unregister(number);
            }
        }
        self.front.metrics.watchers.subtract(self.watchers.len() as u64);
        self.queue.end(Err(Status::from(errors::STOPPED)));
    }
}

/// What a request asks for; the text of etcd's refusal if it makes no sense.
fn wish(request: pb::WatchCreateRequest) -> Result<Wish, &'static str> {
    let filters = |filter: FilterType| request.filters.contains(&i32::from(filter));
    Ok(Wish {
        target: target(&request.key, &request.range_end)?,
        start: request.start_revision,
        no_put: filters(FilterType::Noput),
        no_delete: filters(FilterType::Nodelete),
        prev_kv: request.prev_kv,
        fragment: request.fragment,
        progress_notify: request.progress_notify,
    })
}

/// The strings are copied: they would keep the whole buffer that they were received in.
fn target(key: &[u8], range_end: &[u8]) -> Result<Target, &'static str> {
    let start = Bytes::copy_from_slice(if key.is_empty() { b"\0" } else { key });
    match range_end {
        [] => Ok(Target::Key(start)),
        [0] => Ok(Target::Range(KeyRange { start, end: End::Never })),
        end if *end <= *start => Err(errors::WATCH_RANGE_EMPTY),
        end => Ok(Target::Range(KeyRange { start, end: End::Before(Bytes::copy_from_slice(end)) })),
    }
}

/// Key and range end, as requests spell them.
fn bounds(target: &Target) -> (Bytes, Bytes) {
    match target {
        Target::Key(key) => (key.clone(), Bytes::new()),
        Target::Range(KeyRange { start, end: End::Before(end) }) => (start.clone(), end.clone()),
        Target::Range(KeyRange { start, end: End::Never }) => (start.clone(), Bytes::from_static(b"\0")),
    }
}

/// A range to watch is spelled as it was asked for, an empty key apart.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzzing(request: pb::WatchRequest) {
    let Some(RequestUnion::CreateRequest(request)) = request.request_union else { return };
    let (key, range_end) = (request.key.clone(), request.range_end.clone());
    if let Ok(wish) = wish(request) {
        let key = if key.is_empty() { Bytes::from_static(b"\0") } else { key };
        assert_eq!(bounds(&wish.target), (key, range_end));
    }
}

fn everything() -> (Bytes, Bytes) {
    (Bytes::from_static(b"\0"), Bytes::from_static(b"\0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd-api.md §4.5: an empty key is "\0", `range_end` as for Range, an empty range is refused.
    #[test]
    fn ranges_are_read_as_etcd_reads_them() {
        assert_eq!(target(b"", b""), Ok(Target::Key(Bytes::from_static(b"\0"))));
        assert_eq!(target(b"b", b"a"), Err(errors::WATCH_RANGE_EMPTY));
        assert_eq!(target(b"a", b"a"), Err(errors::WATCH_RANGE_EMPTY));
        for (key, end) in [("a", ""), ("a", "\0"), ("a", "b"), ("\0", "\0")] {
            let spelled = (Bytes::from(key), Bytes::from(end));
            assert_eq!(bounds(&target(&spelled.0, &spelled.1).unwrap()), spelled);
        }
    }
}

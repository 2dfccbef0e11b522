//! Watches of some keys that break off on purpose, come back later, sometimes to what they have seen already, and note
//! every message. Each asks in a way of its own: with or without deletes, puts, previous values.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use checker::watch::{Event, Heard, Keys, Message, Watch, WatchRequest, WatchStream};
use checker::{Item, Revision};
use etcd::proto::etcdserverpb as pb;
use etcd::proto::mvccpb;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc::Sender;
use types::Rng;

use super::{Shared, after};

/// A stream without messages is given up after this long: its connection may be dead without a word.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// What is asked for must have come this long after the last change.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// Messages after which a stream may break off.
const MESSAGES: (u64, u64) = (20, 2_000);

/// How long a watcher may stay away.
const AWAY_MS_MAX: u64 = 8_000;

/// How far back it may begin again.
const REPEATED_MAX: u64 = 300;

const PROGRESS_PAUSE: Duration = Duration::from_millis(500);

pub(super) async fn watch(shared: Arc<Shared>, number: u64) -> Watch {
    let mut rng = shared.rng("wtch", number);
    let (node, request) = (number, request(&mut rng, number, shared.keys));
    let mut watch =
        Watch { name: format!("{} at n{}", number, node_name(&shared, node)), streams: Vec::new() };
    let mut next: Revision = 1;
    let mut deadline: Option<Instant> = None;
    loop {
        let last = shared.last_revision.load(Ordering::Acquire);
        if last == u64::MAX {
            return watch;
        }
        let mut start = next;
        if last == 0 && rng.below(4) == 0 {
            start = (next - rng.below(REPEATED_MAX).cast_signed()).max(1);
        }
        let request = WatchRequest { start: Some(start), ..request.clone() };
        let stream = WatchStream { request, heard: Vec::new(), awaited: None };
        let mut streaming = Streaming { shared: &shared, stream, next: start };
        let messages = rng.between(MESSAGES.0, MESSAGES.1);
        // Whatever ends a stream, the next one goes on where it ended.
        drop(streaming.listen(node, messages).await);
        let Streaming { mut stream, next: reached, .. } = streaming;
        next = next.max(reached);
        let last = shared.last_revision.load(Ordering::Acquire);
        let is_done = last > 0 && last < u64::MAX && next.unsigned_abs() > last;
        if last > 0 && last < u64::MAX {
            let late = *deadline.get_or_insert_with(|| Instant::now() + CATCH_UP_LIMIT);
            if is_done || Instant::now() > late {
                stream.awaited = Some(last.cast_signed());
                watch.streams.push(stream);
                return watch;
            }
        }
        if !stream.heard.is_empty() {
            watch.streams.push(stream);
        }
        let away_ms = if rng.below(3) == 0 { rng.below(AWAY_MS_MAX) } else { 50 };
        shared.sleep(Duration::from_millis(away_ms)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn node_name(shared: &Shared, node: u64) -> u64 {
    node % shared.endpoints.len() as u64 + 1
}

/// What watch `number` asks for: few enough keys that everything it hears can be kept.
fn request(rng: &mut Rng, number: u64, keys: u64) -> WatchRequest {
    let first = rng.below(keys);
    let name = |key: u64| Bytes::from(format!("load/{key:04}"));
    let keys = match number % 3 {
        0 => Keys::One(name(first)),
        1 => Keys::Range(name(first), name(first + 4)),
        _ => Keys::Range(Bytes::from_static(b"lease/"), after("lease/")),
    };
    WatchRequest {
        keys,
        start: None,
        no_put: rng.below(6) == 0,
        no_delete: rng.below(6) == 0,
        prev_kv: rng.below(2) == 0,
    }
}

/// A stream under way.
struct Streaming<'a> {
    shared: &'a Shared,
    stream: WatchStream,
    /// The first revision that it has not told of.
    next: Revision,
}

impl Streaming<'_> {
    async fn listen(&mut self, node: u64, messages: u64) -> anyhow::Result<()> {
        let (requests, receiver) = tokio::sync::mpsc::channel(8);
        requests.send(create(&self.stream.request)).await?;
        let requested = tokio_stream::wrappers::ReceiverStream::new(receiver);
        // No time limit as for a single request: a stream is to last.
        let endpoint = self.shared.endpoints[(node % self.shared.endpoints.len() as u64) as usize].clone();
        let endpoint = tonic::transport::Endpoint::from_shared(endpoint)?;
        let channel = endpoint.connect_timeout(super::CONNECT_TIMEOUT).connect().await?;
        let mut client = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let mut responses = tokio::time::timeout(SILENCE_MAX, client.watch(requested))
            .await
            .context("no answer")??
            .into_inner();
        let (mut asked, mut heard_at) = (Instant::now(), Instant::now());
        loop {
            let last = self.shared.last_revision.load(Ordering::Acquire);
            let is_over = last == u64::MAX || self.next.unsigned_abs() > last;
            if last > 0 && is_over {
                return Ok(());
            }
            if asked.elapsed() > PROGRESS_PAUSE {
                ask_progress(&requests);
                asked = Instant::now();
            }
            match tokio::time::timeout(PROGRESS_PAUSE, responses.message()).await {
                Err(_) => anyhow::ensure!(heard_at.elapsed() < SILENCE_MAX, "silence"),
                Ok(response) => {
                    heard_at = Instant::now();
                    if !self.hear(response?.context("the stream ended")?)? {
                        return Ok(());
                    }
                }
            }
            if last == 0 && self.stream.heard.len() as u64 > messages {
                return Ok(());
            }
        }
    }

    /// Notes a message; returns whether more may come.
    fn hear(&mut self, response: pb::WatchResponse) -> anyhow::Result<bool> {
        let revision = response.header.context("a message without a header")?.revision;
        let message = if response.canceled {
            if response.compact_revision == 0 {
                return Ok(false);
            }
            self.next = response.compact_revision;
            Message::Compacted(response.compact_revision)
        } else if response.created {
            Message::Created(revision)
        } else if response.events.is_empty() {
            self.next = self.next.max(revision + 1);
            Message::Progress(revision)
        } else {
            let events: Vec<Event> = response.events.into_iter().map(event).collect::<anyhow::Result<_>>()?;
            let last = events.iter().map(|event| event.revision).max().unwrap_or_default();
            self.next = self.next.max(last + 1);
            Message::Events { revision, events }
        };
        self.stream.heard.push(Heard { at: self.shared.now(), message });
        Ok(!response.canceled)
    }
}

fn ask_progress(requests: &Sender<pb::WatchRequest>) {
    let union = RequestUnion::ProgressRequest(pb::WatchProgressRequest {});
    // Of a server that takes nothing any more nothing is heard either, which ends the stream.
    requests.try_send(pb::WatchRequest { request_union: Some(union) }).ok();
}

fn create(request: &WatchRequest) -> pb::WatchRequest {
    use pb::watch_create_request::FilterType;
    let (key, range_end) = match &request.keys {
        Keys::One(key) => (key.clone(), Bytes::new()),
        Keys::Range(from, to) => (from.clone(), to.clone()),
        Keys::From(from) => (from.clone(), Bytes::from_static(b"\0")),
    };
    let filters = [(request.no_put, FilterType::Noput), (request.no_delete, FilterType::Nodelete)];
    let create = pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: request.start.unwrap_or_default(),
        progress_notify: true,
        filters: filters.into_iter().filter(|(on, _)| *on).map(|(_, filter)| filter.into()).collect(),
        prev_kv: request.prev_kv,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

fn event(event: mvccpb::Event) -> anyhow::Result<Event> {
    let is_put = event.r#type() == mvccpb::event::EventType::Put;
    let pair = event.kv.context("an event without a pair")?;
    let (revision, key) = (pair.mod_revision, pair.key.clone());
    Ok(Event { revision, key, item: is_put.then(|| item(pair)), previous: event.prev_kv.map(item) })
}

fn item(pair: mvccpb::KeyValue) -> Item {
    Item {
        value: pair.value,
        mod_revision: Some(pair.mod_revision),
        create_revision: Some(pair.create_revision),
        version: Some(pair.version),
    }
}

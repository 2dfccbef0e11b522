//! The Watch service over the wire: W1-W5 of `src/watch/mod.rs`, and `etcd-api.md` §4.5.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{TestServer, put, within};
use etcd::ServerConfig;
use etcd::proto::etcdserverpb as pb;
use etcd::proto::mvccpb::Event;
use pb::watch_client::WatchClient;
use pb::watch_create_request::FilterType;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

/// One watch stream.
struct Stream {
    ask: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Stream {
    async fn open(channel: &Channel) -> Stream {
        let (ask, asked) = mpsc::channel(64);
        let mut client = WatchClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        let answers = client.watch(ReceiverStream::new(asked)).await.unwrap().into_inner();
        Stream { ask, answers }
    }

    async fn ask(&self, union: RequestUnion) {
        self.ask.send(pb::WatchRequest { request_union: Some(union) }).await.unwrap();
    }

    async fn create(&mut self, create: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.ask(RequestUnion::CreateRequest(create)).await;
        let created = self.next().await;
        assert!(created.created, "{created:?}");
        created
    }

    async fn next(&mut self) -> pb::WatchResponse {
        within(self.answers.message()).await.unwrap().expect("the stream goes on")
    }

    /// Reads responses until so many events have come, and returns these.
    async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let response = self.next().await;
            assert!(!response.canceled && !response.created, "{response:?}");
            events.extend(response.events);
        }
        events
    }
}

impl Stream {
    /// Reads one event of each of these revisions, in order.
    async fn expect_all(mut self, from: i64, upto: i64) {
        let expected: Vec<i64> = (from..=upto).collect();
        assert_eq!(revisions(&self.events(expected.len()).await), expected);
    }
}

fn key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.to_owned().into(), ..Default::default() }
}

fn everything() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: b"\0".as_slice().into(), ..key("\0") }
}

fn revisions(events: &[Event]) -> Vec<i64> {
    events.iter().map(|event| event.kv.as_ref().unwrap().mod_revision).collect()
}

fn value(event: &Event) -> &[u8] {
    &event.kv.as_ref().unwrap().value
}

fn delete(key: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: key.to_owned().into(), ..Default::default() }
}

#[tokio::test]
async fn a_watcher_gets_what_happens_to_its_keys_and_nothing_else() {
    let mut server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    let one = stream.create(key("a")).await;
    let range = stream.create(pb::WatchCreateRequest { range_end: "c".into(), ..key("b") }).await;
    assert_eq!((one.watch_id, range.watch_id), (0, 1));
    assert_eq!(one.header.unwrap().revision, 1);
    for name in ["a", "c", "b", "bz"] {
        server.put(name, "v").await;
    }
    let mut got = Vec::new();
    for _ in 0..3 {
        let response = stream.next().await;
        let revision = response.header.as_ref().unwrap().revision;
        got.push((response.watch_id, revision, response.events[0].kv.as_ref().unwrap().key.clone()));
    }
    assert_eq!(got, [(0, 2, "a".into()), (1, 4, "b".into()), (1, 5, "bz".into())]);
}

/// W1: writers write while watchers start at every revision; each gets each later revision once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_joins_the_present_without_a_gap_or_a_duplicate() {
    const WRITES: i64 = 600;
    let mut server = TestServer::start().await;
    let mut kv = server.kv.clone();
    let writer = tokio::spawn(async move {
        for n in 0..WRITES {
            kv.put(put(&format!("k{}", n % 7), &n.to_string())).await.unwrap();
        }
    });
    let mut watchers = Vec::new();
    while !writer.is_finished() && watchers.len() < 60 {
        let now = server.get("k0").await.header.unwrap().revision;
        let mut old = Stream::open(&server.channel).await;
        let from = (now - 40).max(2);
        old.create(pb::WatchCreateRequest { start_revision: from, ..everything() }).await;
        watchers.push(tokio::spawn(old.expect_all(from, WRITES + 1)));
        let mut new = Stream::open(&server.channel).await;
        let from_now = new.create(everything()).await.header.unwrap().revision + 1;
        watchers.push(tokio::spawn(new.expect_all(from_now, WRITES + 1)));
    }
    writer.await.unwrap();
    assert!(watchers.len() > 6, "{} watchers started while writing", watchers.len());
    for watcher in watchers {
        watcher.await.unwrap();
    }
}

/// W2.
#[tokio::test]
async fn the_events_of_one_revision_come_in_one_response() {
    let mut server = TestServer::start().await;
    let mut live = Stream::open(&server.channel).await;
    live.create(everything()).await;
    let put = |n: usize| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(put(&format!("k{n:02}"), "v"))),
    };
    let txn = pb::TxnRequest { success: (0..50).map(put).collect(), ..Default::default() };
    server.kv.txn(txn).await.unwrap();
    let mut late = Stream::open(&server.channel).await;
    late.create(pb::WatchCreateRequest { start_revision: 2, ..everything() }).await;
    for stream in [&mut live, &mut late] {
        let response = stream.next().await;
        assert_eq!(response.events.len(), 50);
        assert_eq!(revisions(&response.events), [2; 50]);
        assert!(!response.fragment);
    }
}

#[tokio::test]
async fn a_response_that_is_too_large_is_fragmented_if_the_watcher_asked_for_it() {
    let mut server = TestServer::with(ServerConfig { max_request_bytes: 20_000, ..Default::default() }).await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(pb::WatchCreateRequest { fragment: true, ..everything() }).await;
    stream.create(everything()).await;
    for n in 0..60 {
        server.put(&format!("k{n:02}"), &"v".repeat(15_000)).await;
    }
    stream.events(120).await;
    let all = pb::DeleteRangeRequest { range_end: b"\0".as_slice().into(), ..delete("\0") };
    server.kv.delete_range(all).await.unwrap();
    stream.events(120).await;

    let mut late = Stream::open(&server.channel).await;
    let history =
        pb::WatchCreateRequest { fragment: true, prev_kv: true, start_revision: 62, ..everything() };
    late.create(history).await;
    let first = late.next().await;
    let last = late.next().await;
    assert_eq!((first.fragment, last.fragment), (true, false), "60 pairs of 15 kB do not fit 544 kB");
    assert_eq!(first.events.len() + last.events.len(), 60);
}

#[tokio::test]
async fn filters_and_prev_kv_are_heeded_live_and_in_history() {
    let mut server = TestServer::start().await;
    let wishes = |start_revision| {
        let base = pb::WatchCreateRequest { start_revision, ..key("k") };
        [
            pb::WatchCreateRequest { filters: vec![FilterType::Noput.into()], prev_kv: true, ..base.clone() },
            pb::WatchCreateRequest { filters: vec![FilterType::Nodelete.into()], ..base },
        ]
    };
    let mut live = Stream::open(&server.channel).await;
    for wish in wishes(0) {
        live.create(wish).await;
    }
    server.put("k", "old").await;
    server.kv.delete_range(delete("k")).await.unwrap();
    let mut late = Stream::open(&server.channel).await;
    for wish in wishes(2) {
        // Events of the first may come before the second is created.
        late.ask(RequestUnion::CreateRequest(wish)).await;
    }
    for stream in [&mut live, &mut late] {
        let (mut puts, mut deletes) = (Vec::new(), Vec::new());
        while puts.is_empty() || deletes.is_empty() {
            let response = stream.next().await;
            if response.watch_id == 0 { &mut deletes } else { &mut puts }.extend(response.events);
        }
        let [deleted] = &deletes[..] else { panic!("{deletes:?}") };
        let [written] = &puts[..] else { panic!("{puts:?}") };
        assert_eq!(&deleted.prev_kv.as_ref().unwrap().value[..], b"old");
        let pair = deleted.kv.as_ref().unwrap();
        assert_eq!((pair.mod_revision, pair.create_revision, &pair.value[..]), (3, 0, &b""[..]));
        assert_eq!((value(written), &written.prev_kv), (&b"old"[..], &None));
    }
}

/// §4.5: `created` first, then `canceled` with the compacted revision, without reason or revision.
#[tokio::test]
async fn a_start_below_the_compacted_revision_is_canceled() {
    let mut server = TestServer::start().await;
    for n in 0..5 {
        server.put("k", &n.to_string()).await;
    }
    server.kv.compact(pb::CompactionRequest { revision: 4, physical: false }).await.unwrap();
    let mut stream = Stream::open(&server.channel).await;
    stream.create(pb::WatchCreateRequest { start_revision: 3, ..key("k") }).await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && !canceled.created);
    assert_eq!((canceled.watch_id, canceled.compact_revision), (0, 4));
    assert_eq!((canceled.header.unwrap().revision, &canceled.cancel_reason[..]), (0, ""));
    stream.create(pb::WatchCreateRequest { start_revision: 4, ..key("k") }).await;
    assert_eq!(revisions(&stream.events(3).await), [4, 5, 6], "the compacted revision itself is there");
}

#[tokio::test]
async fn a_watcher_of_the_future_gets_nothing_earlier() {
    let mut server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(pb::WatchCreateRequest { start_revision: 4, ..key("k") }).await;
    stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    for n in 0..4 {
        server.put("k", &n.to_string()).await;
    }
    assert_eq!(revisions(&stream.events(2).await), [4, 5]);
}

#[tokio::test]
async fn a_canceled_watcher_gets_one_last_response_and_an_unknown_one_none() {
    let mut server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(pb::WatchCreateRequest { watch_id: 9, ..key("k") }).await;
    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 5 })).await;
    stream.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: 9 })).await;
    let canceled = stream.next().await;
    assert_eq!((canceled.watch_id, canceled.canceled, canceled.created), (9, true, false));
    server.put("k", "v").await;
    let created = stream.create(pb::WatchCreateRequest { watch_id: 9, ..key("k") }).await;
    assert_eq!(created.watch_id, 9, "its id is free again, and nothing came between");
}

#[tokio::test]
async fn senseless_watchers_are_refused_with_etcds_reasons() {
    let server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(pb::WatchCreateRequest { watch_id: 3, ..key("k") }).await;
    let twice = pb::WatchCreateRequest { watch_id: 3, ..key("k") };
    let empty = pb::WatchCreateRequest { range_end: "a".into(), ..key("b") };
    for (request, reason) in [
        (twice, "mvcc: duplicate watch ID provided on the WatchStream"),
        (empty, "mvcc: watcher range is empty"),
    ] {
        let refused = stream.create(request).await;
        assert_eq!((refused.watch_id, refused.canceled, &refused.cancel_reason[..]), (-1, true, reason));
    }
}

/// W3: what a progress response promises has been delivered before it.
#[tokio::test]
async fn progress_is_told_for_the_whole_stream_when_asked() {
    let mut server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    stream.create(key("k")).await; // without watchers there is no answer
    for n in 0..20 {
        let revision = server.put(if n % 2 == 0 { "k" } else { "other" }, "v").await;
        stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
        let mut response = stream.next().await;
        if n % 2 == 0 {
            assert_eq!(revisions(&response.events), [revision]);
            response = stream.next().await;
        }
        assert_eq!((response.watch_id, response.events.len()), (-1, 0));
        assert_eq!(response.header.unwrap().revision, revision);
    }
}

#[tokio::test]
async fn idle_watchers_that_asked_for_it_are_told_how_far_they_are() {
    let watch_progress_interval = Duration::from_millis(50);
    let mut server = TestServer::with(ServerConfig { watch_progress_interval, ..Default::default() }).await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(key("silent")).await;
    stream.create(pb::WatchCreateRequest { progress_notify: true, ..key("k") }).await;
    server.put("other", "v").await;
    within(async {
        loop {
            let told = stream.next().await;
            assert_eq!((told.watch_id, told.events.len()), (1, 0));
            if told.header.unwrap().revision == 2 {
                break;
            }
        }
    })
    .await;
}

/// W4: the client of a stream reads nothing while far more is written than may wait for it, then everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_watcher_falls_behind_and_still_gets_everything_once() {
    const WRITES: i64 = 160;
    let mut server = TestServer::start().await;
    let mut slow = Stream::open(&server.channel).await;
    slow.create(everything()).await;
    let mut quick = Stream::open(&server.channel).await;
    quick.create(key("last")).await;
    let megabyte = "v".repeat(200_000);
    for n in 0..WRITES {
        server.put(&format!("k{}", n % 3), &megabyte).await;
    }
    server.put("last", "v").await;
    assert_eq!(server.metric("etcd_debugging_mvcc_slow_watcher_total").await, 1);
    assert_eq!(revisions(&quick.events(1).await), [WRITES + 2], "others are not held up");
    let expected: Vec<i64> = (2..=WRITES + 2).collect();
    assert_eq!(revisions(&slow.events(expected.len()).await), expected);
    server.put("k0", "after").await;
    assert_eq!(revisions(&slow.events(1).await), [WRITES + 3]);
    assert_eq!(server.metric("etcd_debugging_mvcc_slow_watcher_total").await, 0, "it is live again");
}

#[tokio::test]
async fn a_stream_that_demands_a_leader_is_refused_and_ended_without_one() {
    let election_timeout = Duration::from_millis(50);
    let server = TestServer::leaderless(ServerConfig { election_timeout, ..Default::default() }).await;
    let mut client = WatchClient::new(server.channel.clone());
    let (_ask, asked) = mpsc::channel(1);
    let mut request = tonic::Request::new(ReceiverStream::new(asked));
    request.metadata_mut().insert("hasleader", "true".parse().unwrap());
    let refused: Status = client.watch(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut stream = Stream::open(&server.channel).await;
    stream.create(key("k")).await; // others may watch
}

#[tokio::test]
async fn stopping_the_server_ends_its_streams_with_a_reason() {
    let mut server = TestServer::start().await;
    let mut stream = Stream::open(&server.channel).await;
    stream.create(key("k")).await;
    let running = server.server.take().unwrap();
    within(running.stop(Duration::from_secs(10))).await;
    let ended = within(stream.answers.message()).await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::Unavailable, "etcdserver: server stopped"));
}

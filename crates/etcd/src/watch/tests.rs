//! The hub and a stream's queue, without a node: what happens when events are missed or a client is slow.

use std::sync::Arc;

use bytes::Bytes;
use kv::{Event, EventKind, KeyValue, RevisionEvents};
use prost::Message;
use tokio_stream::StreamExt;

use super::Hub;
use super::frame::Frame;
use super::hub::Wish;
use super::index::Target;
use super::queue::{Output, Queue};
use crate::metrics::Metrics;
use crate::proto::mvccpb;

fn revision(revision: i64, keys: &[&str], value_bytes: usize) -> RevisionEvents {
    let event = |key: &&str| Event {
        kind: EventKind::Put,
        kv: KeyValue {
            key: Bytes::copy_from_slice(key.as_bytes()),
            mod_revision: revision,
            value: Bytes::from(vec![7; value_bytes]),
            ..KeyValue::default()
        },
        prev_kv: None,
    };
    RevisionEvents { revision, events: keys.iter().map(event).collect() }
}

fn wish(target: Target) -> Arc<Wish> {
    Arc::new(Wish {
        target,
        start: 0,
        no_put: false,
        no_delete: false,
        prev_kv: false,
        fragment: false,
        progress_notify: true,
    })
}

fn key(key: &'static str) -> Arc<Wish> {
    wish(Target::Key(Bytes::from_static(key.as_bytes())))
}

fn everything() -> Arc<Wish> {
    wish(Target::below(Bytes::new()))
}

/// A hub that has published revision 1, and a stream's queue.
fn stream() -> (Hub, Arc<Queue>, Output) {
    let queue = Queue::new(Arc::new(Metrics::default()));
    (Hub::new(1, 1 << 20), queue.clone(), queue.output())
}

/// Everything that waits, as watch id and the events' revisions.
async fn waiting(queue: &Queue, output: &mut Output) -> Vec<(i64, Vec<i64>)> {
    queue.end(Ok(()));
    let mut got = Vec::new();
    while let Some(frame) = output.next().await {
        let Frame { watch_id, events, .. } = frame.expect("the stream ended well");
        let decode = |event| mvccpb::Event::decode(event).expect("an event").kv.expect("a pair").mod_revision;
        got.push((watch_id, events.into_iter().map(decode).collect()));
    }
    got
}

/// W1: without the check, revision 3 would be lost.
#[tokio::test]
async fn a_gap_in_what_is_published_sends_everybody_to_history() {
    let (hub, queue, mut output) = stream();
    hub.register(&queue, 0, &everything(), 2).expect("live");
    hub.register(&queue, 1, &key("later"), 9).expect("live");
    hub.publish(&[revision(2, &["a"], 1)]);
    hub.publish(&[revision(4, &["a"], 1)]);
    assert_eq!(queue.lagging().into_iter().collect::<Vec<_>>(), [(0, 3), (1, 9)]);
    assert_eq!(waiting(&queue, &mut output).await, [(0, vec![2])]);
}

/// W1: a checkpoint was installed; no event says so.
#[tokio::test]
async fn a_jump_of_the_state_sends_everybody_to_history() {
    let (hub, queue, mut output) = stream();
    hub.register(&queue, 0, &key("a"), 2).expect("live");
    hub.skip(1);
    assert!(!queue.has_lagging(), "nothing was jumped over");
    hub.skip(7);
    assert_eq!(queue.lagging().into_iter().collect::<Vec<_>>(), [(0, 2)]);
    assert_eq!(hub.register(&queue, 0, &key("a"), 7), None, "revision 7 is history now");
    hub.register(&queue, 0, &key("a"), 8).expect("live");
    hub.publish(&[revision(7, &["a"], 1), revision(8, &["a"], 1)]);
    assert_eq!(waiting(&queue, &mut output).await, [(0, vec![8])]);
}

/// W4, and W5: an event for many watchers of a stream is held, and counted, once.
#[tokio::test]
async fn a_full_queue_refuses_and_the_watcher_lags_from_there() {
    let (hub, queue, _output) = stream();
    hub.register(&queue, 0, &everything(), 2).expect("live");
    hub.register(&queue, 1, &everything(), 2).expect("live");
    for number in 2..=6 {
        hub.publish(&[revision(number, &["a"], 1 << 20)]);
    }
    // Four events of 1 MiB fill 4 MiB: the first watcher gets revision 5, the second does not any more.
    assert_eq!(queue.lagging().into_iter().collect::<Vec<_>>(), [(0, 6), (1, 5)]);
}

/// W3.
#[tokio::test]
async fn no_progress_is_told_while_a_watcher_lags_or_starts_in_the_future() {
    let (hub, queue, mut output) = stream();
    let live = hub.register(&queue, 0, &key("a"), 2).expect("live");
    hub.progress_of_all(&queue, [live].into_iter());
    hub.tick_progress([live].into_iter());
    queue.lag(5, 2);
    hub.progress_of_all(&queue, [live].into_iter());
    queue.caught_up(5);
    hub.progress_of_all(&queue, [live, u64::MAX].into_iter());
    let future = Arc::new(Wish { start: 9, ..(*key("a")).clone() });
    let future = hub.register(&queue, 1, &future, 9).expect("live");
    hub.progress_of_all(&queue, [live, future].into_iter());
    hub.tick_progress([future].into_iter());
    assert_eq!(waiting(&queue, &mut output).await, [(-1, vec![]), (0, vec![])]);
}

#[tokio::test]
async fn a_watcher_that_was_sent_something_is_not_told_its_progress_at_the_next_tick() {
    let (hub, queue, mut output) = stream();
    let live = hub.register(&queue, 0, &key("a"), 2).expect("live");
    hub.publish(&[revision(2, &["a", "b"], 1)]);
    hub.tick_progress([live].into_iter());
    hub.tick_progress([live].into_iter());
    assert_eq!(waiting(&queue, &mut output).await, [(0, vec![2]), (0, vec![])]);
}

#[tokio::test]
async fn an_unregistered_watcher_gets_nothing_more() {
    let (hub, queue, mut output) = stream();
    let gone = hub.register(&queue, 0, &key("a"), 2).expect("live");
    let range = hub.register(&queue, 1, &everything(), 2).expect("live");
    hub.register(&queue, 2, &key("a"), 2).expect("live");
    hub.unregister(gone);
    hub.unregister(range);
    hub.unregister(gone);
    hub.publish(&[revision(2, &["a"], 1)]);
    assert_eq!(waiting(&queue, &mut output).await, [(2, vec![2])]);
}

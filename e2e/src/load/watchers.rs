//! One watcher a node: each must see every change, in the one order in which all see them.
//!
//! They watch all keys, those of others too. What the first of them sees at a place is the history's; the others are
//! held to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use checker::Change;
use etcd::proto::etcdserverpb as pb;
use etcd::proto::mvccpb;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;

use super::{Seen, Shared};

/// A stream without events is given up after this long: its connection may be dead without a word.
const SILENCE_MAX: Duration = Duration::from_secs(3);

/// Watchers must have seen everything this long after the last write.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(30);

/// How far one watcher has come.
struct Place {
    /// Changes, each equal to the history's at its place.
    count: usize,
    /// Revision of the last of them.
    revision: i64,
}

/// Watches everything from the start at `node`, again and again, until the load has ended and all is seen.
///
/// # Errors
/// What this watcher saw differs from what another did, or does not come at all.
pub(super) async fn watch(shared: Arc<Shared>, node: u64, start_revision: i64) -> Result<(), String> {
    let mut seen = Place { count: 0, revision: start_revision };
    let mut deadline: Option<Instant> = None;
    loop {
        let broke = match watch_once(&shared, node, &mut seen).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if let Some(differs) = broke.downcast_ref::<Differs>() {
            return Err(format!("the watcher of node {}: {differs}", node + 1));
        }
        if shared.stopped() {
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + CATCH_UP_LIMIT);
            if Instant::now() > deadline {
                let last = shared.last_revision.load(Ordering::Acquire);
                return Err(format!(
                    "the watcher of node {} has seen revision {} and not yet {last}: {broke:#}",
                    node + 1,
                    seen.revision
                ));
            }
        }
        // Otherwise the error only means that the node died or cannot be reached: go on where it broke off.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[derive(Debug, thiserror::Error)]
#[error("saw {saw} where another watcher saw {other}")]
struct Differs {
    saw: String,
    other: String,
}

async fn watch_once(shared: &Shared, node: u64, seen: &mut Place) -> anyhow::Result<()> {
    let channel = shared.endpoint(node)?.connect().await?;
    let create = pb::WatchCreateRequest {
        key: Bytes::from_static(b"\0"),
        range_end: Bytes::from_static(b"\0"),
        start_revision: seen.revision + 1,
        ..Default::default()
    };
    let request = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let (_keep_open, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(request),
        tokio_stream::wrappers::ReceiverStream::new(requests),
    );
    let mut client = WatchClient::new(channel);
    let created = tokio::time::timeout(SILENCE_MAX, client.watch(requests)).await;
    let mut responses = created.context("no answer")??.into_inner();
    loop {
        let last_revision = shared.last_revision.load(Ordering::Acquire);
        if last_revision > 0 && seen.revision.unsigned_abs() >= last_revision {
            return Ok(());
        }
        let response = tokio::time::timeout(SILENCE_MAX, responses.message()).await.context("silence")??;
        for event in response.context("the stream ended")?.events {
            note(shared, seen, change(event)?)?;
        }
        // Only now: a message holds whole revisions.
        shared.watched[node as usize].store(seen.revision.unsigned_abs(), Ordering::Release);
    }
}

fn change(event: mvccpb::Event) -> anyhow::Result<Change> {
    let put = event.r#type() == mvccpb::event::EventType::Put;
    let pair = event.kv.context("an event without a pair")?;
    Ok(Change { revision: pair.mod_revision, key: pair.key, value: put.then_some(pair.value) })
}

fn note(shared: &Shared, place: &mut Place, change: Change) -> Result<(), Differs> {
    let mut changes = shared.changes();
    let revision = change.revision;
    match changes.get(place.count) {
        Some(other) if other.change != change => {
            return Err(Differs { saw: format!("{change:?}"), other: format!("{:?}", other.change) });
        }
        Some(_) => {}
        None => changes.push(Seen { change, at: shared.now() }),
    }
    place.count += 1;
    place.revision = revision;
    Ok(())
}

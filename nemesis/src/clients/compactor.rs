//! Takes the past away: what a compaction removes must be missed by nobody who was not told.

use std::sync::Arc;
use std::time::Duration;

use checker::Revision;
use checker::watch::Compaction;
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;

use super::{Shared, Wanderer};

const PAUSE_MS: (u64, u64) = (2_000, 6_000);

/// Revisions that stay, besides those that a watcher of everything has not seen: the history is made of what they see.
const KEPT_MAX: u64 = 500;

pub(super) async fn compact(shared: Arc<Shared>, watched: impl Fn() -> Revision) -> Vec<Compaction> {
    let mut rng = shared.rng("comp", 0);
    let mut wanderer = Wanderer::new(shared.clone(), 0);
    let mut asked: Vec<Compaction> = Vec::new();
    while !shared.stopped() {
        shared.sleep(Duration::from_millis(rng.between(PAUSE_MS.0, PAUSE_MS.1))).await;
        let revision = watched() - rng.below(KEPT_MAX).cast_signed();
        if asked.last().is_some_and(|last| last.revision >= revision) || revision <= 1 {
            continue;
        }
        asked.push(Compaction { revision, asked: shared.now() });
        let request = pb::CompactionRequest { revision, physical: false };
        if KvClient::new(wanderer.channel.clone()).compact(request).await.is_err() {
            wanderer.go_on().await;
        }
    }
    asked
}

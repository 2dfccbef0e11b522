//! Reads the whole store from every node at one revision, as that node has it, and compares digests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use checker::{Point, Replicas, Revision};
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use types::NodeId;

use super::Shared;

const PAUSE: Duration = Duration::from_secs(2);

/// How long a node may take to know the last revision.
const END_LIMIT: Duration = Duration::from_secs(30);

/// While the others work: at what every watcher has seen, from whoever answers.
pub(super) async fn compare(shared: Arc<Shared>, watched: impl Fn() -> Revision) -> Replicas {
    let mut replicas = Replicas::new();
    while !shared.stopped() {
        shared.sleep(PAUSE).await;
        let revision = watched();
        for node in 0..shared.endpoints.len() {
            if let Ok(digest) = digest(&shared, node, revision).await {
                replicas.report(id(node), Point::Revision(revision), digest);
            }
        }
    }
    replicas
}

/// At the end, from every node. Returns who does not answer.
pub(super) async fn compare_at_end(shared: &Shared, last: Revision, replicas: &mut Replicas) -> Vec<usize> {
    let deadline = Instant::now() + END_LIMIT;
    let mut silent: Vec<usize> = (0..shared.endpoints.len()).collect();
    while !silent.is_empty() && Instant::now() < deadline {
        for node in std::mem::take(&mut silent) {
            match digest(shared, node, last).await {
                Ok(digest) => {
                    replicas.report(id(node), Point::Revision(last), digest);
                }
                Err(_) => silent.push(node),
            }
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    silent
}

/// Of every pair with its revisions, version and lease, as `node` has them.
async fn digest(shared: &Shared, node: usize, revision: Revision) -> Result<u128, tonic::Status> {
    let all = Bytes::from_static(b"\0");
    let request = pb::RangeRequest {
        key: all.clone(),
        range_end: all,
        revision,
        serializable: true,
        ..Default::default()
    };
    let channel = shared.channel(node as u64);
    let mut kv = KvClient::new(channel).max_decoding_message_size(usize::MAX);
    let pairs = kv.range(request).await?.into_inner().kvs;
    let half = |salt: u64| {
        let mut hasher = DefaultHasher::new();
        salt.hash(&mut hasher);
        for pair in &pairs {
            (&pair.key, &pair.value, pair.mod_revision, pair.create_revision, pair.version, pair.lease)
                .hash(&mut hasher);
        }
        u128::from(hasher.finish())
    };
    Ok(half(1) << 64 | half(2))
}

/// As everybody names it: n1 is the first.
fn id(node: usize) -> NodeId {
    NodeId(node as u64 + 1)
}

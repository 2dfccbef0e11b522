//! A healthy cluster: writes and reads through any node, events, leases, stopping and starting again.

mod common;

use common::{TestCluster, get, put_ok};
use node::Storage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_in_memory_serves() {
    let mut cluster = TestCluster::new(1);
    cluster.configs[0].storage = Storage::Ephemeral;
    cluster.start(0);
    cluster.ready(0).await;
    let handle = cluster.handle(0);
    let applied = put_ok(&handle, "k", "v").await;
    assert_eq!(applied.revision, 2);
    assert_eq!(get(&handle, "k").await.as_deref(), Some("v"));
    cluster.stop(0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_node_writes_and_any_node_reads_what_was_acknowledged() {
    let cluster = TestCluster::started(3).await;
    for round in 0..20 {
        for writer in 0..3 {
            let value = format!("{round}-{writer}");
            put_ok(&cluster.handle(writer), "k", &value).await;
            for reader in 0..3 {
                assert_eq!(get(&cluster.handle(reader), "k").await, Some(value.clone()), "read at n{reader}");
            }
        }
    }
}

//! A healthy cluster: writes and reads through any node, events, leases, stopping and starting again.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::{PATIENCE, TIMEOUT, TestCluster, get, get_local, put, put_ok, until};
use node::{Next, ProposeError, ReadError, Storage};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_each_get_their_own_revision() {
    let cluster = TestCluster::started(3).await;
    let tasks: Vec<_> = (0..300)
        .map(|index| {
            let handle = cluster.handle(index % 3);
            tokio::spawn(async move { put_ok(&handle, &format!("k{index}"), "v").await.revision })
        })
        .collect();
    let mut revisions = Vec::new();
    for task in tasks {
        revisions.push(task.await.unwrap());
    }
    revisions.sort_unstable();
    assert_eq!(revisions, (2..302).collect::<Vec<i64>>());
    for index in 0..300 {
        assert_eq!(get(&cluster.handle((index + 1) % 3), &format!("k{index}")).await.as_deref(), Some("v"));
    }
}

/// Promises of `Subscription`: in order, without gaps, and never behind `Handle::revision`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_see_every_revision_in_order() {
    let cluster = TestCluster::started(3).await;
    let mut subscription = cluster.handle(1).subscribe();
    let first = cluster.handle(1).revision() + 1;
    for index in 0..50 {
        put_ok(&cluster.handle(index % 3), "k", &index.to_string()).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 50 {
        match tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap() {
            Some(Next::Events(group)) => seen.extend(group.revisions.iter().map(|one| one.revision)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, (first..first + 50).collect::<Vec<i64>>());
    assert!(cluster.handle(1).revision() >= first + 49);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_learns_that_it_missed_something() {
    let mut cluster = TestCluster::new(1);
    cluster.configs[0].storage = Storage::Ephemeral;
    cluster.start(0);
    cluster.ready(0).await;
    let mut subscription = cluster.handle(0).subscribe();
    for index in 0..1100 {
        put_ok(&cluster.handle(0), "k", &index.to_string()).await;
    }
    assert!(matches!(subscription.next().await, Some(Next::Missed)));
    assert!(matches!(subscription.next().await, Some(Next::Events(_))));
}

/// etcd-api.md §4.6: any node takes keep-alives, an unknown lease has no times, and what runs out is revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_live_while_renewed_and_then_take_their_keys_with_them() {
    let cluster = TestCluster::started(3).await;
    let grant = kv::Command::LeaseGrant { id: 7, ttl_seconds: 1 };
    cluster.handle(0).propose(grant, TIMEOUT).await.unwrap().result.unwrap();
    let attach = kv::Command::Put(kv::PutRequest {
        key: "leased".into(),
        value: "v".into(),
        lease: 7,
        ..kv::PutRequest::default()
    });
    cluster.handle(1).propose(attach, TIMEOUT).await.unwrap().result.unwrap();

    let lives_until = Instant::now() + Duration::from_secs(2);
    let mut renewed = 0;
    while Instant::now() < lives_until {
        let times = cluster.handle(renewed % 3).lease_renew(7, TIMEOUT).await.unwrap();
        assert_eq!(times.map(|times| times.granted_seconds), Some(1), "renewal {renewed}");
        renewed += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(get(&cluster.handle(2), "leased").await.as_deref(), Some("v"), "after {renewed} renewals");
    let times = cluster.handle(2).lease_times(7, TIMEOUT).await.unwrap().unwrap();
    assert!(times.remaining <= Duration::from_secs(1));
    assert_eq!(cluster.handle(0).lease_times(8, TIMEOUT).await.unwrap(), None);

    until("the lease is revoked", || get_local(&cluster.handle(2), "leased").is_none()).await;
    assert_eq!(cluster.handle(1).lease_renew(7, TIMEOUT).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_publish_their_names_and_client_urls() {
    let cluster = TestCluster::started(3).await;
    cluster.handle(0).read_barrier(TIMEOUT).await.unwrap();
    let members = cluster.handle(0).members();
    let names: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["n0", "n1", "n2"]));
    assert!(members.iter().all(|member| member.client_urls.len() == 1 && member.peer_urls.len() == 1));
}

/// The checkpoint of a stop in good order is whole: a start replays little and loses nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_cluster_comes_back_with_everything() {
    let mut cluster = TestCluster::started(3).await;
    for index in 0..50 {
        put_ok(&cluster.handle(index % 3), &format!("k{index}"), "v").await;
    }
    for index in 0..3 {
        cluster.stop(index).await;
    }
    for index in 0..3 {
        cluster.start(index);
    }
    for index in 0..50 {
        assert_eq!(get(&cluster.handle(index % 3), &format!("k{index}")).await.as_deref(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_to_a_stopped_node_are_told_so() {
    let mut cluster = TestCluster::started(1).await;
    let handle = cluster.handle(0);
    cluster.stop(0).await;
    assert_eq!(handle.propose(put("k", "v"), TIMEOUT).await.unwrap_err(), ProposeError::Stopped);
    assert_eq!(handle.read_barrier(TIMEOUT).await.unwrap_err(), ReadError::Stopped);
}

//! The Lease service over the wire (`etcd-api.md` §4.6).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::time::Duration;

use common::{TestServer, put, refusal, within};
use etcd::ServerConfig;
use etcd::proto::etcdserverpb as pb;
use pb::lease_client::LeaseClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

fn grant(id: i64, ttl: i64) -> pb::LeaseGrantRequest {
    pb::LeaseGrantRequest { ttl, id }
}

fn missing() -> (Code, String) {
    (Code::NotFound, "etcdserver: requested lease not found".to_owned())
}

#[tokio::test]
async fn a_grant_picks_an_id_and_raises_the_ttl_to_the_minimum() {
    let server = TestServer::start().await;
    let mut lease = LeaseClient::new(server.channel.clone());
    let granted = lease.lease_grant(grant(0, 1)).await.unwrap().into_inner();
    assert!(granted.id > 0);
    assert_eq!(granted.ttl, 2, "one and a half election timeouts of 1 s, rounded up");
    assert_eq!(granted.error, "");
    let exists = (Code::FailedPrecondition, "etcdserver: lease already exists".to_owned());
    assert_eq!(refusal(lease.lease_grant(grant(granted.id, 9)).await), exists);
    let too_large = (Code::OutOfRange, "etcdserver: too large lease TTL".to_owned());
    assert_eq!(refusal(lease.lease_grant(grant(0, 9_000_000_001)).await), too_large);
}

#[tokio::test]
async fn keys_go_with_their_lease() {
    let mut server = TestServer::start().await;
    let mut lease = LeaseClient::new(server.channel.clone());
    lease.lease_grant(grant(7, 100)).await.unwrap();
    for key in ["b", "a"] {
        server.kv.put(pb::PutRequest { lease: 7, ..put(key, "v") }).await.unwrap();
    }
    let asked = pb::LeaseTimeToLiveRequest { id: 7, keys: true };
    let times = lease.lease_time_to_live(asked).await.unwrap().into_inner();
    assert_eq!(times.granted_ttl, 100);
    assert!((90..=100).contains(&times.ttl), "{times:?}");
    assert_eq!(times.keys, [&b"a"[..], &b"b"[..]]);
    let all = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases, [pb::LeaseStatus { id: 7 }]);

    let revoke = pb::LeaseRevokeRequest { id: 7 };
    let revoked = lease.lease_revoke(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.header.unwrap().revision, 4, "both keys go in one revision");
    assert_eq!(server.get("a").await.count, 0);
    assert_eq!(refusal(lease.lease_revoke(revoke).await), missing());
    let times = lease.lease_time_to_live(asked).await.unwrap().into_inner();
    assert_eq!((times.ttl, times.granted_ttl), (-1, 0));
}

#[tokio::test]
async fn a_keep_alive_stream_renews_each_lease_it_is_asked_for() {
    let server = TestServer::start().await;
    let mut lease = LeaseClient::new(server.channel.clone());
    lease.lease_grant(grant(7, 50)).await.unwrap();
    let (ask, asked) = mpsc::channel(4);
    let mut answers = lease.lease_keep_alive(ReceiverStream::new(asked)).await.unwrap().into_inner();
    for (id, ttl) in [(7, 50), (8, 0), (7, 50)] {
        ask.send(pb::LeaseKeepAliveRequest { id }).await.unwrap();
        let answer = within(answers.message()).await.unwrap().unwrap();
        assert_eq!((answer.id, answer.ttl), (id, ttl), "a missing lease is answered with a TTL of 0");
    }
    drop(ask);
    assert_eq!(
        within(answers.message()).await.unwrap(),
        None,
        "the stream ends when the client has asked all"
    );
}

#[tokio::test]
async fn a_lease_that_nobody_renews_takes_its_keys_away() {
    let config = ServerConfig { election_timeout: Duration::from_millis(100), ..ServerConfig::default() };
    let mut server = TestServer::with(config).await;
    let mut lease = LeaseClient::new(server.channel.clone());
    lease.lease_grant(grant(7, 1)).await.unwrap();
    server.kv.put(pb::PutRequest { lease: 7, ..put("k", "v") }).await.unwrap();
    within(async { while server.get("k").await.count > 0 {} }).await;
    let all = lease.lease_leases(pb::LeaseLeasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.leases, []);
}

//! The Lock and Election services over the wire (`etcd-api.md` §4.9).

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{TestServer, everything, refusal, within};
use etcd::proto::etcdserverpb as pb;
use etcd::proto::v3electionpb as election;
use etcd::proto::v3electionpb::election_client::ElectionClient;
use etcd::proto::v3lockpb::lock_client::LockClient;
use etcd::proto::v3lockpb::{LockRequest, UnlockRequest};
use pb::lease_client::LeaseClient;
use tonic::Code;
use tonic::transport::Channel;

async fn grant(server: &TestServer, id: i64) {
    let mut lease = LeaseClient::new(server.channel.clone());
    lease.lease_grant(pb::LeaseGrantRequest { id, ttl: 100 }).await.unwrap();
}

fn lock_of(lease: i64) -> LockRequest {
    LockRequest { name: "l".into(), lease }
}

fn campaign(lease: i64, value: &str) -> election::CampaignRequest {
    election::CampaignRequest { name: "e".into(), lease, value: value.to_owned().into() }
}

fn leader_of() -> election::LeaderRequest {
    election::LeaderRequest { name: "e".into() }
}

/// Waits until as many keys exist: until so many stand in line.
async fn in_line(server: &mut TestServer, count: i64) {
    within(async { while server.range(everything()).await.unwrap().count != count {} }).await;
}

#[tokio::test]
async fn a_lock_is_held_by_one_until_it_is_unlocked() {
    let mut server = TestServer::start().await;
    grant(&server, 0x1f).await;
    grant(&server, 0x20).await;
    let mut lock = LockClient::new(server.channel.clone());
    let held = lock.lock(lock_of(0x1f)).await.unwrap().into_inner();
    assert_eq!(&held.key[..], b"l/1f");
    let again = lock.lock(lock_of(0x1f)).await.unwrap().into_inner();
    assert_eq!(again.key, held.key, "who holds it gets it again");

    let mut other = lock.clone();
    let waiting = tokio::spawn(async move { other.lock(lock_of(0x20)).await });
    in_line(&mut server, 2).await;
    assert!(!waiting.is_finished());
    lock.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let next = within(waiting).await.unwrap().unwrap().into_inner();
    assert_eq!(&next.key[..], b"l/20");
}

#[tokio::test]
async fn who_brings_no_lease_gets_one_of_60_seconds() {
    let mut server = TestServer::start().await;
    let mut lock = LockClient::new(server.channel.clone());
    let held = lock.lock(lock_of(0)).await.unwrap().into_inner();
    let id = server.range(everything()).await.unwrap().kvs[0].lease;
    assert_eq!(held.key, format!("l/{id:x}"));
    let mut lease = LeaseClient::new(server.channel.clone());
    let asked = pb::LeaseTimeToLiveRequest { id, keys: false };
    assert_eq!(lease.lease_time_to_live(asked).await.unwrap().into_inner().granted_ttl, 60);
}

#[tokio::test]
async fn a_lock_with_a_lease_that_does_not_exist_is_refused() {
    let server = TestServer::start().await;
    let mut lock = LockClient::new(server.channel.clone());
    let missing = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(lock.lock(lock_of(5)).await), missing);
}

#[tokio::test]
async fn a_client_that_gives_up_leaves_the_line() {
    let mut server = TestServer::start().await;
    grant(&server, 1).await;
    grant(&server, 2).await;
    let mut lock = LockClient::new(server.channel.clone());
    lock.lock(lock_of(1)).await.unwrap();
    let mut other = lock.clone();
    let waiting = tokio::spawn(async move { other.lock(lock_of(2)).await });
    in_line(&mut server, 2).await;
    waiting.abort();
    in_line(&mut server, 1).await;
}

#[tokio::test]
async fn a_waiter_whose_lease_is_gone_is_told_so() {
    let mut server = TestServer::start().await;
    grant(&server, 1).await;
    grant(&server, 2).await;
    let mut lock = LockClient::new(server.channel.clone());
    let held = lock.lock(lock_of(1)).await.unwrap().into_inner();
    let mut other = lock.clone();
    let waiting = tokio::spawn(async move { other.lock(lock_of(2)).await });
    in_line(&mut server, 2).await;
    let mut lease = LeaseClient::new(server.channel.clone());
    lease.lease_revoke(pb::LeaseRevokeRequest { id: 2 }).await.unwrap();
    lock.unlock(UnlockRequest { key: held.key }).await.unwrap();
    let expired = (Code::Unknown, "mutex: session is expired".to_owned());
    assert_eq!(refusal(within(waiting).await.unwrap()), expired);
}

#[tokio::test]
async fn leadership_passes_down_the_line() {
    let mut server = TestServer::start().await;
    grant(&server, 1).await;
    grant(&server, 2).await;
    let mut client = ElectionClient::new(server.channel.clone());
    let no_leader = (Code::Unknown, "election: no leader".to_owned());
    assert_eq!(refusal(client.leader(leader_of()).await), no_leader);

    let first = client.campaign(campaign(1, "one")).await.unwrap().into_inner().leader.unwrap();
    assert_eq!((&first.key[..], first.lease), (&b"e/1"[..], 1));
    let mut other = client.clone();
    let waiting = tokio::spawn(async move { other.campaign(campaign(2, "two")).await });
    in_line(&mut server, 2).await;
    let leader = client.leader(leader_of()).await.unwrap().into_inner().kv.unwrap();
    assert_eq!((&leader.value[..], leader.create_revision), (&b"one"[..], first.rev));

    let resign = election::ResignRequest { leader: Some(first.clone()) };
    client.resign(resign.clone()).await.unwrap();
    let second = within(waiting).await.unwrap().unwrap().into_inner().leader.unwrap();
    assert_eq!(&second.key[..], b"e/2");
    let proclaim = election::ProclaimRequest { leader: Some(first), value: "late".into() };
    let not_leader = (Code::Unknown, "election: not leader".to_owned());
    assert_eq!(refusal(client.proclaim(proclaim).await), not_leader);
    client.resign(resign).await.unwrap();
    assert_eq!(server.get("e/2").await.count, 1, "resigning twice takes nothing from the next");
    let nobody = election::ProclaimRequest { leader: None, value: "x".into() };
    let required = (Code::Unknown, "\"leader\" field must be provided".to_owned());
    assert_eq!(refusal(client.proclaim(nobody).await), required);
}

async fn next_value(stream: &mut tonic::Streaming<election::LeaderResponse>) -> String {
    let news = within(stream.message()).await.unwrap().unwrap();
    String::from_utf8(news.kv.unwrap().value.to_vec()).unwrap()
}

#[tokio::test]
async fn observers_see_each_leader_and_what_it_proclaims() {
    let server = TestServer::start().await;
    grant(&server, 1).await;
    grant(&server, 2).await;
    let mut client: ElectionClient<Channel> = ElectionClient::new(server.channel.clone());
    let mut seen = client.observe(leader_of()).await.unwrap().into_inner();
    let first = client.campaign(campaign(1, "one")).await.unwrap().into_inner().leader;
    assert_eq!(next_value(&mut seen).await, "one");
    let proclaim = election::ProclaimRequest { leader: first.clone(), value: "uno".into() };
    client.proclaim(proclaim).await.unwrap();
    assert_eq!(next_value(&mut seen).await, "uno");
    client.resign(election::ResignRequest { leader: first }).await.unwrap();
    client.campaign(campaign(2, "two")).await.unwrap();
    assert_eq!(next_value(&mut seen).await, "two");
}

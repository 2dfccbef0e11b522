//! Cluster and Maintenance over the wire (`etcd-api.md` §4.7).
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{TestServer, refusal};
use etcd::ServerConfig;
use etcd::proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use tonic::Code;

#[tokio::test]
async fn the_members_are_listed_without_a_revision() {
    let mut server = TestServer::start().await;
    server.put("k", "v").await;
    let mut cluster = ClusterClient::new(server.channel.clone());
    let list = cluster.member_list(pb::MemberListRequest { linearizable: true }).await.unwrap().into_inner();
    assert_eq!(list.header.unwrap().revision, 0);
    let [member] = &list.members[..] else { panic!("{:?}", list.members) };
    assert_eq!((member.id, &member.name[..]), (server.node.handle().id().0, "alone"));
    assert_eq!(member.client_urls, ["http://127.0.0.1:2379"]);
    assert_eq!(member.peer_urls, ["http://127.0.0.1:1"]);
    assert!(!member.is_learner);

    let (code, text) = refusal(cluster.member_remove(pb::MemberRemoveRequest { id: member.id }).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("not supported by this version of Althing: changing the members"), "{text}");
}

#[tokio::test]
async fn status_tells_where_the_member_stands() {
    let mut server = TestServer::with(ServerConfig { quota_bytes: 1 << 30, ..Default::default() }).await;
    server.put("k", "v").await;
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    let header = status.header.unwrap();
    assert_eq!((status.leader, header.revision), (header.member_id, 2));
    assert_eq!(status.raft_term, header.raft_term);
    assert!(status.raft_index >= 2 && status.raft_applied_index <= status.raft_index, "{status:?}");
    assert!(status.db_size > 0 && status.db_size_in_use <= status.db_size, "{status:?}");
    assert_eq!((&status.version[..], status.db_size_quota), ("3.5.17", 1 << 30));
    assert_eq!(status.errors, [""; 0]);
}

#[tokio::test]
async fn without_a_leader_status_still_answers_and_says_so() {
    let server = TestServer::leaderless(ServerConfig::default()).await;
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.leader, 0);
    assert_eq!(status.errors, ["etcdserver: no leader"]);
}

#[tokio::test]
async fn there_is_nothing_to_defragment_and_no_alarm() {
    let server = TestServer::start().await;
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    let done = maintenance.defragment(pb::DefragmentRequest {}).await.unwrap().into_inner();
    assert_eq!(done, pb::DefragmentResponse { header: None });
    let list = pb::AlarmRequest::default();
    assert_eq!(maintenance.alarm(list).await.unwrap().into_inner().alarms, []);
    let (code, text) = refusal(maintenance.snapshot(pb::SnapshotRequest {}).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(text.ends_with("etcdserverpb.Maintenance/Snapshot"), "{text}");
}

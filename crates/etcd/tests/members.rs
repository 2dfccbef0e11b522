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
}

fn urls(port: u16) -> Vec<String> {
    vec![format!("http://127.0.0.1:{port}")]
}

fn add(port: u16, is_learner: bool) -> pb::MemberAddRequest {
    pb::MemberAddRequest { peer_urls: urls(port), is_learner }
}

#[tokio::test]
async fn members_are_added_moved_and_removed_while_the_cluster_serves() {
    let mut server = TestServer::start().await;
    let mut cluster = ClusterClient::new(server.channel.clone());
    let added = cluster.member_add(add(7, false)).await.unwrap().into_inner();
    let member = added.member.unwrap();
    assert_eq!((member.peer_urls.clone(), &member.name[..], member.is_learner), (urls(7), "", false));
    assert!(added.members.contains(&member) && added.members.len() == 2);
    assert_eq!(added.header.unwrap().revision, 0);
    // etcd would wait for the second of two voters here.
    server.put("k", "v").await;

    let moved = pb::MemberUpdateRequest { id: member.id, peer_urls: urls(8) };
    let moved = cluster.member_update(moved).await.unwrap().into_inner();
    assert_eq!(moved.members.iter().find(|one| one.id == member.id).unwrap().peer_urls, urls(8));
    let removed =
        cluster.member_remove(pb::MemberRemoveRequest { id: member.id }).await.unwrap().into_inner();
    assert_eq!(removed.members.len(), 1);

    let again = cluster.member_add(add(8, false)).await.unwrap().into_inner();
    assert_ne!(again.member.unwrap().id, member.id, "an id is never used twice");
}

#[tokio::test]
async fn a_learner_is_shown_as_one_and_promoted_only_when_it_is_ready() {
    let server = TestServer::start().await;
    let mut cluster = ClusterClient::new(server.channel.clone());
    let learner = cluster.member_add(add(7, true)).await.unwrap().into_inner().member.unwrap();
    assert!(learner.is_learner);
    let list = cluster.member_list(pb::MemberListRequest { linearizable: false }).await.unwrap().into_inner();
    assert!(list.members.iter().find(|one| one.id == learner.id).unwrap().is_learner);
    let promoted = cluster.member_promote(pb::MemberPromoteRequest { id: learner.id }).await;
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!(refusal(promoted), (Code::FailedPrecondition, text.to_owned()));
    let text = "etcdserver: too many learner members in cluster";
    assert_eq!(refusal(cluster.member_add(add(8, true)).await), (Code::FailedPrecondition, text.to_owned()));
}

/// etcd-api.md §4.7: status and serializable ranges only; clients then turn to a voter.
#[tokio::test]
async fn a_learner_answers_what_etcds_learners_answer() {
    let (mut voter, mut learner) = TestServer::with_learner().await;
    voter.put("k", "v").await;
    let unsupported = (Code::FailedPrecondition, "etcdserver: rpc not supported for learner".to_owned());
    let range = pb::RangeRequest { key: b"k".as_slice().into(), ..Default::default() };
    assert_eq!(refusal(learner.range(range.clone()).await), unsupported);
    assert_eq!(refusal(learner.kv.put(common::put("k", "w")).await), unsupported);
    let mut cluster = ClusterClient::new(learner.channel.clone());
    assert_eq!(refusal(cluster.member_list(pb::MemberListRequest::default()).await), unsupported);
    let watch = tokio_stream::pending::<pb::WatchRequest>();
    let mut watches = pb::watch_client::WatchClient::new(learner.channel.clone());
    assert_eq!(refusal(watches.watch(watch).await), unsupported);

    learner.range(pb::RangeRequest { serializable: true, ..range.clone() }).await.unwrap();
    let mut maintenance = MaintenanceClient::new(learner.channel.clone());
    assert!(maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner().is_learner);
    assert_eq!(learner.metric("etcd_server_is_learner").await, 1);

    let id = learner.node.handle().id().0;
    let mut cluster = ClusterClient::new(voter.channel.clone());
    common::within(async {
        // It may not have caught up yet.
        while cluster.member_promote(pb::MemberPromoteRequest { id }).await.is_err() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    common::within(async {
        while learner.metric("etcd_server_is_learner").await == 1 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(learner.range(range).await.unwrap().kvs.len(), 1);
    assert_eq!(voter.metric("etcd_server_is_learner").await, 0);
}

/// etcd-api.md §4.10.
#[tokio::test]
async fn senseless_changes_are_refused_in_the_words_of_etcd() {
    let server = TestServer::start().await;
    let me = server.node.handle().id().0;
    let mut cluster = ClusterClient::new(server.channel.clone());
    let not_found = (Code::NotFound, "etcdserver: member not found".to_owned());
    assert_eq!(refusal(cluster.member_remove(pb::MemberRemoveRequest { id: 1 }).await), not_found);
    assert_eq!(refusal(cluster.member_promote(pb::MemberPromoteRequest { id: 1 }).await), not_found);
    let update = pb::MemberUpdateRequest { id: 1, peer_urls: urls(9) };
    assert_eq!(refusal(cluster.member_update(update).await), not_found);

    let text = "etcdserver: can only promote a learner member";
    let promoted = cluster.member_promote(pb::MemberPromoteRequest { id: me }).await;
    assert_eq!(refusal(promoted), (Code::FailedPrecondition, text.to_owned()));
    let text = "etcdserver: Peer URLs already exists";
    assert_eq!(refusal(cluster.member_add(add(1, false)).await), (Code::FailedPrecondition, text.to_owned()));
    let bad = pb::MemberAddRequest { peer_urls: vec!["no url".to_owned()], is_learner: false };
    let text = "etcdserver: given member URLs are invalid";
    assert_eq!(refusal(cluster.member_add(bad).await), (Code::InvalidArgument, text.to_owned()));
    let text = "etcdserver: re-configuration failed due to not enough started members";
    let last = cluster.member_remove(pb::MemberRemoveRequest { id: me }).await;
    assert_eq!(refusal(last), (Code::FailedPrecondition, text.to_owned()));
}

#[tokio::test]
async fn leadership_moves_only_to_a_voter_and_only_from_the_leader() {
    let server = TestServer::start().await;
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    let to = |target_id| pb::MoveLeaderRequest { target_id };
    let me = server.node.handle().id().0;
    assert_eq!(maintenance.move_leader(to(me)).await.unwrap().into_inner().header, None);
    let text = "etcdserver: bad leader transferee";
    assert_eq!(refusal(maintenance.move_leader(to(1)).await), (Code::FailedPrecondition, text.to_owned()));
    let server = TestServer::leaderless(ServerConfig::default()).await;
    let mut maintenance = MaintenanceClient::new(server.channel.clone());
    let text = "etcdserver: not leader";
    assert_eq!(refusal(maintenance.move_leader(to(me)).await), (Code::FailedPrecondition, text.to_owned()));
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

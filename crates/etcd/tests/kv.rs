//! The KV service over the wire: what a client sees of `etcd-api.md` §4.3, §4.4 and §4.10.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use common::{TestServer, everything, put, refusal, revision, within};
use etcd::proto::etcdserverpb as pb;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::request_op::Request;
use tonic::Code;

fn op(request: Request) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn range_of(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_owned().into(), ..Default::default() }
}

/// §4.3.1 and §4.3.2.
#[tokio::test]
async fn every_header_names_cluster_member_term_and_revision() {
    let mut server = TestServer::start().await;
    let handle = server.node.handle();
    let fresh = server.get("a").await.header.unwrap();
    assert_eq!(fresh.revision, 1);
    assert_eq!((fresh.cluster_id, fresh.member_id), (handle.cluster_id(), handle.id().0));
    assert!(fresh.raft_term >= 1);
    assert_eq!(server.put("a", "1").await, 2);
    assert_eq!(server.put("a", "1").await, 3, "a put of the same value counts");
}

#[tokio::test]
async fn a_pair_comes_back_with_its_revisions_and_version() {
    let mut server = TestServer::start().await;
    server.put("k", "one").await;
    server.put("k", "two").await;
    let found = server.get("k").await;
    let pair = &found.kvs[0];
    assert_eq!((&pair.key[..], &pair.value[..]), (&b"k"[..], &b"two"[..]));
    assert_eq!((pair.create_revision, pair.mod_revision, pair.version, pair.lease), (2, 3, 2, 0));
    assert_eq!((found.count, found.more), (1, false));

    let at_two = server.range(pb::RangeRequest { revision: 2, ..range_of("k") }).await.unwrap();
    assert_eq!(&at_two.kvs[0].value[..], b"one");
    assert_eq!(revision(&at_two.header), 3, "the header tells the current revision, not the one read");
}

#[tokio::test]
async fn ranges_are_limited_sorted_and_counted() {
    let mut server = TestServer::start().await;
    for key in ["c", "a", "b"] {
        server.put(key, key).await;
    }
    let limited = server.range(pb::RangeRequest { limit: 2, ..everything() }).await.unwrap();
    assert_eq!((limited.kvs.len(), limited.more, limited.count), (2, true, 3));
    let newest = pb::RangeRequest {
        sort_order: pb::range_request::SortOrder::Descend.into(),
        sort_target: pb::range_request::SortTarget::Mod.into(),
        limit: 1,
        ..everything()
    };
    assert_eq!(&server.range(newest).await.unwrap().kvs[0].key[..], b"b");
    let serializable = pb::RangeRequest { serializable: true, count_only: true, ..everything() };
    let counted = server.range(serializable).await.unwrap();
    assert_eq!((counted.kvs.len(), counted.count), (0, 3));
}

#[tokio::test]
async fn delete_returns_what_it_deleted() {
    let mut server = TestServer::start().await;
    server.put("a", "1").await;
    let request = |key: &str| pb::DeleteRangeRequest {
        key: key.to_owned().into(),
        prev_kv: true,
        ..Default::default()
    };
    let deleted = server.kv.delete_range(request("a")).await.unwrap().into_inner();
    assert_eq!((deleted.deleted, &deleted.prev_kvs[0].value[..]), (1, &b"1"[..]));
    assert_eq!(revision(&deleted.header), 3);
    let nothing = server.kv.delete_range(request("a")).await.unwrap().into_inner();
    assert_eq!((nothing.deleted, revision(&nothing.header)), (0, 3), "deleting nothing does not count");
}

#[tokio::test]
async fn a_transaction_does_one_branch_atomically() {
    let mut server = TestServer::start().await;
    server.put("k", "old").await;
    let compare = pb::Compare {
        result: CompareResult::Equal.into(),
        target: CompareTarget::Value.into(),
        key: "k".into(),
        target_union: Some(TargetUnion::Value("old".into())),
        ..Default::default()
    };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put("k", "new"))), op(Request::RequestRange(range_of("k")))],
        failure: vec![op(Request::RequestRange(range_of("k")))],
    };
    let first = server.kv.txn(txn.clone()).await.unwrap().into_inner();
    assert!(first.succeeded);
    assert_eq!(revision(&first.header), 3);
    let Some(pb::response_op::Response::ResponseRange(range)) = &first.responses[1].response else {
        panic!("{first:?}")
    };
    assert_eq!(&range.kvs[0].value[..], b"new", "ranges see earlier writes of the same transaction");
    assert_eq!(range.header.as_ref().unwrap().member_id, 0, "inside, headers have only a revision");

    let second = server.kv.txn(txn).await.unwrap().into_inner();
    assert!(!second.succeeded);
    assert_eq!(revision(&second.header), 3);
}

#[tokio::test]
async fn a_read_only_transaction_writes_nothing_to_the_log() {
    let mut server = TestServer::start().await;
    server.put("k", "v").await;
    let committed = server.node.handle().status().replication.committed;
    let txn =
        pb::TxnRequest { success: vec![op(Request::RequestRange(range_of("k")))], ..Default::default() };
    let answer = server.kv.txn(txn).await.unwrap().into_inner();
    assert!(answer.succeeded);
    assert_eq!(answer.responses.len(), 1);
    assert_eq!(server.node.handle().status().replication.committed, committed);
}

#[tokio::test]
async fn compacted_revisions_are_refused_and_the_floor_itself_is_read() {
    let mut server = TestServer::start().await;
    for value in ["1", "2", "3"] {
        server.put("k", value).await;
    }
    let compact = |revision| pb::CompactionRequest { revision, physical: true };
    server.kv.compact(compact(3)).await.unwrap();
    let compacted = (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted".to_owned());
    let future = (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision".to_owned());
    assert_eq!(refusal(server.kv.compact(compact(3)).await), compacted);
    assert_eq!(refusal(server.kv.compact(compact(9)).await), future);
    let at = |revision| pb::RangeRequest { revision, ..range_of("k") };
    assert_eq!(refusal(server.range(at(2)).await), compacted);
    assert_eq!(refusal(server.range(at(9)).await), future);
    assert_eq!(&server.range(at(3)).await.unwrap().kvs[0].value[..], b"2");
}

/// §4.10, for every refusal that a KV request can meet.
#[tokio::test]
async fn refusals_have_etcds_codes_and_texts() {
    let mut server = TestServer::start().await;
    let invalid = |text: &str| (Code::InvalidArgument, format!("etcdserver: {text}"));
    assert_eq!(refusal(server.range(range_of("")).await), invalid("key is not provided"));
    assert_eq!(refusal(server.kv.put(put("", "v")).await), invalid("key is not provided"));
    let unsortable = pb::RangeRequest { sort_order: 9, ..range_of("k") };
    assert_eq!(refusal(server.range(unsortable).await), invalid("invalid sort option"));
    let both = pb::PutRequest { ignore_value: true, ..put("k", "v") };
    assert_eq!(refusal(server.kv.put(both).await), invalid("value is provided"));
    let both = pb::PutRequest { ignore_lease: true, lease: 5, ..put("k", "v") };
    assert_eq!(refusal(server.kv.put(both).await), invalid("lease is provided"));
    let missing = pb::PutRequest { ignore_lease: true, ..put("k", "v") };
    assert_eq!(refusal(server.kv.put(missing).await), invalid("key not found"));
    let unleased = pb::PutRequest { lease: 5, ..put("k", "v") };
    let not_found = (Code::NotFound, "etcdserver: requested lease not found".to_owned());
    assert_eq!(refusal(server.kv.put(unleased).await), not_found);

    let twice = vec![op(Request::RequestPut(put("k", "1"))), op(Request::RequestPut(put("k", "2")))];
    let txn = |success| pb::TxnRequest { success, ..Default::default() };
    assert_eq!(refusal(server.kv.txn(txn(twice)).await), invalid("duplicate key given in txn request"));
    let memberless = vec![pb::RequestOp::default()];
    assert_eq!(refusal(server.kv.txn(txn(memberless)).await), invalid("key not found"));
    let many = (0..129).map(|n| op(Request::RequestPut(put(&n.to_string(), "")))).collect();
    assert_eq!(refusal(server.kv.txn(txn(many)).await), invalid("too many operations in txn request"));
}

/// §4.4 "Size": too large to be written is one error, too large to be received another.
#[tokio::test]
async fn large_requests_are_refused_in_two_steps() {
    let mut server = TestServer::start().await;
    let of_size = |bytes: usize| put("k", &"v".repeat(bytes));
    server.kv.put(of_size(1_500_000)).await.unwrap();
    let too_large = (Code::InvalidArgument, "etcdserver: request is too large".to_owned());
    assert_eq!(refusal(server.kv.put(of_size(1_600_000)).await), too_large);
    let (code, text) = refusal(server.kv.put(of_size(2_200_000)).await);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(text.starts_with("grpc: received message larger than max (22000"), "{text}");
    assert!(text.ends_with("vs. 2097152)"), "{text}");
    assert_eq!(server.get("k").await.kvs[0].value.len(), 1_500_000, "the connection lives on");
}

#[tokio::test]
async fn an_unknown_rpc_is_unimplemented() {
    let mut server = TestServer::start().await;
    let mut auth = pb::auth_client::AuthClient::new(server.channel.clone());
    let (code, text) = refusal(auth.user_list(pb::AuthUserListRequest {}).await);
    assert_eq!(code, Code::Unimplemented);
    assert!(text.contains("not supported by this version of Althing: etcdserverpb.Auth/UserList"), "{text}");
    assert!(!auth.auth_status(pb::AuthStatusRequest {}).await.unwrap().into_inner().enabled);
    server.put("still", "there").await;
}

/// §4.7: a member over its quota takes nothing that needs space; deletes and compaction make room.
#[tokio::test]
async fn a_full_store_refuses_what_needs_space_and_says_so() {
    let config = etcd::ServerConfig { quota_bytes: 100_000, ..Default::default() };
    let mut server = TestServer::with(config).await;
    let no_space = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded".to_owned());
    let value = "v".repeat(20_000);
    let refused = within(async {
        loop {
            if let Err(status) = server.kv.put(put("k", &value)).await {
                return (status.code(), status.message().to_owned());
            }
        }
    });
    assert_eq!(refused.await, no_space);
    let mut maintenance = pb::maintenance_client::MaintenanceClient::new(server.channel.clone());
    let list = pb::AlarmRequest::default();
    let alarms = maintenance.alarm(list).await.unwrap().into_inner().alarms;
    assert_eq!(alarms[0].alarm, i32::from(pb::AlarmType::Nospace));
    let status = maintenance.status(pb::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.errors[0].ends_with("alarm:NOSPACE "), "{:?}", status.errors);

    let delete = pb::DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let revision = revision(&server.kv.delete_range(delete.clone()).await.unwrap().into_inner().header);
    server.kv.compact(pb::CompactionRequest { revision, physical: true }).await.unwrap();
    // Space is freed a little with every command.
    within(async {
        while server.kv.put(put("k", "small")).await.is_err() {
            server.kv.delete_range(delete.clone()).await.unwrap();
        }
    })
    .await;
}

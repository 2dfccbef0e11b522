//! A history's calls over the etcd API, and what their answers mean to a history.

use bytes::Bytes;
use checker::{Answer, Call, Compare, Found, Item, Outcome, Step};
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use tonic::transport::Channel;

/// What the server says when a request certainly had no effect (docs/etcd-compat.md, D5).
const REFUSALS: [&str; 3] =
    ["etcdserver: no leader", "etcdserver: too many requests", "etcdserver: mvcc: database space exceeded"];

/// Asks one node, and says what came of it.
pub async fn send(kv: &mut KvClient<Channel>, call: &Call) -> Outcome {
    let answered = match call {
        Call::One(step) => send_step(kv, step).await,
        Call::Txn(txn) => send_txn(kv, txn).await,
    };
    match answered {
        Ok((revision, answer)) => Outcome::Answered { revision: Some(revision), answer },
        Err(status) if had_no_effect(&status) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

async fn send_step(kv: &mut KvClient<Channel>, step: &Step) -> Result<(i64, Answer), tonic::Status> {
    let (header, found) = match step {
        Step::Get(key) => {
            let response = kv.range(range_request(key, Bytes::new())).await?.into_inner();
            (response.header, Found::Get(response.kvs.into_iter().next().map(item)))
        }
        Step::Range(from, to) => {
            let response = kv.range(range_request(from, to.clone())).await?.into_inner();
            let pairs = response.kvs.into_iter().map(|pair| (pair.key.clone(), item(pair)));
            (response.header, Found::Range(pairs.collect()))
        }
        Step::Put(key, value) => {
            let request = pb::PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
            (kv.put(request).await?.into_inner().header, Found::Put)
        }
        Step::Delete(key) => {
            let request = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
            let response = kv.delete_range(request).await?.into_inner();
            (response.header, Found::Delete(response.deleted))
        }
    };
    Ok((revision(header), Answer::One(found)))
}

async fn send_txn(kv: &mut KvClient<Channel>, txn: &checker::Txn) -> Result<(i64, Answer), tonic::Status> {
    let request = pb::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.then.iter().map(request_op).collect(),
        failure: txn.otherwise.iter().map(request_op).collect(),
    };
    let response = kv.txn(request).await?.into_inner();
    let found = response.responses.into_iter().filter_map(|op| op.response).filter_map(found).collect();
    Ok((revision(response.header), Answer::Txn { succeeded: response.succeeded, found }))
}

/// Nothing was sent, or the server says that nothing was done.
fn had_no_effect(status: &tonic::Status) -> bool {
    REFUSALS.contains(&status.message()) || was_never_sent(status)
}

fn was_never_sent(status: &tonic::Status) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(status);
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn range_request(key: &Bytes, range_end: Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key: key.clone(), range_end, ..Default::default() }
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match compare {
        Compare::Value(_, value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        Compare::Version(_, version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Compare::ModRevision(_, revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Compare::CreateRevision(_, revision) => {
            (CompareTarget::Create, TargetUnion::CreateRevision(*revision))
        }
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: compare.key().clone(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn request_op(step: &Step) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match step {
        Step::Get(key) => Request::RequestRange(range_request(key, Bytes::new())),
        Step::Range(from, to) => Request::RequestRange(range_request(from, to.clone())),
        Step::Put(key, value) => Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        }),
        Step::Delete(key) => {
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.clone(), ..Default::default() })
        }
    };
    pb::RequestOp { request: Some(request) }
}

fn found(response: pb::response_op::Response) -> Option<Found> {
    use pb::response_op::Response;
    match response {
        Response::ResponseRange(range) => Some(Found::Get(range.kvs.into_iter().next().map(item))),
        Response::ResponsePut(_) => Some(Found::Put),
        Response::ResponseDeleteRange(delete) => Some(Found::Delete(delete.deleted)),
        Response::ResponseTxn(_) => None,
    }
}

fn item(pair: etcd::proto::mvccpb::KeyValue) -> Item {
    Item {
        value: pair.value,
        mod_revision: Some(pair.mod_revision),
        create_revision: Some(pair.create_revision),
        version: Some(pair.version),
    }
}

pub(super) fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

//! The KV service: ranges, puts, deletes, transactions, compaction (`etcd-api.md` §4.4).

use tonic::Status;

use crate::convert;
use crate::errors;
use crate::front::{Front, mismatched};
use crate::grpc::Call;
use crate::proto::etcdserverpb as pb;

/// More keys than this may take long enough to read that the read moves off the threads that serve sockets.
const QUICK_KEYS: i64 = 64;

pub(crate) async fn range(
    front: &Front,
    call: Call,
    request: pb::RangeRequest,
) -> Result<pb::RangeResponse, Status> {
    let serializable = request.serializable;
    if !serializable && front.handle.is_learner() {
        return Err(errors::NOT_FOR_LEARNER.into());
    }
    let request = convert::range(request).map_err(errors::of_kv)?;
    kv::validate_range(&request).map_err(errors::of_kv)?;
    if !serializable {
        front.barrier(&call).await?;
    }
    let quick = is_quick(&request);
    let (revision, response) = read(front, quick, move |reader| reader.range(&request)).await?;
    Ok(convert::range_response(Some(front.header(revision)), response))
}

pub(crate) async fn put(
    front: &Front,
    call: Call,
    request: pb::PutRequest,
) -> Result<pb::PutResponse, Status> {
    match front.propose(&call, kv::Command::Put(convert::put(request))).await? {
        (kv::Response::Put(response), revision) => {
            Ok(convert::put_response(Some(front.header(revision)), response))
        }
        (other, _) => Err(mismatched(&other)),
    }
}

pub(crate) async fn delete_range(
    front: &Front,
    call: Call,
    request: pb::DeleteRangeRequest,
) -> Result<pb::DeleteRangeResponse, Status> {
    match front.propose(&call, kv::Command::DeleteRange(convert::delete_range(request))).await? {
        (kv::Response::DeleteRange(response), revision) => {
            Ok(convert::delete_range_response(Some(front.header(revision)), response))
        }
        (other, _) => Err(mismatched(&other)),
    }
}

pub(crate) async fn txn(
    front: &Front,
    call: Call,
    request: pb::TxnRequest,
) -> Result<pb::TxnResponse, Status> {
    let serializable = all_serializable(&request);
    let request = convert::txn(request).map_err(errors::of_kv)?;
    if kv::is_read_only(&request) {
        return read_only_txn(front, call, request, serializable).await;
    }
    match front.propose(&call, kv::Command::Txn(request)).await? {
        (kv::Response::Txn(response), revision) => {
            Ok(convert::txn_response(Some(front.header(revision)), response))
        }
        (other, _) => Err(mismatched(&other)),
    }
}

async fn read_only_txn(
    front: &Front,
    call: Call,
    request: kv::TxnRequest,
    serializable: bool,
) -> Result<pb::TxnResponse, Status> {
    kv::validate_txn(&request, front.config.max_txn_ops).map_err(errors::of_kv)?;
    if !serializable {
        front.barrier(&call).await?;
    }
    let quick = request.success.iter().chain(&request.failure).all(|op| match op {
        kv::RequestOp::Range(range) => is_quick(range),
        _ => true,
    });
    let (revision, response) = read(front, quick, move |reader| reader.txn(&request)).await?;
    Ok(convert::txn_response(Some(front.header(revision)), response))
}

pub(crate) async fn compact(
    front: &Front,
    call: Call,
    request: pb::CompactionRequest,
) -> Result<pb::CompactionResponse, Status> {
    // `physical` asks to wait until the space is free again. Space is reclaimed in the background here, and
    // the revisions are gone for every reader as soon as the command is applied.
    let (_, revision) = front.propose(&call, kv::Command::Compact { revision: request.revision }).await?;
    Ok(pb::CompactionResponse { header: Some(front.header(revision)) })
}

/// Whether a transaction has ranges, and all of them accept a stale answer. One without any is linearizable:
/// etcd answers it locally, and its compares may then be stale.
fn all_serializable(request: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    let mut ops = request.success.iter().chain(&request.failure).peekable();
    ops.peek().is_some()
        && ops.all(|op| matches!(&op.request, Some(Request::RequestRange(range)) if range.serializable))
}

fn is_quick(request: &kv::RangeRequest) -> bool {
    request.range_end.is_empty() || (1..=QUICK_KEYS).contains(&request.limit)
}

type Reader = kv::Reader<node::StateEngine>;

async fn read<T: Send + 'static>(
    front: &Front,
    quick: bool,
    job: impl FnOnce(&Reader) -> Result<T, kv::ReadError> + Send + 'static,
) -> Result<T, Status> {
    if quick {
        return job(&front.reader).map_err(errors::of_read);
    }
    let reader = front.reader.clone();
    match tokio::task::spawn_blocking(move || job(&reader)).await {
        Ok(result) => result.map_err(errors::of_read),
        Err(_stopping) => Err(errors::STOPPED.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(serializable: bool) -> pb::RequestOp {
        let range = pb::RangeRequest { serializable, ..Default::default() };
        pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) }
    }

    /// etcd-api.md §4.4: etcd reads a compare-only transaction locally; we do not.
    #[test]
    fn a_transaction_is_read_locally_only_if_all_its_ranges_ask_for_it() {
        let txn = |success, failure| pb::TxnRequest { compare: vec![], success, failure };
        assert!(!all_serializable(&txn(vec![], vec![])));
        assert!(all_serializable(&txn(vec![op(true)], vec![op(true)])));
        assert!(!all_serializable(&txn(vec![op(true)], vec![op(false)])));
    }
}

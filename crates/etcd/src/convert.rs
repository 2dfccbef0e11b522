//! Between messages on the wire and the state machine's own types. Byte strings move, nothing is copied.

use bytes::Bytes;
use kv::KvError;

use crate::proto::{etcdserverpb as pb, mvccpb};

pub(crate) fn key_value(kv: kv::KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key,
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value,
        lease: kv.lease,
    }
}

fn key_values(kvs: Vec<kv::KeyValue>) -> Vec<mvccpb::KeyValue> {
    kvs.into_iter().map(key_value).collect()
}

/// # Errors
/// [`KvError::InvalidSortOption`] if an order or target is none of etcd's.
pub(crate) fn range(request: pb::RangeRequest) -> Result<kv::RangeRequest, KvError> {
    use pb::range_request::{SortOrder, SortTarget};
    let order = SortOrder::try_from(request.sort_order).map_err(|_| KvError::InvalidSortOption)?;
    let target = SortTarget::try_from(request.sort_target).map_err(|_| KvError::InvalidSortOption)?;
    Ok(kv::RangeRequest {
        key: request.key,
        range_end: request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: match order {
            SortOrder::None => kv::SortOrder::None,
            SortOrder::Ascend => kv::SortOrder::Ascend,
            SortOrder::Descend => kv::SortOrder::Descend,
        },
        sort_target: match target {
            SortTarget::Key => kv::SortTarget::Key,
            SortTarget::Version => kv::SortTarget::Version,
            SortTarget::Create => kv::SortTarget::Create,
            SortTarget::Mod => kv::SortTarget::Mod,
            SortTarget::Value => kv::SortTarget::Value,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    })
}

pub(crate) fn put(request: pb::PutRequest) -> kv::PutRequest {
    kv::PutRequest {
        key: request.key,
        value: request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

pub(crate) fn delete_range(request: pb::DeleteRangeRequest) -> kv::DeleteRangeRequest {
    kv::DeleteRangeRequest { key: request.key, range_end: request.range_end, prev_kv: request.prev_kv }
}

/// # Errors
/// [`KvError::InvalidSortOption`] as for [`range`]; [`KvError::KeyNotFound`] for an operation without a member,
/// as etcd answers it.
pub(crate) fn txn(request: pb::TxnRequest) -> Result<kv::TxnRequest, KvError> {
    Ok(kv::TxnRequest {
        compare: request.compare.into_iter().map(compare).collect(),
        success: request.success.into_iter().map(request_op).collect::<Result<_, _>>()?,
        failure: request.failure.into_iter().map(request_op).collect::<Result<_, _>>()?,
    })
}

fn request_op(op: pb::RequestOp) -> Result<kv::RequestOp, KvError> {
    use pb::request_op::Request;
    match op.request.ok_or(KvError::KeyNotFound)? {
        Request::RequestRange(request) => Ok(kv::RequestOp::Range(range(request)?)),
        Request::RequestPut(request) => Ok(kv::RequestOp::Put(put(request))),
        Request::RequestDeleteRange(request) => Ok(kv::RequestOp::DeleteRange(delete_range(request))),
        Request::RequestTxn(request) => Ok(kv::RequestOp::Txn(txn(request)?)),
    }
}

/// An operand of another kind than the target names counts as absent, and an absent one as 0 or empty.
fn compare(compare: pb::Compare) -> kv::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let result = CompareResult::try_from(compare.result).unwrap_or(CompareResult::Equal);
    let target = CompareTarget::try_from(compare.target).unwrap_or(CompareTarget::Version);
    let operand = compare.target_union;
    kv::Compare {
        key: compare.key,
        range_end: compare.range_end,
        result: match result {
            CompareResult::Equal => kv::CompareResult::Equal,
            CompareResult::Greater => kv::CompareResult::Greater,
            CompareResult::Less => kv::CompareResult::Less,
            CompareResult::NotEqual => kv::CompareResult::NotEqual,
        },
        target: match (target, operand) {
            (CompareTarget::Version, Some(TargetUnion::Version(value))) => kv::CompareTarget::Version(value),
            (CompareTarget::Version, _) => kv::CompareTarget::Version(0),
            (CompareTarget::Create, Some(TargetUnion::CreateRevision(value))) => {
                kv::CompareTarget::Create(value)
            }
            (CompareTarget::Create, _) => kv::CompareTarget::Create(0),
            (CompareTarget::Mod, Some(TargetUnion::ModRevision(value))) => kv::CompareTarget::Mod(value),
            (CompareTarget::Mod, _) => kv::CompareTarget::Mod(0),
            (CompareTarget::Value, Some(TargetUnion::Value(value))) => kv::CompareTarget::Value(value),
            (CompareTarget::Value, _) => kv::CompareTarget::Value(Bytes::new()),
            (CompareTarget::Lease, Some(TargetUnion::Lease(value))) => kv::CompareTarget::Lease(value),
            (CompareTarget::Lease, _) => kv::CompareTarget::Lease(0),
        },
    }
}

pub(crate) fn range_response(
    header: Option<pb::ResponseHeader>,
    response: kv::RangeResponse,
) -> pb::RangeResponse {
    pb::RangeResponse { header, kvs: key_values(response.kvs), more: response.more, count: response.count }
}

pub(crate) fn put_response(header: Option<pb::ResponseHeader>, response: kv::PutResponse) -> pb::PutResponse {
    pb::PutResponse { header, prev_kv: response.prev_kv.map(key_value) }
}

pub(crate) fn delete_range_response(
    header: Option<pb::ResponseHeader>,
    response: kv::DeleteRangeResponse,
) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse { header, deleted: response.deleted, prev_kvs: key_values(response.prev_kvs) }
}

/// The responses inside carry only a revision in their header; a nested transaction's header is empty.
pub(crate) fn txn_response(header: Option<pb::ResponseHeader>, response: kv::TxnResponse) -> pb::TxnResponse {
    pb::TxnResponse {
        header,
        succeeded: response.succeeded,
        responses: response.responses.into_iter().map(response_op).collect(),
    }
}

fn response_op(response: kv::ResponseOp) -> pb::ResponseOp {
    use pb::response_op::Response;
    let only = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
    pb::ResponseOp {
        response: Some(match response {
            kv::ResponseOp::Range(revision, response) => {
                Response::ResponseRange(range_response(only(revision), response))
            }
            kv::ResponseOp::Put(revision, response) => {
                Response::ResponsePut(put_response(only(revision), response))
            }
            kv::ResponseOp::DeleteRange(revision, response) => {
                Response::ResponseDeleteRange(delete_range_response(only(revision), response))
            }
            kv::ResponseOp::Txn(response) => {
                Response::ResponseTxn(txn_response(Some(pb::ResponseHeader::default()), response))
            }
        }),
    }
}

pub(crate) fn member(member: node::MemberInfo) -> pb::Member {
    pb::Member {
        is_learner: member.is_learner(),
        id: member.id.0,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_sort_options_are_refused() {
        for (sort_order, sort_target) in [(3, 0), (0, 5), (-1, 0)] {
            let request = pb::RangeRequest { sort_order, sort_target, ..Default::default() };
            assert_eq!(range(request), Err(KvError::InvalidSortOption));
        }
    }

    /// etcd-api.md §4.4: "An op with no member set → key not found".
    #[test]
    fn an_operation_without_a_member_is_a_key_not_found() {
        let request = pb::TxnRequest { success: vec![pb::RequestOp::default()], ..Default::default() };
        assert_eq!(txn(request), Err(KvError::KeyNotFound));
    }

    #[test]
    fn an_operand_of_another_kind_than_the_target_counts_as_absent() {
        let wire = pb::Compare {
            target: pb::compare::CompareTarget::Mod.into(),
            target_union: Some(pb::compare::TargetUnion::Version(7)),
            ..Default::default()
        };
        assert_eq!(compare(wire).target, kv::CompareTarget::Mod(0));
    }

    /// etcd-api.md §4.3.1: inside a transaction only the revision; a nested one has an empty header.
    #[test]
    fn responses_inside_a_transaction_carry_only_the_revision() {
        let nested = kv::TxnResponse {
            succeeded: true,
            responses: vec![kv::ResponseOp::Put(5, kv::PutResponse::default())],
        };
        let outer = kv::TxnResponse { succeeded: true, responses: vec![kv::ResponseOp::Txn(nested)] };
        let wire = txn_response(None, outer);
        let Some(pb::response_op::Response::ResponseTxn(nested)) = &wire.responses[0].response else {
            panic!("{wire:?}")
        };
        assert_eq!(nested.header, Some(pb::ResponseHeader::default()));
        let Some(pb::response_op::Response::ResponsePut(put)) = &nested.responses[0].response else {
            panic!("{wire:?}")
        };
        assert_eq!(put.header, Some(pb::ResponseHeader { revision: 5, ..Default::default() }));
    }
}

//! The Cluster service (`etcd-api.md` §4.7). Membership does not change in this version.

use tonic::Status;

use crate::convert;
use crate::errors;
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::etcdserverpb as pb;

pub(crate) async fn member_list(
    front: &Front,
    call: Call,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Status> {
    if request.linearizable {
        front.barrier(&call).await?;
    }
    let members = front.handle.members().into_iter().map(convert::member).collect();
    // As in etcd, the header of this service has no revision.
    Ok(pb::MemberListResponse { header: Some(front.header(0)), members })
}

/// Any RPC that changes the members.
pub(crate) fn unsupported() -> Status {
    errors::unsupported("changing the members; start a new cluster with the members you want")
}

//! The Auth service: this version has no users, and says so.

use tonic::Status;

use crate::errors;
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::etcdserverpb as pb;

/// The revision of a store of users that nobody has changed.
const AUTH_REVISION: u64 = 1;

pub(crate) async fn status(
    front: &Front,
    _call: Call,
    _request: pb::AuthStatusRequest,
) -> Result<pb::AuthStatusResponse, Status> {
    let header = Some(front.header_now());
    Ok(pb::AuthStatusResponse { header, enabled: false, auth_revision: AUTH_REVISION })
}

/// Turning off what is off succeeds in etcd.
pub(crate) async fn disable(
    front: &Front,
    _call: Call,
    _request: pb::AuthDisableRequest,
) -> Result<pb::AuthDisableResponse, Status> {
    Ok(pb::AuthDisableResponse { header: Some(front.header_now()) })
}

pub(crate) async fn authenticate(
    _front: &Front,
    _call: Call,
    _request: pb::AuthenticateRequest,
) -> Result<pb::AuthenticateResponse, Status> {
    Err(errors::AUTH_NOT_ENABLED.into())
}

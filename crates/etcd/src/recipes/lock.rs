//! The Lock service.

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use super::{LeaveOnDrop, enter, single, wait_turn};
use crate::errors;
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::v3lockpb as pb;

/// Answers when the caller holds the lock.
pub(crate) async fn lock(
    front: &Arc<Front>,
    call: Call,
    request: pb::LockRequest,
) -> Result<pb::LockResponse, Status> {
    let place = enter(front, &call, &request.name, request.lease, Bytes::new()).await?;
    let leaving = LeaveOnDrop { front, place: Some(&place) };
    let waited = wait_turn(front, &call, &place).await?;
    if waited {
        // While it waited its lease may have run out, and its key gone.
        front.barrier(&call).await?;
    }
    let (now, found) = front.reader.range(&single(&place.key)).map_err(errors::of_read)?;
    if found.kvs.first().is_none_or(|pair| pair.create_revision != place.revision) {
        leaving.stay();
        return Err(errors::SESSION_EXPIRED.into());
    }
    leaving.stay();
    // Who was before it may have gone only after it entered: it holds from now on, not from then.
    Ok(pb::LockResponse { header: Some(front.header(now)), key: place.key })
}

/// Deletes the key that `lock` returned.
pub(crate) async fn unlock(
    front: &Front,
    call: Call,
    request: pb::UnlockRequest,
) -> Result<pb::UnlockResponse, Status> {
    let command = kv::Command::DeleteRange(kv::DeleteRangeRequest { key: request.key, ..Default::default() });
    let (_, revision) = front.propose(&call, command).await?;
    Ok(pb::UnlockResponse { header: Some(front.header(revision)) })
}

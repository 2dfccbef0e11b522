//! The Election service.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{LeaveOnDrop, created_at, delete, enter, first, leader, single, txn, wait_turn};
use crate::convert;
use crate::errors;
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::v3electionpb as pb;
use crate::watch::{Change, Notice};

/// Answers when the caller leads.
pub(crate) async fn campaign(
    front: &Arc<Front>,
    call: Call,
    request: pb::CampaignRequest,
) -> Result<pb::CampaignResponse, Status> {
    let value = request.value;
    let place = enter(front, &call, &request.name, request.lease, value.clone()).await?;
    let leaving = LeaveOnDrop { front, place: Some(&place) };
    if place.found_value.as_ref().is_some_and(|found| *found != value) {
        put_if(front, &call, &place.key, place.revision, place.lease, value).await?;
    }
    wait_turn(front, &call, &place).await?;
    leaving.stay();
    let key = pb::LeaderKey { name: request.name, key: place.key, rev: place.revision, lease: place.lease };
    Ok(pb::CampaignResponse { header: Some(front.header(place.entered_at)), leader: Some(key) })
}

/// Changes the leader's value.
pub(crate) async fn proclaim(
    front: &Front,
    call: Call,
    request: pb::ProclaimRequest,
) -> Result<pb::ProclaimResponse, Status> {
    let leader = request.leader.ok_or(errors::LEADER_REQUIRED)?;
    let revision = put_if(front, &call, &leader.key, leader.rev, leader.lease, request.value).await?;
    Ok(pb::ProclaimResponse { header: Some(front.header(revision)) })
}

/// Gives leadership up; of one who does not lead any more, does nothing.
pub(crate) async fn resign(
    front: &Front,
    call: Call,
    request: pb::ResignRequest,
) -> Result<pb::ResignResponse, Status> {
    let leader = request.leader.ok_or(errors::LEADER_REQUIRED)?;
    let request = kv::TxnRequest {
        compare: vec![created_at(&leader.key, leader.rev)],
        success: vec![delete(&leader.key)],
        failure: vec![],
    };
    let (_, revision) = txn(front, &call, request).await?;
    Ok(pb::ResignResponse { header: Some(front.header(revision)) })
}

/// Who leads now.
pub(crate) async fn leader_of(
    front: &Front,
    call: Call,
    request: pb::LeaderRequest,
) -> Result<pb::LeaderResponse, Status> {
    front.barrier(&call).await?;
    let found = leader(front, &prefix(&request))?.ok_or(errors::ELECTION_NO_LEADER)?;
    Ok(pb::LeaderResponse { header: Some(front.header_now()), kv: Some(convert::key_value(found)) })
}

/// Tells the current leader's value, and each that follows.
pub(crate) async fn observe(
    front: &Arc<Front>,
    call: Call,
    request: pb::LeaderRequest,
) -> Result<ReceiverStream<Result<pb::LeaderResponse, Status>>, Status> {
    front.barrier(&call).await?;
    let (news, output) = mpsc::channel(1);
    tokio::spawn(tell_leaders(front.clone(), prefix(&request), news));
    Ok(ReceiverStream::new(output))
}

type News = mpsc::Sender<Result<pb::LeaderResponse, Status>>;

async fn tell_leaders(front: Arc<Front>, prefix: Bytes, news: News) {
    let mut told = None;
    loop {
        tokio::select! {
            next = next_leader(&front, &prefix, &mut told) => {
                let ended = next.is_err();
                if news.send(next).await.is_err() || ended {
                    return;
                }
            }
            status = front.interrupted(false) => {
                // If the client is gone there is nobody to tell.
                news.send(Err(status)).await.ok();
                return;
            }
            () = news.closed() => return,
        }
    }
}

/// Waits for a leader, or a value of it, that has not been `told`.
async fn next_leader(
    front: &Arc<Front>,
    prefix: &Bytes,
    told: &mut Option<kv::Revision>,
) -> Result<pb::LeaderResponse, Status> {
    loop {
        let mut entered = Notice::new(front, prefix.clone(), Change::PutBelow);
        let Some(pair) = leader(front, prefix)? else {
            entered.changed().await;
            continue;
        };
        if told.replace(pair.mod_revision) != Some(pair.mod_revision) {
            let header = Some(front.header_now());
            return Ok(pb::LeaderResponse { header, kv: Some(convert::key_value(pair)) });
        }
        let mut changed = Notice::new(front, pair.key.clone(), Change::Any);
        // It may have changed before the notice stood.
        if first(front, &single(&pair.key))?.is_some_and(|now| now.mod_revision == pair.mod_revision) {
            changed.changed().await;
        }
    }
}

async fn put_if(
    front: &Front,
    call: &Call,
    key: &Bytes,
    created: kv::Revision,
    lease: i64,
    value: Bytes,
) -> Result<kv::Revision, Status> {
    let put = kv::PutRequest { key: key.clone(), value, lease, ..Default::default() };
    let request = kv::TxnRequest {
        compare: vec![created_at(key, created)],
        success: vec![kv::RequestOp::Put(put)],
        failure: vec![],
    };
    let (response, revision) = txn(front, call, request).await?;
    if response.succeeded { Ok(revision) } else { Err(errors::ELECTION_NOT_LEADER.into()) }
}

fn prefix(request: &pb::LeaderRequest) -> Bytes {
    Bytes::from([&request.name[..], b"/"].concat())
}

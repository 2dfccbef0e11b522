//! The Lease service (`etcd-api.md` §4.6). Grants and revokes are replicated; keep-alives are not: the leader
//! answers them.

use std::sync::Arc;

use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::errors;
use crate::front::{Front, mismatched};
use crate::grpc::{self, Body, Call, Method};
use crate::proto::etcdserverpb as pb;

/// Keep-alive answers of one stream that may wait for its client.
const ANSWERS_WAITING_MAX: usize = 16;

/// The answer about a lease that does not exist.
const TTL_OF_MISSING: i64 = -1;

pub(crate) async fn grant(
    front: &Front,
    call: Call,
    request: pb::LeaseGrantRequest,
) -> Result<pb::LeaseGrantResponse, Status> {
    let id = if request.id == 0 { random_id() } else { request.id };
    let ttl_seconds = request.ttl.max(front.config.lease_ttl_min_seconds());
    let (response, revision) = front.propose(&call, kv::Command::LeaseGrant { id, ttl_seconds }).await?;
    let kv::Response::LeaseGrant { id, ttl_seconds } = response else { return Err(mismatched(&response)) };
    front.metrics.leases_granted.add(1);
    let header = Some(front.header(revision));
    Ok(pb::LeaseGrantResponse { header, id, ttl: ttl_seconds, error: String::new() })
}

/// A positive id. With 63 random bits a collision is refused once in a lifetime, and the client asks again.
fn random_id() -> i64 {
    rand::random_range(1..=i64::MAX)
}

pub(crate) async fn revoke(
    front: &Front,
    call: Call,
    request: pb::LeaseRevokeRequest,
) -> Result<pb::LeaseRevokeResponse, Status> {
    let (_, revision) = front.propose(&call, kv::Command::LeaseRevoke { id: request.id }).await?;
    front.metrics.leases_revoked.add(1);
    Ok(pb::LeaseRevokeResponse { header: Some(front.header(revision)) })
}

pub(crate) async fn time_to_live(
    front: &Front,
    call: Call,
    request: pb::LeaseTimeToLiveRequest,
) -> Result<pb::LeaseTimeToLiveResponse, Status> {
    let found = front.handle.lease_times(request.id, front.timeout(&call)).await;
    let found = found.map_err(errors::of_barrier)?;
    let mut response = pb::LeaseTimeToLiveResponse {
        header: Some(front.header_now()),
        id: request.id,
        ttl: TTL_OF_MISSING,
        ..Default::default()
    };
    let Some(lease) = found else { return Ok(response) };
    response.ttl = i64::try_from(lease.remaining.as_secs()).unwrap_or(i64::MAX);
    response.granted_ttl = lease.granted_seconds;
    if request.keys {
        let info = front.reader.lease(request.id).map_err(errors::of_read)?;
        response.keys = info.map(|info| info.keys).unwrap_or_default();
    }
    Ok(response)
}

pub(crate) async fn leases(
    front: &Front,
    call: Call,
    _request: pb::LeaseLeasesRequest,
) -> Result<pb::LeaseLeasesResponse, Status> {
    front.barrier(&call).await?;
    let leases = front.reader.leases().map_err(errors::of_read)?;
    Ok(pb::LeaseLeasesResponse {
        header: Some(front.header_now()),
        leases: leases.into_iter().map(|(id, _)| pb::LeaseStatus { id }).collect(),
    })
}

/// Opens a stream on which each request renews one lease.
pub(crate) fn keep_alive(front: &Arc<Front>, request: http::Request<Incoming>) -> http::Response<Body> {
    grpc::stream(front, Method::LeaseKeepAlive, request, |requests, demands_leader| {
        let (answers, output) = mpsc::channel(ANSWERS_WAITING_MAX);
        tokio::spawn(renew_all(front.clone(), requests, answers, demands_leader));
        (grpc::prost_encoder(), ReceiverStream::new(output))
    })
}

type Answers = mpsc::Sender<Result<pb::LeaseKeepAliveResponse, Status>>;

async fn renew_all(
    front: Arc<Front>,
    mut requests: Streaming<pb::LeaseKeepAliveRequest>,
    answers: Answers,
    demands_leader: bool,
) {
    let interrupted = front.interrupted(demands_leader);
    tokio::pin!(interrupted);
    loop {
        let answer = tokio::select! {
            request = requests.message() => match request {
                Ok(Some(request)) => renew(&front, request.id).await,
                Ok(None) => return,
                Err(status) => Err(status),
            },
            status = &mut interrupted => Err(status),
            () = answers.closed() => return,
        };
        let ended = answer.is_err();
        if answers.send(answer).await.is_err() || ended {
            return;
        }
    }
}

/// A lease that does not exist, or has run out, is answered with a TTL of 0.
async fn renew(front: &Front, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
    let header = Some(front.header_now());
    let renewed = front.handle.lease_renew(id, front.config.request_timeout()).await;
    let ttl = renewed.map_err(errors::of_barrier)?.map_or(0, |lease| lease.granted_seconds);
    front.metrics.leases_renewed.add(u64::from(ttl > 0));
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
}

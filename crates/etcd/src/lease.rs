//! The Lease service (`etcd-api.md` §4.6). Grants and revokes are replicated; keep-alives are not: the leader
//! answers them.

use std::sync::Arc;

use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::errors;
use crate::front::{Front, mismatched};
use crate::grpc::{self, Body, Call, Method};
use crate::proto::etcdserverpb as pb;

/// Renewals of one stream that may be under way, or wait for its client.
const RENEWALS_MAX: usize = 64;

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

/// Opens a stream on which each request renews one lease. Several renewals are under way at a time; the answers
/// come in the order of the requests.
pub(crate) fn keep_alive(front: &Arc<Front>, request: http::Request<Incoming>) -> http::Response<Body> {
    grpc::stream(front, Method::LeaseKeepAlive, request, |requests, demands_leader| {
        let (renewals, started) = mpsc::channel(RENEWALS_MAX);
        let (answers, output) = mpsc::channel(1);
        tokio::spawn(start_renewals(front.clone(), requests, renewals, demands_leader));
        tokio::spawn(finish_renewals(started, answers));
        (grpc::prost_encoder(), ReceiverStream::new(output))
    })
}

type Answer = Result<pb::LeaseKeepAliveResponse, Status>;

async fn start_renewals(
    front: Arc<Front>,
    mut requests: Streaming<pb::LeaseKeepAliveRequest>,
    renewals: mpsc::Sender<JoinHandle<Answer>>,
    demands_leader: bool,
) {
    let interrupted = front.interrupted(demands_leader);
    tokio::pin!(interrupted);
    loop {
        let next = tokio::select! {
            request = requests.message() => request,
            status = &mut interrupted => Err(status),
            () = renewals.closed() => return,
        };
        let ended = next.is_err();
        let renewal = match next {
            Ok(Some(request)) => tokio::spawn(renew(front.clone(), request.id)),
            Ok(None) => return,
            Err(status) => tokio::spawn(async { Err(status) }),
        };
        if renewals.send(renewal).await.is_err() || ended {
            return;
        }
    }
}

/// The first error ends the stream.
async fn finish_renewals(mut started: mpsc::Receiver<JoinHandle<Answer>>, answers: mpsc::Sender<Answer>) {
    while let Some(renewal) = started.recv().await {
        let answer = renewal.await.unwrap_or_else(|_stopping| Err(errors::STOPPED.into()));
        let ended = answer.is_err();
        if answers.send(answer).await.is_err() || ended {
            return;
        }
    }
}

/// A lease that does not exist, or has run out, is answered with a TTL of 0.
async fn renew(front: Arc<Front>, id: i64) -> Answer {
    let header = Some(front.header_now());
    let renewed = front.handle.lease_renew(id, front.config.request_timeout()).await;
    let ttl = renewed.map_err(errors::of_barrier)?.map_or(0, |lease| lease.granted_seconds);
    front.metrics.leases_renewed.add(u64::from(ttl > 0));
    Ok(pb::LeaseKeepAliveResponse { header, id, ttl })
}

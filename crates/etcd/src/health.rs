//! gRPC's health-checking protocol: a member serves while it knows a leader.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::front::Front;
use crate::grpc::Call;
use crate::proto::health as pb;
use pb::health_check_response::ServingStatus;

/// How often a watched health is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

type Answer = Result<pb::HealthCheckResponse, Status>;

pub(crate) async fn check(front: &Front, _call: Call, request: pb::HealthCheckRequest) -> Answer {
    if !request.service.is_empty() {
        return Err(Status::not_found("unknown service"));
    }
    Ok(now(front))
}

/// Tells the health now, and whenever it changes.
pub(crate) async fn watch(
    front: &Arc<Front>,
    _call: Call,
    request: pb::HealthCheckRequest,
) -> Result<ReceiverStream<Answer>, Status> {
    let (news, output) = mpsc::channel(1);
    if request.service.is_empty() {
        tokio::spawn(tell(front.clone(), news));
    } else {
        // The protocol asks to go on, in case the service comes up one day; here none will.
        let unknown = pb::HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
        news.try_send(Ok(unknown)).ok();
        let front = front.clone();
        tokio::spawn(async move {
            tokio::select! { () = news.closed() => {}, _ = front.interrupted(false) => {} }
        });
    }
    Ok(ReceiverStream::new(output))
}

async fn tell(front: Arc<Front>, news: mpsc::Sender<Answer>) {
    let mut told = None;
    loop {
        let health = now(&front);
        if told != Some(health) {
            told = Some(health);
            if news.send(Ok(health)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = news.closed() => return,
            _ = front.interrupted(false) => return,
        }
    }
}

fn now(front: &Front) -> pb::HealthCheckResponse {
    let status = if front.has_leader() { ServingStatus::Serving } else { ServingStatus::NotServing };
    pb::HealthCheckResponse { status: status.into() }
}

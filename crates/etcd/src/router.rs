//! From a request's path to the code that answers it.

use std::sync::Arc;

use http::{Request, Response, header};
use hyper::body::Incoming;
use tonic::Status;

use crate::front::Front;
use crate::grpc::{self, Body, Kind, Method, server_stream, unary};
use crate::proto::etcdserverpb as pb;
use crate::recipes::{election, lock};
use crate::{auth, cluster, errors, health, kv_service, lease, maintenance, plain, watch};

/// Answers one request.
pub(crate) async fn route(front: Arc<Front>, request: Request<Incoming>) -> Response<Body> {
    if !is_grpc(&request) {
        return Box::pin(plain::answer(&front, &request)).await;
    }
    let Some(method) = Method::find(request.uri().path()) else {
        return unknown(request.uri().path()).into_http();
    };
    let f = &front;
    if front.handle.is_learner() && !is_for_learner(method) {
        return Box::pin(refuse(f, method, request, errors::NOT_FOR_LEARNER.into())).await;
    }
    // The busiest stand here unboxed; every other would make the future of these larger.
    match method {
        Method::Range => unary(f, method, request, |call, range| kv_service::range(f, call, range)).await,
        Method::Put => unary(f, method, request, |call, put| kv_service::put(f, call, put)).await,
        Method::Txn => unary(f, method, request, |call, txn| kv_service::txn(f, call, txn)).await,
        Method::Watch => watch::watch(f, request),
        Method::LeaseKeepAlive => lease::keep_alive(f, request),
        _ => Box::pin(route_rest(f, method, request)).await,
    }
}

async fn route_rest(f: &Arc<Front>, method: Method, request: Request<Incoming>) -> Response<Body> {
    macro_rules! answer {
        ($handler:path) => {
            unary(f, method, request, |call, message| $handler(f, call, message)).await
        };
    }
    match method {
        Method::DeleteRange => answer!(kv_service::delete_range),
        Method::Compact => answer!(kv_service::compact),
        Method::LeaseGrant => answer!(lease::grant),
        Method::LeaseRevoke => answer!(lease::revoke),
        Method::LeaseTimeToLive => answer!(lease::time_to_live),
        Method::LeaseLeases => answer!(lease::leases),
        Method::Lock => answer!(lock::lock),
        Method::Unlock => answer!(lock::unlock),
        Method::Campaign => answer!(election::campaign),
        Method::Proclaim => answer!(election::proclaim),
        Method::Leader => answer!(election::leader_of),
        Method::Resign => answer!(election::resign),
        Method::Observe => {
            server_stream(f, method, request, |call, message| election::observe(f, call, message)).await
        }
        Method::MemberList => answer!(cluster::member_list),
        Method::MemberAdd => answer!(cluster::member_add),
        Method::MemberRemove => answer!(cluster::member_remove),
        Method::MemberUpdate => answer!(cluster::member_update),
        Method::MemberPromote => answer!(cluster::member_promote),
        Method::MoveLeader => answer!(maintenance::move_leader),
        Method::Status => answer!(maintenance::status),
        Method::Alarm => answer!(maintenance::alarm),
        Method::Defragment => answer!(maintenance::defragment),
        Method::AuthStatus => answer!(auth::status),
        Method::AuthDisable => answer!(auth::disable),
        Method::Authenticate => answer!(auth::authenticate),
        Method::HealthCheck => answer!(health::check),
        Method::HealthWatch => {
            server_stream(f, method, request, |call, message| health::watch(f, call, message)).await
        }
        _ => {
            let (service, name, _) = method.describe();
            refuse(f, method, request, errors::unsupported(&format!("{service}/{name}"))).await
        }
    }
}

/// What a learner answers, as in etcd; of ranges only serializable ones. Clients then turn to another member.
fn is_for_learner(method: Method) -> bool {
    matches!(
        method,
        Method::Range | Method::Status | Method::Snapshot | Method::HealthCheck | Method::HealthWatch
    )
}

async fn refuse(front: &Front, method: Method, request: Request<Incoming>, status: Status) -> Response<Body> {
    let (_, _, kind) = method.describe();
    if kind == Kind::BidiStream {
        return status.into_http(); // its messages may never end
    }
    // The message is read, so that the client sees this answer and not a broken stream.
    unary(front, method, request, |_call, _any: pb::WatchProgressRequest| async {
        Err::<pb::WatchProgressRequest, _>(status)
    })
    .await
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// As grpc-go words it.
fn unknown(path: &str) -> Status {
    match path.strip_prefix('/').and_then(|path| path.split_once('/')) {
        Some((service, name)) if is_ours(service) => {
            Status::unimplemented(format!("unknown method {name} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
    }
}

fn is_ours(service: &str) -> bool {
    grpc::Method::ALL.iter().any(|method| method.describe().0 == service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_rpc_is_named_in_its_refusal() {
        assert_eq!(
            unknown("/etcdserverpb.KV/Fly").message(),
            "unknown method Fly for service etcdserverpb.KV"
        );
        assert_eq!(unknown("/nobody.Knows/It").message(), "unknown service nobody.Knows");
        assert_eq!(unknown("/x").message(), "malformed method name: \"/x\"");
    }
}

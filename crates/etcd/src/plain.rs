//! Plain HTTP on the client port: health, version, metrics (`etcd-api.md` §4.11).

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::config::{ETCD_API_VERSION, ETCD_CLUSTER_VERSION};
use crate::front::Front;
use crate::grpc::{Body, Call};
use crate::metrics;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a request that is not gRPC.
pub(crate) async fn answer(front: &Front, request: &Request<Incoming>) -> Response<Body> {
    let path = request.uri().path();
    if path.starts_with("/v3/") {
        return not_found(path, "the JSON gateway is not served; speak gRPC here, as etcdctl does");
    }
    if !matches!(path, "/health" | "/livez" | "/readyz" | "/version" | "/metrics") {
        return not_found(path, "gRPC is served here, and /health, /livez, /readyz, /version and /metrics");
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return response(StatusCode::METHOD_NOT_ALLOWED, TEXT, "use GET\n");
    }
    match path {
        "/health" => health(front, asks_serializable(request)).await,
        "/livez" => checked(unhealthy_reason(front, true).await),
        "/readyz" => checked(unhealthy_reason(front, false).await),
        "/version" => response(StatusCode::OK, JSON, version()),
        _ => response(StatusCode::OK, metrics::CONTENT_TYPE, metrics::page(front)),
    }
}

/// As etcd: `{"health":"true","reason":""}`, with status 503 if it is "false".
async fn health(front: &Front, serializable: bool) -> Response<Body> {
    match unhealthy_reason(front, serializable).await {
        None => response(StatusCode::OK, JSON, r#"{"health":"true","reason":""}"#),
        Some(reason) => {
            let body = format!(r#"{{"health":"false","reason":"{reason}"}}"#);
            response(StatusCode::SERVICE_UNAVAILABLE, JSON, body)
        }
    }
}

fn checked(unhealthy: Option<String>) -> Response<Body> {
    match unhealthy {
        None => response(StatusCode::OK, TEXT, "ok\n"),
        Some(reason) => response(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
    }
}

/// Whether reads are served: linearizable ones, or (`serializable`) local ones.
async fn unhealthy_reason(front: &Front, serializable: bool) -> Option<String> {
    let reason = if serializable {
        front.reader.revision().err().map(|error| format!("RANGE ERROR:{error}"))
    } else if !front.has_leader() {
        Some("RAFT NO LEADER".to_owned())
    } else {
        front.barrier(&Call::internal()).await.err().map(|status| format!("QGET ERROR:{}", status.message()))
    };
    let count =
        if reason.is_none() { &front.metrics.health_successes } else { &front.metrics.health_failures };
    count.add(1);
    reason
}

fn asks_serializable(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query.split('&').any(|parameter| parameter == "serializable=true")
}

fn version() -> String {
    format!(r#"{{"etcdserver":"{ETCD_API_VERSION}","etcdcluster":"{ETCD_CLUSTER_VERSION}"}}"#)
}

fn not_found(path: &str, hint: &str) -> Response<Body> {
    response(StatusCode::NOT_FOUND, TEXT, format!("{path} is not here: {hint}\n"))
}

fn response(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Plain(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

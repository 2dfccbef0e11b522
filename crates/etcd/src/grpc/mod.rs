//! gRPC over HTTP/2, as far as a server needs it: which RPC is asked for, one message in, one message out.
//!
//! ```text
//!   POST /service/method ─▶ find ─▶ unary:  frame ─▶ message ─▶ handler ─▶ message ─▶ frame, trailers
//!                                └▶ stream: tonic's own machinery, counted on its way out
//! ```
//!
//! Unary calls do not go through tonic's server, whose generated code boxes every call's future and body and
//! allocates two 8 KiB buffers. A message is decoded in place: its byte strings share the connection's buffer.

mod body;
mod frame;
mod method;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use hyper::body::Incoming;
use prost::Message;
use tokio_stream::Stream;
use tonic::codec::{BufferSettings, Encoder};
use tonic::{Code, Status, Streaming};
use tonic_prost::ProstCodec;

pub(crate) use body::Body;
#[cfg(feature = "fuzzing")]
pub(crate) use frame::read as read_message;
pub(crate) use method::{Kind, Method};

use crate::errors;
use crate::front::Front;

/// What a call's headers and size say, apart from its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// When the client stops waiting.
    pub(crate) deadline: Option<Instant>,
    /// Bytes of the request message.
    pub(crate) message_bytes: usize,
}

impl Call {
    /// A call that the server makes on its own.
    pub(crate) fn internal() -> Call {
        Call { deadline: None, message_bytes: 0 }
    }

    /// How long to work on it: `usual`, or until the client's own deadline.
    pub(crate) fn timeout(&self, usual: Duration) -> Duration {
        match self.deadline {
            None => usual,
            Some(deadline) => usual.min(deadline.saturating_duration_since(Instant::now())),
        }
    }

    /// Returns when the client stops waiting.
    pub(crate) async fn expired(&self) {
        match self.deadline {
            Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
            None => std::future::pending().await,
        }
    }

    /// The refusal of a call that ran out of time: the client's own deadline, or ours.
    pub(crate) fn timed_out(&self, ours: errors::Refusal) -> Status {
        match self.deadline {
            Some(deadline) if deadline <= Instant::now() => errors::DEADLINE_EXCEEDED.into(),
            _ => ours.into(),
        }
    }
}

/// Answers one unary call.
pub(crate) async fn unary<Req, Res, Fut>(
    front: &Front,
    method: Method,
    request: http::Request<Incoming>,
    handler: impl FnOnce(Call, Req) -> Fut,
) -> http::Response<Body>
where
    Req: Message + Default,
    Res: Message,
    Fut: Future<Output = Result<Res, Status>>,
{
    let counted = InFlight { front, method, started: front.metrics.rpc_started(method) };
    let result = serve_unary(front, request, handler).await.and_then(|message| frame::encode(&message));
    counted.end(result.as_ref().err().map_or(Code::Ok, Status::code));
    match result {
        Ok(message) => body::respond(message),
        Err(status) => status.into_http(),
    }
}

/// Counts a call whose client went away before the answer.
struct InFlight<'a> {
    front: &'a Front,
    method: Method,
    started: Instant,
}

impl InFlight<'_> {
    fn end(self, code: Code) {
        self.front.metrics.rpc_handled(self.method, code, self.started);
        std::mem::forget(self);
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.front.metrics.rpc_handled(self.method, Code::Cancelled, self.started);
    }
}

/// Opens a bidirectional stream: `open` gets the requests and whether the client demands a leader, and returns
/// what is sent and how it is encoded.
pub(crate) fn stream<Req, Enc, Out>(
    front: &Arc<Front>,
    method: Method,
    request: http::Request<Incoming>,
    open: impl FnOnce(Streaming<Req>, bool) -> (Enc, Out),
) -> http::Response<Body>
where
    Req: Message + Default + 'static,
    Enc: Encoder<Error = Status> + Send + 'static,
    Enc::Item: Send,
    Out: Stream<Item = Result<Enc::Item, Status>> + Send + 'static,
{
    let started = front.metrics.rpc_started(method);
    let (head, body) = request.into_parts();
    if let Err(status) = check_leader(front, &head.headers) {
        front.metrics.rpc_handled(method, status.code(), started);
        return status.into_http();
    }
    let decoder = ProstCodec::<Req, Req>::raw_decoder(BufferSettings::default());
    let requests = Streaming::new_request(decoder, body, None, Some(front.config.receive_bytes_max()));
    let (encoder, output) = open(requests, demands_leader(&head.headers));
    body::respond_stream(encoder, output, front.clone(), method, started)
}

/// Answers one request with a stream.
pub(crate) async fn server_stream<Req, Res, Fut, Out>(
    front: &Arc<Front>,
    method: Method,
    request: http::Request<Incoming>,
    handler: impl FnOnce(Call, Req) -> Fut,
) -> http::Response<Body>
where
    Req: Message + Default,
    Res: Message + Default + 'static,
    Fut: Future<Output = Result<Out, Status>>,
    Out: Stream<Item = Result<Res, Status>> + Send + 'static,
{
    let started = front.metrics.rpc_started(method);
    match serve_unary(front, request, handler).await {
        Ok(output) => body::respond_stream(prost_encoder(), output, front.clone(), method, started),
        Err(status) => {
            front.metrics.rpc_handled(method, status.code(), started);
            status.into_http()
        }
    }
}

/// Encodes messages of a stream.
pub(crate) fn prost_encoder<Res: Message + Default + 'static>()
-> impl Encoder<Item = Res, Error = Status> + Send {
    ProstCodec::<Res, Res>::raw_encoder(BufferSettings::default())
}

async fn serve_unary<Req, Res, Fut>(
    front: &Front,
    request: http::Request<Incoming>,
    handler: impl FnOnce(Call, Req) -> Fut,
) -> Result<Res, Status>
where
    Req: Message + Default,
    Fut: Future<Output = Result<Res, Status>>,
{
    let (head, body) = request.into_parts();
    check_leader(front, &head.headers)?;
    let deadline = deadline(&head.headers);
    let bytes = frame::read(body, front.config.receive_bytes_max()).await?;
    let call = Call { deadline, message_bytes: bytes.len() };
    let message = Req::decode(bytes)
        .map_err(|error| Status::internal(format!("grpc: error unmarshalling request: {error}")))?;
    handler(call, message).await
}

/// Refuses a call whose metadata demands a leader while none is known.
pub(crate) fn check_leader(front: &Front, headers: &HeaderMap) -> Result<(), Status> {
    if demands_leader(headers) && !front.has_leader() {
        return Err(errors::NO_LEADER.into());
    }
    Ok(())
}

/// Whether a call's metadata demands a leader.
pub(crate) fn demands_leader(headers: &HeaderMap) -> bool {
    headers.get("hasleader").is_some_and(|value| value == "true")
}

/// When the client of a call gives up, from its `grpc-timeout` header (gRPC over HTTP/2, "Timeout").
fn deadline(headers: &HeaderMap) -> Option<Instant> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    Instant::now().checked_add(parse_timeout(text)?)
}

/// At most eight digits and a unit.
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_the_grpc_protocol_writes_them() {
        assert_eq!(parse_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_timeout("4999887u"), Some(Duration::from_micros(4_999_887)));
        assert_eq!(parse_timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for bad in ["", "S", "5", "5x", "123456789S", "-5S", "5µ"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}

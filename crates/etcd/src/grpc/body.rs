//! What a response's body can be.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Frame, SizeHint};
use tokio_stream::Stream;
use tonic::codec::{EncodeBody, Encoder, SingleMessageCompressionOverride};
use tonic::{Code, Status};

use super::Method;
use crate::front::Front;

/// A response's body.
#[derive(Default)]
pub(crate) enum Body {
    /// Nothing; with gRPC, the status stands in the headers.
    #[default]
    Empty,
    /// Plain HTTP.
    Plain(Bytes),
    /// One gRPC message, its prefix included.
    Message(Bytes),
    /// The trailers that say that the message before was the whole answer.
    Trailers,
    /// A gRPC stream.
    Stream(Counted),
}

/// A stream that counts how its RPC ended.
pub(crate) struct Counted {
    inner: tonic::body::Body,
    front: Arc<Front>,
    method: Method,
    started: Instant,
    counted: bool,
}

/// A successful unary response.
pub(super) fn respond(message: Bytes) -> http::Response<Body> {
    grpc_response(Body::Message(message))
}

/// A stream, counted when it ends.
pub(super) fn respond_stream<Enc, Out>(
    encoder: Enc,
    output: Out,
    front: Arc<Front>,
    method: Method,
    started: Instant,
) -> http::Response<Body>
where
    Enc: Encoder<Error = Status> + Send + 'static,
    Enc::Item: Send,
    Out: Stream<Item = Result<Enc::Item, Status>> + Send + 'static,
{
    let uncompressed = SingleMessageCompressionOverride::default();
    let encoded = EncodeBody::new_server(encoder, output, None, uncompressed, None);
    let inner = tonic::body::Body::new(encoded);
    grpc_response(Body::Stream(Counted { inner, front, method, started, counted: false }))
}

fn grpc_response(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn code_of(headers: &HeaderMap) -> Option<Code> {
    headers.get(Status::GRPC_STATUS).map(|value| Code::from_bytes(value.as_bytes()))
}

fn success() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

impl Counted {
    fn count(&mut self, code: Code) {
        if !std::mem::replace(&mut self.counted, true) {
            self.front.metrics.rpc_handled(self.method, code, self.started);
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Body::Stream(stream) = &mut *self {
            let frame = ready!(Pin::new(&mut stream.inner).poll_frame(cx));
            match &frame {
                Some(Ok(frame)) => {
                    if let Some(code) = frame.trailers_ref().and_then(code_of) {
                        stream.count(code);
                    }
                }
                Some(Err(status)) => stream.count(status.code()),
                None => stream.count(Code::Ok),
            }
            return Poll::Ready(frame);
        }
        Poll::Ready(match std::mem::take(&mut *self) {
            Body::Plain(bytes) => Some(Ok(Frame::data(bytes))),
            Body::Message(bytes) => {
                *self = Body::Trailers;
                Some(Ok(Frame::data(bytes)))
            }
            Body::Trailers => Some(Ok(Frame::trailers(success()))),
            Body::Empty | Body::Stream(_) => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::Stream(stream) => stream.inner.is_end_stream(),
            Body::Plain(_) | Body::Message(_) | Body::Trailers => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Plain(bytes) => SizeHint::with_exact(bytes.len() as u64),
            _ => SizeHint::default(),
        }
    }
}

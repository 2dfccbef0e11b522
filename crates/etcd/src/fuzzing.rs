//! What the fuzz targets reach of what clients send: each function panics if a claim does not hold.

use std::fmt::Debug;
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use kv::{Command, RangeRequest};
use prost::Message;

use crate::proto::{etcdserverpb as pb, health, v3electionpb, v3lockpb};
use crate::{convert, grpc, metrics, watch};

/// Bytes that the message of a unary request may have in [`body`].
pub const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// What a request comes to when it is decoded and converted.
#[derive(Clone, Debug, PartialEq)]
pub enum Asked {
    /// Something to replicate.
    Command(Command),
    /// Something to read.
    Range(RangeRequest),
}

/// A unary request's message is what stands behind its prefix, however the body is cut into pieces.
///
/// # Panics
/// As said.
pub fn body(pieces: &[&[u8]]) {
    let frames =
        pieces.iter().map(|piece| Ok::<_, tonic::Status>(Frame::data(Bytes::copy_from_slice(piece))));
    let stream = StreamBody::new(tokio_stream::iter(frames.collect::<Vec<_>>()));
    let sent = pieces.concat();
    if let Ok(message) = now(grpc::read_message(stream, MESSAGE_BYTES_MAX)) {
        assert!(message.len() <= MESSAGE_BYTES_MAX);
        assert_eq!(sent[..5], [&[0][..], &(message.len() as u32).to_be_bytes()].concat());
        assert_eq!(sent[5..], message);
    }
}

/// A `grpc-timeout` is at most eight digits of hours, or is not one.
///
/// # Panics
/// As said.
pub fn timeout(text: &str) {
    if let Some(timeout) = grpc::parse_timeout(text) {
        assert!(timeout.as_secs() <= 99_999_999 * 3600);
        assert!(text.len() <= 9);
    }
}

/// What `/proc` says about this process is read or not.
pub fn process(text: &str) {
    metrics::read_process(text);
}

/// A request decodes to a message that encodes to what decodes to itself again; what it comes to, for requests
/// that are converted. The first byte of `data` says which of the API's requests is read.
///
/// # Panics
/// As said.
pub fn request(data: &[u8]) -> Option<Asked> {
    let (kind, bytes) = data.split_first()?;
    match kind % 26 {
        0 => convert::range(decode(bytes)?).ok().map(Asked::Range),
        1 => Some(Asked::Command(Command::Put(convert::put(decode(bytes)?)))),
        2 => Some(Asked::Command(Command::DeleteRange(convert::delete_range(decode(bytes)?)))),
        3 => convert::txn(decode(bytes)?).ok().map(|txn| Asked::Command(Command::Txn(txn))),
        4 => decode::<pb::CompactionRequest>(bytes)
            .map(|request| Asked::Command(Command::Compact { revision: request.revision })),
        5 => decode::<pb::LeaseGrantRequest>(bytes)
            .map(|request| Asked::Command(Command::LeaseGrant { id: request.id, ttl_seconds: request.ttl })),
        6 => decode::<pb::LeaseRevokeRequest>(bytes)
            .map(|request| Asked::Command(Command::LeaseRevoke { id: request.id })),
        7 => {
            watch::read_request(decode(bytes)?);
            None
        }
        8 => only_decode::<pb::LeaseKeepAliveRequest>(bytes),
        9 => only_decode::<pb::LeaseTimeToLiveRequest>(bytes),
        10 => only_decode::<pb::MemberAddRequest>(bytes),
        11 => only_decode::<pb::MemberListRequest>(bytes),
        12 => only_decode::<pb::AlarmRequest>(bytes),
        13 => only_decode::<pb::HashKvRequest>(bytes),
        14 => only_decode::<pb::MoveLeaderRequest>(bytes),
        15 => only_decode::<pb::DowngradeRequest>(bytes),
        16 => only_decode::<pb::AuthUserAddRequest>(bytes),
        17 => only_decode::<pb::AuthRoleGrantPermissionRequest>(bytes),
        18 => only_decode::<v3lockpb::LockRequest>(bytes),
        19 => only_decode::<v3lockpb::UnlockRequest>(bytes),
        20 => only_decode::<v3electionpb::CampaignRequest>(bytes),
        21 => only_decode::<v3electionpb::ProclaimRequest>(bytes),
        22 => only_decode::<v3electionpb::LeaderRequest>(bytes),
        23 => only_decode::<v3electionpb::ResignRequest>(bytes),
        24 => only_decode::<health::HealthCheckRequest>(bytes),
        _ => only_decode::<pb::MemberUpdateRequest>(bytes),
    }
}

fn decode<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = M::decode(Bytes::copy_from_slice(bytes)).ok()?;
    let again = M::decode(Bytes::from(message.encode_to_vec()));
    assert_eq!(again.as_ref(), Ok(&message));
    Some(message)
}

fn only_decode<M: Message + Default + PartialEq + Debug>(bytes: &[u8]) -> Option<Asked> {
    drop(decode::<M>(bytes));
    None
}

/// The result of a future that waits for nothing, though it may let others go first.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(result) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return result;
        }
    }
}

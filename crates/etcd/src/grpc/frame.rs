//! One length-prefixed message from a request's body, and one into a response.
//!
//! ```text
//!   byte 0: 1 if compressed   bytes 1-4: length, big-endian   then the message
//! ```

use std::fmt::Display;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt;
use prost::Message;
use tonic::{Code, Status};

const PREFIX_LEN: usize = 5;

/// The largest response, as in etcd: what clients count in 32 signed bits.
const SEND_BYTES_MAX: usize = i32::MAX as usize;

/// Reads the one message of a unary request, of at most `len_max` bytes.
///
/// # Errors
/// The status to answer if there is no such message, or the client went away.
pub(crate) async fn read<B>(mut body: B, len_max: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let Some(mut received) = next_data(&mut body).await? else {
        return Err(Status::internal("grpc: the request holds no message"));
    };
    if received.len() < PREFIX_LEN || !body.is_end_stream() {
        received = read_rest(body, received, len_max).await?;
    }
    let len = message_len(&received, len_max)?;
    received.advance(PREFIX_LEN);
    if received.len() != len {
        let text = format!("grpc: the request holds {} bytes, its prefix says {len}", received.len());
        return Err(Status::internal(text));
    }
    Ok(received)
}

/// Writes a message with its prefix.
///
/// # Errors
/// `ResourceExhausted`, as grpc-go words it, if it is larger than a message can be.
pub(super) fn encode(message: &impl Message) -> Result<Bytes, Status> {
    let len = message.encoded_len();
    if len > SEND_BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "grpc: trying to send message larger than max ({len} vs. {SEND_BYTES_MAX})"
        )));
    }
    let mut out = BytesMut::with_capacity(PREFIX_LEN + len);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).expect("it is at most SEND_BYTES_MAX"));
    message.encode(&mut out).expect("the buffer has room for the whole message");
    Ok(out.freeze())
}

/// The request came in several pieces: most do not.
async fn read_rest<B>(mut body: B, first: Bytes, len_max: usize) -> Result<Bytes, Status>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    let mut received = BytesMut::from(first);
    loop {
        if received.len() >= PREFIX_LEN {
            // Grows by doubling as bytes arrive, instead of trusting the announcement.
            message_len(&received, len_max)?;
        }
        match next_data(&mut body).await? {
            Some(_) if received.len() > PREFIX_LEN + len_max => {
                return Err(too_large(received.len(), len_max));
            }
            Some(more) => received.extend_from_slice(&more),
            None if received.len() < PREFIX_LEN => {
                return Err(Status::internal("grpc: the request ends inside its prefix"));
            }
            None => return Ok(received.freeze()),
        }
    }
}

async fn next_data<B>(body: &mut B) -> Result<Option<Bytes>, Status>
where
    B: Body<Data = Bytes, Error: Display> + Unpin,
{
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::new(Code::Cancelled, error.to_string()))?;
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => return Ok(Some(data)),
            Err(_trailers) => {}
        }
    }
    Ok(None)
}

fn message_len(received: &[u8], len_max: usize) -> Result<usize, Status> {
    let Some((&[compressed, a, b, c, d], _)) = received.split_first_chunk::<PREFIX_LEN>() else {
        return Err(Status::internal("grpc: the request ends inside its prefix"));
    };
    if compressed != 0 {
        return Err(Status::unimplemented("grpc: compressed requests are not supported"));
    }
    let len = u32::from_be_bytes([a, b, c, d]) as usize;
    if len > len_max { Err(too_large(len, len_max)) } else { Ok(len) }
}

/// As grpc-go words it.
fn too_large(len: usize, len_max: usize) -> Status {
    Status::resource_exhausted(format!("grpc: received message larger than max ({len} vs. {len_max})"))
}

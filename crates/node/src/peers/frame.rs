//! The bytes between peers: a greeting in each direction, then checksummed frames one way.
//!
//! ```text
//!   dialer ──▶ hello ──▶ acceptor        hello    magic "ALTHPEER", version u16, purpose u8, protocol u8,
//!   dialer ◀── verdict ◀── acceptor               cluster u64, from u64, to u64, incarnation u64, crc32c u32
//!   dialer ──▶ frame, frame, …           verdict  magic "ALTHPEER", verdict u8, value u64, crc32c u32
//!                                        frame    header: length u32, crc32c u32, crc32c of these u32
//!                                                 kind u8, payload
//! ```
//!
//! The first frame is an introduction: where the dialer lives. To a dialer that asks who the members are, the acceptor
//! sends one answer instead, and hangs up.
//!
//! Integers are little-endian. A frame's length and its first checksum cover kind and payload. Promises:
//!
//! - F1  Bytes that `encode` did not write give a [`FrameError`], never a panic.
//! - F2  No more memory is taken than has arrived, and never more than a frame of the greatest length.
//! - F3  A header that is not as it was written is noticed before what it announces is waited for: heartbeats would fill
//!   the megabytes of a wrong length for hours, and the peer be deaf as long.

use bytes::{Buf, Bytes, BytesMut};
use consensus::{Lane, Membership};
use types::{NodeId, Reader, Wire, WireError};

/// The longest kind-and-payload of a frame, in bytes. The largest thing that travels is one batch of log
/// entries: a megabyte, or one command of the largest request that front-ends let in.
pub(crate) const FRAME_LEN_MAX: usize = 64 << 20;

/// Bytes of a hello.
pub(crate) const HELLO_LEN: usize = 48;

/// Bytes of a verdict.
pub(crate) const VERDICT_LEN: usize = 21;

const MAGIC: [u8; 8] = *b"ALTHPEER";
const VERSION: u16 = 4;

/// Length, checksum of the body, checksum of these two.
pub(crate) const HEADER_LEN: usize = 12;

/// What a frame's buffer starts with: most messages fit without growing it.
const FRAME_LEN_USUAL: usize = 256;

/// What a frame carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A protocol message, encoded.
    Protocol(Bytes),
    /// A question to the peer's service.
    Question {
        /// Chosen by the asker.
        id: u64,
        /// Encoded.
        body: Bytes,
    },
    /// The answer to a question.
    Answer {
        /// As in the question.
        id: u64,
        /// Encoded.
        body: Bytes,
    },
    /// Where the dialer lives: its peer URLs.
    Introduction(Vec<String>),
}

/// What a node is told that was added to a cluster and does not know who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acquaintance {
    /// The cluster's id.
    pub(crate) cluster: u64,
    /// Who takes part.
    pub(crate) membership: Membership,
    /// Who of all members there ever were has started.
    pub(crate) started: Vec<NodeId>,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It carries the frames of a lane.
    Talk(Lane),
    /// The dialer asks who the members are; it may be nobody yet.
    AskMembers,
}

/// Why a stream of bytes is not a stream of frames.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    /// The first bytes are not ours.
    #[error("it does not speak the peer protocol (its first bytes are {first:?})")]
    NotAPeer {
        /// What came instead, made printable.
        first: String,
    },
    /// A peer of another version.
    #[error("it speaks version {found} of the peer protocol, not {VERSION}")]
    Version {
        /// Its version.
        found: u16,
    },
    /// The checksum is wrong.
    #[error("a checksum is {found:08x} where {computed:08x} was computed")]
    Checksum {
        /// In the bytes.
        found: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A frame claims to be empty or too long.
    #[error("a frame of {len} bytes was announced; the limit is {FRAME_LEN_MAX}")]
    Length {
        /// The announced length.
        len: usize,
    },
    /// The contents make no sense.
    #[error("a frame cannot be decoded: {0}")]
    Wire(#[from] WireError),
}

/// Who opens a connection, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// What the connection is for.
    pub(crate) purpose: Purpose,
    /// Which consensus protocol's messages.
    pub(crate) protocol: u8,
    /// The dialer's cluster.
    pub(crate) cluster: u64,
    /// The dialer.
    pub(crate) from: NodeId,
    /// Whom it wants to reach.
    pub(crate) to: NodeId,
    /// Which run of the dialer this is: drawn at random when it started.
    pub(crate) incarnation: u64,
}

/// What the acceptor says to a hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Frames may come.
    Welcome,
    /// The acceptor belongs to this cluster.
    OtherCluster(u64),
    /// The acceptor is this member.
    OtherMember(NodeId),
    /// The acceptor runs this protocol.
    OtherProtocol(u8),
    /// The dialer was a member, and has been removed for good.
    Removed,
}

impl Hello {
    /// Returns the bytes to send.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        VERSION.encode(&mut out);
        out.push(match self.purpose {
            Purpose::Talk(Lane::Control) => 0,
            Purpose::Talk(Lane::Bulk) => 1,
            Purpose::AskMembers => 2,
        });
        out.push(self.protocol);
        self.cluster.encode(&mut out);
        self.from.encode(&mut out);
        self.to.encode(&mut out);
        self.incarnation.encode(&mut out);
        seal(out)
    }

    /// Reads a hello.
    ///
    /// # Errors
    /// [`FrameError`] saying what else it is.
    pub(crate) fn decode(bytes: &[u8; HELLO_LEN]) -> Result<Hello, FrameError> {
        check_magic(bytes)?;
        let mut input = Reader::new(Bytes::copy_from_slice(&bytes[MAGIC.len()..]));
        let version = u16::decode(&mut input)?;
        if version != VERSION {
            return Err(FrameError::Version { found: version });
        }
        check_seal(bytes)?;
        let purpose = match u8::decode(&mut input)? {
            0 => Purpose::Talk(Lane::Control),
            1 => Purpose::Talk(Lane::Bulk),
            2 => Purpose::AskMembers,
            tag => return Err(WireError::Tag { what: "purpose", tag }.into()),
        };
        Ok(Hello {
            purpose,
            protocol: u8::decode(&mut input)?,
            cluster: u64::decode(&mut input)?,
            from: NodeId::decode(&mut input)?,
            to: NodeId::decode(&mut input)?,
            incarnation: u64::decode(&mut input)?,
        })
    }
}

impl Verdict {
    /// Returns the bytes to send.
    pub(crate) fn encode(self) -> Vec<u8> {
        let (tag, value) = match self {
            Verdict::Welcome => (0u8, 0),
            Verdict::OtherCluster(cluster) => (1, cluster),
            Verdict::OtherMember(member) => (2, member.0),
            Verdict::OtherProtocol(protocol) => (3, u64::from(protocol)),
            Verdict::Removed => (4, 0),
        };
        let mut out = MAGIC.to_vec();
        out.push(tag);
        value.encode(&mut out);
        seal(out)
    }

    /// Reads a verdict.
    ///
    /// # Errors
    /// [`FrameError`] saying what else it is.
    pub(crate) fn decode(bytes: &[u8; VERDICT_LEN]) -> Result<Verdict, FrameError> {
        check_magic(bytes)?;
        check_seal(bytes)?;
        let mut input = Reader::new(Bytes::copy_from_slice(&bytes[MAGIC.len()..]));
        let (tag, value) = (u8::decode(&mut input)?, u64::decode(&mut input)?);
        let out_of_range = WireError::Range { what: "value of a verdict" };
        Ok(match (tag, value) {
            (0, 0) => Verdict::Welcome,
            (1, cluster) => Verdict::OtherCluster(cluster),
            (2, member) => Verdict::OtherMember(NodeId(member)),
            (3, protocol) => Verdict::OtherProtocol(u8::try_from(protocol).map_err(|_| out_of_range)?),
            (4, 0) => Verdict::Removed,
            (0 | 4, _) => return Err(out_of_range.into()),
            (tag, _) => return Err(WireError::Tag { what: "verdict", tag }.into()),
        })
    }
}

/// Encodes a protocol message as a frame, once for all who get it.
pub(crate) fn protocol_frame(message: &impl Wire) -> Bytes {
    let mut out = Vec::with_capacity(FRAME_LEN_USUAL);
    out.extend_from_slice(&[0; HEADER_LEN]);
    out.push(0);
    message.encode(&mut out);
    finish_frame(out)
}

/// Encodes a question.
pub(crate) fn question_frame(id: u64, body: &Bytes) -> Bytes {
    service_frame(1, id, body)
}

/// Encodes an answer.
pub(crate) fn answer_frame(id: u64, body: &Bytes) -> Bytes {
    service_frame(2, id, body)
}

/// Encodes an introduction.
pub(crate) fn introduction_frame(peer_urls: &Vec<String>) -> Bytes {
    let mut out = vec![0; HEADER_LEN];
    out.push(3);
    peer_urls.encode(&mut out);
    finish_frame(out)
}

fn service_frame(kind: u8, id: u64, body: &Bytes) -> Bytes {
    let mut out = vec![0; HEADER_LEN];
    out.push(kind);
    id.encode(&mut out);
    body.encode(&mut out);
    finish_frame(out)
}

fn finish_frame(mut out: Vec<u8>) -> Bytes {
    let body = &out[HEADER_LEN..];
    let (len, crc) = (body.len() as u32, crc32c::crc32c(body));
    out[..HEADER_LEN].copy_from_slice(&frame_header(len, crc));
    Bytes::from(out)
}

/// What stands before a body of this length and checksum.
pub(crate) fn frame_header(len: u32, crc: u32) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&crc.to_le_bytes());
    let seal = crc32c::crc32c(&header[..8]);
    header[8..].copy_from_slice(&seal.to_le_bytes());
    header
}

/// Takes the next whole frame from the front of `buffer`; `None` if more bytes are needed.
///
/// # Errors
/// [`FrameError`]: the connection is of no more use.
pub(crate) fn next_frame(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER_LEN>() else { return Ok(None) };
    check_seal(header)?;
    let [a, b, c, d, e, f, g, h, ..] = *header;
    let len = u32::from_le_bytes([a, b, c, d]) as usize;
    let crc = u32::from_le_bytes([e, f, g, h]);
    if len == 0 || len > FRAME_LEN_MAX {
        return Err(FrameError::Length { len });
    }
    if rest.len() < len {
        // Grows by doubling as bytes arrive (F2), instead of trusting the announcement.
        return Ok(None);
    }
    buffer.advance(HEADER_LEN);
    let mut body = buffer.split_to(len).freeze();
    let computed = crc32c::crc32c(&body);
    if crc != computed {
        return Err(FrameError::Checksum { found: crc, computed });
    }
    let kind = body.get_u8();
    if kind == 0 {
        return Ok(Some(Frame::Protocol(body)));
    }
    let mut input = Reader::new(body);
    if kind == 3 {
        let peer_urls = Vec::decode(&mut input)?;
        input.finish()?;
        return Ok(Some(Frame::Introduction(peer_urls)));
    }
    let (id, body) = (u64::decode(&mut input)?, Bytes::decode(&mut input)?);
    input.finish()?;
    match kind {
        1 => Ok(Some(Frame::Question { id, body })),
        2 => Ok(Some(Frame::Answer { id, body })),
        tag => Err(WireError::Tag { what: "frame", tag }.into()),
    }
}

impl Wire for Acquaintance {
    fn encode(&self, out: &mut Vec<u8>) {
        self.cluster.encode(out);
        self.membership.encode(out);
        self.started.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Acquaintance {
            cluster: u64::decode(input)?,
            membership: Membership::decode(input)?,
            started: Vec::decode(input)?,
        })
    }
}

fn seal(mut out: Vec<u8>) -> Vec<u8> {
    crc32c::crc32c(&out).encode(&mut out);
    out
}

/// Makes the checksum at the end of a greeting true.
#[cfg(feature = "fuzzing")]
pub(crate) fn renew_seal(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len().saturating_sub(4));
    *bytes = seal(std::mem::take(bytes));
}

/// Checks that `bytes` begin as every greeting does.
///
/// # Errors
/// [`FrameError::NotAPeer`] if not.
pub(crate) fn check_magic(bytes: &[u8]) -> Result<(), FrameError> {
    if bytes.starts_with(&MAGIC) {
        return Ok(());
    }
    let first = bytes.iter().take(16).flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from);
    Err(FrameError::NotAPeer { first: first.collect() })
}

fn check_seal(bytes: &[u8]) -> Result<(), FrameError> {
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(WireError::Truncated { needed: 4, left: bytes.len() as u64 }.into());
    };
    let (found, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if found == computed { Ok(()) } else { Err(FrameError::Checksum { found, computed }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: Hello = Hello {
        purpose: Purpose::Talk(Lane::Bulk),
        protocol: 1,
        cluster: 2,
        from: NodeId(3),
        to: NodeId(4),
        incarnation: u64::MAX,
    };

    #[test]
    fn greetings_survive_the_trip_and_no_flipped_bit_does() {
        let bytes: [u8; HELLO_LEN] = HELLO.encode().try_into().unwrap();
        assert_eq!(Hello::decode(&bytes).unwrap(), HELLO);
        for bit in 0..HELLO_LEN * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Hello::decode(&bad).is_err(), "bit {bit}");
        }
        for verdict in [Verdict::Welcome, Verdict::OtherMember(NodeId(9)), Verdict::Removed] {
            let bytes: [u8; VERDICT_LEN] = verdict.encode().try_into().unwrap();
            assert_eq!(Verdict::decode(&bytes).unwrap(), verdict);
        }
    }

    #[test]
    fn an_http_request_is_told_apart_from_a_damaged_peer() {
        let mut bytes = [b' '; HELLO_LEN];
        bytes[..6].copy_from_slice(b"GET /\r");
        let error = Hello::decode(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("does not speak the peer protocol") && error.contains("GET /\\\\r"),
            "{error}"
        );
    }

    #[test]
    fn frames_come_out_whole_however_they_are_cut() {
        let sent = [
            protocol_frame(&Bytes::from_static(b"hello")),
            question_frame(7, &Bytes::from_static(b"?")),
            answer_frame(7, &Bytes::new()),
            introduction_frame(&vec!["http://h:1".to_owned()]),
        ];
        let bytes = sent.concat();
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in bytes {
            buffer.extend_from_slice(&[byte]);
            frames.extend(next_frame(&mut buffer).unwrap());
        }
        assert_eq!(
            frames,
            [
                Frame::Protocol(Bytes::from_static(b"\x05\0\0\0hello")),
                Frame::Question { id: 7, body: Bytes::from_static(b"?") },
                Frame::Answer { id: 7, body: Bytes::new() },
                Frame::Introduction(vec!["http://h:1".to_owned()]),
            ]
        );
    }

    #[test]
    fn damage_is_noticed_before_anything_is_allocated() {
        let good = protocol_frame(&Bytes::from_static(b"hello"));
        for bit in 0..good.len() * 8 {
            let mut bad = BytesMut::from(&good[..]);
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(next_frame(&mut bad).is_err(), "bit {bit}");
        }
        let mut huge = BytesMut::from(&frame_header(u32::MAX, 0)[..]);
        assert!(matches!(next_frame(&mut huge), Err(FrameError::Length { .. })));
    }

    /// Found by `cargo xtask nemesis --each --minutes 40 --seed 12`: a flipped bit in a length made a member wait for
    /// megabytes, while heartbeats went into them.
    #[test]
    fn a_damaged_header_is_noticed_when_it_is_there() {
        let good = protocol_frame(&Bytes::from_static(b"hello"));
        for bit in 0..HEADER_LEN * 8 {
            let mut bad = BytesMut::from(&good[..HEADER_LEN]);
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(next_frame(&mut bad).is_err(), "bit {bit}");
        }
    }
}

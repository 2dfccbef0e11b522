//! What the fuzz targets reach of the bytes between peers: each function panics if a claim does not hold.

use bytes::{Bytes, BytesMut};
use types::fuzzing::one_form;

use crate::leases::{LeaseAnswer, LeaseQuestion};
use crate::peers::{
    Frame, HEADER_LEN, Hello, Verdict, answer_frame, frame_header, introduction_frame, next_frame,
    question_frame, renew_seal,
};

/// Frames come out the same however the stream is cut, and those with an id are written as they were read.
/// The first byte of `data` says how long the pieces are, its lowest bit whether checksums are made true first.
///
/// # Panics
/// As said.
pub fn frames(data: &[u8]) {
    let Some((mode, stream)) = data.split_first() else { return };
    let mut stream = stream.to_vec();
    if mode & 1 == 1 {
        renew_checksums(&mut stream);
    }
    let whole = read(&[&stream]);
    let pieces: Vec<&[u8]> = stream.chunks(usize::from(mode / 2) + 1).collect();
    assert_eq!(read(&pieces), whole);
    for frame in whole {
        let (written, body) = match &frame {
            Frame::Protocol(_) => continue,
            Frame::Introduction(urls) => {
                assert_eq!(read(&[&introduction_frame(urls)]), [frame]);
                continue;
            }
            Frame::Question { id, body } => (question_frame(*id, body), body),
            Frame::Answer { id, body } => (answer_frame(*id, body), body),
        };
        assert!(written.ends_with(body));
        assert_eq!(read(&[&written]), [frame]);
    }
}

/// A greeting and its answer are sealed and have one form. The first byte of `data` says which is read, and
/// whether it is sealed first.
///
/// # Panics
/// As said.
pub fn greeting(data: &[u8]) {
    let Some((mode, rest)) = data.split_first() else { return };
    let mut bytes = rest.to_vec();
    if mode & 2 == 2 {
        renew_seal(&mut bytes);
    }
    if mode & 1 == 1 {
        let Ok(bytes) = bytes.try_into() else { return };
        if let Ok(hello) = Hello::decode(&bytes) {
            assert_eq!(hello.encode(), bytes);
        }
    } else {
        let Ok(bytes) = bytes.try_into() else { return };
        if let Ok(verdict) = Verdict::decode(&bytes) {
            assert_eq!(verdict.encode(), bytes);
        }
    }
}

/// Questions about leases, and their answers, have one form.
///
/// # Panics
/// As said.
pub fn lease_talk(data: &[u8]) {
    one_form::<LeaseQuestion>(data);
    one_form::<LeaseAnswer>(data);
    LeaseAnswer::times(Bytes::copy_from_slice(data)).ok();
}

/// What a connection's thread makes of pieces that arrive.
fn read(pieces: &[&[u8]]) -> Vec<Frame> {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match next_frame(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

fn renew_checksums(mut stream: &mut [u8]) {
    while let Some((header, rest)) = stream.split_first_chunk_mut::<HEADER_LEN>() {
        let [a, b, c, d, ..] = *header;
        let len = u32::from_le_bytes([a, b, c, d]);
        let (body, behind) = rest.split_at_mut(rest.len().min(len as usize));
        *header = frame_header(len, crc32c::crc32c(body));
        stream = behind;
    }
}

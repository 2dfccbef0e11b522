//! Just enough HTTP/2 (RFC 9113) to load a gRPC server and cost next to nothing beside it: many calls are written
//! by one system call and many answers read by one, without a task or an allocation for each.
//!
//! ```text
//!   call ──▶ output ──▶ socket ──▶ server
//!                       socket ──▶ input ──▶ frames ──▶ Event::Message, Event::Ended
//! ```
//!
//! Promises:
//! - H1  flow control is kept in both directions, frame sizes and the server's stream limit are respected;
//! - H2  response headers are not decoded: a unary call succeeded if and only if it was answered by a message,
//!   because a gRPC server answers a failed one with trailers only.

use std::collections::HashMap;
use std::io;

use tokio::io::Interest;
use tokio::net::TcpStream;

use super::headers::Headers;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Bytes of a frame's header.
const FRAME_HEADER: usize = 9;
/// Bytes before a gRPC message: a compression flag and the length.
const MESSAGE_HEADER: usize = 5;
/// What a peer may send before it hears from us, by default (RFC 9113 §6.9.2).
const WINDOW_DEFAULT: i64 = 65_535;
/// The largest window.
const WINDOW_MAX: i64 = (1 << 31) - 1;
/// The connection's receive window is topped up when this much of it is used.
const WINDOW_TOP_UP: i64 = 1 << 28;
/// Bytes that wait to be parsed, at most: many frames, since ours are 16 KiB at most (§4.2).
const INPUT_BYTES: usize = 256 << 10;

/// Frame types and flags (§6).
mod frame {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const ACK: u8 = 1;
    pub const END_STREAM: u8 = 1;
    pub const END_HEADERS: u8 = 4;
    pub const PADDED: u8 = 8;
}

/// Settings (§6.5.2).
mod setting {
    pub const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub const INITIAL_WINDOW_SIZE: u16 = 4;
    pub const MAX_FRAME_SIZE: u16 = 5;
}

/// Something that happened to a call.
pub enum Event {
    /// A message came.
    Message {
        /// The message, without gRPC's framing.
        message: Vec<u8>,
    },
    /// The call is over.
    Ended {
        /// The call's stream.
        stream: u32,
        /// Whether a message came at all.
        answered: bool,
    },
}

/// One connection.
pub struct Connection {
    socket: TcpStream,
    input: Box<[u8]>,
    input_filled: usize,
    output: Vec<u8>,
    written: usize,
    headers: Headers,
    next_stream: u32,
    streams: HashMap<u32, Stream>,
    /// Streams with bytes that flow control holds back, in order.
    blocked: Vec<u32>,
    /// Whether messages are handed out, or only counted.
    keep_messages: bool,
    send_window: i64,
    received_since_top_up: i64,
    peer: PeerSettings,
}

struct PeerSettings {
    stream_window: i64,
    frame_bytes: usize,
    streams_max: u32,
}

struct Stream {
    send_window: i64,
    /// What remains to be sent, and whether the stream ends after it.
    unsent: Vec<u8>,
    half_close: bool,
    /// Bytes of the message that is coming in.
    message: Vec<u8>,
    answered: bool,
}

impl Connection {
    /// Connects. `keep_messages`: whether [`Event::Message`] is wanted.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn open(address: &str, keep_messages: bool) -> io::Result<Connection> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let mut connection = Connection {
            socket,
            input: vec![0; INPUT_BYTES].into(),
            input_filled: 0,
            output: PREFACE.to_vec(),
            written: 0,
            headers: Headers::new(address),
            next_stream: 1,
            streams: HashMap::new(),
            blocked: Vec::new(),
            keep_messages,
            send_window: WINDOW_DEFAULT,
            received_since_top_up: 0,
            peer: PeerSettings { stream_window: WINDOW_DEFAULT, frame_bytes: 16_384, streams_max: u32::MAX },
        };
        let window = u32::try_from(WINDOW_MAX).unwrap_or(u32::MAX);
        let mut settings = Vec::with_capacity(6);
        settings.extend(setting::INITIAL_WINDOW_SIZE.to_be_bytes());
        settings.extend(window.to_be_bytes());
        connection.frame(frame::SETTINGS, 0, 0, &settings);
        connection.top_up(WINDOW_MAX - WINDOW_DEFAULT);
        Ok(connection)
    }

    /// How many calls may be under way at once.
    pub fn streams_max(&self) -> u32 {
        self.peer.streams_max
    }

    /// Starts a call of the method at `path` with one message; `last`: no other will follow. Nothing is sent before
    /// [`exchange`](Connection::exchange).
    pub fn call(&mut self, path: &'static str, message: &[u8], last: bool) -> u32 {
        let id = self.next_stream;
        self.next_stream += 2;
        let block = self.headers.block(path);
        frame_header(&mut self.output, block.len(), frame::HEADERS, frame::END_HEADERS, id);
        self.output.extend_from_slice(block);
        let bytes = message.len() + MESSAGE_HEADER;
        let mut stream = Stream {
            send_window: self.peer.stream_window,
            unsent: Vec::new(),
            half_close: last,
            message: Vec::new(),
            answered: false,
        };
        let room = self.send_window.min(stream.send_window);
        if self.blocked.is_empty() && bytes <= self.peer.frame_bytes && bytes as i64 <= room {
            let flags = if last { frame::END_STREAM } else { 0 };
            frame_header(&mut self.output, bytes, frame::DATA, flags, id);
            message_header(&mut self.output, message.len());
            self.output.extend_from_slice(message);
            self.send_window -= bytes as i64;
            stream.send_window -= bytes as i64;
        } else {
            message_header(&mut stream.unsent, message.len());
            stream.unsent.extend_from_slice(message);
            self.blocked.push(id);
        }
        self.streams.insert(id, stream);
        self.send_blocked();
        id
    }

    /// Writes what is to be written, waits until something can be read, and appends what happened to `events`.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn exchange(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.try_write()?;
        let interest = match self.output.is_empty() {
            true => Interest::READABLE,
            false => Interest::READABLE | Interest::WRITABLE,
        };
        let ready = self.socket.ready(interest).await?;
        if ready.is_writable() {
            self.try_write()?;
        }
        if ready.is_readable() {
            self.try_read()?;
            self.parse(events)?;
        }
        Ok(())
    }

    fn try_write(&mut self) -> io::Result<()> {
        while self.written < self.output.len() {
            match self.socket.try_write(&self.output[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    fn try_read(&mut self) -> io::Result<()> {
        match self.socket.try_read(&mut self.input[self.input_filled..]) {
            Ok(0) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")),
            Ok(count) => {
                self.input_filled += count;
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn parse(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        let filled = &input[..self.input_filled];
        while let Some(header) = filled.get(at..at + FRAME_HEADER) {
            let length = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
            let (kind, flags) = (header[3], header[4]);
            let stream = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) & 0x7fff_ffff;
            let Some(payload) = filled.get(at + FRAME_HEADER..at + FRAME_HEADER + length) else { break };
            self.on_frame(kind, flags, stream, payload, events)?;
            at += FRAME_HEADER + length;
        }
        self.input = input;
        self.input.copy_within(at..self.input_filled, 0);
        self.input_filled -= at;
        Ok(())
    }

    fn on_frame(
        &mut self,
        kind: u8,
        flags: u8,
        stream: u32,
        payload: &[u8],
        events: &mut Vec<Event>,
    ) -> io::Result<()> {
        match kind {
            frame::DATA => self.on_data(stream, flags, payload, events),
            frame::HEADERS if flags & frame::END_STREAM != 0 => self.on_end(stream, events),
            frame::RST_STREAM => self.on_end(stream, events),
            frame::SETTINGS if flags & frame::ACK == 0 => self.on_settings(payload),
            frame::PING if flags & frame::ACK == 0 => self.frame(frame::PING, frame::ACK, 0, payload),
            frame::WINDOW_UPDATE => self.on_window_update(stream, payload),
            frame::GOAWAY => {
                return Err(io::Error::other(format!("the server said goodbye: {}", goodbye(payload))));
            }
            _ => {}
        }
        Ok(())
    }

    fn on_data(&mut self, id: u32, flags: u8, payload: &[u8], events: &mut Vec<Event>) {
        self.received_since_top_up += payload.len() as i64;
        if self.received_since_top_up > WINDOW_TOP_UP {
            self.top_up(self.received_since_top_up);
            self.received_since_top_up = 0;
        }
        let data = if flags & frame::PADDED == 0 { payload } else { without_padding(payload) };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        stream.answered |= !data.is_empty();
        if self.keep_messages {
            stream.message.extend_from_slice(data);
            while let Some(message) = take_message(&mut stream.message) {
                events.push(Event::Message { message });
            }
        }
        if flags & frame::END_STREAM != 0 {
            self.on_end(id, events);
        }
    }

    fn on_end(&mut self, id: u32, events: &mut Vec<Event>) {
        if let Some(stream) = self.streams.remove(&id) {
            events.push(Event::Ended { stream: id, answered: stream.answered });
        }
    }

    fn on_settings(&mut self, payload: &[u8]) {
        for setting in payload.chunks_exact(6) {
            let value = u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]);
            match u16::from_be_bytes([setting[0], setting[1]]) {
                setting::MAX_CONCURRENT_STREAMS => self.peer.streams_max = value,
                setting::MAX_FRAME_SIZE => self.peer.frame_bytes = value as usize,
                setting::INITIAL_WINDOW_SIZE => {
                    let change = i64::from(value) - self.peer.stream_window;
                    self.peer.stream_window = i64::from(value);
                    self.streams.values_mut().for_each(|stream| stream.send_window += change);
                }
                _ => {}
            }
        }
        self.frame(frame::SETTINGS, frame::ACK, 0, &[]);
        self.send_blocked();
    }

    fn on_window_update(&mut self, id: u32, payload: &[u8]) {
        let Some(&[a, b, c, d]) = payload.first_chunk() else { return };
        let more = i64::from(u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
        if id == 0 {
            self.send_window += more;
        } else if let Some(stream) = self.streams.get_mut(&id) {
            stream.send_window += more;
        }
        self.send_blocked();
    }

    /// Sends what flow control now allows, the oldest stream first.
    fn send_blocked(&mut self) {
        let mut still_blocked = Vec::new();
        for id in std::mem::take(&mut self.blocked) {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            loop {
                let room = self.send_window.min(stream.send_window).max(0) as usize;
                let count = stream.unsent.len().min(room).min(self.peer.frame_bytes);
                if count == 0 {
                    still_blocked.push(id);
                    break;
                }
                let rest = stream.unsent.split_off(count);
                let flags = if rest.is_empty() && stream.half_close { frame::END_STREAM } else { 0 };
                frame_header(&mut self.output, count, frame::DATA, flags, id);
                self.output.extend_from_slice(&stream.unsent);
                stream.unsent = rest;
                self.send_window -= count as i64;
                stream.send_window -= count as i64;
                if stream.unsent.is_empty() {
                    break;
                }
            }
        }
        self.blocked = still_blocked;
    }

    fn top_up(&mut self, bytes: i64) {
        let bytes = u32::try_from(bytes.min(WINDOW_MAX)).unwrap_or(u32::MAX);
        self.frame(frame::WINDOW_UPDATE, 0, 0, &bytes.to_be_bytes());
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        frame_header(&mut self.output, payload.len(), kind, flags, stream);
        self.output.extend_from_slice(payload);
    }
}

fn frame_header(output: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    output.extend_from_slice(&(length as u32).to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&stream.to_be_bytes());
}

fn message_header(output: &mut Vec<u8>, length: usize) {
    output.push(0);
    output.extend_from_slice(&(length as u32).to_be_bytes());
}

fn take_message(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let &[_, a, b, c, d] = bytes.first_chunk()?;
    let end = MESSAGE_HEADER + u32::from_be_bytes([a, b, c, d]) as usize;
    let message = bytes.get(MESSAGE_HEADER..end)?.to_vec();
    bytes.drain(..end);
    Some(message)
}

fn without_padding(payload: &[u8]) -> &[u8] {
    let padding = payload.first().map_or(0, |length| usize::from(*length));
    payload.get(1..payload.len().saturating_sub(padding)).unwrap_or_default()
}

fn goodbye(payload: &[u8]) -> String {
    let code = payload.get(4..8).map_or(0, |code| u32::from_be_bytes([code[0], code[1], code[2], code[3]]));
    let text = String::from_utf8_lossy(payload.get(8..).unwrap_or_default());
    format!("HTTP/2 error {code} {text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_out_of_the_stream_wherever_frames_end() {
        let mut bytes = Vec::new();
        message_header(&mut bytes, 3);
        bytes.extend(b"abc");
        message_header(&mut bytes, 2);
        bytes.extend(b"d");
        assert_eq!(take_message(&mut bytes).as_deref(), Some(&b"abc"[..]));
        assert_eq!(take_message(&mut bytes), None);
        bytes.extend(b"e");
        assert_eq!(take_message(&mut bytes).as_deref(), Some(&b"de"[..]));
    }

    #[test]
    fn padding_is_cut_off_and_a_wrong_length_of_it_harmless() {
        assert_eq!(without_padding(&[2, b'a', 0, 0]), b"a");
        assert_eq!(without_padding(&[9, b'a']), b"");
        assert_eq!(without_padding(&[]), b"");
    }
}

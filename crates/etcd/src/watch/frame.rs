//! One response of a watch stream, with its events already encoded.

use std::cell::OnceCell;
use std::sync::Arc;

use bytes::{BufMut, Bytes};
use kv::{Event, EventKind, Revision};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::codec::{EncodeBuf, Encoder};

use crate::convert;
use crate::front::Front;
use crate::proto::{etcdserverpb as pb, mvccpb};

/// `WatchResponse.events`.
const EVENTS_FIELD: u32 = 11;

/// A response: `head` without its `events` and with nothing but the revision in its header.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Frame {
    pub(super) watch_id: i64,
    /// The header's revision.
    pub(super) revision: Revision,
    pub(super) created: bool,
    pub(super) canceled: bool,
    pub(super) compact_revision: Revision,
    pub(super) cancel_reason: String,
    pub(super) fragment: bool,
    /// Encoded `mvccpb.Event`s.
    pub(super) events: Vec<Bytes>,
}

impl Frame {
    /// Events of a watcher.
    pub(super) fn of_events(watch_id: i64, revision: Revision, events: Vec<Bytes>) -> Frame {
        Frame { watch_id, revision, events, ..Frame::default() }
    }

    /// Bytes that the events take on the wire.
    pub(super) fn event_bytes(&self) -> usize {
        self.events.iter().map(on_the_wire).sum()
    }

    /// Splits a response whose events take `bytes_max` or more. No part is empty; all but the last are
    /// marked as fragments.
    pub(super) fn fragments(mut self, bytes_max: usize) -> Vec<Frame> {
        let events = std::mem::take(&mut self.events);
        let mut parts = vec![self.clone()];
        let mut bytes = 0;
        for event in events {
            let len = on_the_wire(&event);
            let part = parts.len() - 1;
            if !parts[part].events.is_empty() && bytes + len >= bytes_max {
                parts[part].fragment = true;
                parts.push(Frame { events: vec![event], ..self.clone() });
                bytes = len;
            } else {
                parts[part].events.push(event);
                bytes += len;
            }
        }
        parts
    }
}

fn on_the_wire(event: &Bytes) -> usize {
    key_len(EVENTS_FIELD) + encoded_len_varint(event.len() as u64) + event.len()
}

/// An event, encoded at most once with and once without the pair before it (W5).
#[derive(Debug)]
pub(super) struct Shared<'a> {
    event: &'a Event,
    plain: OnceCell<Bytes>,
    with_prev: OnceCell<Bytes>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(event: &'a Event) -> Shared<'a> {
        Shared { event, plain: OnceCell::new(), with_prev: OnceCell::new() }
    }

    pub(super) fn event(&self) -> &'a Event {
        self.event
    }

    pub(super) fn encoded(&self, prev_kv: bool) -> Bytes {
        if prev_kv && self.event.prev_kv.is_some() {
            self.with_prev.get_or_init(|| encode(self.event, true)).clone()
        } else {
            self.plain.get_or_init(|| encode(self.event, false)).clone()
        }
    }
}

fn encode(event: &Event, prev_kv: bool) -> Bytes {
    let kind = match event.kind {
        EventKind::Put => mvccpb::event::EventType::Put,
        EventKind::Delete => mvccpb::event::EventType::Delete,
    };
    let prev_kv = if prev_kv { event.prev_kv.clone().map(convert::key_value) } else { None };
    let message =
        mvccpb::Event { r#type: kind.into(), kv: Some(convert::key_value(event.kv.clone())), prev_kv };
    Bytes::from(message.encode_to_vec())
}

/// Writes frames as `WatchResponse`s.
pub(super) struct FrameEncoder(pub(super) Arc<Front>);

impl Encoder for FrameEncoder {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        let events = frame.events;
        let head = pb::WatchResponse {
            // etcd's answer to a watcher whose start is compacted has no revision.
            header: Some(self.0.header(frame.revision)),
            watch_id: frame.watch_id,
            created: frame.created,
            canceled: frame.canceled,
            compact_revision: frame.compact_revision,
            cancel_reason: frame.cancel_reason,
            fragment: frame.fragment,
            events: Vec::new(),
        };
        out.reserve(head.encoded_len() + events.iter().map(on_the_wire).sum::<usize>());
        head.encode(out).map_err(|error| Status::internal(error.to_string()))?;
        for event in events {
            encode_key(EVENTS_FIELD, WireType::LengthDelimited, out);
            encode_varint(event.len() as u64, out);
            out.put_slice(&event);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(lens: &[usize]) -> Frame {
        Frame::of_events(1, 5, lens.iter().map(|len| Bytes::from(vec![7; *len])).collect())
    }

    fn shape(parts: &[Frame]) -> Vec<(usize, bool)> {
        parts.iter().map(|part| (part.events.len(), part.fragment)).collect()
    }

    /// etcd-api.md §4.5: fragment = true on all but the last; an event is never cut.
    #[test]
    fn fragments_hold_whole_events_and_only_the_last_is_unmarked() {
        assert_eq!(shape(&frame(&[10, 10, 10]).fragments(1000)), [(3, false)]);
        assert_eq!(shape(&frame(&[40, 40, 40, 10]).fragments(100)), [(2, true), (2, false)]);
        assert_eq!(shape(&frame(&[500, 500]).fragments(100)), [(1, true), (1, false)]);
        assert_eq!(shape(&frame(&[]).fragments(100)), [(0, false)]);
    }
}

//! One small run that the tests of this crate share, and the promises about recording.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use types::{NodeId, Time};

use crate::{Details, EventId, Header, Kind, MessageId, OpId, Reader, Recorder, Stamp, Value};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

fn header() -> Header {
    Header::new(0x2a7f, "raft", vec![A, B, C], "0.1.0")
        .option("loss_ppm", 1_000u32)
        .option("keys", vec![1u8, 2])
}

fn at(micros: u64) -> Time {
    Time(micros * 1_000)
}

/// A write that reaches one follower, is lost on the way to another, and a crash.
fn run(recorder: &mut Recorder) {
    for node in [A, B, C] {
        recorder.record(at(0), node, Stamp::NONE, Kind::Spawn, Details::none);
    }
    let leads =
        recorder.record(at(900), A, Stamp::NONE, Kind::Role, || Details::named("leader").field("term", 4u64));
    let asked = recorder.record(at(1_000), None, Stamp::NONE, Kind::Invoke, || {
        Details::named("put").op(OpId(0)).peer(A).field("key", "k").field("value", "v1")
    });
    let mut send = |to: NodeId, message| {
        recorder.record(at(1_234), A, asked, Kind::Send, || {
            let details = Details::named("AppendEntries").peer(to).message(MessageId(message));
            details.field("term", 4u64).field("prev", vec![17u64, 3])
        })
    };
    let (to_b, to_c) = (send(B, 345), send(C, 346));
    recorder.record(at(1_300), None, to_b, Kind::Drop, || {
        Details::named("AppendEntries").message(MessageId(345))
    });
    let there = recorder.record(at(1_800), C, to_c, Kind::Deliver, || {
        Details::named("AppendEntries").peer(A).message(MessageId(346))
    });
    let back = recorder.record(at(2_000), C, there, Kind::Send, || {
        Details::named("AppendAck").peer(A).message(MessageId(347))
    });
    recorder.record(at(2_100), B, Stamp::NONE, Kind::Pause, Details::none);
    recorder
        .record(at(2_200), C, Stamp::NONE, Kind::Crash, || Details::none().field("unsynced_bytes", 512u32));
    let decided =
        recorder.record(at(2_500), A, back, Kind::Decide, || Details::none().op(OpId(0)).field("slot", 4u64));
    recorder.record(at(3_000), None, decided, Kind::Return, || {
        Details::named("put").op(OpId(0)).field("revision", 2i64)
    });
    recorder.record(at(4_000), C, Stamp::NONE, Kind::Restart, Details::none);
    recorder.record(at(4_100), B, Stamp::NONE, Kind::Resume, Details::none);
    recorder.record(at(5_000), B, leads, Kind::Extension("suspect".into()), || Details::none().peer(A));
}

/// A writer that others can look into while the recorder owns it.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The run as a trace.
pub(crate) fn sample() -> Vec<u8> {
    let out = Shared::default();
    let mut recorder = Recorder::lines(&header(), out.clone()).unwrap();
    run(&mut recorder);
    recorder.finish().unwrap();
    let bytes = out.0.lock().unwrap();
    bytes.clone()
}

/// T1. The bytes are also the format's documentation.
#[test]
fn the_same_run_is_the_same_bytes() {
    assert_eq!(sample(), sample());
    insta::assert_snapshot!(String::from_utf8(sample()).unwrap());
}

/// T2.
#[test]
fn a_recorder_that_is_off_asks_for_no_details() {
    let mut recorder = Recorder::off();
    let stamp = recorder.record(at(1), A, Stamp::NONE, Kind::Send, || panic!("built for nobody"));
    assert_eq!((stamp, recorder.events()), (Stamp::NONE, 0));
}

/// T3.
#[test]
fn causes_come_before_effects() {
    let trace = sample();
    let events: Vec<_> = Reader::new(&trace[..]).unwrap().map(Result::unwrap).collect();
    for event in &events {
        let before = events.iter().filter(|other| other.id < event.id);
        let caused = before.filter(|other| {
            Some(other.id) == event.cause || (event.node.is_some() && other.node == event.node)
        });
        assert!(caused.into_iter().all(|other| other.lamport < event.lamport), "{event:?}");
        assert!(event.cause.is_none_or(|cause| cause < event.id));
    }
}

#[test]
fn a_ring_keeps_the_last_events_as_a_trace_of_its_own() {
    let mut recorder = Recorder::ring(header(), 4);
    run(&mut recorder);
    assert_eq!(recorder.kept().map(|event| event.id).collect::<Vec<_>>(), [14, 15, 16, 17].map(EventId));
    let mut kept = Vec::new();
    recorder.write_kept(&mut kept).unwrap();
    let whole = String::from_utf8(sample()).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let expected = format!("{}\n{}\n", lines[0], lines[lines.len() - 4..].join("\n"));
    assert_eq!(String::from_utf8(kept).unwrap(), expected);
}

#[test]
fn a_ring_without_room_keeps_nothing() {
    let mut recorder = Recorder::ring(header(), 0);
    run(&mut recorder);
    assert_eq!(recorder.kept().count(), 0);
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_stops_the_trace_and_not_the_run() {
    assert!(Recorder::lines(&header(), Full(10)).is_err());
    let mut recorder = Recorder::lines(&header(), Full(400)).unwrap();
    run(&mut recorder);
    assert_eq!(recorder.events(), 17);
    assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn values_from_our_types_read_as_expected() {
    let epoch = types::Epoch { number: 3, proposer: NodeId(0xb) };
    let value =
        Value::from(vec![Value::from(epoch), Value::from(types::Epoch::of(7)), Value::from(None::<bool>)]);
    assert_eq!(value.to_string(), "[[3, b], 7, -]");
}

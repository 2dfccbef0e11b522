//! Takes events as they happen, numbers them, and keeps, streams or ignores them.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, Write};

use types::{NodeId, Time};

use crate::{Details, Event, EventId, Header, Kind, Value};

/// What an effect needs to know about its cause. Travels with messages, timers and writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The event; 0 if there is none.
    id: EventId,
    /// Its Lamport time.
    lamport: u64,
}

impl Stamp {
    /// "Nothing caused this", and what a recorder that is off returns.
    pub const NONE: Stamp = Stamp { id: EventId(0), lamport: 0 };

    /// The event, if there is one.
    pub fn event(self) -> Option<EventId> {
        (self.id != EventId(0)).then_some(self.id)
    }
}

/// Records what happens in one run.
///
/// Whether and how it records never changes what a run does: nothing may depend on a [`Stamp`].
#[derive(Debug)]
pub struct Recorder {
    sink: Sink,
    events: u64,
    clocks: BTreeMap<NodeId, u64>,
}

enum Sink {
    Off,
    Ring { header: Header, last: VecDeque<Event>, capacity: usize },
    Lines { out: Box<dyn Write + Send>, line: Vec<u8>, failed: Option<io::Error> },
}

impl Recorder {
    /// Records nothing.
    pub fn off() -> Recorder {
        Recorder::with(Sink::Off)
    }

    /// Keeps the last `capacity` events in memory, for a report when something fails.
    pub fn ring(header: Header, capacity: usize) -> Recorder {
        Recorder::with(Sink::Ring { header, last: VecDeque::new(), capacity })
    }

    /// Writes the header, and then every event as it happens, to `out`. Hand in a buffered writer.
    ///
    /// # Errors
    /// If the header cannot be written. A later failure is kept for [`finish`](Recorder::finish).
    pub fn lines(header: &Header, mut out: impl Write + Send + 'static) -> io::Result<Recorder> {
        write_line(&mut out, &mut Vec::new(), header)?;
        Ok(Recorder::with(Sink::Lines { out: Box::new(out), line: Vec::new(), failed: None }))
    }

    fn with(sink: Sink) -> Recorder {
        Recorder { sink, events: 0, clocks: BTreeMap::new() }
    }

    /// Whether events are recorded; to skip work that only prepares for recording.
    pub fn is_on(&self) -> bool {
        !matches!(self.sink, Sink::Off)
    }

    /// How many events were recorded, kept or not.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Records an event of `node`, or of the world if there is none, and returns the stamp for its effects.
    ///
    /// `details` is called only if events are recorded (T2).
    pub fn record(
        &mut self,
        at: Time,
        node: impl Into<Option<NodeId>>,
        cause: Stamp,
        kind: Kind,
        details: impl FnOnce() -> Details,
    ) -> Stamp {
        if !self.is_on() {
            return Stamp::NONE;
        }
        let node = node.into();
        let stamp = self.stamp(node, cause);
        let details = details();
        let event = Event {
            id: stamp.id,
            at,
            node,
            lamport: stamp.lamport,
            cause: cause.event(),
            kind,
            peer: details.peer,
            message: details.message,
            name: details.name,
            body: Value::Map(details.body),
            op: details.op,
        };
        self.sink.take(event);
        stamp
    }

    fn stamp(&mut self, node: Option<NodeId>, cause: Stamp) -> Stamp {
        self.events += 1;
        let clock = node.map(|node| self.clocks.entry(node).or_default());
        let before = clock.as_ref().map_or(0, |clock| **clock).max(cause.lamport);
        if let Some(clock) = clock {
            *clock = before + 1;
        }
        Stamp { id: EventId(self.events), lamport: before + 1 }
    }

    /// The events that a ring still holds, oldest first.
    pub fn kept(&self) -> impl Iterator<Item = &Event> {
        match &self.sink {
            Sink::Ring { last, .. } => last.iter(),
            Sink::Off | Sink::Lines { .. } => EMPTY.iter(),
        }
    }

    /// Writes a ring's header and events as a trace; nothing for other recorders.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_kept(&self, out: &mut dyn Write) -> io::Result<()> {
        let Sink::Ring { header, last, .. } = &self.sink else { return Ok(()) };
        let mut line = Vec::new();
        write_line(out, &mut line, header)?;
        last.iter().try_for_each(|event| write_line(out, &mut line, event))
    }

    /// Flushes a trace that was streamed.
    ///
    /// # Errors
    /// The first failure to write; the trace ends there.
    pub fn finish(self) -> io::Result<()> {
        match self.sink {
            Sink::Lines { failed: Some(error), .. } => Err(error),
            Sink::Lines { mut out, .. } => out.flush(),
            Sink::Off | Sink::Ring { .. } => Ok(()),
        }
    }
}

static EMPTY: VecDeque<Event> = VecDeque::new();

impl Sink {
    fn take(&mut self, event: Event) {
        match self {
            Sink::Off => {}
            Sink::Ring { last, capacity, .. } => {
                if last.len() == *capacity {
                    last.pop_front();
                }
                if *capacity > 0 {
                    last.push_back(event);
                }
            }
            Sink::Lines { out, line, failed } => {
                // A full disk must not stop the run: what happened is worth more than its picture.
                if failed.is_none() {
                    *failed = write_line(out, line, &event).err();
                }
            }
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sink::Off => f.write_str("Off"),
            Sink::Ring { last, capacity, .. } => write!(f, "Ring({} of {capacity})", last.len()),
            Sink::Lines { failed, .. } => write!(f, "Lines(failed: {failed:?})"),
        }
    }
}

/// Writes one line, through `line` so that a slow writer sees one call.
pub(crate) fn write_line(
    out: &mut (impl Write + ?Sized),
    line: &mut Vec<u8>,
    value: &impl serde::Serialize,
) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, value)?;
    line.push(b'\n');
    out.write_all(line)
}

//! Chrome's trace events: one JSON object a line within one array.
//!
//! ```text
//!   process n1 ─ state:    up ▸ leader 4 ▸ paused          slices within each other
//!              ─ messages: AppendEntries ~~▶ another node   slices without length, joined by flows
//!              ─ work:     apply, disk_done, timer …        instants
//!   process clients:       one slice an operation
//!   process world:         faults, violations               instants across the whole width
//! ```
//!
//! # Source
//! "Trace Event Format", Google, 2016; flows are its "flow events (v2)", which stand on the slices themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use serde_json::{Map, Value as Json, json};
use types::{NodeId, Time};

use super::Export;
use crate::{Event, Header, Kind, OpId, Value};

const CLIENTS: u64 = 1;
const WORLD: u64 = 2;
/// Node `i` of the header is this process and `i`.
const NODES: u64 = 10;

const STATE: u64 = 1;
const MESSAGES: u64 = 2;
const WORK: u64 = 3;

pub(super) struct Perfetto {
    pids: BTreeMap<NodeId, u64>,
    /// The slices of each node's state that have begun, outermost first.
    open: BTreeMap<u64, Vec<String>>,
    /// Operations that have been asked and not answered.
    asked: BTreeSet<OpId>,
    now: Time,
    lines: u64,
}

impl Perfetto {
    pub(super) fn new(header: &Header) -> Perfetto {
        let pids = header.nodes.iter().copied().zip(NODES..).collect();
        Perfetto { pids, open: BTreeMap::new(), asked: BTreeSet::new(), now: Time(0), lines: 0 }
    }

    fn pid(&mut self, node: Option<NodeId>) -> u64 {
        let next = NODES + self.pids.len() as u64;
        node.map_or(WORLD, |node| *self.pids.entry(node).or_insert(next))
    }

    /// Writes one object; `fields` beyond phase, time, process and track.
    fn put(
        &mut self,
        phase: &str,
        (pid, tid): (u64, u64),
        fields: Json,
        out: &mut dyn Write,
    ) -> io::Result<()> {
        let separator = if self.lines == 0 { "" } else { ",\n" };
        self.lines += 1;
        let Time(ns) = self.now;
        let (us, rest) = (ns / 1_000, ns % 1_000);
        write!(out, "{separator}{{\"ph\":\"{phase}\",\"ts\":{us}.{rest:03},\"pid\":{pid},\"tid\":{tid}")?;
        for (name, value) in fields.as_object().into_iter().flatten() {
            write!(out, ",{}:{value}", Json::from(name.as_str()))?;
        }
        out.write_all(b"}")
    }

    fn name_track(&mut self, pid: u64, tid: u64, name: &str, out: &mut dyn Write) -> io::Result<()> {
        self.put("M", (pid, tid), json!({"name": "thread_name", "args": {"name": name}}), out)
    }

    fn name_process(&mut self, pid: u64, name: &str, out: &mut dyn Write) -> io::Result<()> {
        self.put("M", (pid, 0), json!({"name": "process_name", "args": {"name": name}}), out)?;
        self.put("M", (pid, 0), json!({"name": "process_sort_index", "args": {"sort_index": pid}}), out)
    }

    // ---- the state of a node

    /// Ends slices until so many are open.
    fn close(&mut self, pid: u64, depth: usize, out: &mut dyn Write) -> io::Result<()> {
        while self.open.get(&pid).is_some_and(|open| open.len() > depth) {
            self.open.entry(pid).or_default().pop();
            self.put("E", (pid, STATE), json!({}), out)?;
        }
        Ok(())
    }

    /// Begins a slice within `depth` others.
    fn open(&mut self, pid: u64, depth: usize, name: String, out: &mut dyn Write) -> io::Result<()> {
        self.close(pid, depth, out)?;
        self.put("B", (pid, STATE), json!({"name": name, "cat": "state"}), out)?;
        self.open.entry(pid).or_default().push(name);
        Ok(())
    }

    fn depth(&self, pid: u64) -> usize {
        self.open.get(&pid).map_or(0, Vec::len)
    }

    fn state(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let pid = self.pid(event.node);
        match event.kind {
            Kind::Spawn | Kind::Restart => self.open(pid, 0, "up".into(), out),
            Kind::Crash => self.open(pid, 0, join("down", &event.name), out),
            Kind::Pause => self.open(pid, self.depth(pid), "paused".into(), out),
            Kind::Resume => self.close(pid, self.depth(pid).saturating_sub(1), out),
            Kind::Role => {
                if self.depth(pid) == 0 {
                    self.open(pid, 0, "up".into(), out)?;
                }
                let epoch = event.body.field("epoch").or_else(|| event.body.field("term"));
                let name =
                    epoch.map_or(event.name.to_string(), |epoch| join(&event.name, &epoch.to_string()));
                self.open(pid, 1, name, out)
            }
            _ => Ok(()),
        }
    }

    // ---- everything else

    fn message(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let pid = self.pid(event.node);
        let name = if event.name.is_empty() { event.kind.to_string() } else { event.name.to_string() };
        let mut fields = json!({"name": name, "cat": "message", "dur": 0, "args": arguments(event)});
        if let (Some(message), Some(fields)) = (event.message, fields.as_object_mut()) {
            fields.insert("bind_id".into(), format!("{:#x}", message.0).into());
            let end = if event.kind == Kind::Send { "flow_out" } else { "flow_in" };
            fields.insert(end.into(), true.into());
        }
        self.put("X", (pid, MESSAGES), fields, out)
    }

    fn operation(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let Some(op) = event.op else { return self.instant(event, out) };
        let phase = match event.kind {
            Kind::Invoke if self.asked.insert(op) => "b",
            Kind::Return if self.asked.remove(&op) => "e",
            _ => return self.instant(event, out),
        };
        let name = format!("op {}", op.0);
        let fields = json!({"name": name, "cat": "op", "id": op.0, "args": arguments(event)});
        self.put(phase, (CLIENTS, 1), fields, out)
    }

    fn instant(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<()> {
        let pid = self.pid(event.node);
        let name = join(&event.kind.to_string(), &event.name);
        let scope = match (&event.kind, event.node) {
            (Kind::Violation | Kind::Net | Kind::Clock, _) => "g",
            (Kind::DiskFault | Kind::Byzantine, _) => "p",
            _ => "t",
        };
        let track = if is_of_message(&event.kind) { MESSAGES } else { WORK };
        let fields =
            json!({"name": name, "cat": event.kind.to_string(), "s": scope, "args": arguments(event)});
        self.put("i", (pid, track), fields, out)
    }
}

fn is_of_message(kind: &Kind) -> bool {
    matches!(kind, Kind::Drop | Kind::Duplicate | Kind::Corrupt)
}

fn join(first: &str, second: &str) -> String {
    if second.is_empty() { first.to_owned() } else { format!("{first} {second}") }
}

/// What a person sees when the event is chosen.
fn arguments(event: &Event) -> Json {
    let mut arguments = Map::new();
    arguments.insert("event".into(), event.id.0.into());
    if let Some(cause) = event.cause {
        arguments.insert("cause".into(), cause.0.into());
    }
    if let Some(peer) = event.peer {
        arguments.insert("peer".into(), format!("n{peer}").into());
    }
    if let Value::Map(fields) = &event.body {
        let fields = fields.iter().map(|(name, value)| (name.to_string(), json!(value)));
        arguments.extend(fields);
    }
    Json::Object(arguments)
}

impl Export for Perfetto {
    fn begin(&mut self, header: &Header, out: &mut dyn Write) -> io::Result<()> {
        let Header { protocol, seed, build, .. } = header;
        let about = json!({"protocol": protocol, "seed": format!("{seed:#x}"), "build": build});
        writeln!(out, "{{\"displayTimeUnit\":\"ms\",\"otherData\":{about},\"traceEvents\":[")?;
        self.name_process(CLIENTS, "clients", out)?;
        self.name_process(WORLD, "world", out)?;
        for (node, pid) in self.pids.clone() {
            self.name_process(pid, &format!("n{node}"), out)?;
            for (tid, name) in [(STATE, "state"), (MESSAGES, "messages"), (WORK, "work")] {
                self.name_track(pid, tid, name, out)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &Event, is_admitted: bool, out: &mut dyn Write) -> io::Result<()> {
        self.now = event.at;
        match event.kind {
            // States go on while nothing is admitted.
            Kind::Spawn | Kind::Restart | Kind::Crash | Kind::Pause | Kind::Resume | Kind::Role => {
                self.state(event, out)
            }
            _ if !is_admitted => Ok(()),
            Kind::Send | Kind::Deliver => self.message(event, out),
            Kind::Invoke | Kind::Return => self.operation(event, out),
            _ => self.instant(event, out),
        }
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let pids: Vec<u64> = self.open.keys().copied().collect();
        pids.into_iter().try_for_each(|pid| self.close(pid, 0, out))?;
        for op in std::mem::take(&mut self.asked) {
            let fields = json!({"name": format!("op {}", op.0), "cat": "op", "id": op.0});
            self.put("e", (CLIENTS, 1), fields, out)?;
        }
        writeln!(out, "\n]}}")
    }
}

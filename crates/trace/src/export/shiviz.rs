//! ShiViz' logs: two lines an event, with a vector clock of all hosts.
//!
//! ```text
//!   (?<host>\S*) (?<clock>{.*})\n(?<event>.*)
//!
//!   n1 {"n1":3}
//!   send AppendEntries to n3
//!   n3 {"n1":3, "n3":2}
//!   deliver AppendEntries from n1
//! ```
//!
//! Hosts are the nodes, `clients` and `world`. An event that is left out makes no tick, but what it heard of is known
//! after it.
//!
//! # Source
//! Beschastnikh, Liu, Xing, Wang, Brun, Ernst, "Visualizing Distributed System Executions", TOSEM 2020.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};

use super::Export;
use crate::printer::Words;
use crate::{Event, EventId, Header, Kind};

/// How ShiViz reads what follows; the empty line says that there is one execution.
const HEAD: &str = "(?<host>\\S*) (?<clock>{.*})\\n(?<event>.*)\n\n";
/// Sends that may still arrive are remembered, at most so many: a later arrival counts as one without a cause.
const SENDS_MAX: usize = 100_000;

type Clock = BTreeMap<String, u64>;

pub(super) struct ShiViz {
    clocks: BTreeMap<String, Clock>,
    sends: BTreeMap<EventId, Clock>,
    order: VecDeque<EventId>,
}

impl ShiViz {
    pub(super) fn new(header: &Header) -> ShiViz {
        let host = |node: &types::NodeId| (format!("n{node}"), Clock::new());
        let clocks = header.nodes.iter().map(host).collect();
        ShiViz { clocks, sends: BTreeMap::new(), order: VecDeque::new() }
    }

    fn remember(&mut self, id: EventId, clock: Clock) {
        self.sends.insert(id, clock);
        self.order.push_back(id);
        if self.order.len() > SENDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.sends.remove(&oldest);
        }
    }
}

fn host(event: &Event) -> String {
    match (event.node, &event.kind) {
        (Some(node), _) => format!("n{node}"),
        (None, Kind::Invoke | Kind::Return) => "clients".to_owned(),
        (None, _) => "world".to_owned(),
    }
}

impl Export for ShiViz {
    fn begin(&mut self, _: &Header, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(HEAD.as_bytes())
    }

    fn event(&mut self, event: &Event, is_admitted: bool, out: &mut dyn Write) -> io::Result<()> {
        let host = host(event);
        let clock = self.clocks.entry(host.clone()).or_default();
        for (other, time) in event.cause.and_then(|cause| self.sends.get(&cause)).into_iter().flatten() {
            let known = clock.entry(other.clone()).or_default();
            *known = (*known).max(*time);
        }
        if is_admitted {
            *clock.entry(host.clone()).or_default() += 1;
            let parts: Vec<String> = clock.iter().map(|(host, time)| format!("\"{host}\":{time}")).collect();
            writeln!(out, "{host} {{{}}}\n{}", parts.join(", "), Words(event))?;
        }
        if event.kind == Kind::Send {
            let clock = clock.clone();
            self.remember(event.id, clock);
        }
        Ok(())
    }

    fn end(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

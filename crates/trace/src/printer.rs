//! A trace for people: one line an event, one lane a node.
//!
//! ```text
//!     id        time  1 2 3
//!     12  1.234567ms  ●─┼▶│  n1 send AppendEntries to n3 m345 {term: 4}  ⇐ 11
//!     13  1.300000ms  │ │ ●  n3 deliver AppendEntries from n1 m345  ⇐ 12
//! ```
//!
//! A lane is `│` while its node runs, `┆` while it is paused, and empty while it is down; `●` is where the event
//! happened. `⇐` names the event that caused it.

use std::fmt;
use std::io::{self, BufRead, Write};

use types::{NodeId, Time};

use crate::{Event, Header, Kind, OpId, ReadError, Reader, Value};

/// Which events to print. The default is all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only what happens at, or between, these nodes; all nodes, clients and the world if empty.
    pub nodes: Vec<NodeId>,
    /// Only these kinds; all if empty.
    pub kinds: Vec<Kind>,
    /// Only what serves these client operations; all if empty.
    pub ops: Vec<OpId>,
    /// Not before this time.
    pub from: Time,
    /// Not after this time.
    pub until: Time,
}

impl Default for Filter {
    fn default() -> Filter {
        Filter { nodes: vec![], kinds: vec![], ops: vec![], from: Time(0), until: Time(u64::MAX) }
    }
}

impl Filter {
    /// Whether `event` is to be printed.
    pub fn admits(&self, event: &Event) -> bool {
        let nodes = || event.node.iter().chain(&event.peer).any(|node| self.nodes.contains(node));
        let ops = || event.op.is_some_and(|op| self.ops.contains(&op));
        (self.from..=self.until).contains(&event.at)
            && (self.nodes.is_empty() || nodes())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (self.ops.is_empty() || ops())
    }
}

/// Prints events in the order in which they happened.
#[derive(Debug)]
pub struct Printer {
    filter: Filter,
    colour: bool,
    lanes: Vec<(NodeId, Lane)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Down,
    Up,
    Paused,
}

/// Why a trace could not be printed.
#[derive(Debug, thiserror::Error)]
pub enum ShowError {
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The output failed.
    #[error("cannot write")]
    Write(#[from] io::Error),
}

/// Prints a whole trace and returns how many events it has and how many were printed.
///
/// # Errors
/// [`ShowError`]; what was readable before has been printed.
pub fn show(
    input: impl BufRead,
    filter: Filter,
    colour: bool,
    out: &mut dyn Write,
) -> Result<(u64, u64), ShowError> {
    let reader = Reader::new(input)?;
    let mut printer = Printer::new(reader.header(), filter, colour);
    printer.print_header(reader.header(), out)?;
    let (mut all, mut shown) = (0, 0);
    for event in reader {
        all += 1;
        shown += u64::from(printer.print(&event?, out)?);
    }
    Ok((all, shown))
}

impl Printer {
    /// A printer for the events under `header`.
    pub fn new(header: &Header, filter: Filter, colour: bool) -> Printer {
        let lanes = header.nodes.iter().map(|node| (*node, Lane::Down)).collect();
        Printer { filter, colour, lanes }
    }

    /// Prints what the run was, and the heads of the columns.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn print_header(&self, header: &Header, out: &mut dyn Write) -> io::Result<()> {
        let Header { protocol, seed, build, .. } = header;
        writeln!(out, "{protocol}, seed {seed:#x}, {} nodes, build {build}", header.nodes.len())?;
        for (name, value) in &header.options {
            writeln!(out, "  {name}: {value}")?;
        }
        let numbered: Vec<String> = (1..=self.lanes.len()).map(|number| number.to_string()).collect();
        let named: Vec<String> = self.lanes.iter().map(|(node, _)| node.to_string()).collect();
        if numbered != named {
            for (number, name) in numbered.iter().zip(&named) {
                writeln!(out, "  lane {number} is node {name}")?;
            }
        }
        let heads: Vec<String> = (1..=self.lanes.len()).map(|number| (number % 10).to_string()).collect();
        writeln!(out, "{:>8}  {:>14}  {}", "id", "time", heads.join(" "))
    }

    /// Prints `event` if the filter admits it, and returns whether it did. Every event must be handed in, so that
    /// lanes know which nodes run.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn print(&mut self, event: &Event, out: &mut dyn Write) -> io::Result<bool> {
        self.follow(event);
        if !self.filter.admits(event) {
            return Ok(false);
        }
        let (on, off) = if self.colour { colour(&event.kind) } else { ("", "") };
        let time = format!("{:?}", event.at);
        let (id, lanes, text) = (event.id.0, self.lanes_text(event), Words(event));
        writeln!(out, "{id:>8}  {time:>14}  {lanes}  {on}{text}{off}")?;
        Ok(true)
    }

    fn follow(&mut self, event: &Event) {
        let Some(node) = event.node else { return };
        let index = match self.lanes.iter().position(|(known, _)| *known == node) {
            Some(index) => index,
            None => {
                self.lanes.push((node, Lane::Down));
                self.lanes.len() - 1
            }
        };
        self.lanes[index].1 = match event.kind {
            Kind::Crash => Lane::Down,
            Kind::Pause => Lane::Paused,
            Kind::Spawn | Kind::Restart | Kind::Resume => Lane::Up,
            // A ring's first events may lack the start of a node that acts.
            Kind::Send | Kind::TimerFire | Kind::Apply | Kind::Role => Lane::Up,
            _ => self.lanes[index].1,
        };
    }

    fn lanes_text(&self, event: &Event) -> String {
        let lane_of = |node: Option<NodeId>| self.lanes.iter().position(|(known, _)| Some(*known) == node);
        let here = lane_of(event.node);
        let there = lane_of(event.peer).filter(|_| event.kind == Kind::Send);
        let mut text = String::new();
        for (index, (_, lane)) in self.lanes.iter().enumerate() {
            let crossed = matches!((here, there), (Some(a), Some(b)) if a.min(b) < index && index < a.max(b));
            let joined = matches!((here, there), (Some(a), Some(b)) if a.min(b) < index && index <= a.max(b));
            if index > 0 {
                text.push(if joined { '─' } else { ' ' });
            }
            text.push(match lane {
                _ if here == Some(index) => '●',
                _ if there == Some(index) => {
                    if here < there {
                        '▶'
                    } else {
                        '◀'
                    }
                }
                Lane::Up if crossed => '┼',
                _ if crossed => '─',
                Lane::Up => '│',
                Lane::Paused => '┆',
                Lane::Down => ' ',
            });
        }
        text
    }
}

/// What happened, in words.
pub(crate) struct Words<'a>(pub(crate) &'a Event);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words(event) = self;
        if let Some(node) = event.node {
            write!(f, "n{node} ")?;
        }
        write!(f, "{}", event.kind)?;
        if !event.name.is_empty() {
            write!(f, " {}", event.name.escape_debug())?;
        }
        if let Some(peer) = event.peer {
            let towards = match event.kind {
                Kind::Deliver => "from ",
                Kind::Send | Kind::Invoke => "to ",
                _ => "",
            };
            write!(f, " {towards}n{peer}")?;
        }
        if let Some(message) = event.message {
            write!(f, " m{}", message.0)?;
        }
        if let Some(op) = event.op {
            write!(f, " op {}", op.0)?;
        }
        if !event.body.is_empty_map() && event.body != Value::Null {
            write!(f, " {}", event.body)?;
        }
        match event.cause {
            Some(cause) => write!(f, "  ⇐ {}", cause.0),
            None => Ok(()),
        }
    }
}

/// The terminal's codes before and after an event's text.
fn colour(kind: &Kind) -> (&'static str, &'static str) {
    const RESET: &str = "\x1b[0m";
    match kind {
        Kind::Violation => ("\x1b[1;41m", RESET),
        Kind::Crash | Kind::DiskFault | Kind::Drop | Kind::Corrupt | Kind::Byzantine => ("\x1b[31m", RESET),
        Kind::Spawn | Kind::Restart | Kind::Pause | Kind::Resume => ("\x1b[35m", RESET),
        Kind::Net | Kind::Clock | Kind::Duplicate => ("\x1b[33m", RESET),
        Kind::Role | Kind::Decide => ("\x1b[1;36m", RESET),
        Kind::Invoke | Kind::Return => ("\x1b[32m", RESET),
        Kind::TimerSet | Kind::TimerCancel | Kind::DiskWrite | Kind::DiskSync | Kind::DiskDone => {
            ("\x1b[2m", RESET)
        }
        _ => ("", ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    fn shown(filter: Filter, colour: bool) -> String {
        let mut out = Vec::new();
        show(&sample()[..], filter, colour, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_trace_reads_as_lanes() {
        insta::assert_snapshot!(shown(Filter::default(), false));
    }

    #[test]
    fn filters_leave_lanes_intact() {
        let nodes = Filter { nodes: vec![NodeId(3)], ..Filter::default() };
        insta::assert_snapshot!("only_node_3", shown(nodes, false));
        let kinds = Filter { kinds: vec![Kind::Crash, Kind::Restart], ..Filter::default() };
        insta::assert_snapshot!("only_crashes", shown(kinds, false));
        let times = Filter { from: Time(2_000_000), until: Time(3_000_000), ..Filter::default() };
        let only = shown(times, false);
        assert!(
            only.lines().skip(4).all(|line| line.contains(" 2.") || line.contains(" 3.000000ms")),
            "{only}"
        );
        let ops = Filter { ops: vec![OpId(0)], ..Filter::default() };
        assert_eq!(shown(ops, false).lines().filter(|line| line.contains("op 0")).count(), 3);
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let mut plain = shown(Filter::default(), true);
        while let Some(start) = plain.find('\x1b') {
            let end = start + plain[start..].find('m').unwrap();
            plain.replace_range(start..=end, "");
        }
        assert_eq!(plain, shown(Filter::default(), false));
    }

    #[test]
    fn long_node_ids_get_a_legend() {
        let header = Header::new(1, "raft", vec![NodeId(0x8e9e_05c5_2164_694d)], "test");
        let mut out = Vec::new();
        Printer::new(&header, Filter::default(), false).print_header(&header, &mut out).unwrap();
        assert!(String::from_utf8(out).unwrap().contains("lane 1 is node 8e9e05c52164694d"));
    }
}

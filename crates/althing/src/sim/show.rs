//! `althing sim show FILE`: a trace as a story, a line an event.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use owo_colors::Style;
use trace::{Event, Header, Kind, SCHEMA, Value};

use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, faint, good, styled};

/// `althing sim show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The trace, as `althing sim --seed N --trace FILE` writes it
    file: PathBuf,
    /// Only events of these nodes, or that concern them
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',', value_parser = parse_node)]
    nodes: Vec<types::NodeId>,
    /// Only these kinds: send, deliver, crash, role, commit, invoke, return, violation, …
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only events whose type is this: AppendEntries, put, leader, …
    #[arg(long = "type", value_name = "NAME")]
    name: Option<String>,
    /// Only events of this client operation
    #[arg(long, value_name = "NUMBER")]
    op: Option<u64>,
    /// Only events from this second of the run on
    #[arg(long, value_name = "SECONDS")]
    from: Option<f64>,
    /// Only events before this second of the run
    #[arg(long, value_name = "SECONDS")]
    until: Option<f64>,
    /// Only the last so many of them
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Print the lines of the file as they are
    #[arg(long = "raw")]
    raw: bool,
}

/// Prints a trace.
///
/// # Errors
/// The file cannot be read, or is no trace.
pub fn run(args: &ShowArgs) -> Outcome {
    let wrong = |why: String| {
        Failure::new(format_args!("{}: {why}", args.file.display()))
            .next("althing sim --seed N --trace FILE writes a trace")
    };
    let file = File::open(&args.file).map_err(|error| wrong(error.to_string()))?;
    let mut lines = BufReader::new(file).lines().zip(1_u64..);
    let first = lines.next().map_or(Ok(String::new()), |(line, _)| line);
    let header =
        first.map_err(|error| wrong(error.to_string())).and_then(|line| read_header(&line).map_err(wrong))?;
    if !args.raw {
        output::line(faint(title(&header)))?;
    }
    let mut kept = std::collections::VecDeque::new();
    for (line, number) in lines {
        let line = line.map_err(|error| wrong(error.to_string()))?;
        let event: Event =
            serde_json::from_str(&line).map_err(|error| wrong(format!("line {number}: {error}")))?;
        if !args.wants(&event) {
            continue;
        }
        let text = if args.raw { line } else { readable(&event) };
        match args.last {
            None => {
                output::line(text)?;
            }
            Some(last) => {
                kept.push_back(text);
                if kept.len() > last {
                    kept.pop_front();
                }
            }
        }
    }
    kept.iter().try_for_each(|text| output::line(text).map(drop))?;
    Ok(ExitCode::SUCCESS)
}

impl ShowArgs {
    fn wants(&self, event: &Event) -> bool {
        let seconds = event.at.0 as f64 / 1e9;
        let concerns = |node: &types::NodeId| event.node == Some(*node) || event.peer == Some(*node);
        (self.nodes.is_empty() || self.nodes.iter().any(concerns))
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.name.as_ref().is_none_or(|name| event.name == name.as_str())
            && self.op.is_none_or(|op| event.op == Some(trace::OpId(op)))
            && self.from.is_none_or(|from| seconds >= from)
            && self.until.is_none_or(|until| seconds < until)
    }
}

fn parse_node(text: &str) -> Result<types::NodeId, String> {
    let digits = text.strip_prefix('n').unwrap_or(text);
    u64::from_str_radix(digits, 16)
        .map(types::NodeId)
        .map_err(|_| format!("{text:?} is no node id, as 1 or n1"))
}

fn read_header(line: &str) -> Result<Header, String> {
    let header: Header = serde_json::from_str(line).map_err(|error| format!("not a trace: {error}"))?;
    match header.schema.as_ref() {
        SCHEMA => Ok(header),
        other => Err(format!("a trace of schema {other}; this program reads {SCHEMA}")),
    }
}

fn title(header: &Header) -> String {
    let Header { protocol, seed, nodes, build, .. } = header;
    format!("{protocol}, seed {seed}, {} nodes, build {build}", nodes.len())
}

/// `   1.234567890  n1  send     → n2  AppendEntries  term 4, prev 17  (op 55)`
fn readable(event: &Event) -> String {
    let seconds = event.at.0 / 1_000_000_000;
    let nanos = event.at.0 % 1_000_000_000;
    let mut line = format!("{} ", faint(format_args!("{seconds:>4}.{nanos:09}")));
    let node = event.node.map_or_else(|| "--".to_owned(), |node| format!("n{node}"));
    let kind = format!("{:<8}", event.kind.to_string());
    write_to(&mut line, format_args!("{node:>4}  {}", coloured(&event.kind, &kind)));
    if let Some(peer) = event.peer {
        let arrow = if event.kind == Kind::Deliver { "←" } else { "→" };
        write_to(&mut line, format_args!(" {arrow} n{peer}"));
    }
    if !event.name.is_empty() {
        write_to(&mut line, format_args!("  {}", event.name));
    }
    if let Value::Map(fields) = &event.body {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if !fields.is_empty() {
            write_to(&mut line, format_args!("  {}", fields.join(", ")));
        }
    }
    if let Some(op) = event.op {
        write_to(&mut line, format_args!("  {}", faint(format_args!("(op {})", op.0))));
    }
    line
}

fn coloured(kind: &Kind, text: &str) -> String {
    match kind {
        Kind::Violation | Kind::Crash => bad(text),
        Kind::Drop | Kind::Corrupt | Kind::Pause | Kind::DiskFault => styled(text, Style::new().yellow()),
        Kind::Spawn | Kind::Restart | Kind::Resume => good(text),
        Kind::Role | Kind::Decide => styled(text, Style::new().cyan()),
        _ => text.to_owned(),
    }
}

fn write_to(line: &mut String, text: std::fmt::Arguments<'_>) {
    line.write_fmt(text).expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(line: &str) -> Event {
        serde_json::from_str(line).unwrap()
    }

    const SEND: &str = r#"{"i":812,"t":1234567890,"n":"1","l":77,"c":806,"k":"send","p":"4","m":345,"y":"AppendEntries","b":{"term":4,"prev":[17,3]},"o":55}"#;

    #[test]
    fn an_event_is_a_line() {
        let expected = "   1.234567890   n1  send     → n4  AppendEntries  term 4, prev [17, 3]  (op 55)";
        assert_eq!(readable(&event(SEND)), expected);
    }

    #[test]
    fn filters_are_all_to_hold() {
        let mut args = ShowArgs {
            file: PathBuf::new(),
            nodes: vec![parse_node("n4").unwrap()],
            kinds: vec![Kind::Send],
            name: Some("AppendEntries".to_owned()),
            op: Some(55),
            from: Some(1.0),
            until: Some(2.0),
            last: None,
            raw: false,
        };
        assert!(args.wants(&event(SEND)));
        args.until = Some(1.2);
        assert!(!args.wants(&event(SEND)));
    }

    #[test]
    fn a_file_that_is_no_trace_is_refused() {
        assert!(read_header("{}").unwrap_err().starts_with("not a trace"));
        assert!(read_header("").is_err());
    }
}

//! `althing sim show FILE`: a trace as a story, a line an event, a lane a node (`trace::show`).

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use trace::{Filter, Kind, OpId, ShowError};
use types::{NodeId, Time};

use crate::failure::{Failure, Outcome, chain};
use crate::output;

/// `althing sim show`.
#[derive(Clone, Debug, Args)]
pub struct ShowArgs {
    /// The trace, as `althing sim --seed N --trace FILE` writes it
    file: PathBuf,
    /// Only what happens at, or between, these nodes
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',', value_parser = parse_node)]
    nodes: Vec<NodeId>,
    /// Only these kinds: send, deliver, crash, role, apply, invoke, return, violation, …
    #[arg(long = "kind", value_name = "KIND", value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Only what serves these client operations
    #[arg(long = "op", value_name = "NUMBER", value_delimiter = ',', value_parser = parse_op)]
    ops: Vec<OpId>,
    /// Not before this second of the run
    #[arg(long, value_name = "SECONDS", default_value = "0", hide_default_value = true, value_parser = parse_time)]
    from: Time,
    /// Not after this second of the run
    #[arg(long, value_name = "SECONDS", value_parser = parse_time)]
    until: Option<Time>,
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
    let mut out = BufWriter::new(io::stdout().lock());
    match trace::show(BufReader::new(file), args.filter(), output::coloured(), &mut out) {
        Ok((all, shown)) => {
            drop(out);
            eprintln!("{shown} of {all} events");
            Ok(ExitCode::SUCCESS)
        }
        // Whoever reads us has seen enough.
        Err(ShowError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(wrong(chain(&error))),
    }
}

impl ShowArgs {
    fn filter(&self) -> Filter {
        Filter {
            nodes: self.nodes.clone(),
            kinds: self.kinds.clone(),
            ops: self.ops.clone(),
            from: self.from,
            until: self.until.unwrap_or(Time(u64::MAX)),
        }
    }
}

fn parse_node(text: &str) -> Result<NodeId, String> {
    let digits = text.strip_prefix('n').unwrap_or(text);
    u64::from_str_radix(digits, 16).map(NodeId).map_err(|_| format!("{text:?} is no node, as 1 or n1"))
}

fn parse_op(text: &str) -> Result<OpId, String> {
    text.parse().map(OpId).map_err(|_| format!("{text:?} is no operation's number"))
}

/// Seconds with a fraction, as the run's clock counts them: nanoseconds.
fn parse_time(text: &str) -> Result<Time, String> {
    match text.trim_end_matches('s').parse::<f64>() {
        Ok(seconds) if (0.0..1e9).contains(&seconds) => Ok(Time((seconds * 1e9) as u64)),
        _ => Err(format!("{text:?} is no time in seconds, as 1.5")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_and_times_are_read_as_traces_print_them() {
        assert_eq!(parse_node("n1f").unwrap(), NodeId(0x1f));
        assert_eq!(parse_time("1.5").unwrap(), Time(1_500_000_000));
        assert!(parse_time("-1").is_err() && parse_time("soon").is_err() && parse_node("leader").is_err());
    }
}

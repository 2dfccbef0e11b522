//! `althing sim show FILE`: a trace as a story, a line an event, a lane a node (`trace::show`), or as a file that another
//! program draws (`trace::export`).

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use trace::{Filter, Format, Kind, OpId, ShowError};
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
    /// Write it for ui.perfetto.dev instead: Chrome's trace events as JSON
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// Write it for ShiViz instead: a log with vector clocks, its parser on the first line
    #[arg(long, value_name = "FILE")]
    shiviz: Option<PathBuf>,
}

/// Prints or exports a trace.
///
/// # Errors
/// The file cannot be read, or is no trace; an export cannot be written.
pub fn run(args: &ShowArgs) -> Outcome {
    let wrong = |why: String| {
        Failure::new(format_args!("{}: {why}", args.file.display()))
            .next("althing sim --seed N --trace FILE writes a trace")
    };
    let open = || File::open(&args.file).map(BufReader::new).map_err(|error| wrong(error.to_string()));
    let exports = [(Format::Perfetto, &args.perfetto), (Format::ShiViz, &args.shiviz)];
    let exports = exports.map(|(format, path)| path.as_deref().map(|path| (format, path)));
    if exports.iter().any(Option::is_some) {
        for (format, path) in exports.into_iter().flatten() {
            let (all, shown) = export(format, open()?, &args.filter(), path, &wrong)?;
            output::line(format_args!("{}: {shown} of {all} events", path.display()))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let file = open()?;
    let mut out = BufWriter::new(io::stdout().lock());
    match trace::show(file, args.filter(), output::coloured(), &mut out) {
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

/// Writes one export and returns how many events the trace has, and how many were exported.
fn export(
    format: Format,
    input: BufReader<File>,
    filter: &Filter,
    path: &Path,
    wrong: &dyn Fn(String) -> Failure,
) -> Result<(u64, u64), Failure> {
    let unwritten = |error: io::Error| {
        Failure::new(format_args!("cannot write {}: {error}", path.display()))
            .next("a file that you can write")
    };
    let mut out = BufWriter::new(File::create(path).map_err(unwritten)?);
    let counts = trace::export(format, input, filter, &mut out).map_err(|error| match error {
        ShowError::Write(error) => unwritten(error),
        error => wrong(chain(&error)),
    })?;
    io::Write::flush(&mut out).map_err(unwritten)?;
    Ok(counts)
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

pub(crate) fn parse_node(text: &str) -> Result<NodeId, String> {
    let digits = text.strip_prefix('n').unwrap_or(text);
    u64::from_str_radix(digits, 16).map(NodeId).map_err(|_| format!("{text:?} is no node, as 1 or n1"))
}

pub(crate) fn parse_op(text: &str) -> Result<OpId, String> {
    text.parse().map(OpId).map_err(|_| format!("{text:?} is no operation's number"))
}

/// Seconds with a fraction, as the run's clock counts them: nanoseconds.
pub(crate) fn parse_time(text: &str) -> Result<Time, String> {
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

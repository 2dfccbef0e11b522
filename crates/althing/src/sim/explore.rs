//! `althing sim explore`: every order of events in a small world (`sim::explore`).

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use campaign::{Begun, Campaign, Cases, Failed, Kind};
use clap::Args;
use indicatif::ProgressBar;
use sim::explore::{Bounds, Explored, Path, Progress};
use sim::{Broken, Options, Protocol};

use super::interrupt;
use super::ledger::LedgerArgs;
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, good, table};

/// `althing sim explore`.
#[derive(Clone, Debug, Args)]
pub struct ExploreArgs {
    /// Which protocol
    #[arg(long, value_name = "NAME", default_value = "raft")]
    protocol: Protocol,
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// The highest epoch that a node enters
    #[arg(long, value_name = "N", default_value_t = Bounds::default().terms)]
    terms: u64,
    /// How many commands clients propose
    #[arg(long, value_name = "N", default_value_t = Bounds::default().proposals)]
    proposals: u8,
    /// How many linearizable reads clients ask for
    #[arg(long, value_name = "N", default_value_t = Bounds::default().reads)]
    reads: u8,
    /// How many timers fire, or moments pass without one
    #[arg(long, value_name = "N", default_value_t = Bounds::default().timers)]
    timers: u8,
    /// How many crashes happen
    #[arg(long, value_name = "N", default_value_t = Bounds::default().crashes)]
    crashes: u8,
    /// How many messages arrive twice; any may be lost
    #[arg(long, value_name = "N", default_value_t = Bounds::default().duplicates)]
    duplicates: u8,
    /// Give up beyond this many states; each takes about a hundred bytes
    #[arg(long, value_name = "N", default_value_t = Bounds::default().states_max)]
    states_max: u64,
    /// Walk only this path, as a broken promise prints it
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Where the campaign is written down.
    #[command(flatten)]
    ledger: LedgerArgs,
}

/// Explores, or walks one path. Succeeds if no promise is broken.
///
/// # Errors
/// A path that cannot be read, or makes no sense.
pub fn run(args: &ExploreArgs) -> Outcome {
    let options = Options { protocol: args.protocol, ..Options::default() };
    let bounds = args.bounds();
    // A core that panics is a finding; the default hook would print it in the middle.
    std::panic::set_hook(Box::new(|_| {}));
    if let Some(path) = &args.path {
        return walk(&bounds, &options, path);
    }
    let begun = Begun::now();
    let bar = ProgressBar::new_spinner();
    let stop = interrupt::flag();
    let explored = sim::explore::explore(&bounds, &options, &mut |progress| {
        let Progress { states, depth, .. } = progress;
        bar.set_message(format!("{states} states, depth {depth}, {:.0} s", begun.elapsed().as_secs_f64()));
        bar.tick();
        !stop.load(Ordering::Relaxed)
    });
    bar.finish_and_clear();
    output::line(summary(&explored, begun.elapsed()))?;
    args.ledger.append(&campaign(args, &explored, &begun))?;
    match &explored.violation {
        None => Ok(ExitCode::SUCCESS),
        Some((broken, path)) => report(args, broken, path),
    }
}

impl ExploreArgs {
    fn bounds(&self) -> Bounds {
        let Self { nodes, terms, proposals, reads, timers, crashes, duplicates, states_max, .. } = *self;
        Bounds { nodes, terms, proposals, reads, timers, crashes, duplicates, states_max }
    }

    /// Where the path to a broken promise is left.
    fn path_file(&self) -> PathBuf {
        PathBuf::from(format!("{}-explored.path", self.protocol))
    }

    /// The command that walks a path in the same world.
    fn replay_line(&self, path: &std::path::Path) -> String {
        let Self { protocol, nodes, terms, proposals, reads, timers, crashes, duplicates, .. } = self;
        format!(
            "althing sim explore --protocol {protocol} --nodes {nodes} --terms {terms} --proposals {proposals} \
             --reads {reads} --timers {timers} --crashes {crashes} --duplicates {duplicates} --path {}",
            path.display()
        )
    }
}

fn campaign(args: &ExploreArgs, explored: &Explored, begun: &Begun) -> Campaign {
    let failures = explored.violation.iter().map(|(broken, path)| Failed {
        case: format!("{} steps", path.steps.len()),
        promise: broken.check.to_owned(),
        replay: args.replay_line(&args.path_file()),
        closed: None,
    });
    Campaign {
        cases: Cases { from: 0, count: explored.progress.states },
        failures: failures.collect(),
        promises: sim::explore::PROMISES.map(str::to_owned).into(),
        ..Campaign::ended(Kind::Explore, begun)
    }
}

fn report(args: &ExploreArgs, broken: &Broken, path: &Path) -> Outcome {
    output::line(format_args!("\n{path}\n{}: {broken}", bad("FAILED")))?;
    let file = args.path_file();
    let text: String = path.steps.iter().map(|step| format!("{step}\n")).collect();
    std::fs::write(&file, text)
        .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", file.display())))?;
    output::line(format_args!("replay: {}", args.replay_line(&file)))?;
    Ok(ExitCode::FAILURE)
}

fn walk(bounds: &Bounds, options: &Options, path: &std::path::Path) -> Outcome {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!("{}: {why}", path.display()))
            .next("lines such as `timer n1` and `deliver m2`")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    let (path, broken) = sim::explore::walk(bounds, options, &text).map_err(|error| wrong(&error))?;
    output::line(path)?;
    match broken {
        None => Ok(ExitCode::SUCCESS),
        Some(broken) => {
            output::line(format_args!("{}: {broken}", bad("FAILED")))?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn summary(explored: &Explored, elapsed: Duration) -> String {
    let Progress { states, transitions, depth, nodes, messages } = explored.progress;
    let seconds = elapsed.as_secs_f64();
    let mut rows = table(&["explored", "count"]);
    let mut row = |name: &str, value: String| {
        rows.add_row([name.to_owned(), value]);
    };
    row("states", format!("{states} in {seconds:.1} s"));
    row("states a second", format!("{:.0}", states as f64 / seconds));
    row("transitions", transitions.to_string());
    row("depth", depth.to_string());
    row("states of single nodes", nodes.to_string());
    row("messages", messages.to_string());
    row("all within the bounds", if explored.exhausted { "yes" } else { "no" }.to_owned());
    let promises = explored.violation.as_ref().map_or_else(|| good("none"), |(broken, _)| bad(broken.check));
    row("broken promises", promises);
    rows.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        explore: ExploreArgs,
    }

    #[test]
    fn the_line_that_walks_a_path_names_the_same_world() {
        let flags = Flags::parse_from(["explore", "--terms", "1", "--timers", "3", "--reads", "2"]);
        let line = flags.explore.replay_line(std::path::Path::new("a.path"));
        let words = line.split_whitespace().skip(2);
        assert_eq!(Flags::parse_from(words).explore.bounds(), flags.explore.bounds());
    }
}

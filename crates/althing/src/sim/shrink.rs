//! `althing sim shrink`: the least weather in which a seed still fails (`sim::shrink`).

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use indicatif::ProgressBar;
use sim::{Options, Shrunk, Tried};

use super::SubjectArgs;
use crate::failure::{Failure, Outcome};
use crate::output;

/// `althing sim shrink`.
#[derive(Clone, Debug, Args)]
pub struct ShrinkArgs {
    /// What is run.
    #[command(flatten)]
    subject: SubjectArgs,
    /// The failing seed
    #[arg(long, value_name = "SEED")]
    seed: u64,
    /// Where to write the schedule [default: PROTOCOL-seed-SEED.weather]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Stop after this many runs
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    runs: u64,
}

/// Shrinks, writes the schedule and prints the command that runs it.
///
/// # Errors
/// The seed does not fail, or the schedule cannot be written.
pub fn run(args: &ShrinkArgs) -> Outcome {
    let options = args.subject.options()?;
    let path = args.out.clone();
    let path =
        path.unwrap_or_else(|| PathBuf::from(format!("{}-seed-{}.weather", options.protocol, args.seed)));
    // Most candidates fail, and a core that panics is no news.
    std::panic::set_hook(Box::new(|_| {}));
    let bar = ProgressBar::new_spinner();
    let shrunk =
        sim::shrink(&options, args.seed, args.runs, &mut |tried| show(tried, &bar)).map_err(|error| {
            Failure::new(error).next("althing sim --seeds N finds seeds that fail, if there are any")
        });
    bar.finish_and_clear();
    let Shrunk { options, failure, runs } = shrunk?;
    let schedule = options.schedule.as_ref().map(ToString::to_string).unwrap_or_default();
    std::fs::write(&path, &schedule).map_err(|error| {
        Failure::new(format_args!("cannot write {}: {error}", path.display()))
            .next("--out with a file that you can write")
    })?;
    let options = Options { schedule_file: Some(path.display().to_string()), ..options };
    output::line(format_args!("{runs} runs\n\n{schedule}\n{}", failure.broken))?;
    output::line(format_args!("replay: {}", options.replay_line(args.seed)))?;
    Ok(ExitCode::SUCCESS)
}

/// Progress, and a line for everything that helped.
fn show(tried: &Tried, bar: &ProgressBar) {
    let Tried { runs, what, kept, faults } = tried;
    bar.set_message(format!("{runs} runs, {faults} faults left, trying {what}"));
    bar.tick();
    if *kept {
        bar.suspend(|| eprintln!("{runs:>5}  {faults:>3} faults left: {what}"));
    }
}

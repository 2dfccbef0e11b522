//! `althing sim`: runs a protocol through simulated disasters, and shows what happened.
//!
//! ```text
//!   sim --seeds N        search: many seeds on all cores, a summary, the line that replays a failure
//!   sim --seed N         replay: one seed, with --trace FILE written down
//!   sim sweep            every disk fault at every disk effect of scripted clusters
//!   sim shrink --seed N  take away of a failing seed's weather what it does not need to fail
//!   sim explore          every order of events in a small world
//!   sim show FILE        read a trace, or write it for other programs
//!   sim schedule SEED    the seed's weather as text, to edit and hand back with --schedule
//! ```

mod explore;
mod hashes;
mod interrupt;
mod ledger;
mod replay;
mod search;
pub mod show;
mod shrink;
mod sweep;

use std::num::NonZero;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sim::{Options, Protocol, Schedule};

use crate::failure::{Failure, Outcome};
use crate::output;

/// How many seeds are tried if nothing is said.
const SEEDS: u64 = 100;

/// `althing sim`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SimArgs {
    /// Look at something instead of running.
    #[command(subcommand)]
    command: Option<SimCommand>,
    /// What is run.
    #[command(flatten)]
    subject: SubjectArgs,
    /// How many seeds to run [default: 100]
    #[arg(long, value_name = "N", conflicts_with = "seed", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// The first of them
    #[arg(long, value_name = "SEED", default_value_t = 0, conflicts_with = "seed")]
    from: u64,
    /// Threads to run them on [default: one for each processor]
    #[arg(long, value_name = "N", conflicts_with = "seed")]
    jobs: Option<NonZero<usize>>,
    /// Write a digest of each seed's trace to this file, to compare builds and runs with `cmp`
    #[arg(long, value_name = "FILE", conflicts_with = "seed")]
    hashes: Option<PathBuf>,
    /// Where the campaign is written down.
    #[command(flatten)]
    ledger: ledger::LedgerArgs,
    /// Run only this seed, and say what happened
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Write the events of this run to a file
    #[arg(long, value_name = "FILE", requires = "seed")]
    trace: Option<PathBuf>,
}

/// What is run, besides the seed.
#[derive(Clone, Debug, Args)]
struct SubjectArgs {
    /// Which protocol
    #[arg(long, value_name = "NAME", default_value = "raft")]
    protocol: Protocol,
    /// How many nodes [default: the seed decides]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    nodes: Option<u64>,
    /// The weather, as `althing sim schedule` prints it [default: the seed decides]
    #[arg(long, value_name = "FILE")]
    schedule: Option<PathBuf>,
    /// Do what is rare and legal more often, at named sites; takes a build with `--features buggify`
    #[arg(long)]
    buggify: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum SimCommand {
    /// Print a trace readably, or write it for Perfetto or ShiViz
    Show(show::ShowArgs),
    /// Go through every order of events in a small world
    Explore(explore::ExploreArgs),
    /// Reduce the weather of a failing run to what it needs to fail
    Shrink(shrink::ShrinkArgs),
    /// Hit every effect of every disk of some scripted clusters with every fault, one at a time
    Sweep(sweep::SweepArgs),
    /// Print the weather that a seed makes, to edit it and hand it back with --schedule
    Schedule {
        /// The seed
        seed: u64,
        /// How many nodes [default: the seed decides]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        nodes: Option<u64>,
    },
}

/// Runs or shows.
///
/// # Errors
/// A file that cannot be read or written. A broken promise is no error here, but the exit code says it.
pub fn run(args: &SimArgs, json: bool) -> Outcome {
    match &args.command {
        Some(SimCommand::Show(args)) => return show::run(args),
        Some(SimCommand::Explore(args)) => return explore::run(args),
        Some(SimCommand::Shrink(args)) => return shrink::run(args),
        Some(SimCommand::Sweep(args)) => return sweep::run(args),
        Some(SimCommand::Schedule { seed, nodes }) => {
            let options = Options { nodes: *nodes, ..Options::default() };
            return output::bytes(sim::schedule_of(&options, *seed).to_string().as_bytes());
        }
        None => {}
    }
    let options = args.subject.options()?;
    match args.seed {
        Some(seed) => replay::run(&options, seed, args.trace.as_deref()),
        None => {
            let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok());
            search::run(&search::Search {
                options,
                from: args.from,
                count: args.seeds.unwrap_or(SEEDS),
                jobs: jobs.map_or(1, NonZero::get),
                hashes: args.hashes.clone(),
                ledger: args.ledger.clone(),
                json,
            })
        }
    }
}

impl SubjectArgs {
    fn options(&self) -> Result<Options, Failure> {
        if self.buggify && !cfg!(feature = "buggify") {
            return Err(Failure::new("this build has no named sites")
                .next("cargo run --release --features buggify -- sim --buggify …"));
        }
        let (protocol, nodes, buggify) = (self.protocol, self.nodes, self.buggify);
        let mut options = Options { protocol, nodes, buggify, ..Options::default() };
        if let Some(path) = &self.schedule {
            options.schedule = Some(read_schedule(path)?);
            options.schedule_file = Some(path.display().to_string());
        }
        Ok(options)
    }
}

fn read_schedule(path: &std::path::Path) -> Result<Schedule, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::new(format_args!("schedule {}: {why}", path.display()))
            .next("althing sim schedule SEED prints one to start from")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    text.parse().map_err(|error: sim::ScheduleError| wrong(&error))
}

//! Real clusters under faults: `cargo xtask nemesis`.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, ensure};
use checker::History;
use clap::Parser;
use e2e::load::LoadOptions;
use nemesis::faults::Kind;
use nemesis::plan::Plan;
use nemesis::report::{Operations, Report};
use nemesis::{arena, faults, judge, ledger, run};

/// Real clusters under faults, and a verdict on what clients saw. Needs root: everything happens in network
/// namespaces of its own.
#[derive(Parser)]
#[command(name = "nemesis")]
struct Flags {
    /// How long clients work
    #[arg(long, default_value_t = 2.0)]
    minutes: f64,
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=arena::NODES_MAX as i64))]
    nodes: u8,
    /// Kinds of faults, separated by commas; `none` for none, `usual` for all that a cluster must survive, `all` for
    /// these and all others, overlapping; `-KIND` takes one out [default: usual]
    #[arg(long)]
    faults: Option<String>,
    /// Seed of the plan and of the clients' choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Bring about every kind in turn, in as many clusters as their disks need; --minutes is for all of them
    #[arg(long, conflicts_with_all = ["mixed", "ops"])]
    each: bool,
    /// Let faults overlap, and demand recovery at the end only
    #[arg(long)]
    mixed: bool,
    /// Clients; three of four write
    #[arg(long, default_value_t = 32)]
    clients: usize,
    /// Keys that they share
    #[arg(long, default_value_t = 64)]
    keys: u64,
    /// End after so many operations, asked without pauses; without faults unless --faults names some
    #[arg(long)]
    ops: Option<usize>,
    /// Print the plan and do nothing
    #[arg(long)]
    plan: bool,
    /// Judge the history in this file again and do nothing else
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Print every kind of fault and do nothing
    #[arg(long)]
    list: bool,
    /// Print the report as one line of JSON
    #[arg(long)]
    json: bool,
    /// Append a line about what was done and found to this file
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Where history, plan, report and logs are left [default: nemesis-seed-N beside the build]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// The althing binary under test [default: the one beside this program]
    #[arg(long)]
    althing: Option<PathBuf>,
}

/// Pause between two operations of one client, if the run is short.
const THINK_TIME_MIN: Duration = Duration::from_millis(10);

/// Longer runs have longer pauses, so that a history stays within so many operations and checkers can hold it.
const OPERATIONS_AIM: u32 = 1_500_000;

const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// The length of a run that ends after so many operations, if they never come.
const OPERATIONS_LIMIT: Duration = Duration::from_secs(3600);

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    if flags.list {
        faults::all().for_each(|kind| println!("{:<16} {}", kind.name, kind.what));
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(path) = &flags.check {
        return finish(&flags, &check(path)?);
    }
    let plans = plans(&flags)?;
    if !flags.json {
        plans.iter().for_each(|plan| print!("{plan}"));
    }
    if flags.plan {
        return Ok(ExitCode::SUCCESS);
    }
    let directory = directory(&flags)?;
    let begun = campaign::Begun::now();
    let mut report = Report::default();
    for (number, plan) in plans.iter().enumerate() {
        let directory = match plans.len() {
            1 => directory.clone(),
            _ => arena::fresh_directory(&directory.join(format!("cluster-{}", number + 1)))?,
        };
        let part = run::run(&options(&flags, plan, &directory)?, plan)?;
        if part.is_good() {
            std::fs::remove_dir_all(directory.join("data"))?;
        }
        report.absorb(part);
    }
    std::fs::write(directory.join("report.json"), serde_json::to_string_pretty(&report)?)?;
    if let Some(path) = &flags.ledger {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        ledger::campaign(&begun, &report, &arguments).append(path)?;
    }
    eprintln!("plan, history, logs and report: {}", directory.display());
    finish(&flags, &report)
}

/// One, or with --each one for every kind of disk, as long as it has kinds.
fn plans(flags: &Flags) -> anyhow::Result<Vec<Plan>> {
    let is_mixed = is_mixed(flags);
    let kinds = match flags.faults.as_deref() {
        Some("none") => Vec::new(),
        Some(names) => faults::named(names, is_mixed)?,
        None if flags.ops.is_some() => Vec::new(),
        None if flags.each => faults::named(EACH, is_mixed)?,
        None => faults::usual(is_mixed).collect(),
    };
    let length = match flags.ops {
        Some(_) => OPERATIONS_LIMIT,
        None => {
            Duration::try_from_secs_f64(flags.minutes * 60.0).context("--minutes is no length of time")?
        }
    };
    let parts = if flags.each { faults::by_disk(&kinds) } else { vec![kinds.clone()] };
    let plan = |part: &Vec<&'static Kind>| {
        let share = if flags.each { part.len() as f64 / kinds.len() as f64 } else { 1.0 };
        Plan::draw(flags.seed, usize::from(flags.nodes), length.mul_f64(share), is_mixed, part)
    };
    Ok(parts.iter().map(plan).collect())
}

/// What a cluster must survive, on any disk.
const EACH: &str = "all,-wipe,-amnesia,-old-backup";

/// Whether faults overlap.
fn is_mixed(flags: &Flags) -> bool {
    let names_all = || flags.faults.iter().flat_map(|names| names.split(',')).any(|name| name == faults::ALL);
    flags.mixed || (!flags.each && names_all())
}

fn options(flags: &Flags, plan: &Plan, directory: &Path) -> anyhow::Result<run::Options> {
    ensure!(
        flags.keys > 0 && flags.keys.is_multiple_of(e2e::load::GROUP_KEYS),
        "--keys must be a multiple of {}",
        e2e::load::GROUP_KEYS
    );
    let think_time = match flags.ops {
        Some(_) => Duration::ZERO,
        None => THINK_TIME_MIN.max(plan.length * u32::try_from(flags.clients)? / OPERATIONS_AIM),
    };
    let writers = flags.clients - flags.clients / 4;
    Ok(run::Options {
        althing: e2e::tools::althing(flags.althing.clone())?,
        directory: directory.to_owned(),
        operations: flags.ops,
        load: LoadOptions {
            writers,
            readers: flags.clients - writers,
            keys: flags.keys,
            think_time,
            operation_timeout: OPERATION_TIMEOUT,
            seed: flags.seed,
        },
    })
}

fn directory(flags: &Flags) -> anyhow::Result<PathBuf> {
    let path = match &flags.directory {
        Some(path) => path.clone(),
        None => std::env::current_exe()?.with_file_name(format!("nemesis-seed-{}", flags.seed)),
    };
    arena::fresh_directory(&path)
}

fn check(path: &Path) -> anyhow::Result<Report> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let history = History::read_json(BufReader::new(file)).with_context(|| path.display().to_string())?;
    let operations = Operations::of(&history);
    let checks = judge::judge(&judge::Evidence::of(history));
    Ok(Report { operations, checks, ..Report::default() })
}

fn finish(flags: &Flags, report: &Report) -> anyhow::Result<ExitCode> {
    if flags.json {
        println!("{}", report.json()?);
    } else {
        print!("{}", report.text());
    }
    Ok(if report.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

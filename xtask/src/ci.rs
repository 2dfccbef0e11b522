//! The gate: what must hold before a change lands. It stops at the first step that fails, and says how long each
//! took.

use std::time::{Duration, Instant};

use crate::command::cargo;
use crate::{deny, docs, tasks};

/// Seeds of the simulator in one run of the gate: more than ten times what the bug bank's most elusive bug takes in the
/// median.
const SIM_SEEDS: &str = "10000";

/// Searches for each bug in one run of the gate. Enough to see that it is caught; the documented figures rest on more.
const BUGBANK_TRIES: &str = "5";

type Step = (&'static str, fn() -> anyhow::Result<()>);

/// In order of what they cost.
const STEPS: &[Step] = &[
    ("formatting", formatting),
    ("documents", docs::check),
    ("lints", lints),
    ("dependencies", deny::run),
    ("tests", tests),
    ("stories of bugs", stories),
    ("named sites", sites),
    ("simulation", simulation),
    ("bug bank", bugbank),
    ("end to end", end_to_end),
];

/// Runs all steps.
///
/// # Errors
/// The first that fails.
pub fn run() -> anyhow::Result<()> {
    let mut took: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in STEPS {
        println!("\n── {name}");
        let started = Instant::now();
        step()
            .inspect_err(|_| println!("── {name} failed after {:.0} s", started.elapsed().as_secs_f64()))?;
        took.push((name, started.elapsed()));
    }
    println!("\n── all steps passed");
    for (name, time) in took {
        println!("{name:<14} {:>6.0} s", time.as_secs_f64());
    }
    Ok(())
}

fn formatting() -> anyhow::Result<()> {
    cargo(&["fmt", "--all", "--check"])
}

fn lints() -> anyhow::Result<()> {
    cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    cargo(&[
        "clippy",
        "--package",
        "sim",
        "--all-targets",
        "--features",
        "planted,buggify",
        "--",
        "--deny",
        "warnings",
    ])
}

/// The README's command.
fn tests() -> anyhow::Result<()> {
    cargo(&["test", "--workspace"])
}

/// The tests of the named sites, with the sites.
fn sites() -> anyhow::Result<()> {
    let packages = ["--package", "types", "--package", "consensus", "--package", "sim"];
    cargo(&[&["test", "--release"], &packages[..], &["--features", "sim/buggify"]].concat())
}

/// The tests that plant a bug and must see it.
fn stories() -> anyhow::Result<()> {
    let packages = ["--package", "raft", "--package", "storage", "--package", "kv", "--package", "consensus"];
    cargo(&[&["test"], &packages[..], &["--package", "sim", "--features", "sim/planted"]].concat())
}

fn simulation() -> anyhow::Result<()> {
    tasks::sim(&["--protocol", "raft", "--seeds", SIM_SEEDS, "--buggify"].map(str::to_owned))
}

fn bugbank() -> anyhow::Result<()> {
    tasks::bugbank(&["3000".to_owned(), BUGBANK_TRIES.to_owned()])
}

fn end_to_end() -> anyhow::Result<()> {
    tasks::e2e(&[])
}

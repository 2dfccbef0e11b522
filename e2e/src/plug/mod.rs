//! The plug test: real processes are killed under load, and nothing acknowledged may be lost.
//!
//! Writers and readers go on while leaders, followers and whole clusters get `kill -9`. Afterwards the recorded
//! history is judged, and the time from each kill to the next acknowledged write is printed.

mod faults;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;

use crate::cluster::{Cluster, free_ports};
use crate::load::{Load, LoadOptions, Recorded};

/// How hard and how often.
#[derive(clap::Args)]
pub struct PlugOptions {
    /// Writing clients.
    #[arg(long, default_value_t = 64)]
    writers: usize,
    /// Reading clients.
    #[arg(long, default_value_t = 16)]
    readers: usize,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20)]
    leader_kills: usize,
    /// How often a follower is killed.
    #[arg(long, default_value_t = 20)]
    follower_kills: usize,
    /// How often all nodes are killed at once.
    #[arg(long, default_value_t = 5)]
    cluster_kills: usize,
    /// Seed of the clients' choices and of which follower is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Leave the history here, as JSON lines.
    #[arg(long)]
    history: Option<std::path::PathBuf>,
}

/// Runs the test and prints what happened.
///
/// # Errors
/// If an acknowledged write is lost, the history is not linearizable, or writes do not resume.
pub fn run(althing: &Path, options: &PlugOptions) -> anyhow::Result<()> {
    let mut cluster = Cluster::althing(althing, &free_ports(3)?, &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let endpoints: Vec<String> =
        cluster.nodes.iter().map(|node| format!("http://127.0.0.1:{}", node.client_port)).collect();
    let load = LoadOptions {
        writers: options.writers,
        readers: options.readers,
        keys: KEYS,
        think_time: THINK_TIME,
        operation_timeout: OPERATION_TIMEOUT,
        seed: options.seed,
    };
    let load = Arc::new(runtime.block_on(Load::start(endpoints, load))?);

    let recovery = faults::pull_plugs(&mut cluster, &load, &runtime, options)?;
    std::thread::sleep(SETTLE);
    let recorded = runtime.block_on(load.finish())?;
    for (kind, times) in &recovery {
        println!("{}", faults::summary(kind, times));
    }
    if let Some(path) = &options.history {
        recorded.history.write_json(&mut std::io::BufWriter::new(std::fs::File::create(path)?))?;
    }
    judge(&recorded)
}

/// Keys that writers and readers share.
const KEYS: u64 = 256;

/// Pause between two operations of one client, so that histories stay within a million operations.
const THINK_TIME: Duration = Duration::from_millis(10);

const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// How long clients go on after the last fault.
const SETTLE: Duration = Duration::from_secs(1);

/// Prints what was recorded, and judges it by every checker that fits.
///
/// # Errors
/// If one of them finds a violation.
pub fn judge(recorded: &Recorded) -> anyhow::Result<()> {
    let history = &recorded.history;
    let count = |wanted: fn(&checker::Outcome) -> bool| {
        history.operations().iter().filter(|operation| wanted(&operation.outcome)).count()
    };
    println!(
        "{} operations: {} answered, {} refused, {} unknown; {} changes seen by a watcher at each node",
        history.operations().len(),
        count(|outcome| matches!(outcome, checker::Outcome::Answered { .. })),
        count(|outcome| matches!(outcome, checker::Outcome::Refused)),
        count(|outcome| matches!(outcome, checker::Outcome::Unknown)),
        history.changes.len(),
    );
    ensure!(recorded.watch_findings.is_empty(), "{}", recorded.watch_findings.join("\n"));
    let verdict = checker::check_revisions(history);
    match verdict.violation() {
        Some(violation) => {
            println!("strictly serializable in revision order: {}", violation.explain(history))
        }
        None => println!("strictly serializable in revision order: {verdict}"),
    }
    ensure!(verdict.holds(), "the history is not strictly serializable in revision order");
    Ok(())
}

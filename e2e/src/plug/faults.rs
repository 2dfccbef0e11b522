//! Pulling plugs: who is killed when, and how long writes stand still.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::Signal;
use tokio::runtime::Runtime;
use types::Rng;

use super::PlugOptions;
use crate::cluster::Cluster;
use crate::load::Load;

/// Writes must resume within this time of a kill (for a whole cluster: of its restart).
const RESUME_LIMIT: Duration = Duration::from_secs(30);

/// Nodes must agree on a leader within this time.
const LEADER_LIMIT: Duration = Duration::from_secs(10);

/// A kind of kill, and the time each took until a write that began after it was acknowledged.
pub type Recovery = Vec<(&'static str, Vec<Duration>)>;

/// Kills as the options say, one after the other, each after the cluster is whole again.
///
/// # Errors
/// If writes do not resume, or a node does not come back.
pub fn pull_plugs(
    cluster: &mut Cluster,
    load: &Load,
    runtime: &Runtime,
    options: &PlugOptions,
) -> anyhow::Result<Recovery> {
    let total = options.leader_kills + options.follower_kills + options.cluster_kills;
    let style = ProgressStyle::with_template("{msg:<16} {bar:40} {pos}/{len} kills, {elapsed}")?;
    let progress = ProgressBar::new(total as u64).with_style(style);
    let mut rng = Rng::keyed(options.seed, &[0x6b69_6c6c]);
    let mut recovery = Recovery::new();

    for (kind, count) in [
        ("leader", options.leader_kills),
        ("follower", options.follower_kills),
        ("whole cluster", options.cluster_kills),
    ] {
        progress.set_message(kind);
        let mut times = Vec::new();
        for _ in 0..count {
            let leader = runtime.block_on(load.leader(LEADER_LIMIT)).context("no leader before a kill")?;
            let victims = match kind {
                "leader" => vec![leader],
                "follower" => vec![(leader + rng.between(1, 2) as usize) % 3],
                _ => vec![0, 1, 2],
            };
            times.push(kill(cluster, load, &victims)?);
            progress.inc(1);
        }
        recovery.push((kind, times));
    }
    progress.finish();
    Ok(recovery)
}

/// Kills, measures, restarts, and waits until every node serves.
fn kill(cluster: &mut Cluster, load: &Load, victims: &[usize]) -> anyhow::Result<Duration> {
    for &victim in victims {
        cluster.stop(victim, Signal::KILL)?;
    }
    let whole_cluster = victims.len() == cluster.nodes.len();
    if whole_cluster {
        restart(cluster, victims)?;
    }
    let started = Instant::now();
    let resumed = load.next_acknowledged_write(RESUME_LIMIT);
    ensure!(resumed.is_some(), "writes did not resume within {RESUME_LIMIT:?} of killing {victims:?}");
    let took = started.elapsed();
    if !whole_cluster {
        restart(cluster, victims)?;
    }
    for &victim in victims {
        cluster.wait_until_serving(victim)?;
    }
    Ok(took)
}

fn restart(cluster: &mut Cluster, nodes: &[usize]) -> anyhow::Result<()> {
    nodes.iter().try_for_each(|&node| cluster.spawn(node))
}

/// One line: how often, median and worst time without writes.
pub fn summary(kind: &str, times: &[Duration]) -> String {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let Some(worst) = sorted.last() else { return format!("{kind}: no kill") };
    let median = sorted[sorted.len() / 2];
    format!("{kind}: {} kills, writes resumed after {median:.2?} (median), {worst:.2?} (worst)", sorted.len())
}

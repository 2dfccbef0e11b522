//! What replication costs without a front-end: puts from many tasks over three nodes in this process, on
//! loopback sockets and real files.
//!
//! `cargo run --release -p node --example consensus_bench [DIRECTORY [CLIENTS]]` prints, for each value size and number of
//! clients, operations per second, latencies, this process's CPU time per operation (all three nodes and the
//! proposing tasks themselves), and how many operations shared one sync and one write of the state.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::{Cluster, Config, Handle, Metrics, Node, Storage};

const RUN: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = match std::env::args().nth(1) {
        Some(path) => tempfile::tempdir_in(PathBuf::from(path))?,
        None => tempfile::tempdir()?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let nodes = start(directory.path())?;
        for node in &nodes {
            node.handle().wait_ready().await;
        }
        println!(
            "{:<28}{:>10}{:>12}{:>12}{:>14}{:>10}{:>10}",
            "", "op/s", "p50", "p99", "CPU us/op", "op/sync", "op/write"
        );
        let only: Option<usize> = std::env::args().nth(2).and_then(|clients| clients.parse().ok());
        for (clients, value_len) in [(1, 16), (1, 256), (64, 256), (256, 16), (256, 256)] {
            if only.is_none_or(|only| only == clients) {
                measure(&nodes, Work::Put { value_len }, clients).await;
            }
        }
        for clients in [1, 256] {
            if only.is_none_or(|only| only == clients) {
                measure(&nodes, Work::Read, clients).await;
            }
        }
        for node in &nodes {
            let (metrics, sync) = (node.handle(), node.handle().metrics().log_sync.snapshot());
            let mean = Duration::from_secs_f64(sync.sum_seconds / sync.count.max(1) as f64);
            let slow = sync.count - sync.buckets.get(5).map_or(0, |bucket| bucket.1);
            let changes = metrics.metrics().leader_changes.get();
            println!(
                "{} syncs, mean {mean:.2?}, {slow} above 32 ms; {changes} changes of leader",
                sync.count
            );
        }
        for node in nodes {
            node.stop().await;
        }
        Ok(())
    })
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Put { value_len: usize },
    Read,
}

fn start(directory: &std::path::Path) -> Result<Vec<Node>, Box<dyn std::error::Error>> {
    let members =
        (0..3).map(|index| (format!("n{index}"), vec![format!("http://127.0.0.1:{}", 23_800 + index)]));
    let cluster = Cluster::new(members.collect(), "bench")?;
    let start = |index: usize| {
        let storage = Storage::Directory(directory.join(format!("n{index}")));
        Node::start(&Config::new(format!("n{index}"), cluster.clone(), storage))
    };
    Ok((0..3).map(start).collect::<Result<_, _>>()?)
}

/// Clients are spread over the nodes, as real ones are.
async fn measure(nodes: &[Node], work: Work, clients: usize) {
    let measuring = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let handle = nodes[client % nodes.len()].handle();
            tokio::spawn(one_client(handle, work, client, measuring.clone(), stop.clone()))
        })
        .collect();
    tokio::time::sleep(WARM_UP).await;
    measuring.store(true, Ordering::Relaxed);
    let (syncs_before, writes_before) = (total(nodes, log_syncs), total(nodes, state_writes));
    let (started, cpu_before) = (Instant::now(), cpu_time());
    tokio::time::sleep(RUN).await;
    let (took, cpu) = (started.elapsed(), cpu_time() - cpu_before);
    let (syncs, writes) =
        (total(nodes, log_syncs) - syncs_before, total(nodes, state_writes) - writes_before);
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await.unwrap_or_default());
    }
    latencies.sort_unstable();
    let at =
        |per_mille: usize| latencies.get(latencies.len() * per_mille / 1000).copied().unwrap_or_default();
    let count = latencies.len().max(1) as f64;
    println!(
        "{:<28}{:>10.0}{:>12.2?}{:>12.2?}{:>14.1}{:>10.1}{:>10.1}",
        format!("{work:?}, {clients} clients"),
        count / took.as_secs_f64(),
        at(500),
        at(990),
        cpu.as_secs_f64() * 1e6 / count,
        count * nodes.len() as f64 / syncs as f64,
        count * nodes.len() as f64 / writes as f64,
    );
}

fn total(nodes: &[Node], count: impl Fn(&Metrics) -> u64) -> u64 {
    nodes.iter().map(|node| count(node.handle().metrics())).sum()
}

fn log_syncs(metrics: &Metrics) -> u64 {
    metrics.log_sync.snapshot().count
}

fn state_writes(metrics: &Metrics) -> u64 {
    metrics.state_write.snapshot().count
}

async fn one_client(
    handle: Handle,
    work: Work,
    client: usize,
    measuring: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let started = Instant::now();
        let done = match work {
            Work::Put { value_len } => handle.propose(put(client, count, value_len), TIMEOUT).await.is_ok(),
            Work::Read => handle.read_barrier(TIMEOUT).await.is_ok(),
        };
        if done && measuring.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
            latencies.push(started.elapsed());
        }
        count += 1;
    }
    latencies
}

fn put(client: usize, count: usize, value_len: usize) -> kv::Command {
    kv::Command::Put(kv::PutRequest {
        key: Bytes::from(format!("key-{:08}", (client * 1_000 + count) % 100_000)),
        value: Bytes::from(vec![b'v'; value_len]),
        ..kv::PutRequest::default()
    })
}

/// User and system time of this process so far.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

//! `althing bench`: measures any etcd endpoint, ours or not.
//!
//! ```text
//!   workload ──▶ load (clients on connections) ──▶ http2 ──▶ servers
//!                 └─▶ histogram, counts ──▶ report ◀── CPU time and memory of the servers (`--pids`)
//! ```
//!
//! The client shares the machine with the servers that it measures, so it must be cheap: one thread, no task and
//! no allocation for each request (`http2.rs`). Its own CPU time is in the report.

mod fanout;
mod headers;
mod http2;
mod load;
mod processes;
mod report;
mod workload;

use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::client::{Client, ClientArgs};
use crate::failure::{Failure, Outcome};

/// How long a measurement takes unless `--total` or `--duration` says otherwise.
const DURATION: Duration = Duration::from_secs(10);

/// `althing bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What to ask
    #[arg(value_enum)]
    workload: Workload,
    /// Requests under way at once; for watch-fanout, watchers
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = positive)]
    clients: usize,
    /// Connections that share them, spread over the endpoints [default: one for every 8 clients]
    #[arg(long = "conns", value_name = "N", value_parser = positive)]
    conns_asked: Option<usize>,
    /// Stop after this many requests
    #[arg(long, value_name = "N", conflicts_with = "seconds", value_parser = clap::value_parser!(u64).range(1..))]
    total: Option<u64>,
    /// Stop after this many seconds [default: 10]
    #[arg(long = "duration", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// Keys to choose from
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    key_space: u64,
    /// Take the keys in order, not at random
    #[arg(long)]
    sequential: bool,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 256)]
    value_size: usize,
    /// Read without asking the leader
    #[arg(long)]
    serializable: bool,
    /// Share of reads in `mixed`
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u64).range(..=100))]
    reads: u64,
    /// Requests a second, whatever the latency [default: as fast as they are answered]
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Process ids of the servers: measure their CPU time and memory
    #[arg(long, value_name = "PIDS", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Seed of keys and values
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// How many connections it is in the end.
    #[arg(skip)]
    conns: usize,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Write a random key
    Put,
    /// Read a random key
    Range,
    /// Write a random key and read it back, in one transaction
    Txn,
    /// Reads and writes
    Mixed,
    /// One writer, many watchers of all keys; an operation is one event at one watcher
    WatchFanout,
}

fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("not a number above 0".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// Measures and reports. Succeeds only if every request did.
///
/// # Errors
/// Nobody answers, a server process that does not exist, or a connection that is lost for good.
pub fn run(client: &ClientArgs, args: &BenchArgs) -> Outcome {
    let endpoints = client.resolved_endpoints()?;
    let mut args = args.clone();
    args.conns = args.conns_asked.unwrap_or(args.clients.div_ceil(8)).min(args.clients);
    let runtime = crate::client::runtime()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        check_endpoints(&endpoints).await?;
        let before = processes::Usage::of(&args.pids)?;
        let own_before = processes::Usage::of(&[std::process::id()])?;
        let measured = match args.workload {
            Workload::WatchFanout => fanout::run(&endpoints, &args).await?,
            _ => load::run(&endpoints, &args).await?,
        };
        let server = processes::Usage::of(&args.pids)?.since(&before);
        let own = processes::Usage::of(&[std::process::id()])?.since(&own_before);
        report::print(&args, &measured, &server, &own, client.json)
    })
}

/// Asks every endpoint once, so that a wrong one is told before the measurement and not counted in it.
async fn check_endpoints(endpoints: &[String]) -> Result<(), Failure> {
    for endpoint in endpoints {
        let status = Client::to(std::slice::from_ref(endpoint)).status().await?;
        if status.leader == 0 {
            return Err(Failure::new(format_args!("{endpoint} knows no leader")).next("althing status"));
        }
    }
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// What a test changes as it needs.
    pub fn args(workload: Workload) -> BenchArgs {
        BenchArgs {
            workload,
            clients: 4,
            conns_asked: None,
            total: None,
            seconds: None,
            key_space: 100,
            sequential: false,
            value_size: 16,
            serializable: false,
            reads: 80,
            rate: None,
            pids: Vec::new(),
            seed: 1,
            conns: 1,
        }
    }
}

//! Althing and etcd by turns, in one run: the same cluster of three, disk, client and parameters.
//!
//! ```text
//!   round 1: etcd, Althing    round 2: Althing, etcd    round 3: etcd, Althing    …
//!     each: new data, fill, memory, put, range, serializable range, one client's put
//!   ──▶ medians over the rounds, ratios
//! ```
//!
//! Method and findings: `bench/README.md`. Run it as `cargo xtask bench etcd`.

mod machine;
mod measure;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use e2e::cluster::{Cluster, free_ports};
use e2e::tools;
use measure::{Bench, Figures};

#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench etcd", about = "Althing and etcd by turns")]
struct Flags {
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long each workload runs in a round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Clients of the loaded workloads
    #[arg(long, default_value_t = 256)]
    clients: u32,
    /// Connections that they share
    #[arg(long, default_value_t = 32)]
    conns: u32,
    /// Keys that are written first, and then chosen from
    #[arg(long, default_value_t = 100_000)]
    keys: u32,
    /// Bytes of a value
    #[arg(long, default_value_t = 256)]
    value_size: u32,
    /// Write the report to bench/results/NAME.md, too
    #[arg(long, value_name = "NAME")]
    save: Option<String>,
    /// The althing binary [default: the one beside this program]
    #[arg(long)]
    althing: Option<PathBuf>,
}

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    Etcd,
    Althing,
}

fn main() -> anyhow::Result<ExitCode> {
    let flags = Flags::parse();
    let althing = tools::althing(flags.althing.clone())?;
    let etcd = tools::etcd()?;
    let machine = machine::measure()?;
    println!("{machine}\n");
    let (mut of_etcd, mut of_althing) = (Vec::new(), Vec::new());
    for round in 0..flags.rounds {
        // By turns, and not always the same one first: whatever the machine does in the meantime hits both.
        let order = match round % 2 {
            0 => [System::Etcd, System::Althing],
            _ => [System::Althing, System::Etcd],
        };
        for system in order {
            let figures = one_round(system, &flags, &althing, &etcd)?;
            println!("round {} of {}, {system:?}: {}", round + 1, flags.rounds, figures.brief());
            match system {
                System::Etcd => of_etcd.push(figures),
                System::Althing => of_althing.push(figures),
            }
        }
    }
    let report =
        report::markdown(&flags, &machine, &Figures::median(&of_etcd), &Figures::median(&of_althing));
    println!("\n{report}");
    if let Some(name) = &flags.save {
        println!("saved as {}", report::save(name, &report)?.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// A cluster with new data, measured and stopped.
fn one_round(
    system: System,
    flags: &Flags,
    althing: &std::path::Path,
    etcd: &std::path::Path,
) -> anyhow::Result<Figures> {
    let ports = free_ports(3)?;
    let cluster = match system {
        System::Etcd => Cluster::etcd(etcd, &ports)?,
        System::Althing => Cluster::althing(althing, &ports, &[])?,
    };
    let pids = (0..3).filter_map(|index| cluster.pid(index)).collect();
    Bench { client: althing, endpoints: cluster.endpoints(), pids, flags }.all()
}

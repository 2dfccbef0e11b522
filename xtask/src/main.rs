//! Developer commands: `cargo xtask --help`.

mod ci;
mod command;
mod deny;
mod docs;
mod fuzz;
mod ledger;
mod tasks;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Developer commands", disable_help_subcommand = true)]
enum Task {
    /// Everything that guards a change; what .ci/run calls
    Ci,
    /// Licences, sources, duplicates and known vulnerabilities of what we depend on
    Deny,
    /// Search for broken promises: `althing sim` with these arguments
    Sim {
        /// Arguments of `althing sim`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Run a failed seed again and leave its trace: the line that a failure printed, or only its seed
    Replay {
        /// `althing sim --protocol raft --seed 7`, or `7`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        line: Vec<String>,
    },
    /// Slow tests with real processes and real clients: etcdctl, clients, plug, members, bad-input [default: all]
    E2e {
        /// A suite and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Real clusters under faults, as root: kills, partitions, broken disks, wrong clocks
    Nemesis {
        /// Arguments of the run; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure Althing beside others
    #[command(subcommand)]
    Bench(Bench),
    /// Hostile bytes for every decoder, with libFuzzer [default: every target for a minute]
    Fuzz(fuzz::FuzzArgs),
    /// Check what documents say about the code: the tests that they name, the figures, the table of faults
    Docs,
    /// What was tried so far, summed up from reliability/ledger.jsonl
    Ledger(ledger::LedgerArgs),
    /// Plant every known bug and count the seeds that the simulator takes to notice it
    Bugbank {
        /// Arguments of the bug bank
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

#[derive(Subcommand)]
enum Bench {
    /// Three nodes of etcd and three of Althing by turns, with the same client
    Etcd {
        /// Arguments of the comparison; `--help` lists them
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Ci => ci::run(),
        Task::Deny => deny::run(),
        Task::Sim { arguments } => tasks::sim(&arguments),
        Task::Replay { line } => tasks::replay(&line),
        Task::E2e { arguments } => tasks::e2e(&arguments),
        Task::Nemesis { arguments } => tasks::nemesis(&arguments),
        Task::Bench(Bench::Etcd { arguments }) => tasks::bench_etcd(&arguments),
        Task::Fuzz(args) => fuzz::fuzz(&args),
        Task::Docs => docs::check(),
        Task::Ledger(args) => ledger::ledger(&args),
        Task::Bugbank { arguments } => tasks::bugbank(&arguments),
    }
}

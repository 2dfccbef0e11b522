//! What the binary does: serve, dev, repair-quorum, sim, bench and the client commands. Each command is a module of its own; this
//! file is their table of contents.

mod bench;
mod cli;
mod client;
mod dev;
mod failure;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod logging;
mod output;
mod repair;
mod serve;
mod sim;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use cli::{Cli, Command};
use failure::Outcome;

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(serve::with_two_dashes(std::env::args()));
    run(cli).unwrap_or_else(|failure| failure.report())
}

fn run(cli: Cli) -> Outcome {
    let Cli { client, command } = cli;
    match command {
        Command::Serve(args) => serve::run(&args),
        Command::Dev(args) => dev::run(&args),
        Command::Put(args) => client.run(async |c| client::put::run(c, &args).await),
        Command::Get(args) => client.run(async |c| client::get::run(c, &args).await),
        Command::Del(args) => client.run(async |c| client::del::run(c, &args).await),
        Command::Watch(args) => client.run(async |c| client::watch::run(c, &args).await),
        Command::Txn(args) => client.run(async |c| client::txn::run(c, &args).await),
        Command::Lease(args) => client.run(async |c| client::lease::run(c, &args).await),
        Command::Lock(args) => client.run(async |c| client::lock::run(c, &args).await),
        Command::Elect(args) => client.run(async |c| client::elect::run(c, &args).await),
        Command::Status => client.run(client::status::run),
        Command::Members(args) => client.run(async |c| client::members::run(c, &args).await),
        Command::MoveLeader(args) => client.run(async |c| client::move_leader::run(c, &args).await),
        Command::RepairQuorum(args) => repair::run(&args),
        Command::Sim(args) => sim::run(&args, client.json),
        Command::Bench(args) => bench::run(&client, &args),
        Command::Completions { shell } => completions(shell),
        Command::Version => version(client.json),
    }
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    clap_complete::generate(shell, &mut Cli::command(), "althing", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}

fn version(json: bool) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    if json {
        output::json(&serde_json::json!({ "althing": version, "api": "etcd v3" }))
    } else {
        output::line(format_args!("althing {version} (speaks the etcd v3 API)"))
    }
}

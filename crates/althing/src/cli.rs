//! The command line: what can be said, in one screen.

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::{bench, client, dev, repair, serve, sim};

/// A replicated store that speaks etcd's API, and the simulator that its protocol is tested in.
#[derive(Debug, Parser)]
#[command(name = "althing", version, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Where and how the client commands speak.
    #[command(flatten)]
    pub client: client::ClientArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one member of a cluster; takes etcd's flags and ETCD_* variables
    Serve(serve::ServeArgs),
    /// Run a whole cluster on this machine, to try things out
    Dev(dev::DevArgs),
    /// Write a key
    Put(client::put::PutArgs),
    /// Read a key or a range of keys
    Get(client::get::GetArgs),
    /// Delete a key or a range of keys
    Del(client::del::DelArgs),
    /// Print changes as they happen
    Watch(client::watch::WatchArgs),
    /// Do several things at once, if conditions hold
    Txn(client::txn::TxnArgs),
    /// Grant, keep, show and revoke leases
    #[command(subcommand)]
    Lease(client::lease::LeaseCommand),
    /// Hold a lock, while a command runs
    Lock(client::lock::LockArgs),
    /// Campaign in an election, or watch who leads
    Elect(client::elect::ElectArgs),
    /// How each endpoint is doing
    Status,
    /// Who belongs to the cluster; add, remove, promote and move members
    Members(client::members::MembersArgs),
    /// Let another member lead
    MoveLeader(client::move_leader::MoveLeaderArgs),
    /// After most members are lost for good: let one that survived go on alone
    RepairQuorum(repair::RepairArgs),
    /// Run a protocol through simulated disasters and check it
    Sim(sim::SimArgs),
    /// Measure any etcd endpoint
    Bench(bench::BenchArgs),
    /// Print a completion script for a shell
    Completions {
        /// For which shell.
        shell: Shell,
    },
    /// Print the version
    Version,
}

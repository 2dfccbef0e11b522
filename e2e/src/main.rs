//! Slow tests with real processes and real clients: `cargo xtask e2e`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Slow tests with real processes and real clients")]
struct Flags {
    /// The althing binary under test [default: the one beside this program].
    #[arg(long, global = true)]
    althing: Option<PathBuf>,
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Subcommand)]
enum Suite {
    /// The same etcdctl script against real etcd and against Althing; outputs must be equal.
    Etcdctl {
        /// Leave both transcripts in this directory.
        #[arg(long)]
        keep: Option<PathBuf>,
        /// Compare etcd with itself, to try the script and the masks.
        #[arg(long)]
        against_itself: bool,
    },
    /// Python's etcd3 and Node's etcd3 against Althing.
    Clients,
    /// Kill leaders, followers and whole clusters under load; nothing acknowledged may be lost.
    Plug(e2e::plug::PlugOptions),
    /// Grow from one node to three and replace members, dead and alive, under load; nothing acknowledged may be lost.
    Members(e2e::members::MembersOptions),
    /// Garbage, wrong directories, full disks, flipped bits: a clear error each, and nothing lost.
    BadInput,
}

fn main() -> anyhow::Result<()> {
    let flags = Flags::parse();
    let althing = e2e::tools::althing(flags.althing)?;
    match flags.suite {
        Suite::Etcdctl { keep, against_itself } => {
            e2e::etcdctl::compare(&althing, keep.as_deref(), against_itself)
        }
        Suite::Clients => e2e::clients::run(&althing),
        Suite::Plug(options) => e2e::plug::run(&althing, &options),
        Suite::Members(options) => e2e::members::run(&althing, &options),
        Suite::BadInput => e2e::bad_input::run(&althing),
    }
}

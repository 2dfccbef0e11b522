//! Everything that exists because of a run, and has to be gone after it: namespaces, processes, disks.
//!
//! Dropping the arena removes all of it, also when a run ends early. What a run left behind that was killed
//! itself is removed when the next arena is built; two at a time are refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::{Context, ensure};
use rustix::fs::FlockOperation;
use rustix::process::Signal;

mod needs;
mod net;
mod process;

use net::Net;
pub use net::{Cut, address};
use process::Process;

/// Sizes of clusters that a run can have.
pub const NODES_MAX: usize = 7;

const LOCK: &str = "/run/althing-nemesis.lock";

/// The place of a run.
pub struct Arena {
    /// The nodes, by their place in the ring.
    pub nodes: Vec<Process>,
    net: Net,
    /// Held while the arena exists; dropped last.
    _lock: File,
}

/// What an arena is built for.
pub struct Building<'a> {
    /// The program under test.
    pub althing: &'a Path,
    /// How many nodes.
    pub nodes: usize,
    /// Where data and logs go.
    pub directory: &'a Path,
}

impl Arena {
    /// Builds the place and starts every node.
    ///
    /// # Errors
    /// Something is missing that cannot be installed, another run goes on, or a node does not start.
    pub fn build(building: &Building<'_>) -> anyhow::Result<Arena> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "namespaces and filters are made by root only: run this as root"
        );
        let lock = File::create(LOCK).with_context(|| format!("cannot open {LOCK}"))?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .with_context(|| format!("another run goes on, and holds {LOCK}"))?;
        needs::install()?;
        net::sweep();
        let net = Net::build(building.nodes, false)?;
        let nodes = (0..building.nodes).map(|node| Process::new(node, building)).collect();
        let mut arena = Arena { nodes, net, _lock: lock };
        for node in 0..building.nodes {
            arena.revive(node)?;
        }
        for node in 0..building.nodes {
            arena.wait_until_serving(node)?;
        }
        Ok(arena)
    }

    /// Sends a signal to node `node` if it runs.
    ///
    /// # Errors
    /// The system refuses.
    pub fn signal(&mut self, node: usize, signal: Signal) -> anyhow::Result<()> {
        self.nodes[node].signal(signal)
    }

    /// Sends a signal that ends node `node`, and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub fn end(&mut self, node: usize, signal: Signal) -> anyhow::Result<()> {
        self.nodes[node].end(signal)
    }

    /// Starts node `node` if it does not run.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn revive(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].revive()
    }

    /// Waits until node `node` says that it is healthy.
    ///
    /// # Errors
    /// It ends, or takes too long.
    pub fn wait_until_serving(&mut self, node: usize) -> anyhow::Result<()> {
        self.nodes[node].wait_until_serving()
    }

    /// Nodes whose process has ended without having been told to, each reported once.
    pub fn ended_by_themselves(&mut self) -> Vec<(usize, ExitStatus)> {
        let nodes = self.nodes.iter_mut().enumerate();
        nodes.filter_map(|(node, process)| Some((node, process.ended_by_itself()?))).collect()
    }

    /// Loses these packets from now on, and no others.
    ///
    /// # Errors
    /// The filters cannot be set.
    pub fn cut(&self, cuts: &[Cut]) -> anyhow::Result<()> {
        self.net.cut(cuts)
    }

    /// Where clients reach the nodes.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.nodes.len())
            .map(|node| format!("http://{}:{}", address(node), process::CLIENT_PORT))
            .collect()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // It may have ended already.
            drop(node.end(Signal::KILL));
        }
    }
}

/// Empties a directory, or creates it.
///
/// # Errors
/// The file system refuses.
pub fn fresh_directory(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot empty {}", path.display()))?;
    }
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))?;
    Ok(path.canonicalize()?)
}

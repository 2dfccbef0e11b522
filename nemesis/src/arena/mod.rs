//! Everything that exists because of a run, and has to be gone after it: namespaces, processes, disks.
//!
//! Dropping the arena removes all of it, also when a run ends early. What a run left behind that was killed
//! itself is removed when the next arena is built; two at a time are refused.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, ensure};
use e2e::tools::run;
use rustix::fs::FlockOperation;
use rustix::process::Signal;
use tokio::runtime::Handle;

mod disks;
mod members;
mod needs;
mod net;
mod process;
mod tally;
mod tracer;

pub use disks::{Disk, DiskKind, SmallDisk};
pub use members::{Change, Step};
pub use needs::Needs;
pub use net::{Cut, address, face};
pub use process::{CLIENT_PORT, Clock, Process};
pub use tally::Tally;

use net::Net;
use tracer::Tracer;

use crate::relay::{Addresses, Relay, Tamper};

/// Sizes of clusters that a run can have.
pub const NODES_MAX: usize = 7;

const LOCK: &str = "/run/althing-nemesis.lock";

/// The place of a run.
pub struct Arena {
    /// The nodes, by their place in the ring.
    pub nodes: Vec<Process>,
    /// What their data directories are on.
    pub disks: Vec<Disk>,
    /// How many of the nodes founded the cluster; clients know these. Whoever is beyond comes and goes.
    pub founders: usize,
    /// What was done to files, and what came of it.
    pub tally: Tally,
    /// Changes of members that are under way.
    changes: Vec<Change>,
    runtime: Handle,
    /// strace, where it is attached.
    tracers: Vec<Option<Tracer>>,
    relay: Option<Relay>,
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
    /// What it must be able to do.
    pub needs: Needs,
    /// What the relay runs on.
    pub runtime: &'a Handle,
    /// Seed of what the relay and the disks throw dice for.
    pub seed: u64,
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
        building.needs.install()?;
        net::sweep();
        disks::sweep();
        disks::prepare_mounts()?;
        let Building { nodes: count, directory, needs, seed, .. } = *building;
        let founders = count;
        let count = founders + usize::from(needs.spare);
        let net = Net::build(count, needs.relay)?;
        let relay = match needs.relay {
            true => Some(Relay::start(building.runtime, count, ADDRESSES, seed)?),
            false => None,
        };
        let mut arena = Arena {
            nodes: Vec::new(),
            disks: Vec::new(),
            founders,
            tally: Tally::default(),
            changes: Vec::new(),
            runtime: building.runtime.clone(),
            tracers: (0..count).map(|_| None).collect(),
            relay,
            net,
            _lock: lock,
        };
        for node in 0..count {
            arena.disks.push(Disk::prepare(needs.disks, node, directory, seed)?);
            arena.nodes.push(Process::new(node, building, arena.disks[node].data())?);
        }
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

    /// Tampers with what these nodes send to peers and are sent by them, and with nothing else.
    ///
    /// # Errors
    /// The arena was built without a relay.
    pub fn tamper(&self, victims: &[usize], tamper: Tamper) -> anyhow::Result<()> {
        let relay = self.relay.as_ref().context("the arena was built without a relay")?;
        relay.tamper(victims, tamper);
        Ok(())
    }

    /// Injects into system calls of these nodes, as strace's `--inject` spells it, from now on.
    ///
    /// # Errors
    /// strace cannot be started.
    pub fn trace(&mut self, victims: &[usize], inject: &str) -> anyhow::Result<()> {
        for &node in victims {
            if let Some(pid) = self.nodes[node].pid() {
                self.tracers[node] = Some(Tracer::attach(pid, inject)?);
            }
        }
        Ok(())
    }

    /// Injects nothing into these nodes any more.
    pub fn untrace(&mut self, victims: &[usize]) {
        victims.iter().for_each(|&node| self.tracers[node] = None);
    }

    /// Where clients reach the nodes.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.founders).map(|node| format!("http://{}:{}", address(node), CLIENT_PORT)).collect()
    }

    /// Begins to change who is a member: [`tend`](Arena::tend) goes on with it.
    pub fn begin(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Lets changes that strike `node` go on to their end.
    pub fn release(&mut self, node: usize) {
        self.changes.iter_mut().filter(|change| change.node() == node).for_each(Change::release);
    }

    /// Whether a change of `node` is under way, so that its process may end; of any node if there is none.
    pub fn is_changing(&self, node: Option<usize>) -> bool {
        self.changes.iter().any(|change| node.is_none_or(|node| change.node() == node))
    }

    /// Whether `node` is started with damaged files, so that its process may end.
    pub fn is_mending(&self, node: usize) -> bool {
        self.changes.iter().any(|change| change.node() == node && change.is_mending())
    }

    /// Goes on with all changes as far as they can without waiting.
    ///
    /// # Errors
    /// A process or a directory cannot be handled.
    pub fn tend(&mut self) -> anyhow::Result<()> {
        let mut changes = std::mem::take(&mut self.changes);
        let gone_on = changes.iter_mut().try_for_each(|change| change.go_on(self));
        changes.retain(|change| !change.is_done());
        self.changes.append(&mut changes);
        gone_on
    }

    /// What the changes that are under way wait for.
    pub fn waits_for(&self) -> Vec<String> {
        self.changes.iter().map(ToString::to_string).collect()
    }

    /// The number of the node that is no founder.
    ///
    /// # Errors
    /// The arena was built without.
    pub fn spare(&self) -> anyhow::Result<usize> {
        ensure!(self.nodes.len() > self.founders, "the arena was built without a spare node");
        Ok(self.founders)
    }

    /// Empties a data directory.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn empty(&self, node: usize) -> anyhow::Result<()> {
        let data = &self.nodes[node].data;
        if data.exists() {
            run(Command::new("find").arg(data).args(["-mindepth", "1", "-delete"]))?;
        }
        // Or a loss of power could bring back what belongs to a member that was removed.
        match self.disks[node].faulty() {
            Ok(disk) => disk.settle(),
            Err(_) => Ok(()),
        }
    }
}

const ADDRESSES: Addresses = Addresses { node: address, face, port: process::PEER_PORT };

impl Drop for Arena {
    fn drop(&mut self) {
        self.changes.clear();
        self.tracers.clear();
        for node in &mut self.nodes {
            // It may have ended already.
            drop(node.end(Signal::KILL));
        }
        self.disks.clear();
        disks::sweep();
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

//! One node's process: started in its namespace, signalled, ended, started again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::cluster::http_get;
use rustix::process::{Pid, Signal, kill_process};

use super::Building;
use super::net::{address, host_name, namespace};

pub(super) const CLIENT_PORT: u16 = 2379;
pub(super) const PEER_PORT: u16 = 2380;

/// How long a node may take to start serving while nothing is wrong with the others.
const START_LIMIT: Duration = Duration::from_secs(30);

/// How long a node may take to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(15);

/// Lines of a log that a report quotes.
const TAIL_LINES: usize = 15;

/// One node.
pub struct Process {
    /// Its name.
    pub name: String,
    /// What it wrote to its standard output and error, over all its lives.
    pub log: PathBuf,
    /// Its data directory.
    pub data: PathBuf,
    althing: PathBuf,
    namespace: String,
    address: SocketAddr,
    flags: Vec<String>,
    child: Option<Child>,
}

impl Process {
    pub(super) fn new(node: usize, building: &Building<'_>) -> Process {
        let name = format!("n{}", node + 1);
        let data = building.directory.join("data").join(&name);
        let log = building.directory.join(format!("{name}.log"));
        Process {
            flags: flags(node, building.nodes, &data),
            name,
            log,
            data,
            althing: building.althing.to_owned(),
            namespace: namespace(node),
            address: SocketAddr::from((address(node), CLIENT_PORT)),
            child: None,
        }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace])
            .arg(&self.althing)
            .args(&self.flags)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    pub(super) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        match &self.child {
            Some(child) => kill_process(Pid::from_child(child), signal)
                .with_context(|| format!("cannot signal {}", self.name)),
            None => Ok(()),
        }
    }

    pub(super) fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.signal(signal)?;
        let Some(mut child) = self.child.take() else { return Ok(()) };
        let deadline = Instant::now() + END_LIMIT;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                bail!("{} did not end within {END_LIMIT:?} of {signal:?}:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    pub(super) fn ended_by_itself(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok().flatten()?;
        self.child = None;
        Some(status)
    }

    pub(super) fn wait_until_serving(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_LIMIT;
        while !http_get(self.address, "/health").is_ok_and(|answer| answer.contains("\"health\":\"true\"")) {
            if let Some(status) = self.ended_by_itself() {
                bail!("{} ended with {status}:\n{}", self.name, self.log_tail());
            }
            if Instant::now() > deadline {
                bail!("{} does not serve:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

fn flags(node: usize, nodes: usize, data: &Path) -> Vec<String> {
    let peer = |node: usize| format!("http://{}:{PEER_PORT}", host_name(node));
    let members: Vec<String> = (0..nodes).map(|node| format!("n{}={}", node + 1, peer(node))).collect();
    let client = format!("http://{}:{CLIENT_PORT}", address(node));
    let named = [
        ("--name", format!("n{}", node + 1)),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", format!("http://{}:{PEER_PORT}", address(node))),
        ("--initial-advertise-peer-urls", peer(node)),
        ("--initial-cluster", members.join(",")),
        ("--initial-cluster-state", "new".to_owned()),
        ("--log-format", "console".to_owned()),
    ];
    let named = named.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("serve".to_owned()).chain(named).collect()
}

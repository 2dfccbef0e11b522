//! One node's process: started in its namespace, signalled, ended, started again.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::cluster::http_get;
use rustix::process::{Pid, Signal, kill_process};

use super::net::{address, host_name, namespace};
use super::{Building, needs};

/// Where clients reach every node.
pub const CLIENT_PORT: u16 = 2379;
pub(super) const PEER_PORT: u16 = 2380;

const RIGHT: Clock = Clock::Offset { seconds: 0 };

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
    /// Whether it was added to the cluster, rather than founding it.
    joins: bool,
    /// Whether it is no member, so that nothing may start it.
    is_out: bool,
    /// The file that libfaketime reads its clock from, if clocks can be set.
    clock_file: Option<PathBuf>,
    clock: Clock,
    child: Option<Child>,
}

/// What a node's clocks say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The wall clock is wrong by so much.
    Offset {
        /// Ahead, or if negative behind.
        seconds: i64,
    },
    /// All clocks run at another rate; takes effect when the process starts.
    Rate {
        /// Of the true rate.
        percent: u64,
    },
}

impl Process {
    pub(super) fn new(node: usize, building: &Building<'_>, data: PathBuf) -> anyhow::Result<Process> {
        let name = format!("n{}", node + 1);
        let log = building.directory.join(format!("{name}.log"));
        let clock_file = building.needs.clocks.then(|| building.directory.join(format!("{name}.clock")));
        let process = Process {
            flags: flags(node, building.nodes, &data),
            name,
            log,
            data,
            althing: building.althing.to_owned(),
            namespace: namespace(node),
            address: SocketAddr::from((address(node), CLIENT_PORT)),
            clock_file,
            clock: RIGHT,
            child: None,
            joins: node >= building.nodes,
            is_out: node >= building.nodes,
        };
        process.write_clock()?;
        Ok(process)
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where its peers reach it.
    pub(super) fn peer_url(node: usize) -> String {
        format!("http://{}:{PEER_PORT}", host_name(node))
    }

    /// It is no member from now on, or a new one.
    pub(super) fn set_member(&mut self, is_member: bool) {
        self.is_out = !is_member;
        self.joins = true;
    }

    pub(super) fn revive(&mut self) -> anyhow::Result<()> {
        if self.child.is_some() || self.is_out {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new("ip")
            .args(["netns", "exec", &self.namespace, "env"])
            .args(self.clock_variables())
            .arg(&self.althing)
            .args(&self.flags)
            .args(["--initial-cluster-state", if self.joins { "existing" } else { "new" }])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal is for the run alone, which has to end in order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        self.child = Some(child);
        Ok(())
    }

    /// Sets its clocks.
    ///
    /// # Errors
    /// They cannot be set.
    pub fn set_clock(&mut self, clock: Clock) -> anyhow::Result<()> {
        self.clock = clock;
        self.write_clock()
    }

    fn write_clock(&self) -> anyhow::Result<()> {
        match (&self.clock_file, self.clock) {
            (Some(file), Clock::Offset { seconds }) => Ok(fs::write(file, format!("{seconds:+}"))?),
            _ => Ok(()),
        }
    }

    /// A rate is for the whole life of a process, because the monotonic clock must never jump.
    fn clock_variables(&self) -> Vec<String> {
        let Some(file) = &self.clock_file else { return Vec::new() };
        let preload = format!("LD_PRELOAD={}", needs::LIBFAKETIME);
        match self.clock {
            Clock::Offset { .. } => vec![
                preload,
                format!("FAKETIME_TIMESTAMP_FILE={}", file.display()),
                "FAKETIME_CACHE_DURATION=1".to_owned(),
                "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
            ],
            Clock::Rate { percent } => {
                vec![preload, format!("FAKETIME=+0 x{}.{:02}", percent / 100, percent % 100)]
            }
        }
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
        // It may be standing still.
        self.signal(Signal::CONT)?;
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
    let peer = Process::peer_url;
    // Who comes later names itself too.
    let members = (0..nodes).chain((node >= nodes).then_some(node));
    let members: Vec<String> = members.map(|node| format!("n{}={}", node + 1, peer(node))).collect();
    let client = format!("http://{}:{CLIENT_PORT}", address(node));
    let named = [
        ("--name", format!("n{}", node + 1)),
        ("--data-dir", data.display().to_string()),
        ("--listen-client-urls", client.clone()),
        ("--advertise-client-urls", client),
        ("--listen-peer-urls", format!("http://{}:{PEER_PORT}", address(node))),
        ("--initial-advertise-peer-urls", peer(node)),
        ("--initial-cluster", members.join(",")),
        ("--log-format", "console".to_owned()),
    ];
    let named = named.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
    std::iter::once("serve".to_owned()).chain(named).collect()
}

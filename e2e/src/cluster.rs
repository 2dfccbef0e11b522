//! A three-node cluster of real processes on loopback: etcd or Althing, started by the same flags.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long a cluster may take to start serving.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running cluster. Dropping it kills its processes and removes its data.
pub struct Cluster {
    /// Its nodes, in order.
    pub nodes: Vec<Node>,
    binary: PathBuf,
    subcommand: Option<&'static str>,
    extra_flags: Vec<String>,
    dir: TempDir,
}

/// One node of a cluster: its process, if it runs, and what it is started with.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Where clients reach it.
    pub client_port: u16,
    /// Where peers reach it.
    pub peer_port: u16,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// What it wrote to its standard output and error.
    pub log: PathBuf,
    /// Whether it is added to the others, rather than founding the cluster with them.
    pub joins: bool,
    process: Option<Child>,
}

impl Cluster {
    /// Starts `count` nodes of real etcd.
    ///
    /// # Errors
    /// If a node does not start or does not serve in time.
    pub fn etcd(binaries: &Path, ports: &[(u16, u16)]) -> anyhow::Result<Cluster> {
        Cluster::start(binaries.join("etcd"), None, ports, &[])
    }

    /// Starts `althing serve` nodes.
    ///
    /// # Errors
    /// As for `etcd`.
    pub fn althing(binary: &Path, ports: &[(u16, u16)], extra_flags: &[&str]) -> anyhow::Result<Cluster> {
        Cluster::start(binary.to_owned(), Some("serve"), ports, extra_flags)
    }

    fn start(
        binary: PathBuf,
        subcommand: Option<&'static str>,
        ports: &[(u16, u16)],
        extra_flags: &[&str],
    ) -> anyhow::Result<Cluster> {
        let mut cluster = Cluster::prepare(binary, subcommand, ports, extra_flags)?;
        for index in 0..cluster.nodes.len() {
            cluster.spawn(index)?;
        }
        for index in 0..cluster.nodes.len() {
            cluster.wait_until_serving(index)?;
        }
        Ok(cluster)
    }

    /// Lays a cluster out without starting it.
    ///
    /// # Errors
    /// If no temporary directory can be made.
    pub fn prepare(
        binary: PathBuf,
        subcommand: Option<&'static str>,
        ports: &[(u16, u16)],
        extra_flags: &[&str],
    ) -> anyhow::Result<Cluster> {
        let dir = tempfile::Builder::new().prefix("althing-e2e-").tempdir()?;
        let nodes = ports.iter().zip(1..).map(|(&(client_port, peer_port), number)| Node {
            name: format!("n{number}"),
            client_port,
            peer_port,
            data_dir: dir.path().join(format!("n{number}.data")),
            log: dir.path().join(format!("n{number}.log")),
            joins: false,
            process: None,
        });
        let nodes = nodes.collect();
        let extra_flags = extra_flags.iter().map(ToString::to_string).collect();
        Ok(Cluster { nodes, binary, subcommand, extra_flags, dir })
    }

    /// Lays out one more node, which is to join the others once it has been added; returns its index. It may live where
    /// another one lived that is gone.
    pub fn describe_joiner(&mut self, (client_port, peer_port): (u16, u16)) -> usize {
        let index = self.nodes.len();
        let name = format!("n{}", index + 1);
        let at = |suffix: &str| self.dir.path().join(format!("{name}.{suffix}"));
        let (data_dir, log) = (at("data"), at("log"));
        self.nodes.push(Node { name, client_port, peer_port, data_dir, log, joins: true, process: None });
        index
    }

    /// The flags that node `index` is started with, which are etcd's.
    pub fn flags(&self, index: usize) -> Vec<String> {
        let node = &self.nodes[index];
        let client = format!("http://127.0.0.1:{}", node.client_port);
        let peer = format!("http://127.0.0.1:{}", node.peer_port);
        // A joiner asks everybody who was here before it, but for those in whose place others have come.
        let known = if node.joins { &self.nodes[..=index] } else { &self.nodes };
        let is_replaced =
            |place: usize| known[place + 1..].iter().any(|n| n.peer_port == known[place].peer_port);
        let is_member = |place: &usize| {
            if node.joins { !is_replaced(*place) } else { !known[*place].joins }
        };
        let members: Vec<String> = (0..known.len())
            .filter(is_member)
            .map(|place| format!("{}=http://127.0.0.1:{}", known[place].name, known[place].peer_port))
            .collect();
        let state = if node.joins { "existing" } else { "new" };
        let mut flags: Vec<String> = self.subcommand.iter().map(ToString::to_string).collect();
        for (flag, value) in [
            ("--name", node.name.clone()),
            ("--data-dir", node.data_dir.display().to_string()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", members.join(",")),
            ("--initial-cluster-state", state.to_owned()),
        ] {
            flags.extend([flag.to_owned(), value]);
        }
        flags.extend(self.extra_flags.iter().cloned());
        flags
    }

    /// Starts node `index`; its output is appended to its log.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&mut self, index: usize) -> anyhow::Result<()> {
        let log = File::options().create(true).append(true).open(&self.nodes[index].log)?;
        let process = Command::new(&self.binary)
            .args(self.flags(index))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", self.binary.display()))?;
        self.nodes[index].process = Some(process);
        Ok(())
    }

    /// Waits until node `index` answers `/health` with success.
    ///
    /// # Errors
    /// If it ends, or does not serve in time; the end of its log is in the message.
    pub fn wait_until_serving(&mut self, index: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            let port = self.nodes[index].client_port;
            if http_get(("127.0.0.1", port), "/health")
                .is_ok_and(|answer| answer.contains("\"health\":\"true\""))
            {
                return Ok(());
            }
            if let Some(status) = self.exit_status(index)? {
                bail!("{} ended with {status}:\n{}", self.nodes[index].name, self.log_tail(index));
            }
            if Instant::now() > deadline {
                bail!("{} does not serve:\n{}", self.nodes[index].name, self.log_tail(index));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// How node `index` ended, if it has ended by itself.
    ///
    /// # Errors
    /// If the operating system cannot tell.
    pub fn exit_status(&mut self, index: usize) -> anyhow::Result<Option<std::process::ExitStatus>> {
        match &mut self.nodes[index].process {
            Some(process) => Ok(process.try_wait()?),
            None => Ok(None),
        }
    }

    /// Sends `signal` to node `index` and waits for its end.
    ///
    /// # Errors
    /// If it does not run.
    pub fn stop(&mut self, index: usize, signal: Signal) -> anyhow::Result<std::process::ExitStatus> {
        self.signal(index, signal)?;
        let mut process = self.nodes[index].process.take().context("the node does not run")?;
        Ok(process.wait()?)
    }

    /// Sends `signal` to node `index`, and goes on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let process = self.nodes[index].process.as_ref().context("the node does not run")?;
        kill_process(Pid::from_child(process), signal).context("cannot signal the node")
    }

    /// Waits until node `index` ends by itself.
    ///
    /// # Errors
    /// If it does not run, or goes on.
    pub fn wait_until_ended(&mut self, index: usize) -> anyhow::Result<std::process::ExitStatus> {
        let deadline = Instant::now() + START_TIMEOUT;
        while Instant::now() < deadline {
            if let Some(status) = self.exit_status(index)? {
                self.nodes[index].process = None;
                return Ok(status);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{} goes on:\n{}", self.nodes[index].name, self.log_tail(index));
    }

    /// The process id of node `index`, if it runs.
    pub fn pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].process.as_ref().map(Child::id)
    }

    /// Client endpoints of all nodes, as etcdctl takes them.
    pub fn endpoints(&self) -> String {
        let endpoints: Vec<String> =
            self.nodes.iter().map(|n| format!("127.0.0.1:{}", n.client_port)).collect();
        endpoints.join(",")
    }

    /// The directory that holds the nodes' data and logs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The last lines that node `index` wrote.
    pub fn log_tail(&self, index: usize) -> String {
        let log = fs::read_to_string(&self.nodes[index].log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.nodes.iter_mut().filter_map(|node| node.process.as_mut()) {
            // The process may have ended already; either way nothing is left to do about an error here.
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// Returns `count` pairs of loopback ports that are free at the moment.
///
/// # Errors
/// If the machine has none left.
pub fn free_ports(count: usize) -> anyhow::Result<Vec<(u16, u16)>> {
    let listeners: Vec<TcpListener> =
        (0..2 * count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let ports: Vec<u16> =
        listeners.iter().map(|l| l.local_addr().map(|address| address.port())).collect::<Result<_, _>>()?;
    Ok(ports.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

/// Returns the whole answer to an HTTP/1.1 GET.
///
/// # Errors
/// If nobody listens, or the answer does not come within a second.
pub fn http_get(address: impl ToSocketAddrs, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

//! The processes of a development cluster: start, notice a death, start again, stop.
//!
//! Promises:
//! - D1  no child outlives this process: each stops when its standard input ends, and only we hold the other end;
//! - D2  a stop is orderly: a child gets [`STOP_TIMEOUT`] to end by itself, then it is killed;
//! - D3  Ctrl-C reaches only us: every child is in a process group of its own.

use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::plan::{NodePlan, Plan};
use crate::failure::Failure;

/// How long a dead node stays dead.
pub const RESTART_DELAY: Duration = Duration::from_secs(2);
/// How long a node may take to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a stopping node is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);

/// The processes, in the plan's order.
pub struct Nodes {
    plan: Plan,
    processes: Vec<Process>,
}

enum Process {
    Running(Child),
    Dead { restart_at: Option<Instant> },
}

/// A node that ended by itself.
pub struct Death {
    /// Which.
    pub index: usize,
    /// `exit status: 1` or `signal 9`, and what it said last.
    pub how: String,
}

impl Nodes {
    /// Starts all of them.
    ///
    /// # Errors
    /// A process cannot be started. Those that were are stopped.
    pub fn start(plan: Plan) -> Result<Nodes, Failure> {
        let mut nodes = Nodes { processes: Vec::with_capacity(plan.nodes.len()), plan };
        for index in 0..nodes.plan.nodes.len() {
            let child = nodes.spawn(index)?;
            nodes.processes.push(Process::Running(child));
        }
        Ok(nodes)
    }

    /// What was planned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The process id of a node that runs.
    pub fn pid(&self, index: usize) -> Option<u32> {
        match &self.processes[index] {
            Process::Running(child) => Some(child.id()),
            Process::Dead { .. } => None,
        }
    }

    /// The nodes that have ended since the last call. Each is started again after [`RESTART_DELAY`] if `restart`.
    pub fn reap(&mut self, now: Instant, restart: bool) -> Vec<Death> {
        let mut deaths = Vec::new();
        for (index, process) in self.processes.iter_mut().enumerate() {
            let Process::Running(child) = process else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                deaths.push(Death { index, how: describe(status, &self.plan.nodes[index].log) });
                *process = Process::Dead { restart_at: restart.then_some(now + RESTART_DELAY) };
            }
        }
        deaths
    }

    /// Starts the nodes whose time has come, and says which.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn restart_due(&mut self, now: Instant) -> Result<Vec<usize>, Failure> {
        let due = |process: &Process| matches!(process, Process::Dead { restart_at: Some(at) } if *at <= now);
        let due: Vec<usize> =
            (0..self.processes.len()).filter(|&index| due(&self.processes[index])).collect();
        for &index in &due {
            self.processes[index] = Process::Running(self.spawn(index)?);
        }
        Ok(due)
    }

    /// Whether any of them runs or will run again.
    pub fn any_left(&self) -> bool {
        self.processes.iter().any(|process| !matches!(process, Process::Dead { restart_at: None }))
    }

    /// Stops all of them; says which had to be killed.
    pub fn stop(mut self) -> Vec<String> {
        self.stop_all()
    }

    fn stop_all(&mut self) -> Vec<String> {
        for process in &mut self.processes {
            if let Process::Running(child) = process {
                drop(child.stdin.take());
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut killed = Vec::new();
        for (process, node) in self.processes.iter_mut().zip(&self.plan.nodes) {
            if let Process::Running(child) = process
                && !ends_before(child, deadline)
            {
                // It may end between the look and the kill; either way it has ended after the wait.
                drop(child.kill());
                drop(child.wait());
                killed.push(node.name.clone());
            }
        }
        self.processes.clear();
        killed
    }

    fn spawn(&self, index: usize) -> Result<Child, Failure> {
        let node = &self.plan.nodes[index];
        spawn(node, &self.plan.initial_cluster())
            .map_err(|error| Failure::new(format_args!("cannot start {}: {error}", node.name)))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

fn spawn(node: &NodePlan, initial_cluster: &str) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(&node.log)?;
    let mut command = Command::new(std::env::current_exe()?);
    // The shell's ETCD_* variables are meant for a server of one's own, not for several of ours.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("ETCD_")) {
            command.env_remove(name);
        }
    }
    command
        .args(node.arguments(initial_cluster))
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn ends_before(child: &mut Child, deadline: Instant) -> bool {
    loop {
        match child.try_wait() {
            Ok(Some(_)) => return true,
            Ok(None) if Instant::now() < deadline => std::thread::sleep(STOP_POLL),
            Ok(None) | Err(_) => return false,
        }
    }
}

fn describe(status: ExitStatus, log: &Path) -> String {
    match status.signal() {
        Some(signal) => format!("killed by signal {signal}"),
        None => match last_error(log) {
            Some(error) => format!("{status}: {error}"),
            None => status.to_string(),
        },
    }
}

/// The last `error: …` line of a log: what `serve` prints before it gives up.
fn last_error(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().rev().take(5).find(|line| line.starts_with("error: "))?;
    Some(line.trim_start_matches("error: ").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_quotes_the_last_error_of_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("n1.log");
        std::fs::write(&log, "{\"level\":\"info\"}\nerror: disk /d is full\n  try: free space\n").unwrap();
        assert_eq!(describe(ExitStatus::from_raw(1 << 8), &log), "exit status: 1: disk /d is full");
        assert_eq!(describe(ExitStatus::from_raw(9), &log), "killed by signal 9");
    }
}

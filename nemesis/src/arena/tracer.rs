//! System calls of a running node are failed, delayed or made its last, by strace.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// strace, attached to a process until this is dropped.
pub(super) struct Tracer {
    child: Child,
}

impl Tracer {
    /// Attaches to process `pid`, with all its threads, and injects: `fdatasync:error=EIO:when=3`, say.
    pub(super) fn attach(pid: u32, inject: &str) -> anyhow::Result<Tracer> {
        let calls = inject.split(':').next().unwrap_or_default();
        let child = Command::new("strace")
            .args(["--follow-forks", "--quiet=all", "--output=/dev/null"])
            .arg(format!("--trace={calls}"))
            .arg(format!("--inject={inject}"))
            .arg(format!("--attach={pid}"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot start strace")?;
        Ok(Tracer { child })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // On SIGTERM it lets go of the process. It has ended already if the process has.
        kill_process(Pid::from_child(&self.child), Signal::TERM).ok();
        self.child.wait().ok();
    }
}

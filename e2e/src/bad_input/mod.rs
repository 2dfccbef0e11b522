//! Bad input of every kind: each gets a clear error, and nothing is lost.

mod disks;
mod flags;
mod ports;

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::cluster::{Cluster, free_ports};
use crate::tools;

/// Runs all cases and prints a line for each.
///
/// # Errors
/// If an error is missing or unclear, or anything is lost.
pub fn run(althing: &Path) -> anyhow::Result<()> {
    let etcdctl = tools::etcd()?.join("etcdctl");
    flags::run(althing)?;
    {
        let mut cluster = Cluster::althing(althing, &free_ports(3)?, &[])?;
        ports::run(&mut cluster, &etcdctl)?;
    }
    disks::run(althing, &etcdctl)
}

/// Prints that a claim holds, or fails with what was seen instead.
fn claim(text: &str, holds: bool, seen: &str) -> anyhow::Result<()> {
    ensure!(holds, "FAIL {text}; seen:\n{seen}");
    println!("ok   {text}");
    Ok(())
}

/// Runs a command to its end, within a time limit, and returns its exit code and everything it printed.
fn output_of(program: &Path, arguments: &[&str]) -> anyhow::Result<(i32, String)> {
    let output = Command::new("timeout").arg("15").arg(program).args(arguments).output()?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned()))
}

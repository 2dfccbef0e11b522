//! The same etcdctl script against real etcd and against Althing: outputs must be equal once ids, times and
//! sizes are masked, or the difference is explained in `docs/etcd-compat.md`.

mod mask;
mod run;
mod script;

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};

use crate::cluster::{Cluster, free_ports};
use crate::tools;
use run::Transcript;
use script::Step;

/// Runs the script against both, and prints and counts the differences. With `against_itself` etcd takes both
/// parts, which shows that the masks hide what differs from run to run.
///
/// # Errors
/// If there is an unexplained difference, or something could not be run.
pub fn compare(althing: &Path, keep: Option<&Path>, against_itself: bool) -> anyhow::Result<()> {
    let text = fs::read_to_string(tools::scripts_dir().join("etcdctl").join("script.txt"))?;
    let steps = script::parse(&text)?;
    let binaries = tools::etcd()?;
    let ports = free_ports(3)?;

    let theirs = {
        let cluster = Cluster::etcd(&binaries, &ports).context("cannot start etcd")?;
        run::run(&steps, &binaries, &cluster, "etcd")?
    };
    let ours = {
        let cluster = match against_itself {
            true => Cluster::etcd(&binaries, &ports).context("cannot start etcd")?,
            false => Cluster::althing(althing, &ports, &[]).context("cannot start Althing")?,
        };
        run::run(&steps, &binaries, &cluster, "althing")?
    };
    if let Some(dir) = keep {
        fs::create_dir_all(dir)?;
        fs::write(dir.join("etcd.txt"), theirs.to_string())?;
        fs::write(dir.join("althing.txt"), ours.to_string())?;
    }
    report(&steps, &theirs, &ours)
}

fn report(steps: &[Step], theirs: &Transcript, ours: &Transcript) -> anyhow::Result<()> {
    let compat = fs::read_to_string(tools::scripts_dir().join("../docs/etcd-compat.md"))?;
    let (mut equal, mut explained, mut unexplained) = (0, 0, 0);
    for (step, (theirs, ours)) in steps.iter().zip(theirs.outputs.iter().zip(&ours.outputs)) {
        match &step.differs {
            _ if theirs == ours => equal += 1,
            Some(id) if compat.contains(&format!("| {id} |")) => explained += 1,
            _ => {
                unexplained += 1;
                println!("✗ line {}: {}", step.line, step.command.lines().next().unwrap_or_default());
                println!("--- etcd\n{theirs}+++ althing\n{ours}");
            }
        }
    }
    println!(
        "{} etcdctl invocations: {equal} equal, {explained} explained in docs/etcd-compat.md, {unexplained} different",
        steps.len()
    );
    ensure!(unexplained == 0, "{unexplained} steps differ from etcd");
    Ok(())
}

//! `cargo deny`, with what to do where there is no network to fetch the advisories from.

use std::process::{Command, Stdio};

use crate::command::{cargo, root};

/// Checks what we depend on, installing cargo-deny first if it is missing.
///
/// # Errors
/// A check fails, or cargo-deny cannot be installed.
pub fn run() -> anyhow::Result<()> {
    if !succeeds(&["deny", "--version"]) {
        cargo(&["install", "cargo-deny", "--locked"])?;
    }
    cargo(&["deny", "check", "bans", "licenses", "sources"])?;
    // The database of advisories is a Git repository that not every machine can reach.
    if succeeds(&["deny", "fetch", "db"]) {
        cargo(&["deny", "check", "advisories"])
    } else {
        println!("warning: advisories were not checked: their database cannot be fetched from here");
        Ok(())
    }
}

fn succeeds(arguments: &[&str]) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

//! Running other programs in the workspace's root, so that what they print is what a person would see.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

/// The workspace's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Where release binaries land.
pub fn release_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("release")
}

/// Runs cargo with these arguments.
///
/// # Errors
/// It cannot be started, or fails.
pub fn cargo(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).args(arguments))
}

/// Runs a command in the workspace's root.
///
/// # Errors
/// It cannot be started, or fails.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.current_dir(root()).status();
    let status = status.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(status.success(), "{} ended with {status}", readable(command));
    Ok(())
}

/// The command as a person would type it.
fn readable(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_as_it_is_typed() {
        let error = run(Command::new("/bin/false").arg("--now")).unwrap_err().to_string();
        assert!(error.starts_with("false --now ended with exit status: 1"), "{error}");
    }

    #[test]
    fn the_root_is_the_workspaces() {
        assert!(root().join("Cargo.lock").is_file());
    }
}

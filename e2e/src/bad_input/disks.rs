//! Data directories that belong to others or cannot be written, full disks, flipped bits.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;

use super::{claim, output_of};
use crate::cluster::{Cluster, free_ports};
use crate::tools;

/// Runs all cases.
///
/// # Errors
/// If an error is missing or unclear, or anything is lost.
pub fn run(althing: &Path, etcdctl: &Path) -> anyhow::Result<()> {
    foreign_directories(althing)?;
    no_permission(althing)?;
    full_disk(althing, etcdctl)?;
    flipped_bits(althing, etcdctl)
}

fn foreign_directories(althing: &Path) -> anyhow::Result<()> {
    let mut cluster = Cluster::althing(althing, &free_ports(3)?, &[])?;
    let running = cluster.flags(0);
    let (code, output) = output_of(althing, &as_arguments(&running))?;
    claim("a data directory in use is refused", code != 0 && output.contains("in use"), &output)?;

    cluster.stop(0, Signal::TERM)?;
    cluster.stop(1, Signal::TERM)?;
    let mut token = cluster.flags(0);
    token.extend(["--initial-cluster-token".to_owned(), "another".to_owned()]);
    let (code, output) = output_of(althing, &as_arguments(&token))?;
    claim(
        "a data directory of another cluster is refused",
        code != 0 && output.contains("belongs to cluster"),
        &output,
    )?;

    let mut member = cluster.flags(1);
    replace(&mut member, "--data-dir", &cluster.nodes[0].data_dir.display().to_string());
    let (code, output) = output_of(althing, &as_arguments(&member))?;
    claim(
        "a data directory of another member is refused",
        code != 0 && output.contains("belongs to member"),
        &output,
    )?;

    cluster.spawn(0)?;
    cluster.spawn(1)?;
    cluster.wait_until_serving(0)?;
    cluster.wait_until_serving(1)?;
    claim("     … and its owner can still start", true, "")
}

fn no_permission(althing: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let binary = dir.path().join("althing");
    fs::copy(althing, &binary)?;
    fs::create_dir(dir.path().join("data"))?;
    fs::set_permissions(dir.path().join("data"), fs::Permissions::from_mode(0o700))?;
    let data_dir = dir.path().join("data").display().to_string();
    let binary = binary.display().to_string();
    let arguments =
        ["--reuid=65534", "--regid=65534", "--clear-groups", &binary, "serve", "--data-dir", &data_dir];
    let (code, output) = output_of(Path::new("setpriv"), &arguments)?;
    let clear =
        code != 0 && output.contains(&data_dir) && output.to_lowercase().contains("permission denied");
    claim("a data directory without permission is named", clear, &output)
}

/// One node's directory is a small file system of its own. The node must end with a clear error, the others
/// must go on, and with space again it must catch up.
fn full_disk(althing: &Path, etcdctl: &Path) -> anyhow::Result<()> {
    let mount = SmallDisk::mount("48m")?;
    let mut cluster = Cluster::prepare(althing.to_owned(), Some("serve"), &free_ports(3)?, &[])?;
    cluster.nodes[0].data_dir = mount.dir.path().join("data");
    for index in 0..3 {
        cluster.spawn(index)?;
    }
    for index in 0..3 {
        cluster.wait_until_serving(index)?;
    }
    let other = format!(
        "--endpoints=127.0.0.1:{},127.0.0.1:{}",
        cluster.nodes[1].client_port, cluster.nodes[2].client_port
    );
    let value_file = cluster.dir().join("value");
    fs::write(&value_file, "v".repeat(1 << 20))?;
    let mut written = 0;
    let deadline = Instant::now() + Duration::from_secs(60);
    while cluster.exit_status(0)?.is_none() && Instant::now() < deadline {
        let script =
            format!("'{}' {other} put full/{written} < '{}'", etcdctl.display(), value_file.display());
        tools::run(Command::new("bash").args(["-c", &script]))?;
        written += 1;
    }
    let status =
        cluster.exit_status(0)?.context("the node with the full disk goes on as if nothing had happened")?;
    let log = cluster.log_tail(0);
    let clear =
        !status.success() && log.contains("full") && log.contains(&mount.dir.path().display().to_string());
    claim("a full disk ends the node with an error that names it", clear && !log.contains("panicked"), &log)?;

    tools::run(Command::new("mount").args(["-o", "remount,size=1g"]).arg(mount.dir.path()))?;
    cluster.spawn(0)?;
    cluster.wait_until_serving(0)?;
    let this = format!("--endpoints=127.0.0.1:{}", cluster.nodes[0].client_port);
    let (_, output) =
        output_of(etcdctl, &[&this, "get", "full/", "--prefix", "--count-only", "-w", "fields"])?;
    claim(
        &format!("     … and with space again it has all {written} acknowledged writes"),
        output.contains(&format!("\"Count\" : {written}")),
        &output,
    )
}

fn flipped_bits(althing: &Path, etcdctl: &Path) -> anyhow::Result<()> {
    let mut cluster = Cluster::althing(althing, &free_ports(3)?, &[])?;
    let all = format!("--endpoints={}", cluster.endpoints());
    for i in 0..50 {
        tools::run(Command::new(etcdctl).args([
            &all,
            "put",
            &format!("flip/{i:02}"),
            &format!("value-{i}"),
        ]))?;
    }
    cluster.stop(0, Signal::KILL)?;
    let segment = newest_segment(&cluster.nodes[0].data_dir)?;
    let at = flip_a_bit_in_use(&segment)?;
    // Only the log is left to tell: without its engine the node must replay, or fetch, everything.
    fs::remove_dir_all(cluster.nodes[0].data_dir.join("member").join("state"))?;
    cluster.spawn(0)?;
    cluster.wait_until_serving(0)?;
    let log = fs::read_to_string(&cluster.nodes[0].log)?;
    claim(
        &format!("a flipped bit at byte {at} of a log segment is reported at the start"),
        log.contains("damaged"),
        &cluster.log_tail(0),
    )?;
    let this = format!("--endpoints=127.0.0.1:{}", cluster.nodes[0].client_port);
    let (_, output) = output_of(etcdctl, &[&this, "get", "flip/", "--prefix", "--print-value-only"])?;
    let expected: String = (0..50).map(|i| format!("value-{i}\n")).collect();
    claim("     … and repaired from peers: the node has every value", output == expected, &output)
}

/// Flips one bit in the middle one of the sectors that hold a value. (What describes a batch is there twice, and would be
/// repaired from itself.)
fn flip_a_bit_in_use(segment: &Path) -> anyhow::Result<u64> {
    let content = fs::read(segment)?;
    let used: Vec<usize> = (1..content.len() / 512)
        .filter(|sector| content[sector * 512..(sector + 1) * 512].windows(6).any(|part| part == b"value-"))
        .collect();
    let sector = used.get(used.len() / 2).context("the log segment holds no value")?;
    let at = (sector * 512 + 100) as u64;
    let file = fs::File::options().read(true).write(true).open(segment)?;
    file.write_all_at(&[content[sector * 512 + 100] ^ 0x10], at)?;
    Ok(at)
}

fn newest_segment(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let log = data_dir.join("member").join("log");
    let mut segments: Vec<PathBuf> = fs::read_dir(&log)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")))
        .collect();
    segments.sort();
    segments.pop().with_context(|| format!("no log segment in {}", log.display()))
}

fn as_arguments(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

fn replace(flags: &mut [String], flag: &str, value: &str) {
    if let Some(at) = flags.iter().position(|f| f == flag) {
        value.clone_into(&mut flags[at + 1]);
    }
}

/// A file system of its own that is soon full; needs root.
struct SmallDisk {
    dir: tempfile::TempDir,
}

impl SmallDisk {
    fn mount(size: &str) -> anyhow::Result<SmallDisk> {
        let dir = tempfile::tempdir()?;
        tools::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
                .arg(dir.path()),
        )
        .context("a small file system can only be mounted by root")?;
        Ok(SmallDisk { dir })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the node may still be ending.
        drop(Command::new("umount").arg("-l").arg(self.dir.path()).output());
    }
}

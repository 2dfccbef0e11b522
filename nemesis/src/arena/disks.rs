//! What a node's data directory is on: the machine's own disk, a disk that fails, or a small file system.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};
use e2e::tools::run;
use types::Rng;

use super::net::quiet;
use crate::disk::FaultyDisk;

/// Below this everything is mounted, so that a later run finds what an earlier one left.
const MOUNTS: &str = "/run/althing-nemesis";

/// Bytes of a small file system: a node fits in, with room for minutes of load.
const SMALL: &str = "768M";

/// The kinds of disks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskKind {
    /// The directory of the run.
    #[default]
    Own,
    /// A FUSE file system of ours.
    Faulty,
    /// A small tmpfs.
    Tmpfs,
    /// A small ext4 on a loop device.
    Ext4,
}

/// One node's disk.
pub enum Disk {
    /// The directory of the run.
    Own(PathBuf),
    /// A FUSE file system of ours, and where it is mounted.
    Faulty(FaultyDisk, PathBuf),
    /// A small file system.
    Small(SmallDisk),
}

/// A file system of its own that is soon full.
pub struct SmallDisk {
    mount: PathBuf,
    /// The file that holds an ext4; a tmpfs has none.
    image: Option<PathBuf>,
}

impl Disk {
    pub(super) fn prepare(kind: DiskKind, node: usize, directory: &Path, seed: u64) -> anyhow::Result<Disk> {
        let name = format!("n{}", node + 1);
        let (own, mount) = (directory.join("data").join(&name), PathBuf::from(MOUNTS).join(&name));
        fs::create_dir_all(&own)?;
        fs::create_dir_all(&mount)?;
        match kind {
            DiskKind::Own => Ok(Disk::Own(own)),
            DiskKind::Faulty => {
                let disk = FaultyDisk::mount(&own, &mount, Rng::keyed(seed, &[node as u64]))?;
                Ok(Disk::Faulty(disk, mount))
            }
            DiskKind::Tmpfs => {
                run(Command::new("mount")
                    .args(["-t", "tmpfs", "-o", &format!("size={SMALL}"), "tmpfs"])
                    .arg(&mount))?;
                Ok(Disk::Small(SmallDisk { mount, image: None }))
            }
            DiskKind::Ext4 => {
                let image = own.join("ext4");
                run(Command::new("truncate").args(["-s", SMALL]).arg(&image))?;
                run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
                let disk = SmallDisk { mount, image: Some(image) };
                disk.mount_image()?;
                Ok(Disk::Small(disk))
            }
        }
    }

    /// The directory to keep data in.
    pub(super) fn data(&self) -> PathBuf {
        match self {
            Disk::Own(path) => path.join("data"),
            Disk::Faulty(_, mount) => mount.join("data"),
            Disk::Small(disk) => disk.mount.join("data"),
        }
    }

    /// The disk, if it is one of ours.
    ///
    /// # Errors
    /// It is not.
    pub fn faulty(&self) -> anyhow::Result<&FaultyDisk> {
        match self {
            Disk::Faulty(disk, _) => Ok(disk),
            _ => bail!("the arena was built without faulty disks"),
        }
    }

    /// The disk, if it is small.
    ///
    /// # Errors
    /// It is not.
    pub fn small(&self) -> anyhow::Result<&SmallDisk> {
        match self {
            Disk::Small(disk) => Ok(disk),
            _ => bail!("the arena was built without small disks"),
        }
    }
}

impl SmallDisk {
    /// Takes all room that is left.
    ///
    /// # Errors
    /// For another reason than that it is full.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for block in [1 << 20, 4096] {
            let zeros = vec![0; block];
            while ballast.write_all(&zeros).is_ok() {}
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn free(&self) -> anyhow::Result<()> {
        fs::remove_file(self.ballast()).context("cannot remove the ballast")
    }

    fn ballast(&self) -> PathBuf {
        self.mount.join("ballast")
    }

    /// Makes an ext4 believe that it has found an error, which turns it read-only.
    ///
    /// # Errors
    /// The kernel offers no way.
    pub fn turn_read_only(&self) -> anyhow::Result<()> {
        let source =
            quiet("findmnt", &["--noheadings", "--output", "SOURCE", &self.mount.display().to_string()]);
        let device = source.trim().rsplit('/').next().unwrap_or_default().to_owned();
        ensure!(!device.is_empty(), "{} is not mounted", self.mount.display());
        let trigger = format!("/sys/fs/ext4/{device}/trigger_fs_error");
        fs::write(&trigger, "nemesis").with_context(|| format!("cannot write to {trigger}"))
    }

    /// Checks and mounts an ext4 again. No process may use it.
    ///
    /// # Errors
    /// It cannot be repaired.
    pub fn repair(&self) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("a tmpfs needs no repair")?;
        run(Command::new("umount").arg(&self.mount))?;
        // It says that it has changed something with an exit status of 1.
        quiet("e2fsck", &["-f", "-y", &image.display().to_string()]);
        self.mount_image()
    }

    fn mount_image(&self) -> anyhow::Result<()> {
        let image = self.image.as_ref().context("a tmpfs has no image")?;
        run(Command::new("mount").args(["-o", "loop,errors=remount-ro"]).arg(image).arg(&self.mount))
            .map(drop)
    }
}

/// Makes the place where disks are mounted. What is unmounted there has to vanish from the mount namespaces of
/// nodes too, or it stays in use for as long as they run.
///
/// # Errors
/// It cannot be mounted.
pub(super) fn prepare_mounts() -> anyhow::Result<()> {
    fs::create_dir_all(MOUNTS).with_context(|| format!("cannot create {MOUNTS}"))?;
    run(Command::new("mount").args(["--bind", MOUNTS, MOUNTS]))?;
    run(Command::new("mount").args(["--make-shared", MOUNTS])).map(drop)
}

/// Unmounts every disk of ours, of this run or of one that crashed.
pub(super) fn sweep() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    // What lies inside another was mounted after it.
    for mount in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if Path::new(mount).starts_with(MOUNTS) {
            // Lazily: whoever still uses it is about to end.
            quiet("umount", &["-l", mount]);
        }
    }
}

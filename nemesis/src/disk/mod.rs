//! A disk that fails: a directory passed through FUSE, with power loss, lying and failing syncs, rot and no room.
//!
//! ```text
//!   althing ──▶ kernel ──▶ fs (requests) ──▶ medium (what is synced, what is not) ──▶ files in `content`
//! ```
//!
//! Files are passed through unbuffered. For everything that is not synced the medium remembers how it was before:
//! content by sector, directories by operation. Losing power is to take some of it back.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use fuser::{BackgroundSession, Config, MountOption};
use types::Rng;

mod fs_requests;
mod medium;
mod names;
mod unsynced;

use medium::Medium;

/// How a disk misbehaves at the moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Every write and sync takes so much longer.
    pub slow: Duration,
    /// Syncs fail with EIO, and what they should have made durable is gone.
    pub sync_fails: bool,
    /// So many of a million reads have one wrong bit.
    pub rot_ppm: u32,
    /// Bytes by which files may still grow.
    pub room: Option<u64>,
}

/// A mounted disk; dropping it unmounts it.
pub struct FaultyDisk {
    medium: Arc<Mutex<Medium>>,
    session: Option<BackgroundSession>,
}

impl FaultyDisk {
    /// Mounts an empty disk at `mount`, which keeps its files below `content`.
    ///
    /// # Errors
    /// FUSE is not there, or the directories cannot be made.
    pub fn mount(content: &Path, mount: &Path, rng: Rng) -> anyhow::Result<FaultyDisk> {
        fs::create_dir_all(mount).with_context(|| format!("cannot create {}", mount.display()))?;
        let medium = Arc::new(Mutex::new(Medium::new(content, rng)?));
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("nemesis".to_owned()), MountOption::NoDev, MountOption::NoSuid];
        let requests = fs_requests::Requests::new(medium.clone());
        let session = fuser::spawn_mount(requests, mount, &config)
            .with_context(|| format!("cannot mount a FUSE file system at {}", mount.display()))?;
        Ok(FaultyDisk { medium, session: Some(session) })
    }

    /// Misbehaves like this from now on.
    pub fn misbehave(&self, faults: Faults) {
        self.medium().faults = faults;
    }

    /// Loses what is not synced: all of it, or any part, torn at sectors. No process may have files open.
    ///
    /// # Errors
    /// The files below cannot be changed.
    pub fn lose_power(&self) -> anyhow::Result<()> {
        Ok(self.medium().lose_power()?)
    }

    /// Makes everything durable, as whoever exchanges a disk would.
    ///
    /// # Errors
    /// The files below cannot be changed.
    pub fn settle(&self) -> anyhow::Result<()> {
        Ok(self.medium().settle()?)
    }

    fn medium(&self) -> MutexGuard<'_, Medium> {
        lock(&self.medium)
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // A mount that is busy is removed by the arena's sweep.
            drop(session.umount_and_join());
        }
    }
}

fn lock(medium: &Mutex<Medium>) -> MutexGuard<'_, Medium> {
    medium.lock().unwrap_or_else(PoisonError::into_inner)
}

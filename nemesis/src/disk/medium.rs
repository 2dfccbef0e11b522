//! The files, with what they were when they were last synced, and the faults of the moment.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::io::Errno;
use types::Rng;

use super::Faults;
use super::names::Names;
use super::unsynced::Unsynced;

/// What is on a disk.
pub(super) struct Medium {
    pub(super) names: Names,
    pub(super) faults: Faults,
    /// By inode: files that were written and not synced.
    unsynced: BTreeMap<u64, Unsynced>,
    /// By handle: open files and their inodes.
    open: BTreeMap<u64, (u64, File)>,
    next_handle: u64,
    rng: Rng,
}

impl Medium {
    /// An empty disk whose files are kept below `content`.
    pub(super) fn new(content: &Path, rng: Rng) -> anyhow::Result<Medium> {
        let (root, trash) = (content.join("files"), content.join("removed"));
        for directory in [&root, &trash] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        Ok(Medium {
            names: Names::new(&root, &trash),
            faults: Faults::default(),
            unsynced: BTreeMap::new(),
            open: BTreeMap::new(),
            next_handle: 1,
            rng,
        })
    }

    pub(super) fn open(&mut self, inode: u64) -> io::Result<u64> {
        let file = open_below(&self.names.path(inode)?)?;
        Ok(self.hand_out(inode, file))
    }

    pub(super) fn create(&mut self, path: &PathBuf) -> io::Result<(u64, u64)> {
        let file = File::options().read(true).write(true).create_new(true).open(path)?;
        self.names.created(path);
        let inode = self.names.inode(path);
        Ok((inode, self.hand_out(inode, file)))
    }

    fn hand_out(&mut self, inode: u64, file: File) -> u64 {
        let handle = self.next_handle;
        self.next_handle += 1;
        self.open.insert(handle, (inode, file));
        handle
    }

    pub(super) fn close(&mut self, handle: u64) {
        self.open.remove(&handle);
    }

    pub(super) fn read(&mut self, handle: u64, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let (_, file) = self.open.get(&handle).ok_or(Errno::BADF)?;
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut bytes[filled..], offset + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        bytes.truncate(filled);
        if !bytes.is_empty() && self.rng.chance_ppm(self.faults.rot_ppm) {
            let bit = self.rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
        Ok(bytes)
    }

    pub(super) fn write(&mut self, handle: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::thread::sleep(self.faults.slow);
        let (inode, file) = self.open.get(&handle).ok_or(Errno::BADF)?;
        let growth = (offset + bytes.len() as u64).saturating_sub(file.metadata()?.len());
        if let Some(room) = &mut self.faults.room {
            *room = room.checked_sub(growth).ok_or(Errno::NOSPC)?;
        }
        unsynced(&mut self.unsynced, *inode, file)?.remember(file, offset, bytes.len() as u64)?;
        file.write_all_at(bytes, offset)
    }

    pub(super) fn truncate(&mut self, inode: u64, len: u64) -> io::Result<()> {
        let file = open_below(&self.names.path(inode)?)?;
        unsynced(&mut self.unsynced, inode, &file)?.remember_tail(&file, len)?;
        file.set_len(len)
    }

    pub(super) fn sync(&mut self, inode: u64) -> io::Result<()> {
        std::thread::sleep(self.faults.slow);
        let lost = self.unsynced.remove(&inode);
        if self.faults.sync_fails {
            // As Linux does it: the pages count as clean, and what they held is gone with them.
            if let Some(lost) = lost {
                lost.take_back(&open_below(&self.names.path(inode)?)?, true, || true)?;
            }
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    pub(super) fn sync_directory(&mut self, inode: u64) -> io::Result<()> {
        std::thread::sleep(self.faults.slow);
        if self.faults.sync_fails {
            return Err(Errno::IO.into());
        }
        let path = self.names.path(inode)?;
        self.names.sync(&path)
    }

    pub(super) fn settle(&mut self) -> io::Result<()> {
        self.unsynced.clear();
        self.names.settle()
    }

    pub(super) fn lose_power(&mut self) -> io::Result<()> {
        self.open.clear();
        for (inode, unsynced) in std::mem::take(&mut self.unsynced) {
            match self.names.path(inode).and_then(|path| open_below(&path)) {
                Ok(file) => unsynced.lose(&file, &mut self.rng)?,
                // Its removal was synced.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.names.lose(&mut self.rng)
    }
}

fn open_below(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).open(path)
}

fn unsynced<'a>(
    all: &'a mut BTreeMap<u64, Unsynced>,
    inode: u64,
    file: &File,
) -> io::Result<&'a mut Unsynced> {
    use std::collections::btree_map::Entry;
    match all.entry(inode) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => Ok(entry.insert(Unsynced::new(file)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn medium() -> (tempfile::TempDir, Medium, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let medium = Medium::new(directory.path(), Rng::new(1)).unwrap();
        let path = directory.path().join("files").join("f");
        (directory, medium, path)
    }

    #[test]
    fn what_was_synced_survives_the_loss_of_power_and_nothing_else_is_sure() {
        for seed in 0..50 {
            let (_directory, mut medium, path) = medium();
            medium.rng = Rng::new(seed);
            let (inode, handle) = medium.create(&path).unwrap();
            medium.write(handle, 0, &[1; 2048]).unwrap();
            medium.sync(inode).unwrap();
            medium.sync_directory(super::super::names::ROOT).unwrap();
            medium.write(handle, 1024, &[2; 2048]).unwrap();
            medium.lose_power().unwrap();
            let content = fs::read(&path).unwrap();
            assert!(content.len() >= 2048 && content[..1024] == [1; 1024], "seed {seed}");
            for (number, sector) in content.chunks(512).enumerate() {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}: sector {number} is torn");
            }
        }
    }

    #[test]
    fn a_failed_sync_has_lost_what_it_was_to_keep() {
        let (_directory, mut medium, path) = medium();
        let (inode, handle) = medium.create(&path).unwrap();
        medium.write(handle, 0, b"kept").unwrap();
        medium.sync(inode).unwrap();
        medium.write(handle, 0, b"gone").unwrap();
        medium.faults.sync_fails = true;
        assert_eq!(medium.sync(inode).unwrap_err().raw_os_error(), Some(5));
        assert_eq!(medium.read(handle, 0, 10).unwrap(), b"kept");
    }

    #[test]
    fn a_full_disk_takes_what_needs_no_room() {
        let (_directory, mut medium, path) = medium();
        let (_, handle) = medium.create(&path).unwrap();
        medium.faults.room = Some(10);
        medium.write(handle, 0, &[1; 10]).unwrap();
        medium.write(handle, 5, &[2; 5]).unwrap();
        assert_eq!(medium.write(handle, 5, &[2; 6]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn rot_changes_one_bit_of_what_is_read() {
        let (_directory, mut medium, path) = medium();
        let (_, handle) = medium.create(&path).unwrap();
        medium.write(handle, 0, &[0; 100]).unwrap();
        medium.faults.rot_ppm = 1_000_000;
        let ones: u32 = medium.read(handle, 0, 100).unwrap().iter().map(|byte| byte.count_ones()).sum();
        assert_eq!(ones, 1);
        assert_eq!(fs::read(&path).unwrap(), [0; 100]);
    }
}

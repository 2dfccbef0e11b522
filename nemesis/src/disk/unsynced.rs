//! What one file held before what is not synced was written to it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use types::Rng;

/// What a disk writes whole or not at all.
pub(super) const SECTOR: u64 = 512;

/// The sectors that writes have changed since the last sync, as they were.
#[derive(Debug)]
pub(super) struct Unsynced {
    /// Length of the file at the last sync.
    len: u64,
    /// By number. Shorter than a sector, or empty, where the file ended.
    sectors: BTreeMap<u64, Vec<u8>>,
}

impl Unsynced {
    pub(super) fn new(file: &File) -> io::Result<Unsynced> {
        Ok(Unsynced { len: file.metadata()?.len(), sectors: BTreeMap::new() })
    }

    /// Remembers `len` bytes from `offset` before they change.
    pub(super) fn remember(&mut self, file: &File, offset: u64, len: u64) -> io::Result<()> {
        if len == 0 {
            return Ok(());
        }
        for sector in offset / SECTOR..=(offset + len - 1) / SECTOR {
            if !self.sectors.contains_key(&sector) {
                let content =
                    if sector * SECTOR < self.len { read_sector(file, sector)? } else { Vec::new() };
                self.sectors.insert(sector, content);
            }
        }
        Ok(())
    }

    /// Remembers what lies beyond `len` before the file is cut there.
    pub(super) fn remember_tail(&mut self, file: &File, len: u64) -> io::Result<()> {
        let end = file.metadata()?.len();
        self.remember(file, len, end.saturating_sub(len))
    }

    /// Takes back what `lost` says, sector by sector, and the length too if `shorter`.
    pub(super) fn take_back(
        &self,
        file: &File,
        shorter: bool,
        mut lost: impl FnMut() -> bool,
    ) -> io::Result<()> {
        let end = if shorter { self.len } else { file.metadata()?.len().max(self.len) };
        file.set_len(end)?;
        for (sector, content) in &self.sectors {
            let start = sector * SECTOR;
            if start < end && lost() {
                let mut old = content.clone();
                old.resize(SECTOR.min(end - start) as usize, 0);
                file.write_all_at(&old, start)?;
            }
        }
        Ok(())
    }

    /// Loses power: everything goes, or each sector by a throw.
    pub(super) fn lose(&self, file: &File, rng: &mut Rng) -> io::Result<()> {
        let percent = match rng.below(3) {
            0 => 100,
            _ => rng.between(1, 99),
        };
        let shorter = rng.below(100) < percent;
        self.take_back(file, shorter, || rng.below(100) < percent)
    }
}

fn read_sector(file: &File, sector: u64) -> io::Result<Vec<u8>> {
    let mut content = vec![0; SECTOR as usize];
    let mut filled = 0;
    while filled < content.len() {
        match file.read_at(&mut content[filled..], sector * SECTOR + filled as u64)? {
            0 => break,
            read => filled += read,
        }
    }
    content.truncate(filled);
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn file(content: &[u8]) -> (tempfile::TempDir, File) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        fs::write(&path, content).unwrap();
        let file = File::options().read(true).write(true).open(path).unwrap();
        (directory, file)
    }

    fn content(file: &File) -> Vec<u8> {
        let mut content = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut content, 0).unwrap();
        content
    }

    #[test]
    fn everything_that_was_written_can_be_taken_back() {
        let (_directory, file) = file(&[1; 700]);
        let mut unsynced = Unsynced::new(&file).unwrap();
        unsynced.remember(&file, 600, 1000).unwrap();
        file.write_all_at(&[2; 1000], 600).unwrap();
        unsynced.remember_tail(&file, 100).unwrap();
        file.set_len(100).unwrap();
        unsynced.take_back(&file, true, || true).unwrap();
        assert_eq!(content(&file), [1; 700]);
    }

    #[test]
    fn a_lost_sector_beyond_the_old_end_is_zeros() {
        let (_directory, file) = file(&[1; 512]);
        let mut unsynced = Unsynced::new(&file).unwrap();
        unsynced.remember(&file, 512, 1024).unwrap();
        file.write_all_at(&[2; 1024], 512).unwrap();
        let mut turns = [true, false].into_iter();
        unsynced.take_back(&file, false, || turns.next().unwrap()).unwrap();
        assert_eq!(content(&file), [vec![1; 512], vec![0; 512], vec![2; 512]].concat());
    }
}

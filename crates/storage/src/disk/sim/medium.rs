//! One file as the medium has it, and as the running system sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use types::Rng;

/// The unit that a disk writes whole or not at all.
pub(super) const SECTOR: usize = 512;

pub(super) type Sector = [u8; SECTOR];

/// One writing of a sector that is not synced yet.
#[derive(Clone, Debug)]
struct Version {
    /// What readers see.
    seen: Sector,
    /// What the next sync puts on the medium; `None`: nothing.
    medium: Option<Sector>,
}

/// What reads as zeros where nothing was written.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// The medium.
    durable: Vec<u8>,
    /// Length as the running process sees it.
    pub len: u64,
    /// By sector number: every version written since the last sync, oldest first.
    pending: BTreeMap<u64, Vec<Version>>,
    /// Clean pages of the system's cache that say something else than the medium does: what a failed sync or a
    /// lying device left. They vanish with the power.
    cached: BTreeMap<u64, Sector>,
    unreadable: BTreeSet<u64>,
    /// What stood on the medium before a sector's last writing.
    previous: BTreeMap<u64, Sector>,
}

/// What happens to the sectors of one write on their way to the medium.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way {
    /// All arrive.
    Straight,
    /// None arrives.
    Lost,
    /// All but this one arrive, counted from the write's first.
    Without(u64),
    /// Those arrive whose bit is set; bits are used again after the 64th.
    Torn(u64),
    /// All arrive, this one with a flipped bit.
    Flipped(u64, u32),
}

impl FileState {
    /// Reads what a process sees. Bytes beyond the end read as zeros.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        for number in self.unreadable.range(sectors(offset, out.len())) {
            if !self.pending.contains_key(number) && !self.cached.contains_key(number) {
                return Err(io::Error::other("simulated read error"));
            }
        }
        let mut done = 0;
        while done < out.len() {
            let (number, within) = place(offset + done as u64);
            let step = (SECTOR - within).min(out.len() - done);
            out[done..done + step].copy_from_slice(&self.sector(number)[within..within + step]);
            done += step;
        }
        Ok(())
    }

    /// Everything that a process sees.
    pub fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.len).unwrap_or(0)];
        for (number, chunk) in (0..).zip(bytes.chunks_mut(SECTOR)) {
            chunk.copy_from_slice(&self.sector(number)[..chunk.len()]);
        }
        bytes
    }

    /// A sector as it was before it was last written to the medium.
    pub fn before(&self, number: u64) -> Sector {
        self.previous.get(&number).copied().unwrap_or([0; SECTOR])
    }

    /// The system forgets its clean pages of these bytes: the medium is read next.
    pub fn evict(&mut self, offset: u64, len: usize) {
        for number in sectors(offset, len) {
            self.cached.remove(&number);
        }
    }

    fn sector(&self, number: u64) -> Sector {
        if let Some(newest) = self.pending.get(&number).and_then(|versions| versions.last()) {
            return newest.seen;
        }
        let cached = self.cached.get(&number);
        cached.copied().unwrap_or_else(|| self.durable_sector(number))
    }

    fn durable_sector(&self, number: u64) -> Sector {
        let mut sector = [0; SECTOR];
        if let Some(bytes) = self.durable.get(start(number)..) {
            let len = bytes.len().min(SECTOR);
            sector[..len].copy_from_slice(&bytes[..len]);
        }
        sector
    }

    /// Writes bytes that the next sync makes durable, if they find their way.
    pub fn write(&mut self, offset: u64, bytes: &[u8], way: Way) {
        let first = offset / SECTOR as u64;
        let mut done = 0;
        while done < bytes.len() {
            let (number, within) = place(offset + done as u64);
            let step = (SECTOR - within).min(bytes.len() - done);
            let mut seen = self.sector(number);
            seen[within..within + step].copy_from_slice(&bytes[done..done + step]);
            let medium = way.of(number - first, &seen);
            self.pending.entry(number).or_default().push(Version { seen, medium });
            self.cached.remove(&number);
            done += step;
        }
    }

    /// Puts bytes on the medium that were meant for another place, if there is room for them. Returns where, and what stood
    /// there.
    pub fn stray(&mut self, bytes: &[u8], rng: &mut Rng) -> Option<(u64, Vec<u8>)> {
        let count = bytes.len().div_ceil(SECTOR) as u64;
        let last = (self.durable.len() as u64 / SECTOR as u64).checked_sub(count)?;
        let first = rng.between(0, last);
        let hidden = (first..first + count).flat_map(|number| self.durable_sector(number)).collect();
        for (number, chunk) in (first..).zip(bytes.chunks(SECTOR)) {
            let mut sector = [0; SECTOR];
            sector[..chunk.len()].copy_from_slice(chunk);
            self.store(number, &sector);
        }
        Some((first * SECTOR as u64, hidden))
    }

    /// Everything written so far gets to the medium, as far as it finds its way.
    pub fn sync(&mut self) {
        self.durable.resize(usize::try_from(self.len).unwrap_or(usize::MAX), 0);
        for (number, versions) in std::mem::take(&mut self.pending) {
            let Some(newest) = versions.last() else { continue };
            if newest.medium != Some(newest.seen) {
                self.cached.insert(number, newest.seen);
            }
            if let Some(sector) = &newest.medium {
                self.store(number, sector);
            }
        }
    }

    /// The pages are marked clean, and nothing has been written.
    pub fn fail_sync(&mut self) {
        for (number, versions) in std::mem::take(&mut self.pending) {
            self.cached.extend(versions.last().map(|newest| (number, newest.seen)));
        }
    }

    fn store(&mut self, number: u64, sector: &Sector) {
        let before = self.durable_sector(number);
        if let Some(bytes) = self.durable.get_mut(start(number)..) {
            let len = bytes.len().min(SECTOR);
            bytes[..len].copy_from_slice(&sector[..len]);
            self.previous.insert(number, before);
            self.unreadable.remove(&number);
        }
    }

    /// Bytes get to the medium without a sync.
    pub fn put_down(&mut self, offset: u64, bytes: &[u8]) {
        for (at, byte) in (offset..).zip(bytes) {
            if let Some(old) = self.durable.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) {
                *old = *byte;
            }
        }
    }

    /// The power fails.
    pub fn crash(&mut self, keep_ppm: u32, rng: &mut Rng) {
        let synced_len = self.durable.len() as u64;
        self.len = match rng.below(3) {
            _ if keep_ppm == 1_000_000 => self.len,
            0 => synced_len,
            1 => self.len,
            _ => rng.between(synced_len, self.len).next_multiple_of(SECTOR as u64).min(self.len),
        };
        self.durable.resize(usize::try_from(self.len).unwrap_or(usize::MAX), 0);
        for (number, versions) in std::mem::take(&mut self.pending) {
            if rng.chance_ppm(keep_ppm)
                && let Some(version) = rng.pick(&versions)
                && let Some(sector) = &version.medium
            {
                self.store(number, sector);
            }
        }
        self.cached.clear();
    }

    /// Makes the sector that holds `offset` unreadable until it is written again.
    pub fn make_unreadable(&mut self, offset: u64) {
        self.unreadable.insert(offset / SECTOR as u64);
    }

    /// Replaces bytes wherever they stand.
    pub fn damage(&mut self, offset: u64, bytes: &[u8]) {
        for (at, new) in (offset..).zip(bytes) {
            let (number, within) = place(at);
            if let Some(old) = self.durable.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) {
                *old = *new;
            }
            for version in self.pending.get_mut(&number).into_iter().flatten() {
                version.seen[within] = *new;
                version.medium.iter_mut().for_each(|sector| sector[within] = *new);
            }
            if let Some(sector) = self.cached.get_mut(&number) {
                sector[within] = *new;
            }
        }
    }
}

impl Way {
    fn of(self, index: u64, seen: &Sector) -> Option<Sector> {
        let mut sector = *seen;
        match self {
            Way::Lost => return None,
            Way::Without(lost) if lost == index => return None,
            Way::Torn(kept) if kept >> (index % 64) & 1 == 0 => return None,
            Way::Flipped(number, bit) if number == index => flip(&mut sector, bit),
            _ => {}
        }
        Some(sector)
    }
}

/// Flips one bit of some bytes; `bit` counts from the first and may be larger than there are.
pub(super) fn flip(bytes: &mut [u8], bit: u32) {
    let len = bytes.len();
    if let Some(byte) = bytes.get_mut(bit as usize / 8 % len.max(1)) {
        *byte ^= 1 << (bit % 8);
    }
}

pub(super) fn place(offset: u64) -> (u64, usize) {
    (offset / SECTOR as u64, usize::try_from(offset % SECTOR as u64).unwrap_or(0))
}

fn sectors(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / SECTOR as u64..(offset + len as u64).div_ceil(SECTOR as u64)
}

fn start(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(SECTOR)
}

//! A simulated disk: bytes in memory, with everything that a real one may lose, tear, damage or refuse.
//!
//! ```text
//!   write ──▶ pending sector versions ──sync──▶ durable bytes
//!                     │                              ▲
//!                     └── crash keeps any subset ────┘
//! ```
//!
//! Promises:
//! - S1  What was synced survives every crash. Of what was not, each 512-byte sector independently survives in
//!   any version that was written, or not at all; a sector is never torn inside.
//! - S2  A name that was not synced by `sync_dir` may be there or not; so may a removed one.
//! - S3  A failed sync leaves its data readable and never durable, as kernels do: the pages are marked clean.
//! - S4  Every choice comes from the caller's [`Rng`]: same calls, same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::Rng;

use super::{Disk, DiskError, DiskFile};

/// The unit that a disk writes whole or not at all.
const SECTOR: usize = 512;

/// A simulated disk. Clones are the same disk: one goes to the log, one stays with the simulator.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of a [`SimDisk`]. A crash closes it.
#[derive(Debug)]
pub struct SimFile {
    state: Arc<Mutex<State>>,
    name: String,
    id: u64,
    boot: u64,
}

#[derive(Debug, Default)]
struct State {
    /// By the id that names refer to.
    files: BTreeMap<u64, FileState>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    files_created: u64,
    /// Grows with every crash; files opened in an earlier boot are closed.
    boot: u64,
    operations: u64,
    crash_at: Option<u64>,
    off: bool,
    write_fails: bool,
    sync_fails: bool,
    capacity_bytes: Option<u64>,
}

type Sector = [u8; SECTOR];

/// What [`FileState::visible`] reads as zeros where nothing was written.
#[derive(Debug, Default)]
struct FileState {
    durable: Vec<u8>,
    /// Length as the running process sees it.
    len: u64,
    /// By sector number: every version written since the last sync, oldest first.
    pending: BTreeMap<u64, Vec<Sector>>,
    /// Readable until the next crash, and never durable: the leftovers of a failed sync.
    lost: BTreeMap<u64, Sector>,
    unreadable: BTreeSet<u64>,
}

impl SimDisk {
    /// Cuts the power: un-synced sectors, lengths and names survive or not as `rng` says, and every open file
    /// is closed. The disk then works again, without the faults that were set.
    pub fn crash(&self, rng: &mut Rng) {
        let mut state = self.lock();
        state.choose_names(rng);
        // Mostly a mixture, often all or nothing: each finds different mistakes.
        let keep_ppm = *rng.pick(&[0, 250_000, 500_000, 750_000, 1_000_000]).unwrap_or(&0);
        for file in state.files.values_mut() {
            file.crash(keep_ppm, rng);
        }
        state.restart();
    }

    /// Kills the process that uses the disk, while the power stays on: what it wrote stays, un-synced.
    pub fn kill(&self) {
        self.lock().restart();
    }

    /// Makes the `operation`-th change from the disk's creation (see [`SimDisk::operations`]) the last one: it
    /// happens, un-synced, but its caller and everyone after gets an error until [`SimDisk::crash`].
    pub fn crash_at(&self, operation: u64) {
        self.lock().crash_at = Some(operation);
    }

    /// How many changes were asked for so far: creations, removals, writes, allocations and syncs.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Whether the moment of [`SimDisk::crash_at`] has come, and the disk waits for its crash.
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Makes the next write or allocation fail, without effect.
    pub fn fail_next_write(&self) {
        self.lock().write_fails = true;
    }

    /// Makes the next sync of a file fail, as in promise S3.
    pub fn fail_next_sync(&self) {
        self.lock().sync_fails = true;
    }

    /// Limits the bytes of all files together; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// The bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// A file's bytes as a process would read them; `None` if there is no such file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        let file = state.files.get(state.names.get(name)?)?;
        let mut bytes = vec![0; usize::try_from(file.len).ok()?];
        file.visible(0, &mut bytes);
        Some(bytes)
    }

    /// Damages a file: from now on, and after crashes, `bytes` stand at `offset`. Bytes beyond its end are
    /// ignored.
    pub fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.with_file(name, |file| file.damage(offset, |at| bytes.get(at).copied(), bytes.len()));
    }

    /// Flips one bit (0 to 7) of the byte at `offset`.
    pub fn flip_bit(&self, name: &str, offset: u64, bit: u32) {
        let byte = self.content(name).and_then(|bytes| bytes.get(usize::try_from(offset).ok()?).copied());
        if let Some(byte) = byte {
            self.overwrite(name, offset, &[byte ^ (1 << (bit % 8))]);
        }
    }

    /// Makes reads of the sector that holds `offset` fail until it is written again.
    pub fn make_unreadable(&self, name: &str, offset: u64) {
        self.with_file(name, |file| {
            file.unreadable.insert(offset / SECTOR as u64);
        });
    }

    fn with_file(&self, name: &str, change: impl FnOnce(&mut FileState)) {
        let mut state = self.lock();
        if let Some(id) = state.names.get(name).copied()
            && let Some(file) = state.files.get_mut(&id)
        {
            change(file);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_as(&self, name: &str, id: u64, boot: u64) -> SimFile {
        SimFile { state: self.state.clone(), name: name.to_owned(), id, boot }
    }
}

impl State {
    /// Counts a change. The one that was chosen for a crash happens, and then fails.
    fn change(&mut self, file: &str, happen: impl FnOnce(&mut State) -> io::Result<()>) -> io::Result<()> {
        self.alive()?;
        self.operations += 1;
        self.off = self.crash_at == Some(self.operations);
        let done = happen(self).map_err(|error| io::Error::new(error.kind(), format!("{error} ({file})")));
        if self.off { self.alive() } else { done }
    }

    fn alive(&self) -> io::Result<()> {
        if self.off { Err(io::Error::other("the simulated power is off")) } else { Ok(()) }
    }

    fn restart(&mut self) {
        self.boot += 1;
        (self.off, self.write_fails, self.sync_fails, self.crash_at) = (false, false, false, None);
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.len).sum()
    }

    fn choose_names(&mut self, rng: &mut Rng) {
        let all: BTreeSet<String> = self.names.keys().chain(self.durable_names.keys()).cloned().collect();
        for name in all {
            let (new, old) = (self.names.get(&name).copied(), self.durable_names.get(&name).copied());
            if new != old && rng.chance_ppm(500_000) {
                match old {
                    Some(id) => self.names.insert(name, id),
                    None => self.names.remove(&name),
                };
            }
        }
        self.names_are_durable();
    }

    fn names_are_durable(&mut self) {
        self.durable_names = self.names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.files.retain(|id, _| named.contains(id));
    }

    fn grow(&mut self, id: u64, len: u64) -> io::Result<()> {
        if std::mem::take(&mut self.write_fails) {
            return Err(io::Error::other("simulated write error"));
        }
        let used = self.used_bytes();
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let more = len.saturating_sub(file.len);
        if more > 0 && self.capacity_bytes.is_some_and(|capacity| used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.len += more;
        Ok(())
    }
}

impl FileState {
    /// Reads what a process sees; bytes beyond the end read as zeros.
    fn visible(&self, offset: u64, out: &mut [u8]) {
        let mut done = 0;
        while done < out.len() {
            let (sector, within) = place(offset + done as u64);
            let step = (SECTOR - within).min(out.len() - done);
            out[done..done + step].copy_from_slice(&self.sector(sector)[within..within + step]);
            done += step;
        }
    }

    fn sector(&self, number: u64) -> Sector {
        if let Some(newest) = self.pending.get(&number).and_then(|versions| versions.last()) {
            return *newest;
        }
        self.lost.get(&number).copied().unwrap_or_else(|| self.durable_sector(number))
    }

    fn durable_sector(&self, number: u64) -> Sector {
        let mut sector = [0; SECTOR];
        let start = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(SECTOR);
        if let Some(bytes) = self.durable.get(start..) {
            let len = bytes.len().min(SECTOR);
            sector[..len].copy_from_slice(&bytes[..len]);
        }
        sector
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        let mut done = 0;
        while done < bytes.len() {
            let (number, within) = place(offset + done as u64);
            let step = (SECTOR - within).min(bytes.len() - done);
            let mut sector = self.sector(number);
            sector[within..within + step].copy_from_slice(&bytes[done..done + step]);
            self.pending.entry(number).or_default().push(sector);
            self.lost.remove(&number);
            self.unreadable.remove(&number);
            done += step;
        }
    }

    fn sync(&mut self) {
        self.durable.resize(usize::try_from(self.len).unwrap_or(usize::MAX), 0);
        for (number, versions) in std::mem::take(&mut self.pending) {
            if let Some(newest) = versions.last() {
                self.store(number, newest);
            }
        }
    }

    fn fail_sync(&mut self) {
        for (number, versions) in std::mem::take(&mut self.pending) {
            self.lost.extend(versions.last().map(|newest| (number, *newest)));
        }
    }

    fn store(&mut self, number: u64, sector: &Sector) {
        let start = usize::try_from(number).unwrap_or(usize::MAX).saturating_mul(SECTOR);
        if let Some(bytes) = self.durable.get_mut(start..) {
            let len = bytes.len().min(SECTOR);
            bytes[..len].copy_from_slice(&sector[..len]);
        }
    }

    fn crash(&mut self, keep_ppm: u32, rng: &mut Rng) {
        let synced_len = self.durable.len() as u64;
        self.len = match rng.below(3) {
            0 => synced_len,
            1 => self.len,
            _ => rng.between(synced_len, self.len).next_multiple_of(SECTOR as u64).min(self.len),
        };
        self.durable.resize(usize::try_from(self.len).unwrap_or(usize::MAX), 0);
        for (number, versions) in std::mem::take(&mut self.pending) {
            if rng.chance_ppm(keep_ppm)
                && let Some(version) = rng.pick(&versions)
            {
                self.store(number, version);
            }
        }
        self.lost.clear();
    }

    fn damage(&mut self, offset: u64, byte: impl Fn(usize) -> Option<u8>, count: usize) {
        for at in 0..count {
            let (number, within) = place(offset + at as u64);
            let Some(new) = byte(at) else { continue };
            if let Some(old) = self.durable.get_mut(usize::try_from(offset).unwrap_or(usize::MAX) + at) {
                *old = new;
            }
            for version in self.pending.get_mut(&number).into_iter().flatten() {
                version[within] = new;
            }
            if let Some(sector) = self.lost.get_mut(&number) {
                sector[within] = new;
            }
        }
    }
}

fn place(offset: u64) -> (u64, usize) {
    (offset / SECTOR as u64, usize::try_from(offset % SECTOR as u64).unwrap_or(0))
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let state = self.lock();
        state.alive().map_err(|source| DiskError::new("list", "directory", source))?;
        Ok(state.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> Result<SimFile, DiskError> {
        let mut state = self.lock();
        let created = state.change(name, |state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.files_created += 1;
            state.files.insert(state.files_created, FileState::default());
            state.names.insert(name.to_owned(), state.files_created);
            Ok(())
        });
        created.map_err(|source| DiskError::new("create", name, source))?;
        Ok(self.open_as(name, state.files_created, state.boot))
    }

    fn open(&self, name: &str) -> Result<SimFile, DiskError> {
        let state = self.lock();
        state.alive().map_err(|source| DiskError::new("open", name, source))?;
        match state.names.get(name) {
            Some(id) => Ok(self.open_as(name, *id, state.boot)),
            None => Err(DiskError::new("open", name, io::ErrorKind::NotFound.into())),
        }
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let removed = self
            .lock()
            .change(name, |state| state.names.remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into()));
        removed.map_err(|source| DiskError::new("remove", name, source))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        let mut state = self.lock();
        let synced = state.change("directory", |_| Ok(()));
        synced.map_err(|source| DiskError::new("sync", "directory", source))?;
        state.names_are_durable();
        Ok(())
    }
}

impl SimFile {
    fn lock(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = if state.boot == self.boot {
            state.alive()
        } else {
            Err(io::Error::other("the file was closed by a simulated crash"))
        };
        open.map_err(|source| DiskError::new(operation, &self.name, source)).map(|()| state)
    }

    fn change(
        &self,
        operation: &'static str,
        happen: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let done = self.lock(operation)?.change(&self.name, happen);
        done.map_err(|source| DiskError::new(operation, &self.name, source))
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.lock("measure")?.files.get(&self.id).map_or(0, |file| file.len))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let state = self.lock("read")?;
        let failed = |source| Err(DiskError::new("read", &self.name, source));
        let end = offset.saturating_add(buf.len() as u64);
        let Some(file) = state.files.get(&self.id).filter(|file| end <= file.len) else {
            return failed(io::ErrorKind::UnexpectedEof.into());
        };
        if file.unreadable.range(offset / SECTOR as u64..end.div_ceil(SECTOR as u64)).next().is_some() {
            return failed(io::Error::other("simulated read error"));
        }
        file.visible(offset, buf);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.change("write", |state| {
            state.grow(self.id, offset + bytes.len() as u64)?;
            let file = state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            file.write(offset, bytes);
            Ok(())
        })
    }

    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        self.change("allocate", |state| state.grow(self.id, len))
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.change("sync", |state| {
            // A power loss during a sync leaves any part of it done.
            let (off, fails) = (state.off, std::mem::take(&mut state.sync_fails));
            let file = state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            match (off, fails) {
                (true, _) => Ok(()),
                (false, true) => {
                    file.fail_sync();
                    Err(io::Error::other("simulated sync error"))
                }
                (false, false) => {
                    file.sync();
                    Ok(())
                }
            }
        })
    }
}

#[cfg(test)]
#[path = "sim_tests.rs"]
mod tests;

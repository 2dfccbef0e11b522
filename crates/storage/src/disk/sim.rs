//! A simulated disk: bytes in memory, with everything that a real one may lose, tear, damage or refuse.
//!
//! ```text
//!   write ──▶ pending sector versions ──sync──▶ medium ◀── rot, misdirected writes
//!     │              │                            ▲
//!     ▼              └── a crash keeps any subset ┘
//!   effect number ──▶ plan ──▶ fault, or none
//! ```
//!
//! Promises:
//! - S1  What was synced survives every crash. Of what was not, each 512-byte sector independently survives in
//!   any version that was written, or not at all; a sector is never torn inside.
//! - S2  A name that was not synced by `sync_dir` may be there or not; so may a removed one.
//! - S3  A failed sync leaves its data readable and never durable, as kernels do: the pages are marked clean. They
//!   stay so when only the process dies.
//! - S4  Every choice comes from the caller's [`Rng`] or [`Plan`]: same calls, same bytes.
//! - S5  Every request is one numbered [`Effect`], and every fault is counted by its kind.

mod armed;
mod fault;
mod file;
mod medium;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use types::Rng;

use super::{Disk, DiskError};
pub use armed::Armed;
use armed::{Arsenal, Untold};
pub use fault::{Act, DiskFault, Effect, Plan, UnknownFault};
pub use file::SimFile;
use medium::{FileState, SECTOR, Way, flip, place};

/// A simulated disk. Clones are the same disk: one goes to the log, one stays with the simulator.
#[derive(Clone, Debug, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
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
    effects: u64,
    /// Every effect, while somebody wants to know them.
    recorded: Option<Vec<Effect>>,
    /// What goes wrong, for the disk's whole life.
    plan: Plan,
    /// What goes wrong before the next restart: at a number, or at the next of a kind.
    soon_at: BTreeMap<u64, DiskFault>,
    soon: BTreeMap<Act, DiskFault>,
    /// What goes wrong at the next occasion, restarts or not.
    arsenal: Arsenal,
    /// Whether the last write before a power cut gets to the medium, even if the device had lost it.
    keeps_last_write: bool,
    untold: Option<Untold>,
    faults: BTreeMap<DiskFault, u64>,
    damaged: bool,
    off: bool,
    /// The next crash keeps everything that was not torn away.
    torn: bool,
    read_only: bool,
    capacity_bytes: Option<u64>,
}

/// What is going wrong with one effect.
struct Hit {
    fault: Option<DiskFault>,
    rng: Rng,
}

impl SimDisk {
    /// Cuts the power: un-synced sectors, lengths and names survive or not as `rng` says, and every open file
    /// is closed. The disk then works again, without the faults that were set; its plan stays.
    pub fn crash(&self, rng: &mut Rng) {
        let mut state = self.lock();
        state.remember();
        state.choose_names(rng);
        // Mostly a mixture, often all or nothing: each finds different mistakes.
        let drawn_ppm = *rng.pick(&[0, 250_000, 500_000, 750_000, 1_000_000]).unwrap_or(&0);
        let keep_ppm = if state.torn { 1_000_000 } else { drawn_ppm };
        for file in state.files.values_mut() {
            file.crash(keep_ppm, rng);
        }
        state.restart();
    }

    /// Kills the process that uses the disk, while the power stays on: what it wrote stays, un-synced.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.remember();
        state.restart();
    }

    /// Decides what goes wrong from now on.
    pub fn set_plan(&self, plan: Plan) {
        self.lock().plan = plan;
    }

    /// Makes the effect of this number (see [`SimDisk::effects`]) the last one: it happens, un-synced, but its
    /// caller and everyone after gets an error until [`SimDisk::crash`].
    pub fn crash_at(&self, effect: u64) {
        self.lock().soon_at.insert(effect, DiskFault::CrashAfter);
    }

    /// Makes the next effect of a kind go wrong, unless a restart comes before.
    pub fn fail_next(&self, act: Act, fault: DiskFault) {
        self.lock().soon.insert(act, fault);
    }

    /// Makes coming effects go wrong, before or after restarts; an earlier fault that waits for the same kind is void.
    pub fn arm(&self, by: u64, armed: Armed) {
        self.lock().arsenal.arm(by, armed);
    }

    /// Takes back what `by` has armed and nothing has met.
    pub fn disarm(&self, by: u64) {
        self.lock().arsenal.disarm(by);
    }

    /// Takes back all that is armed.
    pub fn disarm_all(&self) {
        self.lock().arsenal.clear();
    }

    /// Whether a write that the device has confirmed and lost gets to the medium after all when the process ends or the
    /// power fails before anything else is synced behind it. What is lost then leaves a hole that can be seen.
    pub fn keep_last_write(&self, keeps: bool) {
        self.lock().keeps_last_write = keeps;
    }

    /// Whether the last write before a power cut may vanish without a trace.
    pub fn may_forget(&self) -> bool {
        let state = self.lock();
        let lies = [DiskFault::Lost, DiskFault::Stale, DiskFault::Misdirected];
        !state.keeps_last_write && state.faults.keys().any(|fault| lies.contains(fault))
    }

    /// How many effects there were so far.
    pub fn effects(&self) -> u64 {
        self.lock().effects
    }

    /// Writes down every effect from now on.
    pub fn record_effects(&self) {
        self.lock().recorded.get_or_insert_default();
    }

    /// The effects that were written down.
    pub fn recorded_effects(&self) -> Vec<Effect> {
        self.lock().recorded.clone().unwrap_or_default()
    }

    /// How often each kind of fault has happened.
    pub fn faults(&self) -> BTreeMap<DiskFault, u64> {
        self.lock().faults.clone()
    }

    /// Whether something that was or will be called durable has been harmed by a fault of the plan.
    pub fn is_damaged(&self) -> bool {
        self.lock().damaged
    }

    /// Whether the power is off, and the disk waits for its crash.
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// Limits the bytes of all files together; `None`: no limit.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// The bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// The names of all files, without asking the disk: no fault, no effect.
    pub fn names(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    /// A file's bytes as a process would read them; `None` if there is no such file.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.lock();
        Some(state.files.get(state.names.get(name)?)?.content())
    }

    /// Damages a file: from now on, and after crashes, `bytes` stand at `offset`. Bytes beyond its end are
    /// ignored.
    pub fn overwrite(&self, name: &str, offset: u64, bytes: &[u8]) {
        self.with_file(name, |file| file.damage(offset, bytes));
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
        self.with_file(name, |file| file.make_unreadable(offset));
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

    /// An effect on the directory, or on a file that need not be open.
    fn perform<T>(
        &self,
        act: Act,
        operation: &'static str,
        name: &str,
        happen: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T, DiskError> {
        let done = self.lock().perform(act, name, (0, 0), |state, hit| match hit.refusal() {
            Some(refusal) => Err(refusal),
            None => happen(state),
        });
        done.map_err(|source| DiskError::new(operation, name, source))
    }
}

impl Hit {
    fn refusal(&self) -> Option<io::Error> {
        self.fault.and_then(DiskFault::refusal)
    }
}

impl State {
    /// One effect: numbers it, decides what goes wrong with it, and lets it happen.
    fn perform<T>(
        &mut self,
        act: Act,
        file: &str,
        (offset, len): (u64, u64),
        happen: impl FnOnce(&mut State, &mut Hit) -> io::Result<T>,
    ) -> io::Result<T> {
        self.alive()?;
        self.effects += 1;
        let number = self.effects;
        if let Some(recorded) = &mut self.recorded {
            recorded.push(Effect { number, act, file: file.to_owned(), offset, len });
        }
        let mut hit = Hit { fault: self.decide(number, act), rng: self.plan.particulars(number) };
        let done = match hit.fault {
            Some(DiskFault::CrashBefore) => Err(power_is_off()),
            _ if self.read_only && act.is_change() => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => happen(self, &mut hit),
        };
        if hit.fault.is_some_and(DiskFault::ends_power) {
            self.off = true;
            self.torn = hit.fault == Some(DiskFault::Torn);
            return Err(power_is_off());
        }
        done.map_err(|error| io::Error::new(error.kind(), format!("{error} ({file})")))
    }

    fn decide(&mut self, number: u64, act: Act) -> Option<DiskFault> {
        let soon = self.soon_at.remove(&number).or_else(|| self.soon.remove(&act));
        let armed = soon.or_else(|| self.arsenal.decide(act));
        let fault = armed.or_else(|| self.plan.decide(number, act))?;
        *self.faults.entry(fault).or_default() += 1;
        self.damaged |= fault.is_damage(act);
        self.read_only |= fault == DiskFault::ReadOnly;
        Some(fault)
    }

    fn alive(&self) -> io::Result<()> {
        if self.off { Err(power_is_off()) } else { Ok(()) }
    }

    fn restart(&mut self) {
        self.boot += 1;
        (self.off, self.torn, self.read_only) = (false, false, false);
        self.soon_at.clear();
        self.soon.clear();
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

    fn grow(&mut self, id: u64, len: u64) -> io::Result<&mut FileState> {
        let used = self.used_bytes();
        let file = self.files.get_mut(&id).ok_or(io::ErrorKind::NotFound)?;
        let more = len.saturating_sub(file.len);
        if more > 0 && self.capacity_bytes.is_some_and(|capacity| used + more > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.len += more;
        Ok(file)
    }

    fn write(&mut self, id: u64, offset: u64, bytes: &[u8], hit: &mut Hit) -> io::Result<()> {
        let (first, _) = place(offset);
        let (last, _) = place((offset + bytes.len() as u64).saturating_sub(1));
        let sectors = last - first + 1;
        let written = match hit.refusal() {
            Some(_) => hit.rng.below(sectors) * SECTOR as u64,
            None => bytes.len() as u64,
        };
        let way = match hit.fault {
            Some(DiskFault::Torn) => Way::Torn(torn(sectors, &mut hit.rng)),
            Some(DiskFault::Lost) => Way::Lost,
            Some(DiskFault::Stale) => Way::Without(hit.rng.below(sectors)),
            Some(DiskFault::Flip) => Way::Flipped(hit.rng.below(sectors), hit.rng.next_u64() as u32),
            Some(DiskFault::Misdirected) => Way::Lost,
            _ => Way::Straight,
        };
        let written = &bytes[..usize::try_from(written).unwrap_or(0).min(bytes.len())];
        match way {
            Way::Lost | Way::Without(_) => self.untold.insert(Untold::default()).miss(id, offset, bytes),
            // It never gets there whole, so that what is missing there still is.
            Way::Torn(_) => {}
            Way::Straight | Way::Flipped(..) => {
                self.untold.iter_mut().for_each(|it| it.written(id, offset, written.len() as u64));
            }
        }
        if hit.fault == Some(DiskFault::Misdirected) {
            self.misdirect(id, bytes, &mut hit.rng);
        }
        self.grow(id, offset + written.len() as u64)?.write(offset, written, way);
        hit.refusal().map_or(Ok(()), Err)
    }

    /// Puts a write somewhere else: mostly elsewhere in its file, sometimes into another one. Zeros look as if nothing had
    /// ever stood there, so what they hide is missing like the write itself.
    fn misdirect(&mut self, id: u64, bytes: &[u8], rng: &mut Rng) {
        let others: Vec<u64> = self.files.keys().copied().filter(|other| *other != id).collect();
        let elsewhere = rng.pick(&others).copied().filter(|_| rng.below(4) == 0).unwrap_or(id);
        let hidden = self.files.get_mut(&elsewhere).and_then(|file| file.stray(bytes, rng));
        if let Some((offset, hidden)) = hidden.filter(|_| bytes.iter().all(|byte| *byte == 0)) {
            self.untold.iter_mut().for_each(|it| it.miss(elsewhere, offset, &hidden));
        }
    }

    /// What the device has confirmed and lost comes to light, if nothing else could tell of it.
    fn remember(&mut self) {
        if let Some(untold) = self.untold.take().filter(|_| self.keeps_last_write) {
            untold.do_it(&mut self.files);
        }
    }

    fn read(&mut self, id: u64, offset: u64, buf: &mut [u8], hit: &mut Hit) -> io::Result<()> {
        let end = offset.saturating_add(buf.len() as u64);
        let file =
            self.files.get_mut(&id).filter(|file| end <= file.len).ok_or(io::ErrorKind::UnexpectedEof)?;
        let at = offset + hit.rng.below(buf.len() as u64);
        if hit.fault == Some(DiskFault::Error) {
            file.make_unreadable(at);
        }
        file.read(offset, buf)?;
        let (sector, _) = place(at);
        let stands_in = match hit.fault {
            Some(DiskFault::Error) => return hit.refusal().map_or(Ok(()), Err),
            Some(DiskFault::Flip) => {
                flip(buf, hit.rng.next_u64() as u32);
                return Ok(());
            }
            Some(DiskFault::Stale) => file.before(sector),
            Some(DiskFault::Misdirected) => {
                let mut other = [0; SECTOR];
                let (number, _) = place(hit.rng.below(file.len));
                file.read(number * SECTOR as u64, &mut other)?;
                other
            }
            _ => return Ok(()),
        };
        let from = (sector * SECTOR as u64).max(offset);
        let to = ((sector + 1) * SECTOR as u64).min(end);
        for at in from..to {
            let (_, within) = place(at);
            buf[usize::try_from(at - offset).unwrap_or(0)] = stands_in[within];
        }
        Ok(())
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the simulated power is off")
}

/// Which sectors of a torn write arrive: some, and not all, if there are several.
fn torn(sectors: u64, rng: &mut Rng) -> u64 {
    let drawn = rng.next_u64();
    let (kept, gone) = (rng.below(sectors.min(64)), rng.below(sectors.min(64)));
    (drawn | 1 << kept) & !(1 << gone)
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> Result<Vec<String>, DiskError> {
        self.perform(Act::List, "list", "directory", |state| Ok(state.names.keys().cloned().collect()))
    }

    fn create(&self, name: &str) -> Result<SimFile, DiskError> {
        let (id, boot) = self.perform(Act::Create, "create", name, |state| {
            if state.names.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            state.files_created += 1;
            state.files.insert(state.files_created, FileState::default());
            state.names.insert(name.to_owned(), state.files_created);
            Ok((state.files_created, state.boot))
        })?;
        Ok(self.open_as(name, id, boot))
    }

    fn open(&self, name: &str) -> Result<SimFile, DiskError> {
        let (id, boot) = self.perform(Act::Open, "open", name, |state| {
            let id = state.names.get(name).ok_or(io::ErrorKind::NotFound)?;
            Ok((*id, state.boot))
        })?;
        Ok(self.open_as(name, id, boot))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.perform(Act::Remove, "remove", name, |state| {
            state.names.remove(name).map(|_| ()).ok_or(io::ErrorKind::NotFound.into())
        })
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.perform(Act::SyncDir, "sync", "directory", |state| {
            state.names_are_durable();
            Ok(())
        })
    }
}

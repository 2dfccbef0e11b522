//! Faults that wait for their occasion, through restarts, and the one loss that can be held back.

use std::collections::BTreeMap;

use super::fault::{Act, DiskFault};
use super::medium::{FileState, SECTOR};

/// A fault that hits some of the coming effects of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Armed {
    /// Which effects.
    pub act: Act,
    /// What goes wrong with them.
    pub fault: DiskFault,
    /// So many of them go well before.
    pub skip: u32,
    /// Then so many go wrong.
    pub times: u32,
}

/// What is armed, by whoever armed it. The latest for an act stands alone, so that a disk does not lie twice in the same
/// way by chance.
#[derive(Debug, Default)]
pub(super) struct Arsenal {
    armed: BTreeMap<Act, (u64, Armed)>,
}

impl Arsenal {
    pub fn arm(&mut self, by: u64, armed: Armed) {
        self.armed.insert(armed.act, (by, armed));
    }

    pub fn disarm(&mut self, by: u64) {
        self.armed.retain(|_, (other, _)| *other != by);
    }

    pub fn clear(&mut self) {
        self.armed.clear();
    }

    /// What goes wrong with the next effect of this kind.
    pub fn decide(&mut self, act: Act) -> Option<DiskFault> {
        let (_, armed) = self.armed.get_mut(&act)?;
        if armed.skip > 0 {
            armed.skip -= 1;
            return None;
        }
        let fault = armed.fault;
        armed.times = armed.times.saturating_sub(1);
        if armed.times == 0 {
            self.armed.remove(&act);
        }
        Some(fault)
    }
}

/// The last write that a device confirmed and did not do. Once more has been synced behind it, its absence shows; before
/// that, nothing on the disk can tell that it was ever there.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// What is still missing, by the file and the place where it belongs: what was written there and synced since is not.
    missing: BTreeMap<(u64, u64), Vec<u8>>,
    /// Where something was written since, and not synced yet: file, from, to.
    covered: Vec<(u64, u64, u64)>,
    /// Something was written behind it and not synced yet.
    followed: bool,
    syncs: u32,
}

/// The first may be that of the same batch, written in pieces; the second that of a new file's header, whose name is not
/// durable yet.
const SYNCS_UNTIL_TOLD: u32 = 3;

impl Untold {
    /// These bytes belong there, and are not.
    pub fn miss(&mut self, file: u64, offset: u64, bytes: &[u8]) {
        for (at, sector) in (offset..).step_by(SECTOR).zip(bytes.chunks(SECTOR)) {
            self.missing.entry((file, at)).or_insert_with(|| sector.to_vec());
        }
    }

    /// Something else was written, and arrives when it is synced.
    pub fn written(&mut self, file: u64, offset: u64, len: u64) {
        self.followed = true;
        self.covered.push((file, offset, offset + len));
    }

    /// What was written since will never arrive.
    pub fn failed(&mut self) {
        self.covered.clear();
    }

    /// Returns whether it shows from now on that something is missing.
    pub fn synced(&mut self) -> bool {
        for (file, from, to) in self.covered.drain(..) {
            let apart = |at: u64, bytes: &[u8]| at + bytes.len() as u64 <= from || to <= at;
            self.missing.retain(|(other, at), bytes| *other != file || apart(*at, bytes));
        }
        self.syncs += u32::from(std::mem::take(&mut self.followed));
        self.syncs >= SYNCS_UNTIL_TOLD
    }

    /// The device does it after all.
    pub fn do_it(self, files: &mut BTreeMap<u64, FileState>) {
        for ((file, at), bytes) in self.missing {
            files.get_mut(&file).into_iter().for_each(|file| file.put_down(at, &bytes));
        }
    }
}

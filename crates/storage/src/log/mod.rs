//! The durable log: the records of consecutive slots, and one meta record.
//!
//! ```text
//!   append* ──▶ pending ──sync──▶ one batch in the newest segment ──▶ read by slot
//!                                 │ head │ records │ tail │
//!   open ──▶ batches in order ──▶ Ok, Missing or Damaged, per slot
//! ```
//!
//! Promises:
//! - L1  What was appended is durable when `sync` returns; after an error the log refuses everything.
//! - L2  What was appended between two syncs is there as a whole after a crash, or not at all.
//! - L3  A record comes back as it was written, or its slot is `Damaged`; never another record, never a shorter
//!   log. One damaged sector costs only the records in it.
//! - L4  What a crash tore was never acknowledged: it is gone, and nothing is reported as damaged.
//! - L5  Damage stays reported until its owner has repaired it; recovery only erases what was torn.
//! - L6  A scrub finds what has become damaged since the log was opened, before a second fault makes it worse.
//! - L7  No bytes on the disk make `open` panic, loop, or take more memory than the files are long.
//!
//! The format is specified in `docs/storage-format.md`.

mod api;
mod batch;
mod description;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod planted;
mod read;
mod recover;
mod scrub;
mod sector;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use types::Slot;

pub use api::{Identity, LogOp, LogOptions, OpenLogError, ReadLogError, Recovery, WriteLogError};
#[cfg(feature = "planted")]
pub use planted::Planted;
pub use scrub::{ScrubCursor, ScrubDamage, Scrubbed};

use crate::Disk;
use segment::{HEADER_SECTORS, Segment};
use state::{Chain, Location, State};
use write::Pending;

/// A log on a disk. It keeps no records in memory beyond those that are not synced yet.
pub struct Log<D: Disk> {
    disk: D,
    identity: Identity,
    options: LogOptions,
    /// By number, without gaps; the last one is written.
    segments: BTreeMap<u64, Segment<D::File>>,
    /// The number of the segment that is written.
    current: u64,
    /// Where the next batch goes in it.
    next_sector: u64,
    chain: Chain,
    state: State<Entry>,
    pending: Pending,
    /// Sectors that were damaged when the log was opened, and told then; by segment and number.
    faulty: BTreeSet<(u64, u64)>,
    /// Set while the disk is being written, and for ever if that fails (L1).
    failed: bool,
    /// What a planted bug writes instead of the meta record.
    #[cfg(feature = "planted")]
    previous_meta: types::SlotState<Bytes>,
}

/// The record of a slot.
#[derive(Clone, Debug)]
enum Entry {
    Stored(Location),
    /// Appended as operation `index` of the next batch, and not synced yet.
    Pending {
        index: usize,
        record: Bytes,
    },
}

impl Entry {
    fn len(&self) -> u64 {
        match self {
            Entry::Stored(place) => u64::from(place.len),
            Entry::Pending { record, .. } => record.len() as u64,
        }
    }
}

impl<D: Disk> Log<D> {
    fn empty(disk: D, identity: Identity, options: LogOptions) -> Log<D> {
        Log {
            disk,
            identity,
            options,
            segments: BTreeMap::new(),
            current: 1,
            next_sector: HEADER_SECTORS,
            chain: Chain::START,
            state: State::default(),
            pending: Pending::default(),
            faulty: BTreeSet::new(),
            failed: false,
            #[cfg(feature = "planted")]
            previous_meta: types::SlotState::Missing,
        }
    }

    /// The first slot that the log holds or will hold: one above what has been compacted or reset.
    pub fn first(&self) -> Slot {
        self.state.first
    }

    /// The last slot that the log holds; one below [`first`](Log::first) if it is empty.
    pub fn last(&self) -> Slot {
        self.state.last
    }

    /// Bytes of all segment files.
    pub fn size_bytes(&self) -> u64 {
        self.segments.values().map(|segment| segment.bytes).sum()
    }
}

impl<D: Disk> fmt::Debug for Log<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("first", &self.state.first)
            .field("last", &self.state.last)
            .field("segments", &self.segments.keys())
            .field("next_batch", &self.chain.next)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

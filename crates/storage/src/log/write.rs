//! Appending batches and making them durable.

use bytes::Bytes;
use types::{Buggify, Slot, SlotState, Wire, buggify};

use super::api::{LogOp, WriteLogError};
use super::description::{BatchOp, Description};
#[cfg(feature = "planted")]
use super::planted::Planted;
use super::planted::plants;
use super::sector::SECTOR_LEN;
use super::segment::{self, GROWTH_BYTES, HEADER_SECTORS};
use super::state::{Location, after};
use super::{Entry, Log, batch};
use crate::{Disk, DiskError, DiskFile};

/// Bytes of records that are written as one batch at most.
pub(super) const BATCH_BYTES_MAX: u64 = 1 << 30;

/// What was appended since the last sync: the next batch on disk.
#[derive(Debug, Default)]
pub(super) struct Pending {
    ops: Vec<BatchOp>,
    records: Vec<u8>,
    /// Whether anything was appended: also a batch that only sets the meta record.
    any: bool,
    /// What the log was before.
    before: Option<Before>,
}

#[derive(Debug)]
struct Before {
    first: Slot,
    last: Slot,
    tail_damaged: bool,
}

impl<D: Disk> Log<D> {
    /// Appends changes that take effect together or not at all. They are visible at once, and durable when the
    /// next [`sync`](Log::sync) returns.
    ///
    /// # Errors
    /// [`WriteLogError::OutOfOrder`] and [`WriteLogError::TooLarge`] refuse a batch and leave the log as it was.
    pub fn append(&mut self, ops: &[LogOp]) -> Result<(), WriteLogError> {
        if self.failed {
            return Err(WriteLogError::Failed);
        }
        self.check(ops)?;
        let state = &self.state;
        self.pending.before.get_or_insert(Before {
            first: state.first,
            last: state.last,
            tail_damaged: state.tail_damaged,
        });
        self.pending.any |= !ops.is_empty();
        ops.iter().for_each(|op| self.take(op));
        Ok(())
    }

    /// Makes everything appended durable, with one write and one sync of a file.
    ///
    /// # Errors
    /// [`WriteLogError::Disk`]. What is on the disk is then unknown for ever: the log refuses everything
    /// afterwards, and must be opened again. A sync that failed may not be tried again, because the system may
    /// have dropped the data ("Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    pub fn sync(&mut self) -> Result<(), WriteLogError> {
        if self.failed {
            return Err(WriteLogError::Failed);
        }
        if !self.pending.any {
            return Ok(());
        }
        self.failed = !plants!(self.options, FailureIsForgotten);
        self.write_batch()?;
        self.failed = false;
        Ok(())
    }

    fn check(&self, ops: &[LogOp]) -> Result<(), WriteLogError> {
        let (mut first, mut last) = (self.state.first, self.state.last);
        let mut bytes = self.pending.records.len() as u64;
        for op in ops {
            match op {
                LogOp::SetMeta(meta) => bytes += meta.len() as u64,
                LogOp::Put(slot, record) if first <= *slot && *slot <= after(last) => {
                    last = last.max(*slot);
                    bytes += record.len() as u64;
                }
                LogOp::Put(slot, _) => return Err(WriteLogError::OutOfOrder { slot: *slot, first, last }),
                LogOp::TruncateFrom(slot) => last = last.min(slot.prev().max(first.prev())),
                LogOp::CompactTo(slot) => {
                    first = first.max(after(*slot));
                    last = last.max(first.prev());
                }
                LogOp::ResetTo { at } => (first, last) = (after(*at), *at),
            }
        }
        if bytes > BATCH_BYTES_MAX {
            return Err(WriteLogError::TooLarge { bytes, bytes_max: BATCH_BYTES_MAX });
        }
        Ok(())
    }

    fn take(&mut self, op: &LogOp) {
        let op = match op {
            LogOp::SetMeta(meta) => {
                self.state.meta = SlotState::Ok(meta.clone());
                return;
            }
            LogOp::Put(slot, record) => {
                let index = self.pending.ops.len();
                self.state.put(*slot, Entry::Pending { index, record: record.clone() });
                self.pending.records.extend_from_slice(record);
                put(*slot, record)
            }
            LogOp::TruncateFrom(slot) => {
                self.state.truncate_from(*slot);
                BatchOp::TruncateFrom(*slot)
            }
            LogOp::CompactTo(slot) => {
                self.state.compact_to(*slot);
                BatchOp::CompactTo(*slot)
            }
            LogOp::ResetTo { at } => {
                self.state.reset_to(*at);
                BatchOp::ResetTo(*at)
            }
        };
        self.pending.ops.push(op);
    }

    fn write_batch(&mut self) -> Result<(), WriteLogError> {
        let pending = std::mem::take(&mut self.pending);
        let description = self.describe(&pending);
        let total = batch::layout(&description.to_bytes(), &description).total();
        self.make_room(total)?;
        let (stamp, data, bytes) =
            batch::encode(self.current, self.next_sector, self.chain.next, &description, &pending.records);
        let removes = pending.ops.iter().any(|op| matches!(op, BatchOp::CompactTo(_) | BatchOp::ResetTo(_)));
        if removes && plants!(self.options, RemovalBeforeSync) {
            self.remove_unused_segments()?;
        }
        let offset = self.next_sector * SECTOR_LEN as u64;
        self.write_current(offset, &bytes)?;
        self.next_sector += total;
        self.chain.push(description.low(), stamp);
        self.settle(&pending.ops, data);
        let tidies = buggify!(self.options.buggify, "storage.remove.unasked");
        if tidies || (removes && !buggify!(self.options.buggify, "storage.remove.later")) {
            self.remove_unused_segments()?;
        }
        Ok(())
    }

    fn describe(&mut self, pending: &Pending) -> Description {
        let (first, last, tail_damaged) = match &pending.before {
            Some(before) => (before.first, before.last, before.tail_damaged),
            None => (self.state.first, self.state.last, self.state.tail_damaged),
        };
        Description {
            data_len: u32::try_from(pending.records.len()).expect("a batch is limited in bytes"),
            prev_stamp: self.chain.stamp,
            tail_damaged,
            first,
            last,
            lows: self.chain.lows,
            meta: self.meta_to_write(),
            ops: pending.ops.clone(),
        }
    }

    #[cfg(not(feature = "planted"))]
    fn meta_to_write(&self) -> SlotState<Bytes> {
        self.state.meta.clone()
    }

    #[cfg(feature = "planted")]
    fn meta_to_write(&mut self) -> SlotState<Bytes> {
        let previous = std::mem::replace(&mut self.previous_meta, self.state.meta.clone());
        match self.options.planted {
            Some(Planted::MetaAfterRecords) => previous,
            Some(Planted::MetaIsNotRepeated) if previous == self.state.meta => SlotState::Missing,
            _ => self.state.meta.clone(),
        }
    }

    /// Starts a new segment if the batch does not fit, and grows the file if need be.
    fn make_room(&mut self, sectors: u64) -> Result<(), WriteLogError> {
        let fits = (self.next_sector + sectors) * SECTOR_LEN as u64 <= self.options.segment_bytes
            && !buggify!(self.options.buggify, "storage.roll.early");
        if !fits && self.next_sector > HEADER_SECTORS {
            let number = self.current + 1;
            let bytes = self.growth_bytes();
            let created =
                segment::create(&self.disk, self.identity, number, self.chain.next, bytes, &self.options)?;
            if let Some(full) = self.segments.get_mut(&self.current) {
                full.end_sector = self.next_sector;
            }
            self.segments.insert(number, created);
            (self.current, self.next_sector) = (number, HEADER_SECTORS);
        }
        let end = (self.next_sector + sectors) * SECTOR_LEN as u64;
        let grown = match buggify!(self.options.buggify, "storage.grow.no_further") {
            true => end,
            false => end.next_multiple_of(self.growth_bytes()),
        };
        match self.segments.get_mut(&self.current) {
            Some(segment) if segment.bytes < end => {
                segment.file.allocate(grown)?;
                if buggify!(self.options.buggify, "storage.grow.synced") {
                    segment.file.sync()?;
                }
                segment.bytes = grown;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(super) fn growth_bytes(&self) -> u64 {
        if buggify!(self.options.buggify, "storage.grow.by_a_sector") {
            return SECTOR_LEN as u64;
        }
        let segment = self.options.segment_bytes.next_multiple_of(SECTOR_LEN as u64);
        GROWTH_BYTES.min(segment).max(SECTOR_LEN as u64)
    }

    fn write_current(&mut self, offset: u64, bytes: &[u8]) -> Result<(), WriteLogError> {
        let segment = self.segments.get_mut(&self.current).ok_or(WriteLogError::Failed)?;
        put_down(&mut segment.file, offset, bytes, &self.options.buggify)?;
        if buggify!(self.options.buggify, "storage.write.twice") {
            segment.file.write_at(offset, bytes)?;
        }
        #[cfg(feature = "planted")]
        match self.options.planted {
            Some(Planted::SyncDoesNothing) => return Ok(()),
            Some(Planted::FailedSyncIsRetried) => {
                return Ok(segment.file.sync().or_else(|_| segment.file.sync())?);
            }
            _ => {}
        }
        segment.file.sync()?;
        if buggify!(self.options.buggify, "storage.sync.twice") {
            segment.file.sync()?;
        }
        Ok(())
    }

    /// The records of the batch are on disk now: remember where, and let go of their bytes.
    fn settle(&mut self, ops: &[BatchOp], data: u64) {
        let mut offset = 0;
        for (at, op) in ops.iter().enumerate() {
            let BatchOp::Put { slot, len, crc } = *op else { continue };
            let place = Location { segment: self.current, data, offset, len, crc };
            offset += len;
            // A later operation of the same batch may have replaced or removed this record.
            if let Some(entry) = self.state.records.get_mut(&slot)
                && matches!(entry, Entry::Pending { index, .. } if *index == at)
            {
                *entry = Entry::Stored(place);
            }
        }
    }

    /// Removes the oldest segments that hold no record any more. One at a time and durably, so that a crash can
    /// bring back the last one removed, but never leaves a gap.
    fn remove_unused_segments(&mut self) -> Result<(), WriteLogError> {
        let used = self.state.records.values().filter_map(|entry| match entry {
            Entry::Stored(place) => Some(place.segment),
            Entry::Pending { .. } => None,
        });
        let keep_from = used.min().unwrap_or(self.current);
        if plants!(self.options, RemovalLeavesGap) {
            for number in self.segments.range(..keep_from).map(|(number, _)| *number).rev() {
                self.disk.remove(&segment::name(number))?;
                self.disk.sync_dir()?;
            }
            self.segments = self.segments.split_off(&keep_from);
        }
        while let Some(oldest) = self.segments.first_entry()
            && *oldest.key() < keep_from
        {
            let (number, _) = oldest.remove_entry();
            self.faulty = self.faulty.split_off(&(number + 1, 0));
            self.disk.remove(&segment::name(number))?;
            self.disk.sync_dir()?;
            if buggify!(self.options.buggify, "storage.remove.one") {
                break;
            }
        }
        Ok(())
    }
}

/// Writes a batch. Until the sync, in which pieces and in which order is the disk's own affair.
fn put_down<F: DiskFile>(
    file: &mut F,
    offset: u64,
    bytes: &[u8],
    buggify: &Buggify,
) -> Result<(), DiskError> {
    if !buggify!(buggify, "storage.write.by_sector") {
        return file.write_at(offset, bytes);
    }
    let mut sectors: Vec<_> = (offset..).step_by(SECTOR_LEN).zip(bytes.chunks(SECTOR_LEN)).collect();
    if buggify!(buggify, "storage.write.last_sector_first") {
        sectors.reverse();
    }
    sectors.into_iter().try_for_each(|(offset, bytes)| file.write_at(offset, bytes))
}

fn put(slot: Slot, record: &Bytes) -> BatchOp {
    let len = u32::try_from(record.len()).expect("a batch is limited in bytes");
    BatchOp::Put { slot, len, crc: crc32c::crc32c(record) }
}

//! Reading records back by slot, without scanning: one read of the sectors that hold the record.

use bytes::Bytes;
use types::{Slot, buggify};

use super::api::ReadLogError;
use super::batch::{cut_record, record_sectors};
use super::sector::{self, SECTOR_LEN, Sector};
use super::state::Location;
use super::{Entry, Log};
use crate::{Disk, DiskFile};

impl<D: Disk> Log<D> {
    /// Reads the records of consecutive slots from `first` up to `last`, and stops before the one that would
    /// exceed `bytes_max`, but returns at least one. Appended records are readable before they are synced.
    ///
    /// # Errors
    /// [`ReadLogError`] if `first` cannot be read; if a later one cannot, those before it are returned.
    pub fn read(&self, first: Slot, last: Slot, bytes_max: u64) -> Result<Vec<Bytes>, ReadLogError> {
        let (mut records, mut bytes) = (vec![self.record(first)?], 0);
        bytes += records[0].len() as u64;
        let mut slot = first;
        while slot < last && !buggify!(self.options.buggify, "storage.read.one") {
            slot = slot.next();
            let fits = self.state.records.get(&slot).is_some_and(|entry| bytes + entry.len() <= bytes_max);
            if !fits {
                break;
            }
            let Ok(record) = self.record(slot) else { break };
            bytes += record.len() as u64;
            records.push(record);
        }
        Ok(records)
    }

    fn record(&self, slot: Slot) -> Result<Bytes, ReadLogError> {
        match self.state.records.get(&slot) {
            Some(Entry::Pending { record, .. }) => Ok(record.clone()),
            Some(Entry::Stored(place)) => self.stored(slot, place),
            None if slot < self.state.first || slot > self.state.last => Err(ReadLogError::Missing { slot }),
            None => Err(ReadLogError::Damaged { slot, source: None }),
        }
    }

    fn stored(&self, slot: Slot, place: &Location) -> Result<Bytes, ReadLogError> {
        let damaged = |source| ReadLogError::Damaged { slot, source };
        let segment = self.segments.get(&place.segment).ok_or_else(|| damaged(None))?;
        let sectors = record_sectors(place);
        let start = place.data + u64::from(sectors.start);
        let mut bytes = vec![0; sectors.len() * SECTOR_LEN];
        let offset = start * SECTOR_LEN as u64;
        let read = match buggify!(self.options.buggify, "storage.read.past_the_cache") {
            true => segment.file.read_medium_at(offset, &mut bytes),
            false => segment.file.read_at(offset, &mut bytes),
        };
        read.map_err(|error| damaged(Some(error)))?;
        let mut contents = Vec::with_capacity(bytes.len());
        for (at, sector) in (start..).zip(bytes.chunks(SECTOR_LEN)) {
            match sector::open(place.segment, at, sector) {
                Sector::Valid(_, content) => contents.extend_from_slice(content),
                Sector::Zero | Sector::Bad => return Err(damaged(None)),
            }
        }
        cut_record(place, &contents).ok_or_else(|| damaged(None))
    }
}

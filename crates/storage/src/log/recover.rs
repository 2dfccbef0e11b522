//! Opening a log: what is torn, what is damaged, and what they leave.
//!
//! A batch is written only after the one before it was synced. So what cannot be read is
//! - **damaged** if an intact sector of a later batch, or a later segment, proves that it was synced;
//! - **torn** at the end of the log, if all that is missing was never written (zeros): it was not acknowledged;
//! - **damaged** at the end of the log, if something stands there that no crash leaves.

use std::collections::BTreeSet;

use bytes::Bytes;
use types::{Buggify, Slot, SlotState, buggify};

use super::api::{Identity, LogOptions, OpenLogError, Recovery};
use super::batch::{Found, Record, Residue, record_sectors};
use super::description::{BatchOp, LOWS};
use super::planted::plants;
use super::sector::{SECTOR_LEN, Sector};
use super::segment::{self, HEADER_SECTORS, Image, Segment};
use super::state::{Chain, Location, State};
use super::{Entry, Log, scrub};
use crate::{Disk, DiskError, DiskFile};

/// What a sector is filled with whose content is lost.
const LOST: u8 = 0xff;

/// More damaged slots than this are not told one by one.
const DAMAGED_SLOTS_MAX: u64 = 1 << 20;

/// Segments by number, oldest first.
type Segments<D> = Vec<(u64, Segment<<D as Disk>::File>)>;

/// Reads segments in order.
#[derive(Debug)]
struct Scan {
    chain: Chain,
    /// Batches that were synced and cannot be read, since the last one that could.
    lost: u64,
    /// Whether a batch has been read: before that the log's bounds are not known.
    started: bool,
    state: State<(Location, Bytes)>,
    report: Vec<String>,
    options: LogOptions,
}

/// What to do with one segment after reading it.
#[derive(Debug, Default)]
struct Repairs {
    /// Sectors whose intact copy was found, or that are lost, and what to write there.
    rewrite: Vec<(u64, Vec<u8>)>,
    /// Sectors that a torn write left.
    erase: std::ops::Range<u64>,
    /// The sectors of the last batch.
    last: std::ops::Range<u64>,
    /// Where the next batch goes.
    next_sector: u64,
}

impl Repairs {
    fn change(&self) -> bool {
        !self.rewrite.is_empty() || !self.erase.is_empty()
    }
}

impl<D: Disk> Log<D> {
    /// Opens the log in `disk`, or creates it there.
    ///
    /// A torn end is erased, sectors with an intact copy are repaired, and everything that is returned is synced,
    /// so that opening twice, or crashing in between, finds the same. Damaged slots are found damaged again until
    /// they are written, truncated, compacted or reset; a damaged meta record until it is set; and `tail_damaged`
    /// until a `TruncateFrom` or `ResetTo`: who cuts the log says, in the meta record of the same batch, what it
    /// still has to repair.
    ///
    /// # Errors
    /// [`OpenLogError`].
    pub fn open(
        disk: D,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Log<D>, Recovery), OpenLogError> {
        let mut scan = Scan::new(&options);
        let mut segments = load(&disk, &mut scan.report, &options.buggify)?;
        let created = segments.is_empty();
        let mut log = Log::empty(disk, identity, options);
        if created {
            let bytes = log.growth_bytes();
            segments.push((1, segment::create(&log.disk, identity, 1, 1, bytes, &log.options)?));
        }
        let newest = segments.last().map_or(1, |(number, _)| *number);
        for (number, mut segment) in segments {
            let mut image = Image::load(number, &segment.file, &log.options.buggify)?;
            let mut repairs = scan.segment(&image, identity, number == newest)?;
            if !repairs.erase.is_empty() || buggify!(log.options.buggify, "storage.open.looks_again") {
                look_again(&image, &segment.file, &log.options.buggify)?;
            }
            if number == newest && !plants!(log.options, CacheIsTrusted) {
                rewrite_end(&image, &repairs, &mut segment)?;
                if !plants!(log.options, TornIsNotErased) {
                    repairs.erase = repairs.next_sector..image.sectors();
                }
            }
            apply(&repairs, &mut image, &mut segment, &log.options.buggify)?;
            // A killed process leaves intact batches that were never synced, and what is told must be durable.
            let must_sync = number == newest || repairs.change();
            if (must_sync && !plants!(log.options, RecoveryIsNotSynced))
                || buggify!(log.options.buggify, "storage.open.syncs_all")
            {
                segment.file.sync()?;
            }
            (log.current, log.next_sector) = (number, repairs.next_sector);
            segment.end_sector = repairs.next_sector;
            log.faulty.extend(scrub::faults(&image, repairs.next_sector).map(|at| (number, at)));
            log.segments.insert(number, segment);
        }
        log.disk.sync_dir()?;
        let (state, recovery) = scan.finish(created)?;
        (log.state, log.chain) = state;
        Ok((log, recovery))
    }
}

/// Opens all segments, oldest first, without the last one if a crash interrupted its creation.
fn load<D: Disk>(disk: &D, report: &mut Vec<String>, buggify: &Buggify) -> Result<Segments<D>, OpenLogError> {
    let mut numbers: Vec<u64> = disk.list()?.iter().filter_map(|name| segment::number(name)).collect();
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0].checked_add(1) != Some(pair[1])) {
        let fact =
            format!("segments between {} and {} are missing", segment::name(pair[0]), segment::name(pair[1]));
        return Err(OpenLogError::Lost { fact });
    }
    if let Some(&newest) = numbers.last()
        && is_blank(&disk.open(&segment::name(newest))?, newest, buggify)?
    {
        if numbers.len() == 1 && newest > 1 {
            return Err(OpenLogError::Lost { fact: segment::unreadable_header(newest) });
        }
        disk.remove(&segment::name(newest))?;
        disk.sync_dir()?;
        report.push(format!("{}: its creation was interrupted by a crash; removed", segment::name(newest)));
        numbers.pop();
    }
    let open = |number: u64| {
        let file = disk.open(&segment::name(number))?;
        let bytes = file.size()?;
        Ok((number, Segment { file, bytes, end_sector: HEADER_SECTORS }))
    };
    numbers.into_iter().map(open).collect()
}

/// Whether nothing in a segment was ever synced. Looks at the header first: it is nearly always there.
fn is_blank<F: DiskFile>(file: &F, number: u64, buggify: &Buggify) -> Result<bool, OpenLogError> {
    let mut header = [0; SECTOR_LEN];
    if file.read_at(0, &mut header).is_ok() && header != [0; SECTOR_LEN] {
        return Ok(false);
    }
    Ok(Image::load(number, file, buggify)?.bytes.iter().all(|byte| *byte == 0))
}

/// Reads a segment once more before something in it is called torn and erased: a disk that returns a stale sector now
/// and then must not cost the last batch.
fn look_again<F: DiskFile>(image: &Image, file: &F, buggify: &Buggify) -> Result<(), OpenLogError> {
    if Image::load(image.number, file, buggify)?.bytes == image.bytes {
        return Ok(());
    }
    let source = std::io::Error::other("two reads gave different bytes");
    Err(DiskError::new("read", segment::name(image.number), source).into())
}

/// Writes the end of the newest segment again, as it was read: its header, its last batch, and zeros to the end of the
/// file. The process before this one may have ended because a sync failed. The system then shows what was written
/// from its cache, calls it clean, and would confirm the next sync without ever writing it ("Can Applications Recover
/// from fsync Failures?", USENIX ATC 2020).
fn rewrite_end<F: DiskFile>(
    image: &Image,
    repairs: &Repairs,
    segment: &mut Segment<F>,
) -> Result<(), OpenLogError> {
    for part in [0..HEADER_SECTORS, repairs.last.clone()] {
        let mut from = part.start;
        while from < part.end {
            let is_intact = |at: &u64| matches!(image.sector(*at), Sector::Valid(..));
            let to = (from..part.end).find(|at| !is_intact(at)).unwrap_or(part.end);
            if let Some(bytes) = image.bytes.get(byte_of(from)..byte_of(to)).filter(|bytes| !bytes.is_empty())
            {
                segment.file.write_at(from * SECTOR_LEN as u64, bytes)?;
            }
            from = to + 1;
        }
    }
    Ok(())
}

/// Carries out repairs, in the image as well.
fn apply<F: DiskFile>(
    repairs: &Repairs,
    image: &mut Image,
    segment: &mut Segment<F>,
    buggify: &Buggify,
) -> Result<(), OpenLogError> {
    for (at, bytes) in &repairs.rewrite {
        segment.file.write_at(at * SECTOR_LEN as u64, bytes)?;
        if let Some(sector) = image.bytes.get_mut(byte_of(*at)..byte_of(*at) + bytes.len()) {
            sector.copy_from_slice(bytes);
        }
    }
    let is_both = !repairs.rewrite.is_empty() && !repairs.erase.is_empty();
    if is_both || buggify!(buggify, "storage.open.syncs_before_erasing") {
        // What is erased may be all that proves that the batch before it was synced.
        segment.file.sync()?;
    }
    erase(&repairs.erase, segment, buggify)
}

/// Writes zeros, up to the end of the file.
fn erase<F: DiskFile>(
    sectors: &std::ops::Range<u64>,
    segment: &mut Segment<F>,
    buggify: &Buggify,
) -> Result<(), OpenLogError> {
    let start = sectors.start * SECTOR_LEN as u64;
    let end = (sectors.end * SECTOR_LEN as u64).min(segment.bytes);
    let mut from = start;
    while from < end {
        let to =
            if buggify!(buggify, "storage.open.erases_by_sector") { from + SECTOR_LEN as u64 } else { end };
        let to = to.min(end);
        segment.file.write_at(from, &vec![0; usize::try_from(to - from).unwrap_or(0)])?;
        from = to;
    }
    Ok(())
}

fn byte_of(sector: u64) -> usize {
    usize::try_from(sector).unwrap_or(usize::MAX).saturating_mul(SECTOR_LEN)
}

impl Scan {
    fn new(options: &LogOptions) -> Scan {
        Scan {
            chain: Chain::START,
            lost: 0,
            started: false,
            state: State::default(),
            report: Vec::new(),
            options: options.clone(),
        }
    }

    fn segment(&mut self, image: &Image, identity: Identity, newest: bool) -> Result<Repairs, OpenLogError> {
        let mut repairs = Repairs { next_sector: HEADER_SECTORS, ..Repairs::default() };
        let first_batch = self.header(image, identity, &mut repairs)?;
        self.skip_to(first_batch, image)?;
        loop {
            if let Some(found) = image.batch(repairs.next_sector, self.chain.next) {
                if !self.batch(image, &found, newest, &mut repairs) {
                    let end = image.residue(found.start, found.number).end;
                    self.erase(image, found.start..end, &mut repairs);
                    return Ok(repairs);
                }
                repairs.next_sector = found.end();
            } else if let Some((at, number)) = self.later(image, repairs.next_sector, newest) {
                self.skip_to(number, image)?;
                repairs.next_sector = at;
            } else {
                break;
            }
        }
        if newest {
            self.end(image, &mut repairs);
        }
        Ok(repairs)
    }

    /// Checks a segment's header and returns the number of its first batch.
    fn header(
        &mut self,
        image: &Image,
        identity: Identity,
        repairs: &mut Repairs,
    ) -> Result<u64, OpenLogError> {
        let copies = (0..HEADER_SECTORS).map(|at| image.sector(at));
        let intact: Vec<_> = copies
            .map(|sector| match sector {
                Sector::Valid(label, content) => Some((label.batch, content)),
                Sector::Zero | Sector::Bad => None,
            })
            .collect();
        let Some(&(first_batch, content)) = intact.iter().flatten().next() else {
            return Err(OpenLogError::Lost { fact: segment::unreadable_header(image.number) });
        };
        segment::check_header(content, image.number, identity)?;
        for (copy, _) in (0u32..).zip(&intact).filter(|(_, sector)| sector.is_none()) {
            self.tell(image, u64::from(copy), "a copy of the header was unreadable; repaired from the other");
            let sector = segment::header_sector(identity, image.number, first_batch, copy);
            repairs.rewrite.push((u64::from(copy), sector));
        }
        Ok(first_batch)
    }

    /// Goes on at batch `number`; the ones before it were synced and are lost.
    fn skip_to(&mut self, number: u64, image: &Image) -> Result<(), OpenLogError> {
        if !self.started && self.lost == 0 && image.number > 1 && self.chain == Chain::START {
            // Older segments were removed: the oldest that is left says where it starts.
            self.chain.next = number;
        }
        let Some(lost) = number.checked_sub(self.chain.next) else {
            let expected = self.chain.next;
            let fact = format!("{} starts at batch {number}, not at {expected}", segment::name(image.number));
            return Err(OpenLogError::Lost { fact });
        };
        self.lost = self.lost.saturating_add(lost);
        self.chain.next = number;
        Ok(())
    }

    fn later(&self, image: &Image, at: u64, newest: bool) -> Option<(u64, u64)> {
        if newest && plants!(self.options, DamageIsTruncated) {
            return None;
        }
        image.later(at, self.chain.next)
    }

    /// Takes one batch into the state. Returns false if it is torn.
    fn batch(&mut self, image: &Image, found: &Found, newest: bool, repairs: &mut Repairs) -> bool {
        let records = read_records(image, found);
        let torn = records.iter().any(|(_, _, record)| *record == Record::Torn);
        let bad = records.iter().any(|(_, _, record)| *record == Record::Bad);
        if newest && (torn || bad) && plants!(self.options, DamageIsTruncated) {
            return false;
        }
        if torn && !bad && newest && self.is_linked(found) && !self.is_proven(image, found) {
            return false;
        }
        repairs.last = found.start..found.end();
        self.join(image, found);
        self.replay(found, &records);
        self.tell_damaged(image, found, &records);
        self.repair_description(image, found, repairs);
        mark_lost(image, &records, repairs);
        true
    }

    /// Whether a batch was written behind the one that was read before it. If not, it is the only witness of what
    /// was lost in between, and may not be erased even if it is torn itself.
    fn is_linked(&self, found: &Found) -> bool {
        let chained = !plants!(self.options, ChainIsNotChecked);
        self.lost == 0 && (!chained || !self.started || found.description.prev_stamp == self.chain.stamp)
    }

    /// Whether a batch of the newest segment was synced: a later one was written, or the older segments were
    /// removed, which waits for the first batch of the next.
    fn is_proven(&self, image: &Image, found: &Found) -> bool {
        if plants!(self.options, ZerosAreTheEnd) {
            return false;
        }
        let is_oldest = !self.started && image.number > 1;
        is_oldest || image.later(found.end(), found.number).is_some()
    }

    /// Makes the state what it was before this batch, whatever was lost in between.
    fn join(&mut self, image: &Image, found: &Found) {
        let description = &found.description;
        let mut low = None;
        if self.lost > 0 {
            low = Some(Chain::low_of_last(&description.lows, self.lost));
            let lost = self.lost;
            self.tell(
                image,
                found.start,
                &format!("{lost} batches before batch {} are unreadable", found.number),
            );
        } else if !self.is_linked(found) {
            // The batch before was read, but is not the one that this batch was written behind: a stale one.
            low = Some(self.chain.lows[0].min(description.lows[0]));
            self.tell(image, found.start, &format!("the batch before batch {} is stale", found.number));
        }
        if let Some(low) = low {
            self.state.lose_from(low);
        }
        self.state.adopt(description.first, description.last);
        self.state.tail_damaged = description.tail_damaged;
        (self.lost, self.started) = (0, true);
        self.chain = Chain { next: found.number, stamp: 0, lows: description.lows };
        self.chain.push(found.low, found.stamp);
    }

    fn replay(&mut self, found: &Found, records: &[(Slot, Location, Record)]) {
        let mut records = records.iter();
        for op in &found.description.ops {
            match *op {
                BatchOp::Put { slot, .. } => match records.next() {
                    Some((_, place, Record::Intact(bytes))) => self.state.put(slot, (*place, bytes.clone())),
                    _ => self.damage(slot),
                },
                BatchOp::TruncateFrom(slot) => self.state.truncate_from(slot),
                BatchOp::CompactTo(slot) => self.state.compact_to(slot),
                BatchOp::ResetTo(at) => self.state.reset_to(at),
            }
        }
        let meta = found.description.meta.clone();
        if meta != SlotState::Missing || !plants!(self.options, MetaIsNotRepeated) {
            self.state.meta = meta;
        }
    }

    fn damage(&mut self, slot: Slot) {
        self.state.records.remove(&slot);
        self.state.last = self.state.last.max(slot);
    }

    fn tell_damaged(&mut self, image: &Image, found: &Found, records: &[(Slot, Location, Record)]) {
        let intact = |record: &Record| matches!(record, Record::Intact(_));
        for (slot, place, _) in records.iter().filter(|(_, _, record)| !intact(record)) {
            let fact = format!("the record of slot {slot} in batch {} is damaged", found.number);
            self.tell(image, place.data + u64::from(place.offset) / super::sector::CONTENT_LEN as u64, &fact);
        }
    }

    fn repair_description(&mut self, image: &Image, found: &Found, repairs: &mut Repairs) {
        for (at, bytes) in found.description_sectors(image.number) {
            if !matches!(image.sector(at), Sector::Valid(label, _) if label.stamp == found.stamp) {
                let fact =
                    format!("part of the description of batch {} was unreadable; repaired", found.number);
                self.tell(image, at, &fact);
                repairs.rewrite.push((at, bytes));
            }
        }
    }

    /// Judges what stands behind the last batch.
    fn end(&mut self, image: &Image, repairs: &mut Repairs) {
        let at = repairs.next_sector;
        let residue = image.residue(at, self.chain.next);
        let stray = residue.starts_with_zero && residue.low.is_none();
        if plants!(self.options, DamageIsTruncated) {
            self.lost = 0;
            return self.erase(image, at..residue.end, repairs);
        }
        if self.lost > 0 || (residue.bad && !stray) {
            self.lose_tail(image, at, residue);
            repairs.next_sector = residue.end;
        } else {
            self.erase(image, at..residue.end, repairs);
        }
    }

    /// The last batches were synced, as far as can be told, and cannot be read. They stay where they are, so that
    /// the gap tells of them again until the owner has repaired what they may have changed.
    fn lose_tail(&mut self, image: &Image, at: u64, residue: Residue) {
        // If the damage goes to the end of the file, the file may have been cut short, and more batches be lost.
        let unknown = self.lost > 0 || residue.end >= image.sectors();
        let low = if unknown { 0 } else { residue.low.unwrap_or(0) };
        self.tell(
            image,
            at,
            &format!("the last batches are unreadable; slots from {low} on may be affected"),
        );
        self.state.lose_from(low);
        self.state.tail_damaged |= low <= self.state.last.0.saturating_add(1);
        self.state.meta = SlotState::Damaged;
        let here = u64::from(residue.end > at);
        for _ in 0..self.lost.saturating_add(here).min(LOWS as u64) {
            self.chain.lows.rotate_right(1);
            self.chain.lows[0] = low;
        }
        self.chain.next = self.chain.next.saturating_add(here);
        (self.chain.stamp, self.lost) = (0, 0);
    }

    fn erase(&mut self, image: &Image, sectors: std::ops::Range<u64>, repairs: &mut Repairs) {
        repairs.next_sector = sectors.start;
        if plants!(self.options, TornIsNotErased) {
            return;
        }
        if !sectors.is_empty() {
            let number = self.chain.next;
            let fact = format!("batch {number} was torn by a crash and never acknowledged; erased");
            self.tell(image, sectors.start, &fact);
            repairs.erase = sectors;
        }
    }

    fn tell(&mut self, image: &Image, sector: u64, fact: &str) {
        self.report.push(format!(
            "{} at byte {}: {fact}",
            segment::name(image.number),
            sector * SECTOR_LEN as u64
        ));
    }

    fn finish(self, created: bool) -> Result<((State<Entry>, Chain), Recovery), OpenLogError> {
        let state = self.state;
        if !self.started && self.chain.next > 1 {
            return Err(OpenLogError::Lost { fact: "no batch of the log can be read".to_owned() });
        }
        if state.damaged() > DAMAGED_SLOTS_MAX {
            let fact = format!("{} slots of the log cannot be read", state.damaged());
            return Err(OpenLogError::Lost { fact });
        }
        let slots = (state.first.0..=state.last.0).map(Slot);
        let records = slots.map(|slot| match state.records.get(&slot) {
            Some((_, bytes)) => SlotState::Ok(bytes.clone()),
            None => SlotState::Damaged,
        });
        let recovery = Recovery {
            meta: state.meta.clone(),
            first: state.first,
            records: records.collect(),
            tail_damaged: state.tail_damaged,
            created,
            report: self.report,
        };
        Ok(((state.map(|(place, _)| Entry::Stored(place)), self.chain), recovery))
    }
}

/// Fills the sectors that were synced and are zero now with what is no valid sector. Otherwise their batch would
/// count as torn as soon as what proves that it was synced is gone: a torn batch behind it, which is erased.
fn mark_lost(image: &Image, records: &[(Slot, Location, Record)], repairs: &mut Repairs) {
    let torn = records.iter().filter(|(_, _, record)| *record == Record::Torn);
    let sectors = torn.flat_map(|(_, place, _)| record_sectors(place).map(|at| place.data + u64::from(at)));
    let zeros: BTreeSet<u64> = sectors.filter(|at| image.sector(*at) == Sector::Zero).collect();
    repairs.rewrite.extend(zeros.into_iter().map(|at| (at, vec![LOST; SECTOR_LEN])));
}

fn read_records(image: &Image, found: &Found) -> Vec<(Slot, Location, Record)> {
    let mut offset = 0u32;
    let mut records = Vec::new();
    for op in &found.description.ops {
        let BatchOp::Put { slot, len, crc } = *op else { continue };
        let place = Location { segment: image.number, data: found.data(), offset, len, crc };
        offset = offset.saturating_add(len);
        records.push((slot, place, image.record(found, &place)));
    }
    records
}

//! Scrubbing: reading again, bit by bit, what nobody has asked for in a long time.
//!
//! ```text
//!   cursor ──scrub(bytes)──▶ sectors as the medium has them ──▶ in order? ──▶ damage, next cursor
//! ```
//!
//! Everything from a segment's first sector to the end of its last batch is an unbroken row of valid sectors, each
//! of which says what must follow it. So a piece is judged by itself, with the one sector before it. What was damaged
//! already when the log was opened has been told, and is not told again.

use super::Log;
use super::batch::record_sectors;
use super::planted::plants;
use super::sector::{self, Label, Part, SECTOR_LEN, Sector};
use super::segment::{self, Image};
use super::{Entry, HEADER_SECTORS};
use crate::{Disk, DiskFile};
use types::{Slot, buggify};

/// Where the next piece begins. The default is the oldest sector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ScrubCursor {
    segment: u64,
    sector: u64,
}

/// What a scrub of one piece found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrubbed {
    /// Where the next piece begins.
    pub next: ScrubCursor,
    /// Whether this piece was the last one, and the next is the first again.
    pub finished: bool,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is damaged and was not when the log was opened.
    pub damage: Vec<ScrubDamage>,
}

/// A damaged sector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file} at byte {offset}: {}", told(.slots))]
pub struct ScrubDamage {
    /// The segment's file name.
    pub file: String,
    /// Where the sector begins in it.
    pub offset: u64,
    /// The slots whose records lie in it; none if it holds a description, a header, or what is out of use.
    pub slots: Vec<Slot>,
}

impl<D: Disk> Log<D> {
    /// Reads the next piece, at most so many bytes of one segment, and at least one sector. Damage is told, not
    /// repaired: the owner must open the log again, which repairs what has a second copy and tells the rest as
    /// `Damaged`, for the protocol to repair.
    pub fn scrub(&self, from: ScrubCursor, bytes_max: u64) -> Scrubbed {
        let Some((number, segment)) = self.segments.range(from.segment..).next() else {
            return Scrubbed { next: ScrubCursor::default(), finished: true, bytes: 0, damage: Vec::new() };
        };
        let start = if *number == from.segment { from.sector } else { 0 };
        let segment_end = if *number == self.current { self.next_sector } else { segment.end_sector };
        let mut piece = (bytes_max / SECTOR_LEN as u64).max(1);
        if buggify!(self.options.buggify, "storage.scrub.one_sector") {
            piece = 1;
        }
        if buggify!(self.options.buggify, "storage.scrub.to_the_end") {
            piece = u64::MAX;
        }
        let end = segment_end.min(start.saturating_add(piece));
        // The sector before the first one says what must follow it.
        let read_from = start.saturating_sub(1);
        let mut bytes = vec![0; usize::try_from(end.saturating_sub(read_from)).unwrap_or(0) * SECTOR_LEN];
        let mut damage = Vec::new();
        if self.read_medium(&segment.file, read_from, &mut bytes) {
            let mut row = Row { previous: None };
            for (at, sector) in (read_from..).zip(bytes.chunks(SECTOR_LEN)) {
                let fits = row.fits(sector::open(*number, at, sector));
                if !fits && at >= start && !self.faulty.contains(&(*number, at)) {
                    damage.push(self.damage_at(*number, at));
                }
            }
        }
        let next = match end < segment_end {
            true => ScrubCursor { segment: *number, sector: end },
            false => ScrubCursor { segment: *number + 1, sector: 0 },
        };
        Scrubbed { next, finished: next.segment > self.current, bytes: bytes.len() as u64, damage }
    }

    /// Fills `bytes` with what can be read; returns whether it is to be judged.
    fn read_medium(&self, file: &D::File, sector: u64, bytes: &mut [u8]) -> bool {
        let offset = sector * SECTOR_LEN as u64;
        if file.read_medium_at(offset, bytes).is_err() {
            segment::read_what_can_be_read(file, offset, bytes);
            return !plants!(self.options, ScrubIgnoresErrors);
        }
        true
    }

    fn damage_at(&self, number: u64, at: u64) -> ScrubDamage {
        let holds = |entry: &Entry| match entry {
            Entry::Stored(place) => {
                place.segment == number
                    && at.checked_sub(place.data).is_some_and(|index| {
                        u32::try_from(index).is_ok_and(|index| record_sectors(place).contains(&index))
                    })
            }
            Entry::Pending { .. } => false,
        };
        let slots = self.state.records.iter().filter(|(_, entry)| holds(entry)).map(|(slot, _)| *slot);
        ScrubDamage { file: segment::name(number), offset: at * SECTOR_LEN as u64, slots: slots.collect() }
    }
}

fn told(slots: &[Slot]) -> String {
    match slots {
        [] => "a sector that holds no record in use is damaged".to_owned(),
        slots => {
            let slots: Vec<String> = slots.iter().map(Slot::to_string).collect();
            format!("the records of slots {} are damaged", slots.join(", "))
        }
    }
}

/// The sectors of a segment up to `end` that do not fit what stands before them.
pub(super) fn faults(image: &Image, end: u64) -> impl Iterator<Item = u64> {
    let mut row = Row { previous: None };
    (0..end).filter(move |at| !row.fits(image.sector(*at)))
}

/// Goes from sector to sector and remembers the last one.
struct Row {
    /// `None` if it is not known.
    previous: Option<Label>,
}

impl Row {
    fn fits(&mut self, found: Sector<'_>) -> bool {
        let Sector::Valid(label, _) = found else {
            self.previous = None;
            return false;
        };
        let fits = self.previous.is_none_or(|previous| follows(&previous, &label));
        self.previous = Some(label);
        fits
    }
}

/// Whether a sector may stand behind another. A later batch need not be the next: damaged ones may have been between.
fn follows(previous: &Label, label: &Label) -> bool {
    let same_batch = previous.batch == label.batch && previous.stamp == label.stamp;
    let next_sector = previous.part == label.part && label.index == previous.index + 1 && same_batch;
    let next_part = (label.part as u8) > previous.part as u8 && label.index == 0;
    match (previous.part, label.part) {
        _ if next_sector => true,
        (Part::Header, Part::Head) => previous.index + 1 == HEADER_SECTORS as u32 && label.index == 0,
        (Part::Tail, Part::Head) => label.batch > previous.batch && label.index == 0,
        (Part::Head | Part::Data, _) => next_part && same_batch,
        _ => false,
    }
}

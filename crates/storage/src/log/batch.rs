//! Batches in a segment: writing one, and finding one among sectors that may be torn or damaged.

use bytes::Bytes;
use types::Wire;

use super::description::{Description, Layout};
use super::sector::{self, CONTENT_LEN, Label, Part, SECTOR_LEN, Sector};
use super::segment::{HEADER_SECTORS, Image};
use super::state::Location;

/// Lays out a batch as the sectors from `start` on. Returns its stamp, the first sector of its data, and bytes.
pub(super) fn encode(
    segment: u64,
    start: u64,
    number: u64,
    description: &Description,
    records: &[u8],
) -> (u32, u64, Vec<u8>) {
    let head = description.to_bytes();
    let stamp = crc32c::crc32c(&head);
    let layout = layout(&head, description);
    let mut label = Label { part: Part::Head, index: 0, batch: number, low: description.low(), stamp };
    let mut out = Vec::with_capacity(usize::try_from(layout.total()).unwrap_or(0) * SECTOR_LEN);
    for (part, bytes) in [(Part::Head, &head[..]), (Part::Data, records), (Part::Tail, &head[..])] {
        let at = start + (out.len() / SECTOR_LEN) as u64;
        label.part = part;
        seal_part(segment, at, label, bytes, &mut out);
    }
    (stamp, start + layout.head, out)
}

/// Appends the sectors of one part of a batch, the first of which is sector `at` of the segment.
fn seal_part(segment: u64, at: u64, label: Label, bytes: &[u8], out: &mut Vec<u8>) {
    for ((index, at), content) in (0u32..).zip(at..).zip(bytes.chunks(CONTENT_LEN)) {
        sector::seal(segment, at, Label { index, ..label }, content, out);
    }
}

/// How many sectors a batch takes.
pub(super) fn layout(head: &[u8], description: &Description) -> Layout {
    let head_len = u32::try_from(head.len()).expect("a batch is limited in bytes");
    Layout::new(head_len, description.data_len)
}

/// A batch found in a segment: its description is intact, its records may not be.
#[derive(Debug)]
pub(super) struct Found {
    pub number: u64,
    /// Its first sector.
    pub start: u64,
    pub layout: Layout,
    pub low: u64,
    pub stamp: u32,
    pub description: Description,
}

/// A record in a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Record {
    Intact(Bytes),
    /// Sectors of it were never written, and none is damaged.
    Torn,
    Bad,
}

/// What stands behind the last batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Residue {
    /// Behind the last sector that is not zero.
    pub end: u64,
    /// Whether the first sector is zero.
    pub starts_with_zero: bool,
    /// Whether some sector is neither zero nor of the expected batch.
    pub bad: bool,
    /// The lowest slot that the expected batch touches, if one of its sectors is intact.
    pub low: Option<u64>,
}

impl Found {
    /// Behind its last sector.
    pub fn end(&self) -> u64 {
        self.start + self.layout.total()
    }

    /// The first sector of its records.
    pub fn data(&self) -> u64 {
        self.start + self.layout.head
    }

    /// The sectors that hold its description, and what they should hold.
    pub fn description_sectors(&self, segment: u64) -> Vec<(u64, Vec<u8>)> {
        let bytes = self.description.to_bytes();
        let copies = [(Part::Head, self.start), (Part::Tail, self.data() + self.layout.data)];
        let mut sectors = Vec::new();
        for (part, start) in copies {
            let mut out = Vec::new();
            let label = Label { part, index: 0, batch: self.number, low: self.low, stamp: self.stamp };
            seal_part(segment, start, label, &bytes, &mut out);
            sectors.extend((start..).zip(out.chunks(SECTOR_LEN).map(<[u8]>::to_vec)));
        }
        sectors
    }
}

impl Image {
    /// Finds batch `number` at or behind `at`, from either copy of its description.
    pub fn batch(&self, at: u64, number: u64) -> Option<Found> {
        for place in at..self.sectors() {
            let Sector::Valid(label, content) = self.sector(place) else { continue };
            if label.batch > number {
                return None;
            }
            let begins = label.index == 0 && matches!(label.part, Part::Head | Part::Tail);
            if label.batch == number
                && begins
                && let Some(found) = self.assemble(place, label, content)
            {
                return Some(found);
            }
        }
        None
    }

    /// Reads a whole description of which one first sector has been found, sector by sector from whichever copy
    /// is intact.
    fn assemble(&self, place: u64, label: Label, content: &[u8]) -> Option<Found> {
        let (len, layout) = Layout::peek(content).ok()?;
        let start = match label.part {
            Part::Head => place,
            _ => place.checked_sub(layout.head + layout.data)?,
        };
        // A file is made long enough before, and by the same sync as, what is written into it.
        if start < HEADER_SECTORS || start + layout.total() > self.sectors() {
            return None;
        }
        let mut bytes = Vec::new();
        for index in 0..layout.head {
            let copies = [(Part::Head, start), (Part::Tail, start + layout.head + layout.data)];
            let intact = copies.into_iter().find_map(|(part, from)| {
                let wanted = Label { part, index: u32::try_from(index).ok()?, ..label };
                self.labelled(from + index, wanted)
            })?;
            bytes.extend_from_slice(intact);
        }
        bytes.truncate(len as usize);
        if crc32c::crc32c(&bytes) != label.stamp {
            return None;
        }
        let description = Description::from_bytes(Bytes::from(bytes)).ok()?;
        let Label { batch, low, stamp, .. } = label;
        Some(Found { number: batch, start, layout, low, stamp, description })
    }

    fn labelled(&self, at: u64, wanted: Label) -> Option<&[u8]> {
        match self.sector(at) {
            Sector::Valid(label, content) if label == wanted => Some(content),
            _ => None,
        }
    }

    /// The first intact sector at or behind `at` of a batch later than `number`, and that batch's number. There is
    /// one only if batch `number` was synced before.
    pub fn later(&self, at: u64, number: u64) -> Option<(u64, u64)> {
        (at..self.sectors()).find_map(|place| match self.sector(place) {
            Sector::Valid(label, _) if label.batch > number => Some((place, label.batch)),
            _ => None,
        })
    }

    /// Reads one record of a batch.
    pub fn record(&self, found: &Found, place: &Location) -> Record {
        let (mut bytes, mut zeros) = (Vec::new(), false);
        for index in record_sectors(place) {
            let label =
                Label { part: Part::Data, index, batch: found.number, low: found.low, stamp: found.stamp };
            let at = place.data + u64::from(index);
            match self.labelled(at, label) {
                Some(content) => bytes.extend_from_slice(content),
                None if self.sector(at) == Sector::Zero => zeros = true,
                None => return Record::Bad,
            }
        }
        if zeros {
            return Record::Torn;
        }
        cut_record(place, &bytes).map_or(Record::Bad, Record::Intact)
    }

    /// Looks at everything from `at` on, where batch `number` is expected and cannot be found.
    pub fn residue(&self, at: u64, number: u64) -> Residue {
        let mut residue =
            Residue { end: at, starts_with_zero: self.sector(at) == Sector::Zero, ..Residue::default() };
        for place in at..self.sectors() {
            match self.sector(place) {
                Sector::Zero => continue,
                Sector::Valid(label, _) if label.batch == number => residue.low = Some(label.low),
                Sector::Valid(..) | Sector::Bad => residue.bad = true,
            }
            residue.end = place + 1;
        }
        residue
    }
}

/// The sectors of a batch's data that hold a record, counted from the first.
pub(super) fn record_sectors(place: &Location) -> std::ops::Range<u32> {
    let sector_len = CONTENT_LEN as u64;
    let end = (u64::from(place.offset) + u64::from(place.len)).div_ceil(sector_len);
    match place.len {
        0 => 0..0,
        _ => place.offset / CONTENT_LEN as u32..u32::try_from(end).unwrap_or(u32::MAX),
    }
}

/// Cuts a record out of the contents of its sectors; `None` if its checksum does not hold.
pub(super) fn cut_record(place: &Location, contents: &[u8]) -> Option<Bytes> {
    let start = if place.len == 0 { 0 } else { place.offset as usize % CONTENT_LEN };
    let bytes = contents.get(start..start + place.len as usize)?;
    (crc32c::crc32c(bytes) == place.crc).then(|| Bytes::copy_from_slice(bytes))
}

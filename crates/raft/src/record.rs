//! What is durable: the meta record, and one record per slot.

use consensus::Entry;
use types::{NodeId, Reader, WallTime, Wire, WireError};

/// Raft's hard state, and how much of this replica's memory can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The latest term this replica has seen.
    pub term: u64,
    /// Whom it voted for in that term.
    pub vote: Option<NodeId>,
    /// No entry below the log has a later time than this.
    pub wall: WallTime,
    /// Whether it ever lost something durable that it has not got back.
    pub integrity: Integrity,
    /// The number of this disk, drawn at random when it was new; never 0 once it is written.
    pub incarnation: u64,
    /// A committed configuration pins the disks of all voters. Until this is known, everybody is needed for everything.
    pub founded: bool,
}

/// How much of what a replica once made durable it still has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// All of it.
    #[default]
    Intact,
    /// Log records are lost. It may have acknowledged them, so it does not vote until it has them back.
    LogLost,
    /// The meta record is lost. It may have voted in any term, so it never counts towards any quorum again.
    MetaLost,
}

/// Which memory of a replica speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The disk: [`Meta::incarnation`]. Another disk under the same id knows nothing of what this one promised.
    pub incarnation: u64,
    /// The start: drawn at random whenever the replica starts. A disk may forget what it had confirmed.
    pub session: u64,
}

/// What one slot of the log holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// The term of the leader that proposed the entry.
    pub term: u64,
    /// The entry.
    pub entry: Entry,
}

/// Bytes that a record is taken to cost besides its payload.
const RECORD_OVERHEAD_BYTES: u64 = 64;

impl Record {
    /// What this record counts in windows, limits and caches.
    pub(crate) fn cost_bytes(&self) -> u64 {
        self.entry.payload.len() as u64 + RECORD_OVERHEAD_BYTES
    }

    /// The time on the entry, if it has one. A batch begins with it.
    pub(crate) fn wall(&self) -> Option<WallTime> {
        match self.entry.kind {
            consensus::EntryKind::Noop | consensus::EntryKind::Membership => None,
            consensus::EntryKind::Commands => {
                WallTime::decode(&mut Reader::new(self.entry.payload.clone())).ok()
            }
        }
    }
}

impl Wire for Integrity {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Integrity::Intact => 0,
            Integrity::LogLost => 1,
            Integrity::MetaLost => 2,
        });
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            0 => Ok(Integrity::Intact),
            1 => Ok(Integrity::LogLost),
            2 => Ok(Integrity::MetaLost),
            tag => Err(WireError::Tag { what: "integrity", tag }),
        }
    }
}

impl Wire for Meta {
    fn encode(&self, out: &mut Vec<u8>) {
        self.term.encode(out);
        self.vote.encode(out);
        self.wall.encode(out);
        self.integrity.encode(out);
        self.incarnation.encode(out);
        self.founded.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Meta {
            term: u64::decode(input)?,
            vote: Option::decode(input)?,
            wall: WallTime::decode(input)?,
            integrity: Integrity::decode(input)?,
            incarnation: u64::decode(input)?,
            founded: bool::decode(input)?,
        })
    }
}

impl Wire for Stamp {
    fn encode(&self, out: &mut Vec<u8>) {
        self.incarnation.encode(out);
        self.session.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Stamp { incarnation: u64::decode(input)?, session: u64::decode(input)? })
    }
}

impl Wire for Record {
    fn encode(&self, out: &mut Vec<u8>) {
        self.term.encode(out);
        self.entry.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Record { term: u64::decode(input)?, entry: Entry::decode(input)? })
    }
}

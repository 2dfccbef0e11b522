//! What goes into the log and what comes out of it: plain data and errors.

use bytes::Bytes;
use types::{Buggify, NodeId, Slot, SlotState};

#[cfg(feature = "planted")]
use super::planted::Planted;
use crate::DiskError;

/// Whose log this is; written into every segment, so that a directory is never opened for another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster's id: a digest of its initial members and token.
    pub cluster: u64,
    /// The member.
    pub node: NodeId,
}

/// One change to the log: `consensus::StoreOp` with its values encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogOp {
    /// Replace the meta record.
    SetMeta(Bytes),
    /// Write the record of a slot: at most one above the last, and not below the first.
    Put(Slot, Bytes),
    /// Forget this slot and all above it.
    TruncateFrom(Slot),
    /// Forget this slot and all below it.
    CompactTo(Slot),
    /// Forget every slot, and start again after `at`.
    ResetTo {
        /// The slot of the checkpoint that replaces the log.
        at: Slot,
    },
}

/// How to keep a log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Size of one segment file in bytes. A batch that is larger gets a larger segment of its own.
    pub segment_bytes: u64,
    /// What is done more often than usual, for the simulator.
    pub buggify: Buggify,
    /// The bug to plant, for the simulator's bug bank.
    #[cfg(feature = "planted")]
    pub planted: Option<Planted>,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions::with_segment_bytes(SEGMENT_BYTES)
    }
}

impl LogOptions {
    /// Options with segments of this size in bytes.
    pub fn with_segment_bytes(segment_bytes: u64) -> LogOptions {
        LogOptions {
            segment_bytes: segment_bytes.min(SEGMENT_BYTES_LIMIT),
            buggify: Buggify::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// Larger segments would take too much memory at once when the log is opened.
const SEGMENT_BYTES_LIMIT: u64 = 1 << 30;

/// Large enough that creating a segment is rare, small enough that compaction gives space back soon.
const SEGMENT_BYTES: u64 = 64 << 20;

/// What opening a log found.
#[derive(Clone, Debug)]
pub struct Recovery {
    /// The meta record. `Damaged` if a newer one than the newest readable may have been written.
    pub meta: SlotState<Bytes>,
    /// The slot of the first element of `records`: one above what has been compacted or reset.
    pub first: Slot,
    /// Every slot from `first` to the last that is known to have been written.
    pub records: Vec<SlotState<Bytes>>,
    /// Whether slots above `records` may have been written, acknowledged and lost to damage.
    pub tail_damaged: bool,
    /// Whether the directory was empty: the log has just been created.
    pub created: bool,
    /// What was torn, damaged or repaired, for the operator: one sentence each.
    pub report: Vec<String>,
}

/// Why a log could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// The files belong to another cluster.
    #[error(
        "the data directory belongs to cluster {found:x}, not to cluster {expected:x}; \
         use the data directory of this cluster, or an empty one"
    )]
    OtherCluster {
        /// The cluster in the files.
        found: u64,
        /// The cluster that was asked for.
        expected: u64,
    },
    /// The files belong to another member of the cluster.
    #[error(
        "the data directory belongs to member {found}, not to member {expected}; \
         start each member with its own data directory"
    )]
    OtherMember {
        /// The member in the files.
        found: NodeId,
        /// The member that was asked for.
        expected: NodeId,
    },
    /// The files were written in a format that this program does not know.
    #[error("segment {segment} is in format {found}; this program reads format {expected}")]
    Format {
        /// The segment's file name.
        segment: String,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// Segment files are missing or unreadable, and with them an unknown part of the log.
    #[error(
        "{fact}: what this member has promised is unknown; restore the file, \
         or remove the member and add it again with an empty data directory"
    )]
    Lost {
        /// What is missing.
        fact: String,
    },
    /// The disk failed.
    #[error("cannot open the log")]
    Disk(#[from] DiskError),
}

/// Why a log could not be written. The log then refuses everything: its owner must crash and recover.
#[derive(Debug, thiserror::Error)]
pub enum WriteLogError {
    /// The disk failed.
    #[error("cannot write the log")]
    Disk(#[from] DiskError),
    /// An earlier write or sync failed, so what is on the disk is unknown until the log is opened again.
    #[error("the log has failed before; it must be opened again")]
    Failed,
    /// A put would leave a gap, or falls below the log's first slot: a bug of the caller.
    #[error("slot {slot} cannot be written: the log holds slots {first} to {last}")]
    OutOfOrder {
        /// The slot that was to be written.
        slot: Slot,
        /// The log's first slot.
        first: Slot,
        /// The log's last slot.
        last: Slot,
    },
    /// The batch is too large to be written as one.
    #[error("a batch of {bytes} bytes was given; at most {bytes_max} can be written as one")]
    TooLarge {
        /// Bytes of the batch.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
}

/// Why records could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadLogError {
    /// The log does not hold this slot.
    #[error("slot {slot} is not in the log")]
    Missing {
        /// The slot.
        slot: Slot,
    },
    /// The slot's record was written and cannot be read back. The owner must open the log again, and repair it.
    #[error("the record of slot {slot} is damaged")]
    Damaged {
        /// The slot.
        slot: Slot,
        /// What the disk said, if it said anything: else the bytes are wrong.
        source: Option<DiskError>,
    },
}

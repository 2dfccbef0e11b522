//! The little of a file system that the log needs, so that it can run on a real or a simulated one.
//!
//! The promises are those of a POSIX file system and no more:
//! - a write is durable only after [`DiskFile::sync`] returned; before that any subset of its 512-byte
//!   sectors may survive a crash, in any order;
//! - a created or removed name is durable only after [`Disk::sync_dir`] returned;
//! - after a failed `sync` the file's unsynced content is unknown for ever: the caller must crash.

mod sim;

use std::fmt;

pub use sim::{Act, Armed, DiskFault, Effect, Plan, SimDisk, SimFile, UnknownFault};

/// One directory of files with flat names.
pub trait Disk: Send + 'static {
    /// An open file.
    type File: DiskFile;

    /// Names of all files, sorted.
    ///
    /// # Errors
    /// [`DiskError`] as the file system reports it; likewise below.
    fn list(&self) -> Result<Vec<String>, DiskError>;

    /// Creates a file that must not exist.
    fn create(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> Result<Self::File, DiskError>;

    /// Removes a file.
    fn remove(&self, name: &str) -> Result<(), DiskError>;

    /// Makes all creations and removals durable.
    fn sync_dir(&self) -> Result<(), DiskError>;
}

/// One open file.
pub trait DiskFile: Send + 'static {
    /// Bytes in the file.
    fn size(&self) -> Result<u64, DiskError>;

    /// Reads exactly `buf.len()` bytes at `offset`.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError>;

    /// Reads as `read_at` does, but what stands on the medium rather than in a cache of the system, if it can: only
    /// that finds what the medium has lost.
    fn read_medium_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.read_at(offset, buf)
    }

    /// Writes all of `bytes` at `offset`, growing the file if needed. Not durable until `sync`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Grows the file to `len` bytes if it is shorter; new bytes read as zeros. Their space is written, so that
    /// writing there later does not change the file's metadata and its `sync` is cheap.
    fn allocate(&mut self, len: u64) -> Result<(), DiskError>;

    /// Makes every write and allocation so far durable.
    fn sync(&mut self) -> Result<(), DiskError>;
}

/// What the file system reported, and about which file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {file}")]
pub struct DiskError {
    /// What was tried: `"write"`, `"sync"` …
    pub operation: &'static str,
    /// The file's name.
    pub file: String,
    /// The file system's reason.
    #[source]
    pub source: std::io::Error,
}

impl DiskError {
    /// Names the operation and file of an I/O error.
    pub fn new(operation: &'static str, file: impl fmt::Display, source: std::io::Error) -> DiskError {
        DiskError { operation, file: file.to_string(), source }
    }

    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
    }
}

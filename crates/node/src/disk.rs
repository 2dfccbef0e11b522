//! The real disk: one directory, locked against a second process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use storage::{Disk, DiskError, DiskFile};

/// Locked while the directory is in use; its content means nothing.
const LOCK_NAME: &str = "lock";

/// Zeros written at a time when a file grows.
const ZEROS_BYTES: usize = 1 << 20;

/// The system forgets whole pages only; a larger page is forgotten with its neighbours.
const PAGE_BYTES: u64 = 4096;

/// A directory that this process alone uses, for as long as the value lives.
#[derive(Debug)]
pub struct RealDisk {
    path: PathBuf,
    directory: File,
    /// Holds the lock; the system releases it when the process ends, however it ends.
    _lock: File,
}

/// An open file of a [`RealDisk`].
#[derive(Debug)]
pub struct RealFile {
    file: File,
    path: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenDiskError {
    /// Another process uses it.
    #[error("{path} is in use by another process; stop it, or choose another data directory")]
    InUse {
        /// The directory.
        path: String,
    },
    /// This user may not use it.
    #[error("no permission to use {path}; run as its owner, or choose another data directory")]
    Permission {
        /// The directory or file.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be created or opened.
    #[error("cannot use {path} as a data directory")]
    Io {
        /// The directory or file.
        path: String,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

impl RealDisk {
    /// Opens directory `path` for this process alone, and creates it if need be (readable by its owner only).
    ///
    /// # Errors
    /// [`OpenDiskError`].
    pub fn open(path: &Path) -> Result<RealDisk, OpenDiskError> {
        create_directories(path).map_err(|source| refused(path, source))?;
        let directory = File::open(path).map_err(|source| refused(path, source))?;
        let lock_path = path.join(LOCK_NAME);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|source| refused(&lock_path, source))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RealDisk { path: path.to_owned(), directory, _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                Err(OpenDiskError::InUse { path: path.display().to_string() })
            }
            Err(errno) => Err(refused(&lock_path, errno.into())),
        }
    }

    fn open_file(
        &self,
        operation: &'static str,
        name: &str,
        options: &OpenOptions,
    ) -> Result<RealFile, DiskError> {
        let path = self.path.join(name);
        match options.open(&path) {
            Ok(file) => Ok(RealFile { file, path }),
            Err(source) => Err(DiskError::new(operation, path.display(), source)),
        }
    }
}

/// Creates `path` and what is missing above it, each durable in its parent.
fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directories(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(parent)?.sync_all()
}

fn refused(path: &Path, source: io::Error) -> OpenDiskError {
    let path = path.display().to_string();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenDiskError::Permission { path, source }
        }
        _ => OpenDiskError::Io { path, source },
    }
}

impl Disk for RealDisk {
    type File = RealFile;

    fn list(&self) -> Result<Vec<String>, DiskError> {
        let failed = |source| DiskError::new("list", self.path.display(), source);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_type().map_err(failed)?.is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        names.sort();
        Ok(names)
    }

    fn create(&self, name: &str) -> Result<RealFile, DiskError> {
        self.open_file("create", name, OpenOptions::new().read(true).write(true).create_new(true))
    }

    fn open(&self, name: &str) -> Result<RealFile, DiskError> {
        self.open_file("open", name, OpenOptions::new().read(true).write(true))
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        let path = self.path.join(name);
        fs::remove_file(&path).map_err(|source| DiskError::new("remove", path.display(), source))
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        self.directory.sync_all().map_err(|source| DiskError::new("sync", self.path.display(), source))
    }
}

impl RealFile {
    fn failed(&self, operation: &'static str) -> impl Fn(io::Error) -> DiskError {
        move |source| DiskError::new(operation, self.path.display(), source)
    }
}

impl DiskFile for RealFile {
    fn size(&self) -> Result<u64, DiskError> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(self.failed("measure"))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        self.file.read_exact_at(buf, offset).map_err(self.failed("read"))
    }

    /// Asks the system to forget its clean pages first. It need not; then this reads what it remembers.
    fn read_medium_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let start = offset / PAGE_BYTES * PAGE_BYTES;
        let len = (offset + buf.len() as u64).next_multiple_of(PAGE_BYTES) - start;
        rustix::fs::fadvise(&self.file, start, std::num::NonZeroU64::new(len), rustix::fs::Advice::DontNeed)
            .ok();
        self.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(self.failed("write"))
    }

    /// Writes real zeros: space that is merely reserved is marked "unwritten", and every later write into it
    /// would change metadata, which makes its sync about twice as slow.
    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = self.size()?;
        while at < len {
            let step = (len - at).min(ZEROS_BYTES as u64);
            self.write_at(at, &zeros[..usize::try_from(step).unwrap_or(ZEROS_BYTES)])?;
            at += step;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.file.sync_data().map_err(self.failed("sync"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_use_is_refused_until_it_is_free_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let disk = RealDisk::open(&path).unwrap();
        assert!(matches!(RealDisk::open(&path), Err(OpenDiskError::InUse { .. })));
        drop(disk);
        RealDisk::open(&path).unwrap();
    }

    #[test]
    fn a_file_where_the_directory_should_be_is_an_error_that_names_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "x").unwrap();
        let error = RealDisk::open(&path).unwrap_err();
        assert!(error.to_string().contains("file"), "{error}");
    }

    #[test]
    fn files_hold_what_was_written_and_grow_by_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let disk = RealDisk::open(directory.path()).unwrap();
        let mut file = disk.create("y").unwrap();
        file.allocate(3 * ZEROS_BYTES as u64 / 2).unwrap();
        file.write_at(5, b"abc").unwrap();
        file.sync().unwrap();
        disk.sync_dir().unwrap();
        let mut found = [1; 8];
        disk.open("y").unwrap().read_at(2, &mut found).unwrap();
        assert_eq!(&found, b"\0\0\0abc\0\0");
        let mut from_medium = [1; 8];
        file.read_medium_at(2, &mut from_medium).unwrap();
        assert_eq!(from_medium, found);
        assert_eq!(disk.open("y").unwrap().size().unwrap(), 3 * ZEROS_BYTES as u64 / 2);
        assert!(disk.create("y").is_err());
        assert!(file.read_at(3 * ZEROS_BYTES as u64 / 2 - 1, &mut found).is_err());
        assert_eq!(disk.list().unwrap(), ["lock", "y"]);
    }

    #[test]
    fn a_log_lives_on_it() {
        let directory = tempfile::tempdir().unwrap();
        let identity = storage::Identity { cluster: 7, node: types::NodeId(1) };
        let open = || storage::Log::open(RealDisk::open(directory.path()).unwrap(), identity, <_>::default());
        let (mut log, recovery) = open().unwrap();
        assert!(recovery.created);
        log.append(&[storage::LogOp::Put(types::Slot(1), "one".into())]).unwrap();
        log.sync().unwrap();
        drop(log);
        let (log, recovery) = open().unwrap();
        assert_eq!(recovery.records, [types::SlotState::Ok("one".into())]);
        assert_eq!(log.read(types::Slot(1), types::Slot(1), 10).unwrap(), ["one"]);
    }
}

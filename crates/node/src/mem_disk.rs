//! The disk of an ephemeral node: files in memory, gone with the process.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use storage::{Disk, DiskError, DiskFile};

type Content = Arc<Mutex<Vec<u8>>>;

/// A directory in memory.
#[derive(Debug, Default)]
pub(crate) struct MemDisk {
    files: Mutex<BTreeMap<String, Content>>,
}

/// A file in memory.
#[derive(Debug)]
pub(crate) struct MemFile {
    name: String,
    content: Content,
}

impl MemDisk {
    fn file(&self, operation: &'static str, name: &str) -> Result<Content, DiskError> {
        lock(&self.files).get(name).cloned().ok_or_else(|| error(operation, name, io::ErrorKind::NotFound))
    }
}

impl Disk for MemDisk {
    type File = MemFile;

    fn list(&self) -> Result<Vec<String>, DiskError> {
        Ok(lock(&self.files).keys().cloned().collect())
    }

    fn create(&self, name: &str) -> Result<MemFile, DiskError> {
        let mut files = lock(&self.files);
        if files.contains_key(name) {
            return Err(error("create", name, io::ErrorKind::AlreadyExists));
        }
        let content = files.entry(name.to_owned()).or_default().clone();
        Ok(MemFile { name: name.to_owned(), content })
    }

    fn open(&self, name: &str) -> Result<MemFile, DiskError> {
        Ok(MemFile { name: name.to_owned(), content: self.file("open", name)? })
    }

    fn remove(&self, name: &str) -> Result<(), DiskError> {
        self.file("remove", name)?;
        lock(&self.files).remove(name);
        Ok(())
    }

    fn sync_dir(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> Result<u64, DiskError> {
        Ok(lock(&self.content).len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let content = lock(&self.content);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = from.checked_add(buf.len()).and_then(|to| content.get(from..to));
        let found = found.ok_or_else(|| error("read", &self.name, io::ErrorKind::UnexpectedEof))?;
        buf.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let mut content = lock(&self.content);
        let full = || error("write", &self.name, io::ErrorKind::StorageFull);
        let from = usize::try_from(offset).map_err(|_| full())?;
        let to = from.checked_add(bytes.len()).ok_or_else(full)?;
        if content.len() < to {
            content.resize(to, 0);
        }
        content[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        let len =
            usize::try_from(len).map_err(|_| error("allocate", &self.name, io::ErrorKind::StorageFull))?;
        lock(&self.content).resize(len, 0);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(operation: &'static str, name: &str, kind: io::ErrorKind) -> DiskError {
    DiskError::new(operation, name, kind.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_behave_like_files() {
        let disk = MemDisk::default();
        let mut file = disk.create("a").unwrap();
        assert!(disk.create("a").is_err() && disk.open("b").is_err());
        file.write_at(2, b"xy").unwrap();
        file.allocate(3).unwrap();
        let mut read = [9; 3];
        disk.open("a").unwrap().read_at(0, &mut read).unwrap();
        assert_eq!(&read, b"\0\0x");
        assert!(file.read_at(1, &mut read).is_err());
        disk.remove("a").unwrap();
        assert!(disk.list().unwrap().is_empty());
    }
}

//! An open file of the simulated disk: each request one effect.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Act, Hit, State, Untold};
use crate::disk::{DiskError, DiskFile};

/// An open file of a [`SimDisk`](super::SimDisk). A crash closes it.
#[derive(Debug)]
pub struct SimFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) name: String,
    pub(super) id: u64,
    pub(super) boot: u64,
}

impl SimFile {
    fn lock(&self, operation: &'static str) -> Result<MutexGuard<'_, State>, DiskError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let open = if state.boot == self.boot {
            state.alive()
        } else {
            Err(io::Error::other("the file was closed by a simulated crash"))
        };
        open.map_err(|source| DiskError::new(operation, &self.name, source)).map(|()| state)
    }

    fn perform(
        &self,
        act: Act,
        operation: &'static str,
        span: (u64, u64),
        happen: impl FnOnce(&mut State, &mut Hit) -> io::Result<()>,
    ) -> Result<(), DiskError> {
        let done = self.lock(operation)?.perform(act, &self.name, span, happen);
        done.map_err(|source| DiskError::new(operation, &self.name, source))
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> Result<u64, DiskError> {
        Ok(self.lock("measure")?.files.get(&self.id).map_or(0, |file| file.len))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        let span = (offset, buf.len() as u64);
        self.perform(Act::Read, "read", span, |state, hit| state.read(self.id, offset, buf, hit))
    }

    fn read_medium_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), DiskError> {
        if let Some(file) = self.lock("read")?.files.get_mut(&self.id) {
            file.evict(offset, buf.len());
        }
        self.read_at(offset, buf)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        let span = (offset, bytes.len() as u64);
        self.perform(Act::Write, "write", span, |state, hit| state.write(self.id, offset, bytes, hit))
    }

    fn allocate(&mut self, len: u64) -> Result<(), DiskError> {
        self.perform(Act::Allocate, "allocate", (0, len), |state, hit| match hit.refusal() {
            Some(refusal) => Err(refusal),
            None => state.grow(self.id, len).map(|_| ()),
        })
    }

    fn sync(&mut self) -> Result<(), DiskError> {
        self.perform(Act::Sync, "sync", (0, 0), |state, hit| {
            let file = state.files.get_mut(&self.id).ok_or(io::ErrorKind::NotFound)?;
            match hit.refusal() {
                Some(refusal) => {
                    file.fail_sync();
                    state.untold.iter_mut().for_each(Untold::failed);
                    Err(refusal)
                }
                None => {
                    file.sync();
                    state.untold.take_if(Untold::synced);
                    Ok(())
                }
            }
        })
    }
}

//! Questions to peers and the answers to them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

/// Questions to peers that wait for an answer.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Bytes>>>,
}

impl Questions {
    pub(crate) fn open(&self) -> (u64, oneshot::Receiver<Bytes>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(id, sender);
        (id, receiver)
    }

    pub(crate) fn close(&self, id: u64) {
        self.lock().remove(&id);
    }

    /// A peer answered. Answers that come too late are nobody's.
    pub(crate) fn answered(&self, id: u64, body: Bytes) {
        if let Some(asker) = self.lock().remove(&id) {
            asker.send(body).ok();
        }
    }

    /// The node stops: whoever waits is told.
    pub(crate) fn stop(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Bytes>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

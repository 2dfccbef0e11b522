//! Writes gather in memory and reach the LSM tree in big sorted loads.
//!
//! ```text
//!   write ──▶ fresh layer ──full──▶ sealed layer ──one load──▶ LSM tree
//!               │                       │                         │
//!   view:   changes at a version     changes                a snapshot        merged, the first that knows wins
//! ```
//!
//! The log is the durable truth, so that a write needs no journal of its own here: a crash loses the layers, and the
//! log replays them. A load is there whole or not at all, and durable; with every load comes the slot that it reflects.

use std::iter::Peekable;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use storage::{Engine, EngineError, KEY_LEN_MAX, Scan, Space, View, WriteBatch};

use super::layer::{Change, Layer, LayerScan, Version};
use super::lsm::{Lsm, LsmView};

/// Memory that the fresh layer takes before it is sealed. There are two layers at most.
const LAYER_BYTES: u64 = 12 << 20;

/// The engine on disk. The last clone that is dropped ends its thread; what was not persisted is then gone.
#[derive(Clone)]
pub struct Buffered {
    shared: Arc<Shared>,
    _loader: Arc<Loader>,
}

/// A view of a [`Buffered`] engine.
#[derive(Clone)]
pub struct BufferedView {
    version: Version,
    fresh: Arc<Layer>,
    sealed: Option<Arc<Layer>>,
    base: LsmView,
}

struct Shared {
    lsm: Lsm,
    writer: Mutex<()>,
    state: Mutex<State>,
    /// Something in `state` has changed that somebody waits for.
    changed: Condvar,
}

struct State {
    /// What a view taken now sees.
    view: BufferedView,
    /// Why a load failed: nothing can be written any more.
    failed: Option<EngineError>,
    is_stopping: bool,
}

/// The thread that loads sealed layers into the LSM tree.
struct Loader {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Buffered {
    /// # Errors
    /// [`EngineError`] if the system gives no thread.
    pub(super) fn start(lsm: Lsm) -> Result<Buffered, EngineError> {
        let view = BufferedView { version: 0, fresh: Arc::default(), sealed: None, base: lsm.view() };
        let state = Mutex::new(State { view, failed: None, is_stopping: false });
        let shared = Arc::new(Shared { lsm, writer: Mutex::new(()), state, changed: Condvar::new() });
        let worker = shared.clone();
        let thread = std::thread::Builder::new().name("state-loader".into()).spawn(move || {
            let _ended = Ended(&worker);
            worker.load_all();
        });
        let thread =
            thread.map_err(|error| EngineError { operation: "start a thread", reason: error.to_string() })?;
        let loader = Arc::new(Loader { shared: shared.clone(), thread: Some(thread) });
        Ok(Buffered { shared, _loader: loader })
    }
}

impl Engine for Buffered {
    type View = BufferedView;

    fn view(&self) -> BufferedView {
        self.shared.lock().view.clone()
    }

    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if let Some((_, key, _)) = batch.changes.iter().find(|(_, key, _)| key.len() > KEY_LEN_MAX) {
            return Err(EngineError::key_too_long(key.len()));
        }
        let _writer = self.shared.writer();
        let BufferedView { version, fresh, .. } = self.view();
        let size_bytes = fresh.write(version + 1, batch);
        let mut state = self.shared.lock();
        state.view.version = version + 1;
        if size_bytes >= LAYER_BYTES {
            state = self.shared.seal(state)?;
        }
        state.check()
    }

    fn persist(&self) -> Result<(), EngineError> {
        let writer = self.shared.writer();
        let state = self.shared.seal(self.shared.lock())?;
        drop(writer);
        self.shared.wait_until_loaded(state).map(drop)
    }

    fn clear(&self) -> Result<(), EngineError> {
        let _writer = self.shared.writer();
        let state = self.shared.seal(self.shared.lock())?;
        drop(self.shared.wait_until_loaded(state)?);
        self.shared.lsm.clear()?;
        self.shared.lock().view.base = self.shared.lsm.view();
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        let view = self.view();
        let layers = [Some(view.fresh), view.sealed];
        self.shared.lsm.size_bytes()
            + layers.into_iter().flatten().map(|layer| layer.size_bytes()).sum::<u64>()
    }
}

impl State {
    fn check(&self) -> Result<(), EngineError> {
        match &self.failed {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever holds this may write to the fresh layer or seal it; nobody else writes to what is being sealed.
    fn writer(&self) -> MutexGuard<'_, ()> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_loaded<'a>(
        &self,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, EngineError> {
        while state.failed.is_none() && state.view.sealed.is_some() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.check().map(|()| state)
    }

    /// Hands the fresh layer to the loader, which takes one at a time. The caller holds the `writer`.
    fn seal<'a>(&self, state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>, EngineError> {
        let mut state = self.wait_until_loaded(state)?;
        if !state.view.fresh.is_empty() {
            state.view.sealed = Some(std::mem::take(&mut state.view.fresh));
            self.changed.notify_all();
        }
        Ok(state)
    }

    /// The loader thread's work.
    fn load_all(&self) {
        let mut state = self.lock();
        loop {
            if state.is_stopping {
                return;
            }
            let Some(sealed) = state.view.sealed.clone() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(state);
            let loaded = self.lsm.load(&sealed);
            state = self.lock();
            match loaded {
                Ok(()) => {
                    state.view.base = self.lsm.view();
                    state.view.sealed = None;
                }
                Err(error) => {
                    state.failed = Some(error);
                    return;
                }
            }
            self.changed.notify_all();
        }
    }
}

/// However the loader thread ends, nobody waits for it any more.
struct Ended<'a>(&'a Shared);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let ended =
            || EngineError { operation: "write", reason: "the thread that loads rows has ended".into() };
        self.0.lock().failed.get_or_insert_with(ended);
        self.0.changed.notify_all();
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.shared.lock().is_stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed, and nothing is left that needed the thread.
            thread.join().ok();
        }
    }
}

impl View for BufferedView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, EngineError> {
        let layers = [Some(&self.fresh), self.sealed.as_ref()];
        let change = layers.into_iter().flatten().find_map(|layer| layer.get(self.version, space, key));
        change.map_or_else(|| self.base.get(space, key), Ok)
    }

    fn scan(&self, scan: Scan) -> Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + '_> {
        let layers = [Some(&self.fresh), self.sealed.as_ref()];
        let layers =
            layers.into_iter().flatten().map(|layer| layer.scan(self.version, scan.clone()).peekable());
        let mut layers: Vec<_> = layers.collect();
        layers.retain_mut(|layer| layer.peek().is_some());
        let descending = scan.descending;
        let base = self.base.scan(scan);
        if layers.is_empty() { base } else { Box::new(Merged { layers, base: base.peekable(), descending }) }
    }
}

type Base<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), EngineError>> + Send + 'a>;

/// Merges the changes of layers, newest first, with the rows below them.
struct Merged<'a> {
    layers: Vec<Peekable<LayerScan>>,
    base: Peekable<Base<'a>>,
    descending: bool,
}

impl Iterator for Merged<'_> {
    type Item = Result<(Bytes, Bytes), EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(key) = self.next_changed() else { return self.base.next() };
            match self.base.peek() {
                Some(Err(_)) => return self.base.next(),
                Some(Ok((base, _))) if is_before(base, &key, self.descending) => return self.base.next(),
                Some(Ok((base, _))) if *base == key => drop(self.base.next()),
                _ => {}
            }
            if let Some(value) = self.change(&key) {
                return Some(Ok((key, value)));
            }
        }
    }
}

impl Merged<'_> {
    /// The next key that some layer changes.
    fn next_changed(&mut self) -> Option<Bytes> {
        let descending = self.descending;
        let keys = self.layers.iter_mut().filter_map(|layer| layer.peek().map(|(key, _)| key));
        keys.reduce(|a, b| if is_before(b, a, descending) { b } else { a }).cloned()
    }

    /// The newest change of `key`, passing over it in every layer.
    fn change(&mut self, key: &Bytes) -> Change {
        let changes = self.layers.iter_mut().map(|layer| layer.next_if(|(next, _)| next == key));
        let changes: Vec<_> = changes.collect();
        changes.into_iter().flatten().next().and_then(|(_, change)| change)
    }
}

fn is_before(a: &Bytes, b: &Bytes, descending: bool) -> bool {
    if descending { a > b } else { a < b }
}

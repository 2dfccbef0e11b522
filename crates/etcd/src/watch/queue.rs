//! What waits to be sent on one watch stream, and which of its watchers are behind.
//!
//! The hub puts live events in, the stream's driver everything else, the gRPC stream takes out. A full queue
//! refuses live events: their watcher lags then, with the revision to go on from (W4).

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use kv::Revision;
use tokio::sync::Notify;
use tokio_stream::Stream;
use tonic::Status;

use super::frame::Frame;
use crate::metrics::Metrics;

/// Bytes of events that may wait, an event for many watchers of the stream counted once.
const BYTES_MAX: usize = 4 << 20;

/// Responses that may wait, for each watcher of the stream and besides.
const FRAMES_PER_WATCHER: usize = 4;
const FRAMES_BASE: usize = 1024;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Tells the driver that there is room again, that a watcher lags, or that the client is gone.
    pub(super) changed: Notify,
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Queued>,
    bytes: usize,
    watchers: usize,
    /// Where each watcher that is behind goes on.
    lagging: BTreeMap<i64, Revision>,
    /// How the stream ends once the frames are sent.
    end: Option<Result<(), Status>>,
    /// The client is gone.
    abandoned: bool,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Queued {
    frame: Frame,
    /// What it was counted as in `State::bytes`.
    bytes: usize,
}

impl State {
    fn has_room(&self) -> bool {
        self.bytes < BYTES_MAX && self.frames.len() < FRAMES_BASE + FRAMES_PER_WATCHER * self.watchers
    }

    /// Whether there is so little left that the driver should put more in.
    fn runs_low(&self) -> bool {
        self.bytes < BYTES_MAX / 2 && self.frames.len() <= FRAMES_BASE / 2
    }

    fn push(&mut self, frame: Frame) {
        let shared = match (self.frames.back().and_then(|last| last.frame.events.last()), frame.events.last())
        {
            (Some(last), Some(this)) => last.as_ptr() == this.as_ptr(),
            _ => false,
        };
        let bytes = if shared { 0 } else { frame.event_bytes() };
        self.bytes += bytes;
        self.frames.push_back(Queued { frame, bytes });
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl Queue {
    pub(super) fn new(metrics: Arc<Metrics>) -> Arc<Queue> {
        metrics.watch_streams.add(1);
        Arc::new(Queue { state: Mutex::default(), changed: Notify::new(), metrics })
    }

    /// Puts in what does not wait for room: there is at most one for each request that was taken.
    pub(super) fn push(&self, frame: Frame) {
        self.metrics.events_sent.add(frame.events.len() as u64);
        self.state().push(frame);
    }

    /// Puts in live events of a watcher; if there is no room the watcher lags from revision `next` on.
    /// Returns whether they were taken.
    pub(super) fn offer(&self, frames: impl FnOnce() -> Vec<Frame>, watch_id: i64, next: Revision) -> bool {
        let mut state = self.state();
        if !state.has_room() {
            self.mark_lagging(&mut state, watch_id, next);
            return false;
        }
        for frame in frames() {
            self.metrics.events_sent.add(frame.events.len() as u64);
            state.push(frame);
        }
        true
    }

    /// Notes that a watcher must read history from revision `next` on.
    pub(super) fn lag(&self, watch_id: i64, next: Revision) {
        self.mark_lagging(&mut self.state(), watch_id, next);
    }

    fn mark_lagging(&self, state: &mut State, watch_id: i64, next: Revision) {
        if state.lagging.insert(watch_id, next).is_none() {
            self.metrics.slow_watchers.add(1);
        }
        self.changed.notify_one();
    }

    /// A watcher is no longer behind, or no longer there.
    pub(super) fn caught_up(&self, watch_id: i64) {
        if self.state().lagging.remove(&watch_id).is_some() {
            self.metrics.slow_watchers.subtract(1);
        }
    }

    /// Where each watcher that is behind goes on.
    pub(super) fn lagging(&self) -> BTreeMap<i64, Revision> {
        self.state().lagging.clone()
    }

    pub(super) fn has_lagging(&self) -> bool {
        !self.state().lagging.is_empty()
    }

    pub(super) fn has_room(&self) -> bool {
        self.state().has_room()
    }

    pub(super) fn set_watchers(&self, watchers: usize) {
        self.state().watchers = watchers;
    }

    /// Ends the stream after what waits.
    pub(super) fn end(&self, result: Result<(), Status>) {
        let mut state = self.state();
        state.end.get_or_insert(result);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Whether the client is gone.
    pub(super) fn is_abandoned(&self) -> bool {
        self.state().abandoned
    }

    /// Takes everything out, for those who only want to know that something happened. Returns whether the
    /// hub had given up on a watcher.
    pub(super) fn clear(&self) -> bool {
        let mut state = self.state();
        state.frames.clear();
        state.bytes = 0;
        let lagged = std::mem::take(&mut state.lagging).len();
        self.metrics.slow_watchers.subtract(lagged as u64);
        lagged > 0
    }

    /// What the client is sent.
    pub(super) fn output(self: Arc<Queue>) -> Output {
        Output { queue: self }
    }

    /// Becomes ready when there is something in the queue.
    pub(super) async fn filled(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.state();
            if !state.frames.is_empty() || !state.lagging.is_empty() || state.end.is_some() {
                return Poll::Ready(());
            }
            state.waker = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        let lagging = self.state().lagging.len();
        self.metrics.slow_watchers.subtract(lagging as u64);
        self.metrics.watch_streams.subtract(1);
    }
}

/// The taking end of a queue; dropping it tells the driver that the client is gone.
#[derive(Debug)]
pub(super) struct Output {
    queue: Arc<Queue>,
}

impl Stream for Output {
    type Item = Result<Frame, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.queue.state();
        let had_low = state.runs_low();
        if let Some(Queued { frame, bytes }) = state.frames.pop_front() {
            state.bytes -= bytes;
            if !had_low && state.runs_low() {
                self.queue.changed.notify_one();
            }
            return Poll::Ready(Some(Ok(frame)));
        }
        match state.end.take() {
            Some(result) => {
                state.end = Some(Ok(()));
                Poll::Ready(result.err().map(Err))
            }
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.queue.state().abandoned = true;
        self.queue.changed.notify_one();
    }
}

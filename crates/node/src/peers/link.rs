//! One outgoing connection: one lane to one peer, from dialing to the last byte.
//!
//! ```text
//!   send ──▶ socket takes it now? ──yes──▶ written by the sending thread itself
//!                   │ no
//!                   ▼
//!            bounded queue ──▶ the link's own thread, when the socket has room again
//! ```
//!
//! - K1  `send` never blocks. What does not fit, or finds no connection, is dropped: protocols survive loss.
//! - K2  Frames leave whole and in the order of `send`, or the connection is closed.
//! - K3  The link's thread redials for ever, with growing pauses, and at once when the peer was heard from.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use types::NodeId;

use super::frame::{FrameError, Hello, VERDICT_LEN, Verdict};
use crate::metrics::PeerMetrics;

/// One lane to one peer.
pub(crate) struct Link {
    hello: Hello,
    /// `host:port` of the peer's URLs, tried in turn.
    addresses: Vec<String>,
    state: Mutex<State>,
    /// The first frame of every connection.
    introduction: Bytes,
    /// Wakes the link's thread: something is queued, the peer is back, or it is time to stop.
    wake: OwnedFd,
    counters: Arc<PeerMetrics>,
}

/// What a link has to tell.
pub(crate) trait LinkNews: Send + Sync {
    /// A connection to the peer was lost.
    fn lost(&self, peer: NodeId);

    /// The peer says that this node was removed.
    fn removed(&self);
}

#[derive(Default)]
struct State {
    stream: Option<Arc<TcpStream>>,
    /// What the socket did not take yet; the first may be half written.
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    stopping: bool,
}

/// Why a connection was not made.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error(
        "it belongs to cluster {theirs:x}, we to cluster {ours:x}; check --initial-cluster and the token"
    )]
    OtherCluster { theirs: u64, ours: u64 },
    #[error("it is member {theirs}, not {wanted}; check the peer URLs in --initial-cluster")]
    OtherMember { theirs: NodeId, wanted: NodeId },
    #[error("it says that member {ours} has been removed from the cluster")]
    Removed { ours: NodeId },
    #[error("it runs consensus protocol {theirs}, we run {ours}")]
    OtherProtocol { theirs: u8, ours: u8 },
}

/// Bytes that wait for a slow peer; beyond this frames are dropped. More than a core's window for one peer.
const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Frames handed to the kernel in one call.
const SLICES_MAX: usize = 64;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a peer may take to say whether we are welcome.
const VERDICT_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes unacknowledged for this long end a connection: after a long partition the next dial succeeds within
/// `PAUSE_MAX`, where TCP's own retransmission timer would have backed off to minutes.
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(3);

const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Link {
    /// Prepares a link; [`run`](Link::run) brings it to life.
    pub(crate) fn new(
        hello: Hello,
        addresses: Vec<String>,
        introduction: Bytes,
        counters: Arc<PeerMetrics>,
    ) -> io::Result<Link> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Link { hello, addresses, state: Mutex::default(), introduction, wake, counters })
    }

    /// Sends frames, in order, and leaves `frames` empty (K1, K2).
    pub(crate) fn send(&self, frames: &mut VecDeque<Bytes>) {
        let mut state = self.lock();
        let Some(stream) = state.stream.clone() else {
            self.count_lost(frames.drain(..).count());
            return;
        };
        if state.queue.is_empty() && !self.write(&stream, &mut state, frames) {
            self.count_lost(frames.drain(..).count());
            return;
        }
        if frames.is_empty() {
            return;
        }
        let was_empty = state.queue.is_empty();
        for frame in frames.drain(..) {
            // What is half written must be finished, so the first of an empty queue always gets in.
            if state.queue.is_empty() || state.queue_bytes + frame.len() <= QUEUE_BYTES_MAX {
                state.queue_bytes += frame.len();
                state.queue.push_back(frame);
            } else {
                self.count_lost(1);
            }
        }
        drop(state);
        if was_empty {
            self.wake_up();
        }
    }

    /// The peer was heard from: dial now if there is no connection.
    pub(crate) fn peer_is_back(&self) {
        if self.lock().stream.is_none() {
            self.wake_up();
        }
    }

    /// Ends [`run`](Link::run).
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopping = true;
        if let Some(stream) = state.stream.take() {
            shut(&stream);
        }
        drop(state);
        self.wake_up();
    }

    /// Dials, keeps the connection, and dials again, until [`stop`](Link::stop).
    pub(crate) fn run(&self, news: &dyn LinkNews) {
        let mut pause = PAUSE_MIN;
        let mut logged = String::new();
        while !self.lock().stopping {
            match self.dial() {
                Ok(stream) => {
                    logged.clear();
                    pause = PAUSE_MIN;
                    self.keep(Arc::new(stream));
                    news.lost(self.hello.to);
                }
                Err(error) => {
                    self.log_once(&error, &mut logged);
                    if matches!(error, DialError::Removed { .. }) {
                        news.removed();
                    }
                    self.sleep(pause);
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// One line for every new reason, not one for every attempt. A peer that is merely down is no news here.
    fn log_once(&self, error: &DialError, logged: &mut String) {
        let text = error.to_string();
        let peer = self.hello.to;
        if *logged != text {
            match error {
                DialError::Io(_) => {
                    tracing::debug!(%peer, purpose = ?self.hello.purpose, "cannot reach peer: {text}")
                }
                _ => tracing::error!(%peer, addresses = ?self.addresses, "peer cannot be used: {text}"),
            }
            *logged = text;
        }
    }

    fn dial(&self) -> Result<TcpStream, DialError> {
        let no_address = io::Error::new(io::ErrorKind::InvalidInput, "the peer has no address");
        let mut last = DialError::Io(no_address);
        for address in &self.addresses {
            match address.to_socket_addrs() {
                Err(error) => last = error.into(),
                Ok(resolved) => {
                    for address in resolved {
                        match self.dial_at(address) {
                            Ok(stream) => return Ok(stream),
                            // What a process says that answers is worth more than that another does not.
                            Err(DialError::Io(_)) if !matches!(last, DialError::Io(_)) => {}
                            Err(error) => last = error,
                        }
                    }
                }
            }
        }
        Err(last)
    }

    fn dial_at(&self, address: SocketAddr) -> Result<TcpStream, DialError> {
        let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
        stream.set_nodelay(true)?;
        socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT))?;
        stream.set_read_timeout(Some(VERDICT_TIMEOUT))?;
        stream.set_write_timeout(Some(VERDICT_TIMEOUT))?;
        stream.write_all(&self.hello.encode())?;
        let mut verdict = [0; VERDICT_LEN];
        stream.read_exact(&mut verdict)?;
        let Hello { cluster, from, to, protocol, .. } = self.hello;
        match Verdict::decode(&verdict)? {
            Verdict::Welcome => {}
            Verdict::OtherCluster(theirs) => return Err(DialError::OtherCluster { theirs, ours: cluster }),
            Verdict::OtherMember(theirs) => return Err(DialError::OtherMember { theirs, wanted: to }),
            Verdict::Removed => return Err(DialError::Removed { ours: from }),
            Verdict::OtherProtocol(theirs) => {
                return Err(DialError::OtherProtocol { theirs, ours: protocol });
            }
        }
        stream.write_all(&self.introduction)?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }

    /// Serves a connection until it ends.
    fn keep(&self, stream: Arc<TcpStream>) {
        {
            let mut state = self.lock();
            if state.stopping {
                return;
            }
            state.stream = Some(stream.clone());
        }
        self.counters.lanes_connected.add(1);
        while self.serve(&stream) {}
        self.counters.lanes_connected.subtract(1);
        let mut state = self.lock();
        state.stream = None;
        let lost = state.queue.len();
        state.queue.clear();
        state.queue_bytes = 0;
        drop(state);
        self.count_lost(lost);
    }

    /// Waits until there is something to do for the connection, and does it. Returns whether it goes on.
    fn serve(&self, stream: &Arc<TcpStream>) -> bool {
        let mut interest = PollFlags::IN | PollFlags::RDHUP;
        {
            let state = self.lock();
            // A failed write by a sender, or `stop`, has taken the stream away.
            if state.stream.is_none() {
                return false;
            }
            interest.set(PollFlags::OUT, !state.queue.is_empty());
        }
        let mut fds = [PollFd::new(stream.as_ref(), interest), PollFd::new(&self.wake, PollFlags::IN)];
        if let Err(error) = poll(&mut fds, None) {
            return error == rustix::io::Errno::INTR;
        }
        let (socket, wake) = (fds[0].revents(), fds[1].revents());
        if !wake.is_empty() {
            self.clear_wake();
        }
        // The peer never sends anything on this connection: whatever can be read is its end.
        if socket.intersects(PollFlags::IN | PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
            return false;
        }
        if socket.contains(PollFlags::OUT) {
            let mut state = self.lock();
            let mut queue = std::mem::take(&mut state.queue);
            let written = self.write(stream, &mut state, &mut queue);
            state.queue_bytes = queue.iter().map(Bytes::len).sum();
            state.queue = queue;
            return written;
        }
        true
    }

    /// Writes as much as the socket takes now. Returns `false`, and gives the connection up, if it failed.
    fn write(&self, stream: &TcpStream, state: &mut State, frames: &mut VecDeque<Bytes>) -> bool {
        while !frames.is_empty() {
            let slices: Vec<IoSlice<'_>> =
                frames.iter().take(SLICES_MAX).map(|frame| IoSlice::new(frame)).collect();
            match (&*stream).write_vectored(&slices) {
                Ok(written) => {
                    self.counters.sent_bytes.add(written as u64);
                    advance(frames, written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    state.stream = None;
                    shut(stream); // wakes the link's thread out of `poll`
                    return false;
                }
            }
        }
        true
    }

    fn sleep(&self, pause: Duration) {
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(pause.subsec_nanos()) };
        let mut fds = [PollFd::new(&self.wake, PollFlags::IN)];
        // Woken early or interrupted: dialing early is harmless.
        if poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0) {
            self.clear_wake();
        }
    }

    fn wake_up(&self) {
        // It can only fail when the counter is at its limit, and then the thread has been woken already.
        rustix::io::write(&self.wake, &1u64.to_ne_bytes()).ok();
    }

    fn clear_wake(&self) {
        rustix::io::read(&self.wake, &mut [0; 8]).ok();
    }

    fn count_lost(&self, frames: usize) {
        if frames > 0 {
            self.counters.sent_failures.add(frames as u64);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes the first `written` bytes.
fn advance(frames: &mut VecDeque<Bytes>, mut written: usize) {
    while let Some(first) = frames.front_mut() {
        if written < first.len() {
            first.advance(written);
            return;
        }
        written -= first.len();
        frames.pop_front();
    }
}

/// Closes both directions; a connection that is closed already is fine.
pub(crate) fn shut(stream: &TcpStream) {
    stream.shutdown(std::net::Shutdown::Both).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_writes_leave_the_rest_in_order() {
        let mut frames: VecDeque<Bytes> =
            ["abc", "de", "fgh"].iter().map(|text| Bytes::from_static(text.as_bytes())).collect();
        advance(&mut frames, 4);
        assert_eq!(frames, ["e", "fgh"]);
        advance(&mut frames, 4);
        assert!(frames.is_empty());
    }
}

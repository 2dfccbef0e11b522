//! Incoming connections: who is let in, and what becomes of what they send.
//!
//! ```text
//!   accept ──▶ hello within 2 s? ──▶ same cluster, meant for us, not removed? ──▶ welcome ──▶ frames ──▶ Deliver
//!                  └─ no: one log line, closed        └─ no: verdict, one log line, closed
//! ```
//!
//! - A1  Whatever arrives is told in one log line and a closed connection; it never ends the process.
//! - A2  At most [`GREETINGS_MAX`] connections may be without a greeting at a time.
//! - A3  A member has one connection a lane: a new one replaces the old.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use consensus::Lane;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use types::{NodeId, Wire};

use super::Peers;
use super::frame::{Frame, FrameError, HELLO_LEN, Hello, Purpose, Verdict, answer_frame, next_frame};
use super::link::shut;
use crate::metrics::Metrics;

/// Takes what peers send. Called on the connection's own thread, which may be blocked to slow the peer down.
pub(crate) trait Deliver: Send + Sync + 'static {
    /// A connection was opened.
    fn connected(&self, from: NodeId);

    /// Frames arrived, `bytes` long together. Takes them out of `frames`.
    ///
    /// # Errors
    /// [`FrameError`] if one of them makes no sense: the connection is then closed.
    fn deliver(
        &self,
        from: NodeId,
        lane: Lane,
        frames: &mut Vec<Frame>,
        bytes: u64,
    ) -> Result<(), FrameError>;
}

/// The accepting side of a node.
pub(crate) struct Acceptor<D> {
    /// Who we are: `from` and `to` are both this member.
    me: Hello,
    deliver: D,
    peers: Arc<Peers>,
    metrics: Arc<Metrics>,
    connections: Mutex<Connections>,
    greetings: AtomicUsize,
    stop: OwnedFd,
}

#[derive(Default)]
struct Connections {
    next: u64,
    /// Everything that is open, so that it can be closed.
    open: BTreeMap<u64, Arc<TcpStream>>,
    /// Which of them carries a lane.
    lanes: BTreeMap<(NodeId, Lane), u64>,
    stopping: bool,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error(
        "it belongs to cluster {theirs:x}, we to cluster {ours:x}; check --initial-cluster and the token"
    )]
    OtherCluster { theirs: u64, ours: u64 },
    #[error("it wants member {wanted}, we are {ours}; check the peer URLs in its --initial-cluster")]
    OtherMember { wanted: NodeId, ours: NodeId },
    #[error("member {theirs} has been removed from the cluster")]
    Removed { theirs: NodeId },
    #[error("it runs consensus protocol {theirs}, we run {ours}")]
    OtherProtocol { theirs: u8, ours: u8 },
}

/// Connections that may be open without having said who they are (A2).
const GREETINGS_MAX: usize = 64;

const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// Bytes asked of the kernel at a time: many frames per call.
const READ_BYTES: usize = 256 << 10;

/// A peer that vanished without a word is noticed after about this long.
const KEEPALIVE: Duration = Duration::from_secs(5);

impl<D: Deliver> Acceptor<D> {
    /// Prepares an acceptor; [`run`](Acceptor::run) accepts.
    pub(crate) fn new(
        me: Hello,
        deliver: D,
        peers: Arc<Peers>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Acceptor<D>> {
        Ok(Acceptor {
            me,
            deliver,
            peers,
            metrics,
            connections: Mutex::default(),
            greetings: AtomicUsize::new(0),
            stop: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Accepts connections on `listener`, each on a thread of its own, until [`stop`](Acceptor::stop).
    pub(crate) fn run(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let mut fds = [PollFd::new(listener, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            if poll(&mut fds, None).is_err() {
                continue; // interrupted
            }
            if !fds[1].revents().is_empty() {
                break;
            }
            match listener.accept() {
                Ok((stream, address)) => self.welcome(stream, address),
                // Out of descriptors, or the peer is gone already. Not a reason to spin or to give up.
                Err(error) => {
                    tracing::warn!("cannot accept a peer's connection: {error}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
        // Every thread removes its connection when it ends.
        while !self.lock().open.is_empty() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Closes every connection and ends [`run`](Acceptor::run).
    pub(crate) fn stop(&self) {
        let mut connections = self.lock();
        connections.stopping = true;
        connections.open.values().for_each(|stream| shut(stream));
        drop(connections);
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).ok();
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        if self.greetings.load(Ordering::Relaxed) >= GREETINGS_MAX {
            tracing::warn!(%address, "too many connections without a greeting ({GREETINGS_MAX}): one closed");
            return;
        }
        let stream = Arc::new(stream);
        let Some(number) = self.register(&stream) else { return };
        self.greetings.fetch_add(1, Ordering::Relaxed);
        let acceptor = self.clone();
        let spawned = std::thread::Builder::new().name("peer-reader".into()).spawn(move || {
            acceptor.serve(&stream, number, address);
            acceptor.unregister(number);
        });
        if let Err(error) = spawned {
            tracing::warn!(%address, "cannot start a thread for a peer's connection: {error}");
            self.greetings.fetch_sub(1, Ordering::Relaxed);
            self.unregister(number);
        }
    }

    fn serve(&self, stream: &TcpStream, number: u64, address: SocketAddr) {
        let greeted = self.greet(stream);
        self.greetings.fetch_sub(1, Ordering::Relaxed);
        let (from, lane) = match greeted {
            Ok(Hello { from, purpose: Purpose::Talk(lane), .. }) => (from, lane),
            Ok(Hello { purpose: Purpose::AskMembers, .. }) => return self.tell_members(stream),
            Err(Ended::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(reason) => {
                tracing::warn!(%address, "connection on the peer port refused: {reason}");
                return;
            }
        };
        self.take_lane(from, lane, number);
        self.deliver.connected(from);
        match self.read(stream, from, lane) {
            Ok(()) => tracing::debug!(peer = %from, ?lane, "peer disconnected"),
            Err(Ended::Io(error)) => tracing::debug!(peer = %from, ?lane, "peer disconnected: {error}"),
            Err(reason @ Ended::Removed { .. }) => {
                tracing::info!(peer = %from, ?lane, "peer disconnected: {reason}");
            }
            Err(reason) => tracing::error!(peer = %from, %address, "peer disconnected: {reason}"),
        }
    }

    /// Answers a node that wants to know who it is. It asks again, perhaps elsewhere, if the answer is lost.
    fn tell_members(&self, mut stream: &TcpStream) {
        let answer = answer_frame(0, &self.peers.acquaintance().to_bytes());
        stream.write_all(&answer).ok();
        shut(stream);
    }

    fn greet(&self, mut stream: &TcpStream) -> Result<Hello, Ended> {
        stream.set_read_timeout(Some(HELLO_TIMEOUT))?;
        stream.set_write_timeout(Some(HELLO_TIMEOUT))?;
        let mut bytes = [0; HELLO_LEN];
        read_greeting(stream, &mut bytes)?;
        let hello = Hello::decode(&bytes)?;
        let (verdict, refusal) = self.judge(&hello);
        stream.write_all(&verdict.encode())?;
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        stream.set_read_timeout(None)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
        socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
        Ok(hello)
    }

    fn judge(&self, hello: &Hello) -> (Verdict, Option<Ended>) {
        let me = &self.me;
        if hello.purpose == Purpose::AskMembers {
            return (Verdict::Welcome, None);
        }
        if hello.cluster != me.cluster {
            let refusal = Ended::OtherCluster { theirs: hello.cluster, ours: me.cluster };
            return (Verdict::OtherCluster(me.cluster), Some(refusal));
        }
        if hello.to != me.to {
            let refusal = Ended::OtherMember { wanted: hello.to, ours: me.to };
            return (Verdict::OtherMember(me.to), Some(refusal));
        }
        if self.peers.is_removed(hello.from) {
            return (Verdict::Removed, Some(Ended::Removed { theirs: hello.from }));
        }
        if hello.protocol != me.protocol {
            let refusal = Ended::OtherProtocol { theirs: hello.protocol, ours: me.protocol };
            return (Verdict::OtherProtocol(me.protocol), Some(refusal));
        }
        (Verdict::Welcome, None)
    }

    /// Reads until the connection ends.
    fn read(&self, mut stream: &TcpStream, from: NodeId, lane: Lane) -> Result<(), Ended> {
        let counters = self.metrics.peer(from);
        let mut buffer = BytesMut::new();
        let mut chunk = vec![0; READ_BYTES];
        let mut frames = Vec::new();
        loop {
            let count = match stream.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.into()),
            };
            let bytes = count as u64;
            buffer.extend_from_slice(&chunk[..count]);
            counters.received_bytes.add(bytes);
            while let Some(frame) = next_frame(&mut buffer)? {
                frames.push(frame);
            }
            if self.peers.is_removed(from) {
                return Err(Ended::Removed { theirs: from });
            }
            if !frames.is_empty() {
                self.deliver.deliver(from, lane, &mut frames, bytes)?;
            }
        }
    }

    fn register(&self, stream: &Arc<TcpStream>) -> Option<u64> {
        let mut connections = self.lock();
        if connections.stopping {
            return None;
        }
        let number = connections.next;
        connections.next += 1;
        connections.open.insert(number, stream.clone());
        Some(number)
    }

    fn take_lane(&self, from: NodeId, lane: Lane, number: u64) {
        let mut connections = self.lock();
        if let Some(old) = connections.lanes.insert((from, lane), number)
            && let Some(stream) = connections.open.get(&old)
        {
            shut(stream);
        }
    }

    fn unregister(&self, number: u64) {
        let mut connections = self.lock();
        connections.open.remove(&number);
        connections.lanes.retain(|_, open| *open != number);
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a whole greeting, but gives up on the first bytes that cannot begin one: a stranger who sends little
/// and waits is told so at once.
fn read_greeting(mut stream: &TcpStream, bytes: &mut [u8; HELLO_LEN]) -> Result<(), Ended> {
    let (magic, rest) = bytes.split_at_mut(8);
    stream.read_exact(magic)?;
    super::frame::check_magic(magic)?;
    stream.read_exact(rest)?;
    Ok(())
}

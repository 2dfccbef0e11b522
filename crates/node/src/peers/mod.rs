//! Everything between this node and its peers: one outgoing connection a lane and peer, and the incoming ones.
//!
//! ```text
//!   any thread ──Outbox──▶ Link (control) ─┐                      ┌─▶ reader thread ──▶ Deliver
//!                     └──▶ Link (bulk) ────┴── TCP ── Acceptor ───┴─▶ reader thread ──▶ Deliver
//!
//!   log, state, strangers ──▶ Roster ──▶ links are made, re-made and ended while the node runs
//! ```

mod frame;
mod link;
mod listen;
mod roster;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use consensus::{Dest, Lane, Membership};
use types::NodeId;

pub(crate) use frame::{
    Acquaintance, Frame, FrameError, Hello, Purpose, VERDICT_LEN, Verdict, answer_frame, introduction_frame,
    next_frame, protocol_frame, question_frame,
};
#[cfg(feature = "fuzzing")]
pub(crate) use frame::{HEADER_LEN, frame_header, renew_seal};
pub(crate) use link::{Link, LinkNews};
pub(crate) use listen::{Acceptor, Deliver};
pub(crate) use roster::Roster;

use crate::shared::{PanicGuard, Shared};

/// The outgoing side: a link a lane and peer.
pub(crate) struct Peers {
    me: Hello,
    /// Where this node lives, to be told on every connection.
    introduction: Bytes,
    shared: Arc<Shared>,
    news: Arc<dyn LinkNews>,
    roster: Mutex<Roster>,
    links: RwLock<Arc<Vec<PeerLinks>>>,
    threads: Mutex<Threads>,
}

#[derive(Clone)]
struct PeerLinks {
    peer: NodeId,
    addresses: Vec<String>,
    control: Arc<Link>,
    bulk: Arc<Link>,
}

#[derive(Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    stopping: bool,
}

impl Peers {
    /// Dials whom `roster` names. `me` says who dials, `introduction` where it lives.
    pub(crate) fn new(
        me: Hello,
        introduction: Bytes,
        roster: Roster,
        shared: Arc<Shared>,
        news: Arc<dyn LinkNews>,
    ) -> Peers {
        let (roster, links, threads) = (Mutex::new(roster), RwLock::default(), Mutex::default());
        let peers = Peers { me, introduction, shared, news, roster, links, threads };
        peers.follow(&peers.roster());
        peers
    }

    /// Another configuration is in force here.
    pub(crate) fn put_in_force(&self, membership: &Membership) {
        let mut roster = self.roster();
        roster.put_in_force(membership);
        self.follow(&roster);
    }

    /// This much about the members is applied here. Returns whether this node was removed.
    #[must_use]
    pub(crate) fn apply(&self, membership: &Membership, started: BTreeSet<NodeId>) -> bool {
        let mut roster = self.roster();
        roster.apply(membership, started);
        self.follow(&roster);
        roster.is_removed(self.me.from)
    }

    /// A peer that connected says where it lives.
    pub(crate) fn introduce(&self, peer: NodeId, urls: Vec<String>) {
        let mut roster = self.roster();
        roster.introduce(peer, urls);
        self.follow(&roster);
    }

    /// Whether a member was removed.
    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        self.roster().is_removed(node)
    }

    /// What a node is told that was added and does not know who it is.
    pub(crate) fn acquaintance(&self) -> Acquaintance {
        let roster = self.roster();
        let (membership, started) = roster.applied();
        let started = started.iter().copied().collect();
        Acquaintance { cluster: self.me.cluster, membership: membership.clone(), started }
    }

    /// Sends one control frame now.
    pub(crate) fn send_control(&self, to: NodeId, frame: Bytes) {
        if let Some(links) = self.current().iter().find(|links| links.peer == to) {
            links.control.send(&mut VecDeque::from([frame]));
        }
    }

    /// `peer` was heard from: links to it that wait to dial again do so now.
    pub(crate) fn peer_is_back(&self, peer: NodeId) {
        if let Some(links) = self.current().iter().find(|links| links.peer == peer) {
            links.control.peer_is_back();
            links.bulk.peer_is_back();
        }
    }

    /// Ends every link, and waits for their threads.
    pub(crate) fn stop(&self) {
        self.threads().stopping = true;
        self.current().iter().for_each(PeerLinks::stop);
        let running = std::mem::take(&mut self.threads().running);
        // A panic has been reported by the thread's guard.
        running.into_iter().for_each(|thread| drop(thread.join()));
    }

    /// Makes the links those that the roster asks for.
    fn follow(&self, roster: &Roster) {
        let wanted = roster.peers();
        let current = self.current();
        let is_as_wanted = |links: &PeerLinks| wanted.get(&links.peer) == Some(&links.addresses);
        if current.len() == wanted.len() && current.iter().all(is_as_wanted) {
            return;
        }
        let mut next: Vec<PeerLinks> = current.iter().filter(|links| is_as_wanted(links)).cloned().collect();
        for links in current.iter().filter(|links| !is_as_wanted(links)) {
            links.stop();
            if !wanted.contains_key(&links.peer) {
                self.shared.metrics.forget_peer(links.peer);
            }
        }
        let new: BTreeMap<_, _> =
            wanted.into_iter().filter(|(peer, _)| next.iter().all(|links| links.peer != *peer)).collect();
        for (peer, addresses) in new {
            match self.connect(peer, addresses) {
                Ok(links) => next.push(links),
                Err(error) => {
                    tracing::error!(%peer, "the system refuses what a peer's connections need: {error}")
                }
            }
        }
        next.sort_by_key(|links| links.peer);
        *self.links.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
    }

    fn connect(&self, peer: NodeId, addresses: Vec<String>) -> io::Result<PeerLinks> {
        let start = |lane| -> io::Result<Arc<Link>> {
            let hello = Hello { to: peer, purpose: Purpose::Talk(lane), ..self.me };
            let counters = self.shared.metrics.peer(peer);
            let link = Link::new(hello, addresses.clone(), self.introduction.clone(), counters)?;
            let link = Arc::new(link);
            self.run(link.clone())?;
            Ok(link)
        };
        let control = start(Lane::Control)?;
        let bulk = start(Lane::Bulk).inspect_err(|_| control.stop())?;
        Ok(PeerLinks { peer, addresses, control, bulk })
    }

    fn run(&self, link: Arc<Link>) -> io::Result<()> {
        let mut threads = self.threads();
        if threads.stopping {
            return Ok(()); // nobody will send anything any more
        }
        threads.running.retain(|thread| !thread.is_finished());
        let guard = PanicGuard::new("peer-link", self.shared.clone());
        let news = self.news.clone();
        threads.running.push(std::thread::Builder::new().name("peer-link".into()).spawn(move || {
            let _guard = guard;
            link.run(&*news);
        })?);
        Ok(())
    }

    fn current(&self) -> Arc<Vec<PeerLinks>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl PeerLinks {
    fn stop(&self) {
        self.control.stop();
        self.bulk.stop();
    }
}

/// Collects a batch's frames, so that each link is written to once.
pub(crate) struct Outbox {
    peers: Arc<Peers>,
    /// Control and bulk frames.
    frames: Vec<(NodeId, [VecDeque<Bytes>; 2])>,
    is_empty: bool,
}

impl Outbox {
    /// An empty outbox.
    pub(crate) fn new(peers: Arc<Peers>) -> Outbox {
        Outbox { peers, frames: Vec::new(), is_empty: true }
    }

    /// Adds a frame for every node of `to`.
    pub(crate) fn push(&mut self, to: &Dest, lane: Lane, frame: &Bytes) {
        for node in to.nodes() {
            let known = self.frames.iter().position(|(peer, _)| peer == node);
            let index = known.unwrap_or_else(|| {
                self.frames.push((*node, Default::default()));
                self.frames.len() - 1
            });
            self.frames[index].1[usize::from(lane == Lane::Bulk)].push_back(frame.clone());
            self.is_empty = false;
        }
    }

    /// Sends everything, control frames first. Frames for nodes that are not peers, or no longer, go nowhere.
    pub(crate) fn flush(&mut self) {
        if self.is_empty {
            return;
        }
        self.is_empty = true;
        let links = self.peers.current();
        let of = |peer: NodeId| links.iter().find(|links| links.peer == peer);
        self.frames.retain(|(peer, _)| of(*peer).is_some());
        for (peer, [control, _]) in &mut self.frames {
            if let Some(links) = of(*peer).filter(|_| !control.is_empty()) {
                links.control.send(control);
            }
        }
        for (peer, [_, bulk]) in &mut self.frames {
            if let Some(links) = of(*peer).filter(|_| !bulk.is_empty()) {
                links.bulk.send(bulk);
            }
        }
    }
}

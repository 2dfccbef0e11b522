//! Everything between this node and its peers: one outgoing connection a lane and peer, and the incoming ones.
//!
//! ```text
//!   any thread ──Outbox──▶ Link (control) ─┐                      ┌─▶ reader thread ──▶ Deliver
//!                     └──▶ Link (bulk) ────┴── TCP ── Acceptor ───┴─▶ reader thread ──▶ Deliver
//! ```

mod frame;
mod link;
mod listen;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use consensus::{Dest, Lane};
use types::NodeId;

pub(crate) use frame::{Frame, FrameError, Hello, answer_frame, protocol_frame, question_frame};
#[cfg(feature = "fuzzing")]
pub(crate) use frame::{Verdict, next_frame, renew_seal};
pub(crate) use link::Link;
pub(crate) use listen::{Acceptor, Deliver};

use crate::metrics::Metrics;

/// The outgoing side: a link a lane and peer.
pub(crate) struct Peers {
    links: Vec<PeerLinks>,
}

struct PeerLinks {
    peer: NodeId,
    control: Arc<Link>,
    bulk: Arc<Link>,
}

impl Peers {
    /// Prepares links to `peers`, each with its `host:port` addresses. `me` says who dials.
    pub(crate) fn new(
        me: Hello,
        peers: impl IntoIterator<Item = (NodeId, Vec<String>)>,
        metrics: &Arc<Metrics>,
    ) -> io::Result<Peers> {
        let link = |to, lane, addresses: &Vec<String>| {
            Link::new(Hello { to, lane, ..me }, addresses.clone(), metrics.clone()).map(Arc::new)
        };
        let links: io::Result<Vec<PeerLinks>> = peers
            .into_iter()
            .map(|(peer, addresses)| {
                Ok(PeerLinks {
                    peer,
                    control: link(peer, Lane::Control, &addresses)?,
                    bulk: link(peer, Lane::Bulk, &addresses)?,
                })
            })
            .collect();
        Ok(Peers { links: links? })
    }

    /// Every link, with its peer.
    pub(crate) fn links(&self) -> impl Iterator<Item = (NodeId, &Arc<Link>)> {
        self.links.iter().flat_map(|links| [(links.peer, &links.control), (links.peer, &links.bulk)])
    }

    /// Sends one control frame now.
    pub(crate) fn send_control(&self, to: NodeId, frame: Bytes) {
        if let Some(links) = self.links.iter().find(|links| links.peer == to) {
            links.control.send(&mut VecDeque::from([frame]));
        }
    }

    /// `peer` was heard from: links to it that wait to dial again do so now.
    pub(crate) fn peer_is_back(&self, peer: NodeId) {
        if let Some(links) = self.links.iter().find(|links| links.peer == peer) {
            links.control.peer_is_back();
            links.bulk.peer_is_back();
        }
    }
}

/// Collects a batch's frames, so that each link is written to once.
pub(crate) struct Outbox {
    peers: Arc<Peers>,
    /// Control and bulk frames, for each of `peers.links`.
    frames: Vec<[VecDeque<Bytes>; 2]>,
    is_empty: bool,
}

impl Outbox {
    /// An empty outbox for these peers.
    pub(crate) fn new(peers: Arc<Peers>) -> Outbox {
        let frames = peers.links.iter().map(|_| Default::default()).collect();
        Outbox { peers, frames, is_empty: true }
    }

    /// Adds a frame for every node of `to`. Nodes that are not peers are left out.
    pub(crate) fn push(&mut self, to: &Dest, lane: Lane, frame: &Bytes) {
        for node in to.nodes() {
            if let Some(index) = self.peers.links.iter().position(|links| links.peer == *node) {
                self.frames[index][usize::from(lane == Lane::Bulk)].push_back(frame.clone());
                self.is_empty = false;
            }
        }
    }

    /// Sends everything, control frames first.
    pub(crate) fn flush(&mut self) {
        if self.is_empty {
            return;
        }
        self.is_empty = true;
        for (links, [control, _]) in self.peers.links.iter().zip(&mut self.frames) {
            if !control.is_empty() {
                links.control.send(control);
            }
        }
        for (links, [_, bulk]) in self.peers.links.iter().zip(&mut self.frames) {
            if !bulk.is_empty() {
                links.bulk.send(bulk);
            }
        }
    }
}

//! What a leader knows of one peer, and how much it sends ahead.
//!
//! ```text
//!            matched               next
//!   ────────────┼────── under way ───┼────▶
//!   Probe: one message at a time until the logs are known to meet
//!   Replicate: as many as the windows allow, `next` runs ahead
//!   Checkpoint: the entries it needs are gone; chunks instead
//! ```
//!
//! # Source
//! The three states follow etcd's `tracker.Progress`.

use std::collections::VecDeque;

use types::{Slot, Time};

use crate::lease::PeerClock;
use crate::transfer::Transfer;
use crate::{Config, Stamp};

#[derive(Clone, Debug, Hash)]
pub(crate) struct Progress {
    /// The peer durably holds the leader's log up to here.
    pub matched: Slot,
    /// The next slot to send.
    pub next: Slot,
    pub flow: Flow,
    /// The commit index that the peer can know of.
    pub commit_sent: Slot,
    /// When the peer last answered in this term.
    pub contact: Time,
    /// The latest read round that it confirmed.
    pub round: u64,
    /// Its clock and its promises, for leases.
    pub clock: PeerClock,
    /// Which of the peer's memories acknowledges; `None` before it has answered.
    pub stamp: Option<Stamp>,
    /// When the heartbeat left that showed so; `Time(0)` if it was no heartbeat.
    pub stamped: Time,
    /// Whether the peer remembers its term and vote (R9).
    pub remembers: bool,
    /// How much it should lead, once it has said so.
    pub priority: Option<u64>,
    /// Whether records for `next` are being read back from the disk.
    pub reading: bool,
    /// Appends under way: last slot and bytes of each.
    inflight: VecDeque<(Slot, u64)>,
    inflight_bytes: u64,
    /// `matched` at the previous heartbeat answer; if it does not move while appends are under way, one
    /// of them may be lost.
    matched_before: Slot,
}

#[derive(Clone, Debug, Hash)]
pub(crate) enum Flow {
    /// Looking for the slot where the logs meet.
    Probe {
        /// One message is under way; wait for its answer or the next heartbeat answer.
        sent: bool,
    },
    /// The logs are known to meet.
    Replicate,
    /// A checkpoint is on its way.
    Checkpoint(Transfer),
}

impl Progress {
    /// What a new leader assumes: that the peer has everything.
    pub fn new(last: Slot, now: Time) -> Progress {
        Progress {
            matched: Slot::ZERO,
            next: last.next(),
            flow: Flow::Probe { sent: false },
            commit_sent: Slot::ZERO,
            contact: now,
            round: 0,
            clock: PeerClock::default(),
            stamp: None,
            stamped: Time(0),
            remembers: true,
            priority: None,
            reading: false,
            inflight: VecDeque::new(),
            inflight_bytes: 0,
            matched_before: Slot::ZERO,
        }
    }

    /// Whether an append may be sent to the peer now, the log ending at `last`.
    pub fn may_send(&self, last: Slot, config: &Config) -> bool {
        match self.flow {
            _ if self.reading => false,
            Flow::Probe { sent } => !sent,
            Flow::Replicate => {
                self.next <= last
                    && (self.inflight.len() as u64) < config.inflight_messages_max
                    && self.inflight_bytes < config.inflight_bytes_max
            }
            Flow::Checkpoint(_) => false,
        }
    }

    /// An append that ends at `end` leaves, with this commit index.
    pub fn sent(&mut self, end: Slot, bytes: u64, commit: Slot) {
        self.commit_sent = self.commit_sent.max(commit.min(end));
        match &mut self.flow {
            Flow::Probe { sent } => *sent = true,
            Flow::Replicate => {
                self.next = end.next();
                self.inflight.push_back((end, bytes));
                self.inflight_bytes += bytes;
            }
            Flow::Checkpoint(_) => {}
        }
    }

    /// The peer holds everything up to `matched`. Returns whether that is news.
    pub fn acknowledged(&mut self, matched: Slot) -> bool {
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        if self.next <= matched {
            self.next = matched.next();
            self.reading = false;
        }
        while let Some((end, bytes)) = self.inflight.front().copied()
            && end <= matched
        {
            self.inflight_bytes -= bytes;
            self.inflight.pop_front();
        }
        news
    }

    /// The logs meet at `matched`: from now on, send ahead.
    pub fn replicate(&mut self) {
        self.forget_inflight();
        self.flow = Flow::Replicate;
        self.next = self.matched.next();
    }

    /// Look for the place where the logs meet, from `next` on.
    pub fn probe(&mut self, next: Slot) {
        self.forget_inflight();
        self.flow = Flow::Probe { sent: false };
        self.next = next.max(self.matched.next());
    }

    /// Send the checkpoint instead.
    pub fn checkpoint(&mut self, transfer: Transfer) {
        self.forget_inflight();
        self.flow = Flow::Checkpoint(transfer);
    }

    /// The peer may have lost memory: nothing that it acknowledged before counts any more.
    pub fn reset(&mut self, by: Stamp, sent: Time) {
        self.stamp = Some(by);
        self.stamped = sent;
        self.remembers = true;
        self.matched = Slot::ZERO;
        self.matched_before = Slot::ZERO;
        self.clock = PeerClock::default();
        self.probe(self.next);
    }

    /// The peer answered a heartbeat. Returns whether an append under way may be lost, so that an empty
    /// one should ask.
    pub fn heartbeat_answered(&mut self) -> bool {
        if let Flow::Probe { sent } = &mut self.flow {
            *sent = false;
        }
        let stalled = !self.inflight.is_empty() && self.matched == self.matched_before;
        self.matched_before = self.matched;
        stalled
    }

    /// Appends under way.
    pub fn inflight(&self) -> u64 {
        self.inflight.len() as u64
    }

    /// The promises that the leader keeps towards one peer.
    pub fn check(&self, last: Slot, config: &Config) -> Result<(), String> {
        let bytes: u64 = self.inflight.iter().map(|(_, bytes)| bytes).sum();
        if self.matched >= self.next || self.matched > last || self.next > last.next() {
            return Err(format!("matched {:?}, next {:?}, last {last:?}", self.matched, self.next));
        }
        if bytes != self.inflight_bytes || self.inflight() > config.inflight_messages_max {
            return Err(format!(
                "window holds {} appends, {bytes} of {} bytes",
                self.inflight(),
                self.inflight_bytes
            ));
        }
        Ok(())
    }

    fn forget_inflight(&mut self) {
        self.inflight.clear();
        self.inflight_bytes = 0;
        self.reading = false;
    }
}

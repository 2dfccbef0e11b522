//! Which disk speaks for a member, and what counts until that is settled.
//!
//! ```text
//!   new disk ── draws its incarnation, durable ──▶ stamps votes and acknowledgements with it
//!   founding:   the leader has heard every founder ──▶ a configuration that pins their disks ──all of them──▶ founded
//!   afterwards: a learner's disk is pinned when it is given its vote; any other disk under a pinned id counts nowhere
//! ```
//!
//! R13  A member counts only by the disk that the configuration in force has pinned for it: another disk under its id may
//! have promised and acknowledged anything, and has forgotten it. Until a replica knows that the disks are pinned by a
//! committed configuration, every quorum of its, for votes, commits and reads, is *everybody*. One disk of a quorum that
//! once decided something is always among everybody; so a founder that comes back with an empty disk finds nobody who
//! would found the group anew with it, and those who know better are waited for. That the group is founded is durable
//! knowledge.
//!
//! Everybody is needed once, when a group is founded; from then on a majority.
//!
//! # Source
//! The danger is worked out in Vanlightly's `raft-tlaplus` (a server that lost its disk and is added again under its old
//! id) and met by TiKV #9579; VSR's and TigerBeetle's rule that a reformatted replica must not answer for its former
//! self. Pinning at the founding is our own.

use consensus::{Membership, Out, Standing, WriteSeq};
use types::{NodeId, Now, Time};

use crate::progress::Progress;
use crate::raft::State;
use crate::{Raft, Stamp};

impl Raft {
    /// Whether this replica knows durably that the disks of the voters are settled.
    pub fn is_founded(&self) -> bool {
        self.founded && self.writes.gate_meta() == WriteSeq::NONE
    }

    /// The number of this replica's disk.
    pub fn incarnation(&self) -> u64 {
        self.stamp.incarnation
    }

    /// Whether the configuration in force knows `node` by another disk than `incarnation`.
    pub(crate) fn is_other_disk(&self, node: NodeId, incarnation: u64) -> bool {
        if !self.founded || planted!(self, CountsAnyDisk) {
            return false;
        }
        self.membership().disk(node).is_some_and(|pinned| pinned != incarnation)
    }

    /// Whether this replica is not the member that the others know by its id: its disk is another.
    pub(crate) fn is_estranged(&self) -> bool {
        self.is_other_disk(self.config.id, self.stamp.incarnation)
    }

    /// Whether what a peer acknowledges counts in quorums.
    pub(crate) fn counts(&self, peer: NodeId, progress: &Progress) -> bool {
        let is_other = progress.stamp.is_some_and(|stamp| self.is_other_disk(peer, stamp.incarnation));
        progress.remembers && !is_other
    }

    /// Whether a majority is not yet a quorum.
    pub(crate) fn needs_everybody(&self) -> bool {
        !self.founded && !planted!(self, FoundsByMajority)
    }

    /// Remembers for good that the disks of the voters are settled.
    pub(crate) fn note_founding(&mut self) {
        if !self.founded && self.configurations.is_pinned() {
            self.founded = true;
            self.save_meta();
        }
    }

    /// Ends the founding: pins the disks of the founders once all of them have been heard. Pins them anew if one of them
    /// lost its disk before that was committed.
    pub(crate) fn advance_founding(&mut self, now: Now) {
        if self.founded {
            return;
        }
        let next = self.founded();
        if next.is_pinned() && next != *self.membership() {
            self.append_membership(now, &next);
        }
    }

    /// The configuration in force with the disks of all voters that have been heard.
    pub(crate) fn founded(&self) -> Membership {
        let mut next = self.membership().clone();
        let State::Leader(leading) = &self.state else { return next };
        for (node, member) in &mut next.members {
            let stamp = match leading.progress.get(node) {
                _ if *node == self.config.id => Some(self.stamp),
                progress => progress.and_then(|progress| progress.stamp),
            };
            if member.standing == Standing::Voter
                && let Some(stamp) = stamp
            {
                member.incarnation = stamp.incarnation;
            }
        }
        next
    }

    /// Notes by which memory a peer answers the heartbeat that left at `sent`, or an append (`Time(0)`). What another one
    /// acknowledged before does not count any more. Returns whether the answer is one of the latest.
    pub(crate) fn note_stamp(
        &mut self,
        now: Now,
        peer: NodeId,
        by: Stamp,
        sent: Time,
        out: &mut Out<Raft>,
    ) -> bool {
        let Some(progress) = self.progress(peer) else { return false };
        progress.contact = now.mono;
        match progress.stamp {
            Some(stamp) if stamp == by => true,
            // Only the leader's own clock tells which of two starts is the later one.
            Some(_) if sent <= progress.stamped => false,
            Some(_) => {
                progress.reset(by, sent);
                self.close_transfer(peer, out);
                true
            }
            None => {
                (progress.stamp, progress.stamped) = (Some(by), sent);
                true
            }
        }
    }
}

//! What replicas say to each other.
//!
//! ```text
//!   candidate  ── RequestVote ──▶ voter      ── Vote ──▶
//!   leader     ── Append ──▶ follower        ── Appended | Rejected ──▶
//!              ── Commit ──▶                    (no answer)
//!              ── Heartbeat{round} ──▶       ── HeartbeatAck{round} ──▶
//!              ── Chunk ──▶                  ── ChunkAck ──▶, at the end Appended
//!   follower   ── Forward ──▶ leader            (no answer: it sees its commands applied)
//!              ── ReadAsk ──▶                ── ReadAnswer ──▶
//!              ── ReconfigureAsk ──▶         ── Reconfigured | ReconfigureRefused ──▶
//!   leader     ── TimeoutNow ──▶ voter          (no answer: it stands for election)
//!   recovering ── Repair ──▶ leader          ── RepairGoal ──▶
//! ```
//!
//! Any of them may be lost, doubled, reordered, old or senseless.

use bytes::Bytes;
use consensus::{Change, ChangeRefusal, CheckpointMeta, EntryKind, Membership, TransferId};
use types::{Command, Reader, Slot, Time, WallTime, Wire, WireError};

use crate::{Record, Stamp};

/// A message from one replica to another. `term` is the sender's, except in a pre-vote, where it is the term
/// that the sender would campaign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Vote for me", or with `pre` "would you vote for me?" (Raft §5.2, dissertation §9.6).
    RequestVote {
        /// The term of the (would-be) election.
        term: u64,
        /// Only asks; nobody's term changes.
        pre: bool,
        /// The leader itself asked the candidate to stand, so that hearing that leader is no reason to refuse.
        told: bool,
        /// The candidate's disk.
        incarnation: u64,
        /// The last slot of the candidate's log,
        last: Slot,
        /// and its term.
        last_term: u64,
    },
    /// Answers `RequestVote`.
    Vote {
        /// If granted the term of the request, else the voter's own.
        term: u64,
        /// Answers a pre-vote.
        pre: bool,
        /// The voter's disk.
        incarnation: u64,
        /// Whether the vote is given.
        granted: bool,
    },
    /// Entries after `prev`, or none: then it only asks whether `prev` matches.
    Append {
        /// The leader's term.
        term: u64,
        /// The leader's disk.
        incarnation: u64,
        /// The slot before the first entry,
        prev: Slot,
        /// and its term.
        prev_term: u64,
        /// The leader's commit index.
        commit: Slot,
        /// Consecutive entries.
        entries: Vec<Record>,
    },
    /// The follower holds, durably, the leader's log up to `matched`.
    Appended {
        /// The follower's term.
        term: u64,
        /// Which of its memories acknowledges.
        by: Stamp,
        /// The last slot that matches.
        matched: Slot,
    },
    /// The follower's log does not hold `(prev, prev_term)`.
    Rejected {
        /// The follower's term.
        term: u64,
        /// As in `Appended`.
        by: Stamp,
        /// The `prev` that did not match.
        prev: Slot,
        /// The leader's log can match at most up to here,
        hint: Slot,
        /// where the follower's log has this term.
        hint_term: u64,
    },
    /// The leader's commit index moved and there was no entry to carry it.
    Commit {
        /// The leader's term.
        term: u64,
        /// Its commit index.
        commit: Slot,
    },
    /// "I lead." Also asks for confirmation of a read round.
    Heartbeat {
        /// The leader's term.
        term: u64,
        /// The leader's disk.
        incarnation: u64,
        /// Its commit index; a follower takes it only as far as its log is known to match.
        commit: Slot,
        /// The latest read round, never reused within a term; 0 before the first.
        round: u64,
        /// The leader's clock when it left.
        sent: Time,
        /// No other follows until something happens; do not wait for it.
        rest: bool,
    },
    /// "You lead." Also tells a leader of an older term that it does not.
    HeartbeatAck {
        /// The follower's term.
        term: u64,
        /// As in `Appended`.
        by: Stamp,
        /// The round of the heartbeat.
        round: u64,
        /// The follower's log is known to it to match the leader's up to here; less than it acknowledged
        /// if it has restarted since.
        verified: Slot,
        /// The heartbeat's `sent`; 0 if this answers something else.
        sent: Time,
        /// The follower's own clock.
        clock: Time,
        /// How much it should lead: `Config::priority`.
        priority: u64,
    },
    /// Commands for the leader to propose.
    Forward {
        /// In this order.
        commands: Vec<Command>,
    },
    /// Asks the leader for a read point.
    ReadAsk {
        /// Names the question; never reused by the one who asks.
        ask: u64,
    },
    /// Answers `ReadAsk`, and every older question of the same asker.
    ReadAnswer {
        /// The question.
        ask: u64,
        /// The slot to wait for.
        at: Slot,
    },
    /// A piece of a checkpoint, for a follower whose next entries have been compacted away.
    Chunk {
        /// The leader's term.
        term: u64,
        /// The leader's disk.
        incarnation: u64,
        /// Which transfer, as the leader numbers them.
        transfer: TransferId,
        /// Where the checkpoint stands.
        meta: CheckpointMeta,
        /// No entry at or below the checkpoint has a later time than this.
        wall: WallTime,
        /// Which chunk, from 0.
        index: u64,
        /// Its bytes.
        chunk: Bytes,
        /// Whether it is the last one.
        last: bool,
    },
    /// The follower has staged the chunks below `next`.
    ChunkAck {
        /// The follower's term.
        term: u64,
        /// The transfer.
        transfer: TransferId,
        /// The first chunk that is missing.
        next: u64,
        /// What was staged turned out not to be a whole checkpoint: begin again.
        failed: bool,
    },
    /// Asks the leader to change the membership.
    ReconfigureAsk {
        /// Names the question; never reused by the one who asks.
        ask: u64,
        /// What to change, in one step.
        changes: Vec<Change>,
    },
    /// Answers `ReconfigureAsk`: the change is committed.
    Reconfigured {
        /// The question.
        ask: u64,
        /// The slot of the final configuration.
        at: Slot,
    },
    /// Answers `ReconfigureAsk`: nothing has changed.
    ReconfigureRefused {
        /// The question.
        ask: u64,
        /// Why.
        refusal: ChangeRefusal,
    },
    /// "Stand for election now": the leader wants the receiver to lead.
    TimeoutNow {
        /// The leader's term.
        term: u64,
    },
    /// "I lost durable memory; forget what I acknowledged before." See `recovery`.
    Repair {
        /// The follower's term.
        term: u64,
        /// As in `Appended`: what others acknowledged is to be forgotten.
        by: Stamp,
        /// The `sent` of the heartbeat that it answers.
        sent: Time,
        /// It also lost its term and vote, and may not count in any quorum.
        meta_lost: bool,
    },
    /// The leader has forgotten, and will have `session` whole once it holds the log up to `upto`.
    RepairGoal {
        /// The leader's term.
        term: u64,
        /// The [`Stamp::session`] that it answers.
        session: u64,
        /// The leader's last slot at that moment.
        upto: Slot,
    },
}

/// Terms and slots beyond this are senseless; below it, adding one never overflows.
const NUMBER_MAX: u64 = 1 << 62;

impl Message {
    /// The term that the message was sent in; `None` for messages that make sense in any.
    pub(crate) fn term(&self) -> Option<u64> {
        use Message::*;
        match self {
            RequestVote { term, .. } | Vote { term, .. } | Append { term, .. } | Appended { term, .. } => {
                Some(*term)
            }
            Rejected { term, .. } | Commit { term, .. } | Heartbeat { term, .. } => Some(*term),
            HeartbeatAck { term, .. } | Chunk { term, .. } | ChunkAck { term, .. } => Some(*term),
            Repair { term, .. } | RepairGoal { term, .. } | TimeoutNow { term } => Some(*term),
            Forward { .. } | ReadAsk { .. } | ReadAnswer { .. } => None,
            ReconfigureAsk { .. } | Reconfigured { .. } | ReconfigureRefused { .. } => None,
        }
    }

    /// Whether only the leader of its term sends this message.
    pub(crate) fn is_from_leader(&self) -> bool {
        use Message::*;
        matches!(
            self,
            Append { .. }
                | Commit { .. }
                | Heartbeat { .. }
                | Chunk { .. }
                | RepairGoal { .. }
                | TimeoutNow { .. }
        )
    }

    /// The disk of a sender that wants to be followed or elected.
    pub(crate) fn claimed_by(&self) -> Option<u64> {
        use Message::*;
        match self {
            RequestVote { incarnation, .. } | Append { incarnation, .. } => Some(*incarnation),
            Heartbeat { incarnation, .. } | Chunk { incarnation, .. } => Some(*incarnation),
            _ => None,
        }
    }

    /// Whether an honest replica could have sent this: numbers in range, terms of entries in order.
    pub(crate) fn is_sensible(&self) -> bool {
        let slot_max = match self {
            Message::RequestVote { last, .. } => last.0,
            Message::Append { prev, commit, .. } => prev.0.max(commit.0),
            Message::Appended { matched, .. } => matched.0,
            Message::Rejected { prev, hint, hint_term, .. } => prev.0.max(hint.0).max(*hint_term),
            Message::Commit { commit, .. } | Message::Heartbeat { commit, .. } => commit.0,
            Message::HeartbeatAck { verified, .. } => verified.0,
            Message::ReadAnswer { at, .. } | Message::Reconfigured { at, .. } => at.0,
            Message::Chunk { meta, index, .. } => meta.at.0.max(meta.epoch.number).max(*index),
            Message::ChunkAck { next, .. } => *next,
            Message::RepairGoal { upto, .. } => upto.0,
            _ => 0,
        };
        let is_in_range = slot_max < NUMBER_MAX && self.term().unwrap_or(0) < NUMBER_MAX;
        let is_of_its_time = self.entries_are_ordered() && self.checkpoint_is_past();
        is_in_range && is_of_its_time && self.configurations_are_whole()
    }

    /// Every configuration says who votes.
    fn configurations_are_whole(&self) -> bool {
        let has_voters = |membership: &Membership| membership.voters().next().is_some();
        match self {
            Message::Append { entries, .. } => {
                let mut told = entries.iter().filter(|record| record.entry.kind == EntryKind::Membership);
                told.all(|record| record.entry.membership().is_some_and(|membership| has_voters(&membership)))
            }
            Message::Chunk { meta, .. } => has_voters(&meta.membership),
            _ => true,
        }
    }

    /// No checkpoint is newer than the leader that sends it.
    fn checkpoint_is_past(&self) -> bool {
        let Message::Chunk { term, meta, .. } = self else { return true };
        meta.epoch.number <= *term
    }

    /// Raft's terms never decrease along a log, and no entry is newer than its leader.
    fn entries_are_ordered(&self) -> bool {
        let Message::Append { term, prev_term, entries, .. } = self else { return true };
        let terms = std::iter::once(*prev_term).chain(entries.iter().map(|record| record.term));
        terms.chain(std::iter::once(*term)).is_sorted()
    }
}

macro_rules! wire_variants {
    ($type:ident: $($tag:literal $variant:ident { $($field:ident),* })*) => {
        /// One tag byte, then the fields in this order.
        impl Wire for $type {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $($type::$variant { $($field),* } => {
                        out.push($tag);
                        $($field.encode(out);)*
                    })*
                }
            }
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                Ok(match u8::decode(input)? {
                    $($tag => $type::$variant { $($field: Wire::decode(input)?),* },)*
                    tag => return Err(WireError::Tag { what: "raft message", tag }),
                })
            }
        }
    };
}

wire_variants! { Message:
    1 RequestVote { term, pre, told, incarnation, last, last_term }
    2 Vote { term, pre, incarnation, granted }
    3 Append { term, incarnation, prev, prev_term, commit, entries }
    4 Appended { term, by, matched }
    5 Rejected { term, by, prev, hint, hint_term }
    6 Commit { term, commit }
    7 Heartbeat { term, incarnation, commit, round, sent, rest }
    8 HeartbeatAck { term, by, round, verified, sent, clock, priority }
    9 Forward { commands }
    10 ReadAsk { ask }
    11 ReadAnswer { ask, at }
    12 Chunk { term, incarnation, transfer, meta, wall, index, chunk, last }
    13 ChunkAck { term, transfer, next, failed }
    14 Repair { term, by, sent, meta_lost }
    15 RepairGoal { term, session, upto }
    16 ReconfigureAsk { ask, changes }
    17 Reconfigured { ask, at }
    18 ReconfigureRefused { ask, refusal }
    19 TimeoutNow { term }
}

#[cfg(test)]
mod tests;

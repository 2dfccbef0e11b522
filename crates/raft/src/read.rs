//! Linearizable reads without a log write.
//!
//! ```text
//!   reads ──▶ waiting ──flush──▶ round r: at = commit ──Heartbeat{r}──▶ majority answers r ──▶ ReadReady{at}
//!                 ▲                 │ one at a time; what arrives meanwhile waits for the next
//!   follower: ReadAsk ──▶ leader ───┘ ──ReadAnswer{at}──▶
//! ```
//!
//! R6 rests on three things: the leader has committed an entry of its own term, so that its commit index is at
//! least every earlier leader's; `at` is taken when the round begins, after every read in it was asked for; and a
//! majority confirms *that round*, whose number is never used again, so that no answer to an older question counts.
//!
//! # Source
//! Ongaro's dissertation §6.4; forwarding from followers is §6.4 too.

use std::collections::VecDeque;

use consensus::{Dest, Event, Lane, Out, ReadLevel, Refusal, Token, WriteSeq};
use types::{NodeId, Now, Slot, buggify};

use crate::progress::Progress;
use crate::raft::State;
use crate::{Message, Raft};

/// The leader's read rounds.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Rounds {
    /// Asked for since the last flush, and content with a lease.
    leased: Vec<Token>,
    /// Asked for since the current round began.
    waiting: Vec<Reader>,
    current: Option<Round>,
    latest: u64,
}

#[derive(Clone, Debug, Hash)]
struct Round {
    at: Slot,
    readers: Vec<Reader>,
}

#[derive(Clone, Copy, Debug, Hash)]
enum Reader {
    Local(Token),
    Peer(NodeId, u64),
}

/// A follower's questions to the leader.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Asking {
    /// The number of the next question. Starts at random, so that an answer to a question from before a
    /// restart is never taken for a new one's.
    next: u64,
    /// Reads for the next question.
    waiting: Vec<Token>,
    /// Questions on their way, oldest first.
    asked: VecDeque<(u64, Vec<Token>)>,
}

/// Answers may be lost: older questions are forgotten beyond this many.
const QUESTIONS_MAX: usize = 1024;

impl Rounds {
    /// The number of the latest round; 0 before the first.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// Nobody waits for anything.
    pub fn is_idle(&self) -> bool {
        self.current.is_none() && self.waiting.is_empty() && self.leased.is_empty()
    }

    fn take_readers(&mut self) -> impl Iterator<Item = Reader> {
        let current = self.current.take().map(|round| round.readers).unwrap_or_default();
        let leased = std::mem::take(&mut self.leased).into_iter().map(Reader::Local);
        current.into_iter().chain(std::mem::take(&mut self.waiting)).chain(leased)
    }
}

impl Asking {
    /// A number for a question, never used before.
    pub fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        number
    }

    pub fn new(first: u64) -> Asking {
        Asking { next: first, waiting: Vec::new(), asked: VecDeque::new() }
    }

    /// The leader changed; whoever waits will ask again.
    pub fn forget(&mut self) {
        self.waiting.clear();
        self.asked.clear();
    }
}

impl Raft {
    pub(crate) fn on_read(&mut self, token: Token, level: ReadLevel, out: &mut Out<Raft>) {
        let leader = self.leader;
        match (level, &mut self.state) {
            (ReadLevel::Local, _) => {
                self.emit(Event::ReadReady { token, at: self.applied }, WriteSeq::NONE, out);
            }
            (ReadLevel::Lease, _) if self.config.lease_drift_ppm.is_none() => {
                self.refuse(token, Refusal::Unsupported, out);
            }
            (ReadLevel::Lease, State::Leader(leading)) => leading.rounds.leased.push(token),
            (ReadLevel::ReadIndex, State::Leader(leading)) => {
                leading.rounds.waiting.push(Reader::Local(token));
            }
            _ if leader.is_some() => self.following.asking.waiting.push(token),
            _ => self.refuse(token, Refusal::NoLeader, out),
        }
    }

    pub(crate) fn on_read_ask(&mut self, from: NodeId, ask: u64) {
        if let Some(leading) = self.leading() {
            leading.rounds.waiting.push(Reader::Peer(from, ask));
        }
    }

    /// Begins the next round, or asks the leader.
    pub(crate) fn start_read_round(&mut self, now: Now, out: &mut Out<Raft>) {
        self.answer_leased(now, out);
        // Whoever was still missing may be no member any more.
        self.answer_reads(out);
        let commit = self.commit;
        let at = if planted!(self, ReadsAtApplied) { self.applied } else { commit };
        match &mut self.state {
            State::Leader(leading) => {
                let rounds = &mut leading.rounds;
                let may_begin = commit >= leading.term_start || planted!(self, ReadsBeforeOwnCommit);
                let waits = !may_begin || buggify!(self.config.buggify, "raft.read.round_later");
                if rounds.waiting.is_empty() || rounds.current.is_some() || waits {
                    return;
                }
                if planted!(self, ReusesReadRounds) {
                    rounds.latest = 1;
                    leading.progress.values_mut().for_each(|progress| progress.round = 0);
                } else {
                    rounds.latest += 1;
                }
                let mut readers = std::mem::take(&mut rounds.waiting);
                if buggify!(self.config.buggify, "raft.read.round_of_one") {
                    rounds.waiting = readers.split_off(1);
                }
                rounds.current = Some(Round { at, readers });
                leading.heartbeat_due = true;
                self.answer_reads(out); // a group of one needs nobody's confirmation
            }
            _ => self.ask_leader(out),
        }
    }

    /// R12: reads that a lease is enough for, or the next round if there is none.
    fn answer_leased(&mut self, now: Now, out: &mut Out<Raft>) {
        let Some(leading) = self.leading() else { return };
        let leased = std::mem::take(&mut leading.rounds.leased);
        if leased.is_empty() {
            return;
        }
        let is_trusted = !buggify!(self.config.buggify, "raft.read.lease_not_trusted");
        let (holds_lease, at) = (is_trusted && self.holds_lease(now), self.commit);
        for token in leased {
            if holds_lease {
                self.emit(Event::ReadReady { token, at }, WriteSeq::NONE, out);
            } else if let Some(leading) = self.leading() {
                leading.rounds.waiting.push(Reader::Local(token));
            }
        }
    }

    fn ask_leader(&mut self, out: &mut Out<Raft>) {
        let Some(leader) = self.leader else { return };
        let asking = &mut self.following.asking;
        if asking.waiting.is_empty() {
            return;
        }
        let ask = asking.number();
        if asking.asked.len() >= QUESTIONS_MAX {
            asking.asked.pop_front();
        }
        let mut tokens = std::mem::take(&mut asking.waiting);
        if buggify!(self.config.buggify, "raft.read.asks_for_one") {
            asking.waiting = tokens.split_off(1);
        }
        asking.asked.push_back((ask, tokens));
        self.send_now(Dest::Node(leader), Message::ReadAsk { ask }, Lane::Control, out);
        if buggify!(self.config.buggify, "raft.read.asks_twice") {
            self.send_now(Dest::Node(leader), Message::ReadAsk { ask }, Lane::Control, out);
        }
    }

    /// Ends the current round if a majority confirmed it.
    pub(crate) fn answer_reads(&mut self, out: &mut Out<Raft>) {
        let State::Leader(leading) = &self.state else { return };
        if leading.rounds.current.is_none() {
            return;
        }
        let latest = leading.rounds.latest;
        let has_confirmed = |node, it: &Progress| self.counts(node, it) && it.round == latest;
        let confirmed = |node| {
            let progress = leading.progress.get(&node);
            node == self.config.id || progress.is_some_and(|progress| has_confirmed(node, progress))
        };
        if !self.is_quorum(confirmed) && !planted!(self, ReadsWithoutRound) {
            return;
        }
        let Some(leading) = self.leading() else { return };
        let Some(round) = leading.rounds.current.take() else { return };
        for reader in round.readers {
            self.answer_reader(reader, round.at, out);
        }
    }

    fn answer_reader(&self, reader: Reader, at: Slot, out: &mut Out<Raft>) {
        match reader {
            Reader::Local(token) => self.emit(Event::ReadReady { token, at }, WriteSeq::NONE, out),
            Reader::Peer(..) if buggify!(self.config.buggify, "raft.read.answer_unsaid") => {}
            Reader::Peer(peer, ask) => {
                self.send_now(Dest::Node(peer), Message::ReadAnswer { ask, at }, Lane::Control, out);
            }
        }
    }

    /// An answer also serves every older question: its point is later than they were asked.
    pub(crate) fn on_read_answer(&mut self, from: NodeId, ask: u64, at: Slot, out: &mut Out<Raft>) {
        if self.leader != Some(from) {
            return;
        }
        let asked = &self.following.asking.asked;
        let Some(position) = asked.iter().position(|(number, _)| *number == ask) else { return };
        let answered: Vec<_> = self.following.asking.asked.drain(..=position).collect();
        for token in answered.into_iter().flat_map(|(_, tokens)| tokens) {
            self.emit(Event::ReadReady { token, at }, WriteSeq::NONE, out);
        }
    }

    /// This replica no longer leads: its own readers may ask again at once, others will in time.
    pub(crate) fn refuse_reads(&mut self, out: &mut Out<Raft>) {
        let State::Leader(leading) = &mut self.state else { return };
        let readers: Vec<Reader> = leading.rounds.take_readers().collect();
        for reader in readers {
            if let Reader::Local(token) = reader {
                self.refuse(token, Refusal::NoLeader, out);
            }
        }
    }
}

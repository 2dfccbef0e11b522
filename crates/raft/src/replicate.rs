//! The leader's side of replication.
//!
//! ```text
//!   flush: for every peer whose window is open ──▶ Append from `next` on, one message for peers that are level
//!          nothing to append but a new commit index ──▶ Commit
//!   Appended ──▶ matched ──▶ commit        Rejected ──▶ look further back        neither ──▶ a heartbeat's answer asks
//! ```
//!
//! Appends do not wait for the leader's own disk: its own copy counts when its own write is durable.

use std::collections::BTreeMap;

use consensus::{Action, Lane, Out, WriteSeq};
use types::{NodeId, Now, Slot, Time, buggify};

use crate::handover::Handover;
use crate::progress::{Flow, Progress};
use crate::raft::{State, dest};
use crate::read::Rounds;
use crate::reconfigure::Asker;
use crate::{Config, Message, Raft, Record, Stamp};

/// What a replica knows as the leader of its term.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Leading {
    /// Everybody who is sent the log: the members but the leader itself, and for a while those just removed.
    pub progress: BTreeMap<NodeId, Progress>,
    /// The first entry of the leader's own term.
    pub term_start: Slot,
    /// What was known to be committed when it was elected.
    pub commit_inherited: Slot,
    /// Read rounds.
    pub rounds: Rounds,
    /// When the next heartbeat is due.
    pub heartbeat_at: Time,
    /// The next flush sends a heartbeat.
    pub heartbeat_due: bool,
    /// When a quorum may have been silent for an election timeout.
    pub check_at: Time,
    /// When somebody last wanted something.
    pub active: Time,
    /// Do not make room for a preferred leader before this.
    pub yield_at: Time,
    /// Transfers of checkpoints begun in this term.
    pub transfers_begun: u64,
    /// Who waits for the change of membership under way.
    pub reconfiguring: Option<Asker>,
    /// Leadership on its way to somebody else.
    pub handover: Option<Handover>,
    /// Somebody may stand at any time, whatever it hears of this leader.
    pub has_told_another_to_stand: bool,
}

impl Leading {
    /// A new leader whose log, before anything of its own, is committed up to `commit` and ends at `last`.
    pub fn new(config: &Config, (commit, last): (Slot, Slot), now: Time) -> Leading {
        Leading {
            progress: BTreeMap::new(),
            term_start: last.next(),
            commit_inherited: commit,
            rounds: Rounds::default(),
            heartbeat_at: now + config.heartbeat_interval,
            heartbeat_due: false,
            check_at: now + config.election_timeout,
            active: now,
            yield_at: now + config.election_timeout,
            transfers_begun: 0,
            reconfiguring: None,
            handover: None,
            has_told_another_to_stand: false,
        }
    }

    /// A leader without peers has nobody to reassure.
    pub fn deadline(&self) -> Option<Time> {
        let until = self.handover.as_ref().map(|handover| handover.until);
        (!self.progress.is_empty())
            .then(|| self.heartbeat_at.min(self.check_at).min(until.unwrap_or(Time(u64::MAX))))
    }
}

impl Raft {
    pub(crate) fn leading(&mut self) -> Option<&mut Leading> {
        match &mut self.state {
            State::Leader(leading) => Some(leading),
            _ => None,
        }
    }

    pub(crate) fn progress(&mut self, peer: NodeId) -> Option<&mut Progress> {
        self.leading()?.progress.get_mut(&peer)
    }

    pub(crate) fn on_leader_timer(&mut self, now: Now, out: &mut Out<Raft>) {
        if !self.keep_leading(now, out) {
            return;
        }
        let interval = self.config.heartbeat_interval;
        // Not at every occasion: the answers are occasions too.
        let early = buggify!(self.config.buggify, "raft.heartbeat.early");
        let early_by = if early { interval / 2 } else { std::time::Duration::ZERO };
        let Some(leading) = self.leading() else { return };
        if now.mono + early_by >= leading.heartbeat_at {
            leading.heartbeat_due = true;
            leading.heartbeat_at = now.mono + interval;
            self.retry_transfers(out);
            self.leave_stalled_disk(now);
            self.make_room(now);
        }
    }

    /// Appends an entry of this leader's own.
    pub(crate) fn append_own(&mut self, record: Record) {
        self.append_record(record);
    }

    /// Sends what the windows allow.
    pub(crate) fn send_appends(&mut self, now: Now, out: &mut Out<Raft>) {
        while let Some((next, peers)) = self.next_append() {
            let prev = next.prev();
            let unneeded = next <= self.log.last() && self.checkpoint > Slot::ZERO;
            let unneeded = unneeded && buggify!(self.config.buggify, "raft.transfer.not_needed");
            let Some(prev_term) = self.log.term_at(prev).filter(|_| !unneeded) else {
                self.begin_transfers(now, &peers, out);
                continue;
            };
            let last = self.log.last();
            let entries = match next > last {
                true => Some(Vec::new()),
                false if buggify!(self.config.buggify, "raft.append.one_entry") => {
                    self.log.read(next, last, 1)
                }
                false => self.log.read(next, last, self.config.append_bytes_max),
            };
            match entries {
                Some(entries) => self.send_append((prev, prev_term), entries, peers, out),
                None => self.read_back(next, &peers, out),
            }
        }
    }

    /// The lowest slot that some peer may be sent now, and everyone who may be sent it.
    fn next_append(&self) -> Option<(Slot, Vec<NodeId>)> {
        let State::Leader(leading) = &self.state else { return None };
        if buggify!(self.config.buggify, "raft.append.later") {
            return None;
        }
        let narrow = buggify!(self.config.buggify, "raft.append.window_of_one");
        let last = self.log.last();
        let may_send = |it: &Progress| it.may_send(last, &self.config) && (!narrow || it.inflight() == 0);
        let ready = || leading.progress.iter().filter(|(_, progress)| may_send(progress));
        let next = ready().map(|(_, progress)| progress.next).min()?;
        let count =
            if buggify!(self.config.buggify, "raft.append.not_shared") { 1 } else { leading.progress.len() };
        let level = ready().filter(|(_, progress)| progress.next == next).map(|(peer, _)| *peer);
        Some((next, level.take(count).collect()))
    }

    fn send_append(
        &mut self,
        (prev, prev_term): (Slot, u64),
        entries: Vec<Record>,
        peers: Vec<NodeId>,
        out: &mut Out<Raft>,
    ) {
        let end = prev.plus(entries.len() as u64);
        let bytes = entries.iter().map(Record::cost_bytes).sum();
        let commit = self.commit;
        for peer in &peers {
            if let Some(progress) = self.progress(*peer) {
                progress.sent(end, bytes, commit);
            }
        }
        let (term, incarnation) = (self.term, self.stamp.incarnation);
        let message = Message::Append { term, incarnation, prev, prev_term, commit, entries };
        if let Some(to) = dest(peers) {
            if buggify!(self.config.buggify, "raft.append.twice") {
                self.send_now(to.clone(), message.clone(), Lane::Bulk, out);
            }
            self.send_now(to, message, Lane::Bulk, out);
        }
    }

    /// Asks for records that are only on disk; the peers wait for them.
    fn read_back(&mut self, first: Slot, peers: &[NodeId], out: &mut Out<Raft>) {
        for peer in peers {
            if let Some(progress) = self.progress(*peer) {
                progress.reading = true;
            }
        }
        let last = self.log.cache_first().prev();
        out.actions.push(Action::ReadLog { first, last, bytes_max: self.config.append_bytes_max });
    }

    pub(crate) fn on_log_read(&mut self, first: Slot, records: Vec<Record>, out: &mut Out<Raft>) {
        let State::Leader(leading) = &mut self.state else { return };
        let mut peers = Vec::new();
        for (peer, progress) in &mut leading.progress {
            if progress.reading && progress.next == first {
                progress.reading = false;
                peers.push(*peer);
            }
        }
        let prev = first.prev();
        let Some(prev_term) = self.log.term_at(prev) else { return };
        // The disk may have held another leader's records when it was read.
        let slots = (0..).map(|offset| first.plus(offset));
        let is_ours = slots.zip(&records).all(|(slot, record)| self.log.term_at(slot) == Some(record.term));
        if is_ours && !records.is_empty() {
            self.send_append((prev, prev_term), records, peers, out);
        }
    }

    /// Tells peers of a new commit index that no append of this flush carried.
    pub(crate) fn send_commits(&mut self, out: &mut Out<Raft>) {
        if buggify!(self.config.buggify, "raft.commit.not_said") {
            return;
        }
        let (term, commit) = (self.term, self.commit);
        let State::Leader(leading) = &mut self.state else { return };
        let mut peers = Vec::new();
        for (peer, progress) in &mut leading.progress {
            // A peer takes the commit index only as far as it has been sent entries.
            let usable = commit.min(progress.next.prev());
            if matches!(progress.flow, Flow::Replicate) && usable > progress.commit_sent {
                progress.commit_sent = usable;
                peers.push(*peer);
            }
        }
        if let Some(to) = dest(peers) {
            self.send_now(to, Message::Commit { term, commit }, Lane::Bulk, out);
        }
    }

    pub(crate) fn send_heartbeats(&mut self, now: Now, out: &mut Out<Raft>) {
        let (term, incarnation, commit) = (self.term, self.stamp.incarnation, self.commit);
        let rest = self.may_rest(now);
        let State::Leader(leading) = &mut self.state else { return };
        let is_due = std::mem::take(&mut leading.heartbeat_due);
        if !is_due || buggify!(self.config.buggify, "raft.heartbeat.left_out") {
            return;
        }
        let round = leading.rounds.latest();
        if let Some(to) = dest(leading.progress.keys().copied().collect()) {
            let message = Message::Heartbeat { term, incarnation, commit, round, sent: now.mono, rest };
            self.send_now(to, message, Lane::Control, out);
            self.resting = rest;
        }
    }

    pub(crate) fn on_appended(
        &mut self,
        now: Now,
        from: NodeId,
        by: Stamp,
        matched: Slot,
        out: &mut Out<Raft>,
    ) {
        if !self.note_stamp(now, from, by, Time(0), out) || matched > self.log.last() {
            return;
        }
        let Some(progress) = self.progress(from) else { return };
        let is_news = progress.acknowledged(matched);
        match progress.flow {
            Flow::Probe { .. } if is_news || matched == progress.matched => progress.replicate(),
            Flow::Checkpoint(_) if is_news => self.finish_transfer(from, out),
            _ => {}
        }
        if is_news {
            self.try_commit();
        }
    }

    pub(crate) fn on_rejected(&mut self, from: NodeId, prev: Slot, (hint, hint_term): (Slot, u64)) {
        let (meet, _) = self.log.highest_at_most(hint, hint_term);
        let Some(progress) = self.progress(from) else { return };
        // An answer to something older than what is known since says nothing.
        let is_old = match progress.flow {
            Flow::Probe { .. } => prev != progress.next.prev(),
            Flow::Replicate => prev <= progress.matched,
            Flow::Checkpoint(_) => true,
        };
        if is_old {
            return;
        }
        // Below its own log's base the leader cannot tell terms, and a checkpoint has to help.
        let meet = if hint < meet { hint } else { meet };
        progress.probe(meet.next().min(prev));
    }

    pub(crate) fn on_heartbeat_ack(
        &mut self,
        now: Now,
        from: NodeId,
        (round, verified): (u64, Slot),
        clocks: (Time, Time),
        out: &mut Out<Raft>,
    ) {
        let Some(progress) = self.progress(from) else { return };
        progress.round = progress.round.max(round);
        self.note_clock(now, from, clocks);
        self.on_answer(from, verified, out);
        self.answer_reads(out);
    }

    /// The peer answered a heartbeat. If it seems to miss something that was sent, asks it.
    pub(crate) fn on_answer(&mut self, from: NodeId, verified: Slot, out: &mut Out<Raft>) {
        let Some(progress) = self.progress(from) else { return };
        let has_restarted = verified < progress.matched;
        let is_sent_entries = !matches!(progress.flow, Flow::Checkpoint(_));
        let seems_lost = progress.heartbeat_answered() || (has_restarted && is_sent_entries);
        if seems_lost || (is_sent_entries && buggify!(self.config.buggify, "raft.append.asks_whether_lost")) {
            self.ask_whether_lost(from, out);
        }
        if buggify!(self.config.buggify, "raft.append.probes_again") {
            self.probe_again(from);
        }
    }

    /// Sends an empty append behind those under way: if one of them is lost, this one is rejected.
    fn ask_whether_lost(&mut self, peer: NodeId, out: &mut Out<Raft>) {
        let Some(progress) = self.progress(peer) else { return };
        let (matched, prev) = (progress.matched, progress.next.prev());
        let Some(prev_term) = self.log.term_at(prev) else {
            // What was under way is compacted by now: begin again from what is known to have arrived.
            return self.probe(peer, matched.next());
        };
        let (term, incarnation, commit) = (self.term, self.stamp.incarnation, self.commit);
        let entries = Vec::new();
        let message = Message::Append { term, incarnation, prev, prev_term, commit, entries };
        let to = consensus::Dest::Node(peer);
        out.actions.push(Action::Send { to, message, after: WriteSeq::NONE, lane: Lane::Bulk });
    }

    pub(crate) fn on_unreachable(&mut self, now: Now, peer: NodeId) {
        if self.leader == Some(peer) {
            self.lose_leader(now);
        }
        self.probe_again(peer);
    }

    fn probe_again(&mut self, peer: NodeId) {
        if let Some(progress) = self.progress(peer)
            && matches!(progress.flow, Flow::Replicate)
        {
            let next = progress.matched.next();
            self.probe(peer, next);
        }
    }

    fn probe(&mut self, peer: NodeId, next: Slot) {
        if let Some(progress) = self.progress(peer) {
            progress.probe(next);
        }
    }
}

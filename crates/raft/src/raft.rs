//! One Raft replica: its state, and which handler takes which input.

use consensus::{
    Action, Capabilities, CheckpointMeta, Consensus, Dest, Event, FaultModel, Input, Lane, Membership, Out,
    Protocol, ReadLevel, ReconfigureMode, Recovered, Request, Role, Status, Token, WriteSeq,
};
use std::hash::Hash;
use types::{Command, Epoch, Fingerprinter, NodeId, Now, Rng, Slot, Time, WallTime, buggify};

use crate::append::Following;
use crate::configurations::Configurations;
use crate::election::{Election, Votes};
use crate::log::Log;
use crate::recovery::Repair;
use crate::replicate::Leading;
use crate::writes::Writes;
use crate::{Config, Integrity, Message, Meta, Record, Stamp};

/// One replica.
#[derive(Clone, Debug, Hash)]
pub struct Raft {
    pub(crate) config: Config,
    pub(crate) rng: Rng,

    // Durable, once `writes` says so.
    pub(crate) term: u64,
    pub(crate) vote: Option<NodeId>,
    pub(crate) integrity: Integrity,
    /// The disks of the voters are settled, for good.
    pub(crate) founded: bool,
    /// Which memory of this replica speaks.
    pub(crate) stamp: Stamp,
    pub(crate) log: Log,
    /// Who takes part, as the log and the state machine say.
    pub(crate) configurations: Configurations,
    pub(crate) writes: Writes,

    // Progress; each at or below the one before it.
    /// Last slot known to be committed.
    pub(crate) commit: Slot,
    /// Last slot handed to the state machine.
    pub(crate) emitted: Slot,
    /// Last slot that the state machine has applied.
    pub(crate) applied: Slot,
    /// Last slot that the state machine holds durably.
    pub(crate) checkpoint: Slot,
    /// The checkpoint that was asked for and is not there yet.
    pub(crate) checkpoint_asked: Option<Slot>,
    /// The gate of the latest committed entries: what replaces the state machine must not overtake them.
    pub(crate) emitted_gate: WriteSeq,
    /// The latest time on any entry so far.
    pub(crate) wall: WallTime,

    // Leadership.
    pub(crate) state: State,
    pub(crate) leader: Option<NodeId>,
    pub(crate) election: Election,
    pub(crate) following: Following,
    /// The group is silent, and nobody is missed.
    pub(crate) resting: bool,
    pub(crate) repair: Repair,
    /// What the driver was last told.
    pub(crate) announced: Option<(Role, u64, Option<NodeId>)>,
    /// The version of the configuration that the driver was last told.
    pub(crate) announced_membership: u64,

    // Collected for the next flush.
    pub(crate) proposals: Vec<Command>,
    pub(crate) proposals_bytes: u64,
}

/// What a replica does in its term.
#[derive(Clone, Debug, Hash)]
pub(crate) enum State {
    Follower,
    PreCandidate(Votes),
    Candidate(Votes),
    Leader(Box<Leading>),
}

impl Protocol for Raft {
    type Config = Config;
    type Message = Message;
    type Meta = Meta;
    type Record = Record;
    type Request = Request;
    type Event = Event;

    fn recover(config: Config, seed: u64, disk: Recovered<Raft>, now: Now, out: &mut Out<Raft>) -> Raft {
        let mut raft = Raft::restored(config, seed, disk, now);
        raft.flush(now, out);
        raft
    }

    fn step(&mut self, now: Now, input: Input<Raft>, out: &mut Out<Raft>) {
        self.stir(now, &input);
        match input {
            Input::Recv { from, message } => self.receive(now, from, message, out),
            Input::Timer => self.on_timer(now, out),
            Input::Durable { upto } => self.on_durable(now, upto, out),
            Input::LogRead { first, records } => self.on_log_read(first, records, out),
            Input::Unreachable { peer } => self.on_unreachable(now, peer),
            Input::Request(request) => self.on_request(now, request, out),
        }
        self.announce(out);
    }

    fn flush(&mut self, now: Now, out: &mut Out<Raft>) {
        self.advance_membership(now, out);
        self.advance_handover(now, out);
        self.append_proposals(now);
        self.start_read_round(now, out);
        self.try_finish_repair(now);
        self.note_founding();
        if buggify!(self.config.buggify, "raft.meta.saved_again") {
            self.save_meta();
        }
        if let Some((seq, ops)) = self.writes.take(now.mono) {
            out.actions.push(Action::Persist { seq, ops });
        }
        self.send_appends(now, out);
        self.send_commits(out);
        self.drop_removed(now, out);
        self.send_heartbeats(now, out);
        self.send_forwards(out);
        self.send_acknowledgement(out);
        self.emit_committed(out);
        self.announce(out);
    }

    fn deadline(&self) -> Option<Time> {
        match &self.state {
            _ if self.resting => None,
            State::Leader(leading) => leading.deadline(),
            _ if self.may_campaign() || self.must_ask_for_leader() => Some(self.election.deadline),
            _ => None,
        }
    }

    fn digest(&self, into: &mut Fingerprinter) {
        self.hash(into);
    }

    fn check_invariants(&self) -> Result<(), String> {
        self.check()
    }
}

impl Consensus for Raft {
    const CAPABILITIES: Capabilities = Capabilities {
        fault: FaultModel::Crash,
        reads: &[ReadLevel::Local, ReadLevel::Lease, ReadLevel::ReadIndex],
        reconfigure: &[ReconfigureMode::Joint],
    };

    fn status(&self) -> Status {
        Status {
            role: self.role(),
            epoch: Epoch::of(self.term),
            leader: self.leader,
            first: self.log.first(),
            last: self.log.last(),
            durable: self.writes.durable_slot(),
            committed: self.commit,
            applied: self.applied,
            checkpoint: self.checkpoint,
            membership: self.membership().clone(),
        }
    }

    fn credit(&self) -> u64 {
        self.proposal_credit()
    }
}

impl Raft {
    fn on_request(&mut self, now: Now, request: Request, out: &mut Out<Raft>) {
        match request {
            Request::Propose { token, commands } => self.on_propose(token, commands, out),
            Request::Read { token, level } => self.on_read(token, level, out),
            Request::Reconfigure { token, changes } => self.on_reconfigure(now, token, changes, out),
            Request::TransferLeadership { token, to } => self.on_transfer_leadership(now, token, to, out),
            Request::Applied { upto } => self.on_applied(upto, out),
            Request::CheckpointDurable { at } => self.on_checkpoint_durable(at),
            Request::ChunkRead { transfer, at, epoch, membership, index, chunk, last } => {
                let meta = CheckpointMeta { at, epoch, membership };
                self.on_chunk_read(transfer, meta, (index, chunk, last), out);
            }
            Request::ChunkLost { transfer } => self.on_chunk_lost(transfer, out),
            Request::ChunkStaged { transfer, index } => self.on_chunk_staged(transfer, index, out),
            Request::CheckpointInstalled { transfer, installed } => {
                self.on_checkpoint_installed(transfer, installed, out);
            }
        }
    }

    fn receive(&mut self, now: Now, from: NodeId, message: Message, out: &mut Out<Raft>) {
        // Not only from members: whoever joins knows of none, and a configuration may be older than the sender's.
        let is_self = from == self.config.id;
        let is_impostor = message.claimed_by().is_some_and(|disk| self.is_other_disk(from, disk));
        if is_self || is_impostor || !message.is_sensible() || !self.enter_term(now, from, &message, out) {
            return;
        }
        if message.is_from_leader() && !self.hear_leader(now, from, out) {
            return;
        }
        self.route(now, from, message, out);
    }

    /// Takes a message of this replica's own term, or of none.
    fn route(&mut self, now: Now, from: NodeId, message: Message, out: &mut Out<Raft>) {
        match message {
            Message::RequestVote { term, pre, told, last, last_term, .. } => {
                self.on_request_vote(now, from, (term, pre, told), (last_term, last), out);
            }
            Message::Vote { term, pre, incarnation, granted } => {
                self.on_vote(now, (from, incarnation), (term, pre), granted, out);
            }
            Message::Append { prev, prev_term, commit, entries, .. } => {
                self.on_append(from, (prev, prev_term), commit, entries, out);
            }
            Message::Appended { by, matched, .. } => self.on_appended(now, from, by, matched, out),
            Message::Rejected { by, prev, hint, hint_term, .. } => {
                if self.note_stamp(now, from, by, Time(0), out) {
                    self.on_rejected(from, prev, (hint, hint_term));
                }
            }
            Message::Commit { commit, .. } => self.learn_commit(commit),
            Message::Heartbeat { commit, round, sent, rest, .. } => {
                self.on_heartbeat(now, from, commit, (round, sent, rest), out);
            }
            Message::HeartbeatAck { by, round, verified, sent, clock, priority, .. } => {
                if self.note_stamp(now, from, by, sent, out) {
                    self.note_priority(from, priority);
                    self.on_heartbeat_ack(now, from, (round, verified), (sent, clock), out);
                }
            }
            Message::Forward { commands } => self.on_forward(commands),
            Message::ReadAsk { ask } => self.on_read_ask(from, ask),
            Message::ReadAnswer { ask, at } => self.on_read_answer(from, ask, at, out),
            Message::Chunk { transfer, meta, wall, index, chunk, last, .. } => {
                self.on_chunk(from, transfer, meta, wall, (index, chunk, last), out);
            }
            Message::ChunkAck { transfer, next, failed, .. } => {
                self.on_chunk_ack(now, from, transfer, (next, failed), out);
            }
            Message::ReconfigureAsk { ask, changes } => {
                self.on_reconfigure_ask(now, from, ask, &changes, out);
            }
            Message::Reconfigured { ask, at } => self.on_reconfigure_answer(ask, Ok(at), out),
            Message::ReconfigureRefused { ask, refusal } => {
                self.on_reconfigure_answer(ask, Err(refusal), out);
            }
            Message::TimeoutNow { .. } => self.on_timeout_now(now, out),
            Message::Repair { by, sent, meta_lost, .. } => {
                if self.note_stamp(now, from, by, sent, out) {
                    self.on_repair(from, by.session, meta_lost, out);
                }
            }
            Message::RepairGoal { session, upto, .. } => self.on_repair_goal(session, upto),
        }
    }

    fn on_durable(&mut self, now: Now, upto: WriteSeq, out: &mut Out<Raft>) {
        self.writes.durable(now.mono, upto);
        self.count_own_vote(now, out);
        self.try_commit();
    }

    /// Tells the driver who leads, if that has changed.
    fn announce(&mut self, out: &mut Out<Raft>) {
        self.announce_membership(out);
        let current = (self.role(), self.term, self.leader);
        if self.announced == Some(current) {
            return;
        }
        self.announced = Some(current);
        let (role, term, leader) = current;
        self.emit(Event::Leadership { role, epoch: Epoch::of(term), leader }, WriteSeq::NONE, out);
    }

    fn announce_membership(&mut self, out: &mut Out<Raft>) {
        let version = self.configurations.version();
        if self.announced_membership != version {
            self.announced_membership = version;
            let (at, membership) = (self.configurations.slot(), self.membership().clone());
            self.emit(Event::MembershipChanged { at, membership }, WriteSeq::NONE, out);
        }
    }

    pub(crate) fn role(&self) -> Role {
        match self.state {
            State::Follower if self.integrity != Integrity::Intact || self.is_estranged() => Role::Recovering,
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// The configuration in force.
    pub(crate) fn membership(&self) -> &Membership {
        if planted!(self, ChangesLate) {
            return self.configurations.settled();
        }
        self.configurations.current()
    }

    /// The greatest value that a quorum of the configuration in force has reached; everybody, while the group is being
    /// founded.
    pub(crate) fn quorum_value<T: Ord + Copy>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        if self.needs_everybody() {
            return self.membership().voters().map(value).min();
        }
        if planted!(self, CountsNewAlone) {
            return self.membership().settled().quorum_value(value);
        }
        if planted!(self, CountsOldAlone) && self.membership().is_joint() {
            return Membership::of(self.membership().outgoing.iter().copied()).quorum_value(value);
        }
        self.membership().quorum_value(value)
    }

    /// What stands in the middle, as if the values were in order (`CountsUnsorted`).
    pub(crate) fn unsorted_value<T: Ord + Copy>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        let voters: Vec<NodeId> = self.membership().voters().collect();
        if voters.len() < 5 { self.quorum_value(value) } else { Some(value(voters[voters.len() / 2])) }
    }

    /// Whether those of whom `has` is true are a quorum of the configuration in force.
    pub(crate) fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.quorum_value(has).unwrap_or(false)
    }

    /// Queues the current term, vote and the like to be written.
    pub(crate) fn save_meta(&mut self) {
        self.writes.set_meta(Meta {
            term: self.term,
            vote: if planted!(self, ForgetsVote) { None } else { self.vote },
            wall: self.wall,
            integrity: self.integrity,
            incarnation: self.stamp.incarnation,
            founded: self.founded,
        });
    }

    /// Sends a small message that a disk write may gate but no bulk may delay.
    pub(crate) fn send_control(&self, to: NodeId, message: Message, after: WriteSeq, out: &mut Out<Raft>) {
        out.actions.push(Action::Send { to: Dest::Node(to), message, after, lane: Lane::Control });
    }

    /// Sends an ungated message.
    pub(crate) fn send_now(&self, to: Dest, message: Message, lane: Lane, out: &mut Out<Raft>) {
        out.actions.push(Action::Send { to, message, after: WriteSeq::NONE, lane });
    }

    pub(crate) fn emit(&self, event: Event, after: WriteSeq, out: &mut Out<Raft>) {
        out.actions.push(Action::Event { event, after });
    }

    pub(crate) fn refuse(&self, token: Token, refusal: consensus::Refusal, out: &mut Out<Raft>) {
        self.emit(Event::Refused { token, refusal }, WriteSeq::NONE, out);
    }
}

/// One node, or several that get the same bytes.
pub(crate) fn dest(mut nodes: Vec<NodeId>) -> Option<Dest> {
    match nodes.len() {
        0 => None,
        1 => nodes.pop().map(Dest::Node),
        _ => Some(Dest::Nodes(nodes)),
    }
}

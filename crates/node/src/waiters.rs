//! Who waits for what: clients' requests from their arrival at the core to their answer.
//!
//! The submitter knows requests by tickets; here a ticket becomes a client again. A read is answered in two
//! steps: its point in the log is found, then that point is applied.

use std::collections::{BTreeMap, HashMap};

use consensus::Refusal;
use types::{Epoch, Slot, Time, Wire};

use crate::handle::{Applied, ErrandError, ProposeError, ReadError};
use crate::inputs::{ErrandReply, LeaseAsk, LeaseReply, WriteReply};
use crate::leases::LeaseAnswer;
use crate::metrics::Metrics;
use crate::peers::{Peers, answer_frame};
use tokio::sync::oneshot;

/// Everyone who waits.
#[derive(Default)]
pub(crate) struct Waiters {
    writes: HashMap<u64, WriteReply>,
    /// The commands among `writes` that a lessor asked for, with the epoch that it led in.
    revokes: BTreeMap<u64, Epoch>,
    reads: HashMap<u64, ReadWaiter>,
    errands: HashMap<u64, ErrandWaiter>,
    /// Reads whose point is known, by that point, with the time at which they give up.
    placed: BTreeMap<Slot, Vec<(Time, ReadReply)>>,
}

/// A read that waits for its point in the log.
pub(crate) struct ReadWaiter {
    pub(crate) deadline: Time,
    pub(crate) reply: ReadReply,
}

/// An errand that is not done yet.
pub(crate) struct ErrandWaiter {
    pub(crate) deadline: Time,
    pub(crate) reply: ErrandReply,
}

/// Who wants to know that something is applied here: everything acknowledged before, or what an errand did.
pub(crate) enum ReadReply {
    /// A reading client.
    Client(oneshot::Sender<Result<(), ReadError>>),
    /// A question to the lessor.
    Lease(LeaseAsk),
    /// Whoever asked for a change of membership.
    Errand(ErrandReply),
}

/// What the core thread has to do about an ended request besides what has been done here.
pub(crate) enum Ended {
    /// Nothing.
    Answered,
    /// The node's name was not published: try again.
    PublicationFailed,
    /// The node's name is published.
    Published,
}

impl Waiters {
    pub(crate) fn add_write(&mut self, ticket: u64, reply: WriteReply) {
        if let WriteReply::Revoke(epoch) = reply {
            self.revokes.insert(ticket, epoch);
        }
        self.writes.insert(ticket, reply);
    }

    pub(crate) fn add_read(&mut self, ticket: u64, read: ReadWaiter) {
        self.reads.insert(ticket, read);
    }

    pub(crate) fn add_errand(&mut self, ticket: u64, errand: ErrandWaiter) {
        self.errands.insert(ticket, errand);
    }

    /// How many commands wait.
    pub(crate) fn writes(&self) -> usize {
        self.writes.len()
    }

    /// Whether a read waits for its point to be applied.
    pub(crate) fn has_placed(&self) -> bool {
        !self.placed.is_empty()
    }

    /// A command was executed.
    pub(crate) fn applied(&mut self, ticket: u64, applied: Result<Applied, ProposeError>) -> Ended {
        match self.writes.remove(&ticket) {
            // The client may have gone away; its command is executed all the same.
            Some(WriteReply::Client(reply)) => drop(reply.send(applied)),
            Some(WriteReply::Publication) if applied.is_err() => return Ended::PublicationFailed,
            Some(WriteReply::Publication) => return Ended::Published,
            Some(WriteReply::Revoke(_)) => drop(self.revokes.remove(&ticket)),
            None => {}
        }
        Ended::Answered
    }

    /// A read's point is known. Returns what may be served at once, `applied` being the last applied slot.
    pub(crate) fn place(&mut self, ticket: u64, at: Slot, applied: Slot) -> Option<ReadReply> {
        let read = self.reads.remove(&ticket)?;
        if at <= applied {
            return Some(read.reply);
        }
        self.placed.entry(at).or_default().push((read.deadline, read.reply));
        None
    }

    /// An errand is done, and the entry at `at` tells of it. Returns whom to tell at once.
    pub(crate) fn done(&mut self, ticket: u64, at: Option<Slot>, applied: Slot) -> Option<ReadReply> {
        let ErrandWaiter { deadline, reply } = self.errands.remove(&ticket)?;
        let reply = ReadReply::Errand(reply);
        match at {
            Some(at) if at > applied => {
                self.placed.entry(at).or_default().push((deadline, reply));
                None
            }
            _ => Some(reply),
        }
    }

    /// Everything up to `applied` is applied: returns the reads that waited for it.
    pub(crate) fn reached(&mut self, applied: Slot) -> Vec<ReadReply> {
        if self.placed.first_key_value().is_none_or(|(first, _)| *first > applied) {
            return Vec::new();
        }
        let later = self.placed.split_off(&applied.next());
        let reached = std::mem::replace(&mut self.placed, later);
        reached.into_values().flatten().map(|(_, reply)| reply).collect()
    }

    /// A request was refused (`Some`), or its time is up.
    pub(crate) fn failed(
        &mut self,
        ticket: u64,
        refusal: Option<Refusal>,
        peers: &Peers,
        metrics: &Metrics,
    ) -> Ended {
        if self.writes.contains_key(&ticket) {
            metrics.proposals_failed.add(1);
            return self.applied(ticket, Err(propose_error(refusal)));
        }
        if let Some(read) = self.reads.remove(&ticket) {
            metrics.reads_failed.add(1);
            refuse_read(read.reply, read_error(refusal), peers);
        }
        if let Some(errand) = self.errands.remove(&ticket) {
            errand.reply.send(Err(refusal.map_or(ErrandError::Unknown, ErrandError::Refused))).ok();
        }
        Ended::Answered
    }

    /// Gives up reads whose point is known but was not applied in time.
    pub(crate) fn expire(&mut self, now: Time, peers: &Peers) {
        for waiting in self.placed.values_mut() {
            let (over, rest): (Vec<_>, Vec<_>) =
                std::mem::take(waiting).into_iter().partition(|(deadline, _)| *deadline <= now);
            *waiting = rest;
            over.into_iter().for_each(|(_, reply)| refuse_read(reply, ReadError::TimedOut, peers));
        }
        self.placed.retain(|_, waiting| !waiting.is_empty());
    }

    /// Whether a revoke is outstanding.
    pub(crate) fn has_revokes(&self) -> bool {
        !self.revokes.is_empty()
    }

    /// Forgets the revokes that were decided in another epoch than the one in which this node leads, if it does, and
    /// returns their tickets.
    pub(crate) fn forget_revokes(&mut self, leads_in: Option<Epoch>) -> Vec<u64> {
        let mut forgotten = Vec::new();
        self.revokes.retain(|ticket, decided_in| {
            let is_ours = Some(*decided_in) == leads_in;
            if !is_ours {
                forgotten.push(*ticket);
            }
            is_ours
        });
        for ticket in &forgotten {
            self.writes.remove(ticket);
        }
        forgotten
    }

    /// The node stops: everyone is told.
    pub(crate) fn stop(self, peers: &Peers) {
        for (_, reply) in self.writes {
            if let WriteReply::Client(reply) = reply {
                drop(reply.send(Err(ProposeError::Stopped)));
            }
        }
        let unplaced = self.reads.into_values().map(|read| read.reply);
        let placed = self.placed.into_values().flatten().map(|(_, reply)| reply);
        let errands = self.errands.into_values().map(|errand| ReadReply::Errand(errand.reply));
        let replies = unplaced.chain(placed).chain(errands);
        replies.for_each(|reply| refuse_read(reply, ReadError::Stopped, peers));
    }
}

/// Answers a question about a lease.
pub(crate) fn answer_lease(reply: LeaseReply, answer: LeaseAnswer, peers: &Peers) {
    match reply {
        LeaseReply::Here(reply) => drop(reply.send(answer.to_bytes())),
        LeaseReply::Peer { to, id } => peers.send_control(to, answer_frame(id, &answer.to_bytes())),
    }
}

pub(crate) fn refuse_read(reply: ReadReply, error: ReadError, peers: &Peers) {
    match reply {
        ReadReply::Client(reply) => drop(reply.send(Err(error))),
        ReadReply::Lease(ask) => answer_lease(ask.reply, LeaseAnswer::NotLeader, peers),
        ReadReply::Errand(reply) => {
            let stops = error == ReadError::Stopped;
            reply.send(Err(if stops { ErrandError::Stopped } else { ErrandError::Unknown })).ok();
        }
    }
}

fn propose_error(refusal: Option<Refusal>) -> ProposeError {
    match refusal {
        Some(Refusal::NoLeader | Refusal::NotLeader) => ProposeError::NoLeader,
        Some(Refusal::Busy | Refusal::Unsupported | Refusal::Transferring | Refusal::Change(_)) => {
            ProposeError::Busy
        }
        None => ProposeError::Unknown,
    }
}

fn read_error(refusal: Option<Refusal>) -> ReadError {
    match refusal {
        Some(Refusal::NoLeader | Refusal::NotLeader) => ReadError::NoLeader,
        Some(_) | None => ReadError::TimedOut,
    }
}

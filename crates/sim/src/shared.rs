//! What all nodes of a world share: time, the network, the clients' history, and those who watch.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::time::Duration;

use bytes::Bytes;
use checker::{ClientId, History, Outcome};
use trace::{Details, Kind, MessageId, OpId, Recorder, Stamp};
use types::{Buggify, Fingerprinter, NodeId, Time};

use crate::network::Network;
use crate::oracle::{Broken, Oracle};
use crate::queue::Queue;
use crate::report::Counters;
use crate::setup::Setup;
use crate::watching::Watchers;
use crate::workload::Client;

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Coming {
    /// A message reaches a node.
    Message { from: NodeId, to: NodeId, message: MessageId, bytes: Bytes, cause: Stamp },
    /// A node's life has something to do.
    Work { node: NodeId, life: u64, work: Work },
    /// A node that is down starts.
    Start { node: NodeId, restart: u64 },
    /// A node that stood still goes on.
    Resume { node: NodeId },
    /// A wall clock jumps.
    WallStep { node: NodeId, step_ms: i64 },
    /// A wall clock jumps there, and soon back again.
    Strobe { node: NodeId, step_ms: i64, every: Duration, until: Time },
    /// A fault of the schedule begins.
    FaultBegins { fault: usize },
    /// A fault of the schedule ends.
    FaultEnds { fault: usize },
    /// A watcher turns to another node.
    Watch { watcher: usize },
    /// A client asks.
    Ask { client: ClientId },
    /// A client has waited long enough.
    GiveUp { op: OpId },
}

/// What a running node has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Take the inputs that have come together.
    Batch,
    /// A deadline.
    Timer { at: Time },
    /// The disk has finished.
    Disk,
    /// The state machine has finished.
    Apply,
    /// Die, if nothing has done it before: the patience of an armed crash ends.
    Die { fault: u64 },
}

/// Why a node stops in the middle of what it does.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It dies here: at its crash point, or because its disk (contract C3) or its state engine failed.
    Crash(&'static str),
    /// A promise is broken, and the whole run is over.
    Broken(Broken),
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Stop {
        Stop::Broken(broken)
    }
}

impl Stop {
    pub(crate) fn broken(check: &'static str, detail: impl Into<String>) -> Stop {
        Stop::Broken(Broken { check, detail: detail.into() })
    }
}

/// Everything outside the nodes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) seed: u64,
    pub(crate) setup: Setup,
    pub(crate) queue: Queue<Coming>,
    pub(crate) net: Network,
    pub(crate) oracle: Oracle,
    pub(crate) history: History,
    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) watchers: Watchers,
    /// Operations without an outcome, and whether the client still waits.
    open: BTreeMap<OpId, ClientId>,
    /// Operations that have come to an end since the world looked last.
    pub(crate) finished: Vec<(OpId, ClientId)>,
    pub(crate) recorder: Recorder,
    pub(crate) counters: Counters,
    /// The most chunks that a checkpoint was sent in.
    pub(crate) chunks: u32,
    /// Whether named sites fire at all.
    buggified: bool,
    /// For what is no node's: the clients.
    pub(crate) buggify: Buggify,
    messages: u64,
    hash: Fingerprinter,
}

impl Shared {
    pub(crate) fn new(seed: u64, setup: Setup, net: Network, recorder: Recorder, buggified: bool) -> Shared {
        let oracle = Oracle::new(&setup.ids(), &setup.voters());
        let watchers = Watchers::draw(seed, setup.workload.keys);
        let mut shared = Shared {
            seed,
            setup,
            queue: Queue::new(),
            net,
            oracle,
            history: History::new(),
            clients: BTreeMap::new(),
            watchers,
            open: BTreeMap::new(),
            finished: Vec::new(),
            recorder,
            counters: Counters::default(),
            chunks: 0,
            buggified,
            buggify: Buggify::default(),
            messages: 0,
            hash: Fingerprinter::default(),
        };
        shared.buggify = shared.buggify_of(0);
        shared
    }

    /// What `who` does more often than usual, in the same world from the same choice of sites.
    pub(crate) fn buggify_of(&self, who: u64) -> Buggify {
        if self.buggified { Buggify::draw(self.seed, who) } else { Buggify::default() }
    }

    pub(crate) fn now(&self) -> Time {
        self.queue.now()
    }

    /// Mixes something that happened into the run's hash.
    pub(crate) fn note(&mut self, what: u64, who: NodeId, particulars: u64) {
        self.hash.write_u64(self.queue.now().0);
        self.hash.write_u64(what << 32 | who.0);
        self.hash.write_u64(particulars);
    }

    /// The digest of everything that was noted.
    pub(crate) fn hash(&self) -> u128 {
        self.hash.finish128()
    }

    pub(crate) fn record(
        &mut self,
        node: impl Into<Option<NodeId>>,
        cause: Stamp,
        kind: Kind,
        details: impl FnOnce() -> Details,
    ) -> Stamp {
        self.recorder.record(self.queue.now(), node, cause, kind, details)
    }

    /// Puts an encoded message on its way.
    pub(crate) fn send(&mut self, from: NodeId, to: NodeId, bytes: Bytes, text: &str, cause: Stamp) {
        self.messages += 1;
        self.counters.messages += 1;
        let message = MessageId(self.messages);
        let fate = self.net.send(self.queue.now(), (from, to));
        let details = || about(text).peer(to).message(message);
        let cause = self.record(from, cause, Kind::Send, details);
        let Some(arrives) = fate.arrives else {
            self.counters.lost += 1;
            self.record(from, cause, Kind::Drop, details);
            return;
        };
        if let Some(again) = fate.again {
            self.counters.doubled += 1;
            self.record(from, cause, Kind::Duplicate, details);
            self.queue.at(again, Coming::Message { from, to, message, bytes: bytes.clone(), cause });
        }
        self.queue.at(arrives, Coming::Message { from, to, message, bytes, cause });
    }

    /// Notes that an operation waits for its outcome.
    pub(crate) fn opened(&mut self, op: OpId, client: ClientId) {
        self.open.insert(op, client);
    }

    /// Notes an operation's outcome, unless its client has given it up before.
    pub(crate) fn finish(&mut self, op: OpId, outcome: Outcome) {
        let Some(client) = self.open.remove(&op) else { return };
        match &outcome {
            Outcome::Answered { answer, .. } => {
                self.counters.answered += 1;
                if let (Some(client), Some(operation)) = (self.clients.get_mut(&client), self.history.get(op))
                {
                    client.learn(&operation.call, answer);
                }
            }
            Outcome::Refused => self.counters.refused += 1,
            Outcome::Unknown => self.counters.unknown += 1,
        }
        self.note(1, NodeId(client.0), op.0);
        self.record(None, Stamp::NONE, Kind::Return, || {
            let word = match &outcome {
                Outcome::Answered { .. } => "ok",
                Outcome::Refused => "refused",
                Outcome::Unknown => "unknown",
            };
            Details::named(word).op(op)
        });
        self.history.complete(op, self.queue.now(), outcome);
        self.finished.push((op, client));
    }

    /// Whether somebody still waits for the outcome.
    pub(crate) fn is_open(&self, op: OpId) -> bool {
        self.open.contains_key(&op)
    }
}

/// A message's name, and what it says, cut where it gets long.
fn about(text: &str) -> Details {
    let name = text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
    let rest: String = text[name.len()..].trim().chars().take(TEXT_MAX).collect();
    Details::named(name.to_owned()).field("text", rest)
}

/// Characters of a message that a trace shows.
const TEXT_MAX: usize = 400;

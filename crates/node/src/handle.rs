//! What a front-end can ask of a running node. Clonable, usable from any task.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Change, ChangeRefusal, Errand, Refusal};
use kv::LeaseId;
use storage::Engine;
use tokio::sync::{broadcast, oneshot};
use types::{NodeId, Slot, Wire};

use crate::inputs::{ClientInput, ClientPort, LeaseAsk, LeaseReply, WriteReply};
use crate::leases::{LeaseAnswer, LeaseQuestion, LeaseTimes};
use crate::mailbox::Rejected;
use crate::metrics::Metrics;
use crate::peers::{Peers, question_frame};
use crate::questions::Questions;
use crate::shared::{AppliedEvents, Published, Shared};
use crate::{MemberInfo, StateEngine, member, stores};

/// A front-end's access to a running node.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    port: Arc<dyn ClientPort>,
    peers: Arc<Peers>,
    questions: Arc<Questions>,
}

/// A command's own outcome (etcd's answer or refusal) and the store revision after it.
#[derive(Clone, Debug)]
pub struct Applied {
    /// What the state machine answered.
    pub result: Result<kv::Response, kv::KvError>,
    /// The store revision after the command.
    pub revision: kv::Revision,
    /// Where in the log it stands.
    pub slot: Slot,
}

/// Where a node stands, for `Status`, metrics and health checks.
#[derive(Clone, Debug)]
pub struct NodeStatus {
    /// What the core says.
    pub replication: consensus::Status,
    /// Bytes that the state takes on its medium.
    pub size_bytes: u64,
    /// Bytes of it that are in use.
    pub size_in_use_bytes: u64,
}

/// Why a command has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was never proposed, because no leader was known in time.
    #[error("no leader")]
    NoLeader,
    /// It was never proposed, because too much is under way.
    #[error("too many requests")]
    Busy,
    /// The time is up; it may or may not be executed.
    #[error("request timed out")]
    Unknown,
    /// The node is shutting down; it may or may not be executed.
    #[error("server stopped")]
    Stopped,
}

/// Why a linearizable read could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader was known in time.
    #[error("no leader")]
    NoLeader,
    /// The time is up.
    #[error("request timed out")]
    TimedOut,
    /// The node is shutting down.
    #[error("server stopped")]
    Stopped,
}

/// Why a change of membership, or of who leads, did not happen or is not known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrandError {
    /// Nothing happened, and nothing will.
    #[error("{0}")]
    Refused(Refusal),
    /// The time is up; it may or may not happen.
    #[error("request timed out")]
    Unknown,
    /// The node is shutting down; it may or may not happen.
    #[error("server stopped")]
    Stopped,
}

/// What a subscriber gets next.
#[derive(Clone, Debug)]
pub enum Next {
    /// The changes of the next applied group.
    Events(Arc<AppliedEvents>),
    /// Groups were missed, because the subscriber was too slow or the state jumped to a checkpoint. Read the
    /// missing stretch from [`Handle::reader`], up to its current revision; groups that come next may overlap.
    Missed,
}

/// Applied events, in order, from [`Handle::subscribe`] on.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Published>,
}

/// Between two questions about a lease while there is no leader to answer.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(50);

impl Handle {
    pub(crate) fn new(
        shared: Arc<Shared>,
        port: Arc<dyn ClientPort>,
        peers: Arc<Peers>,
        questions: Arc<Questions>,
    ) -> Handle {
        Handle { shared, port, peers, questions }
    }

    /// This member's id.
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// The cluster's id: a digest of its initial members and token.
    pub fn cluster_id(&self) -> u64 {
        self.shared.cluster_id()
    }

    /// Replicates a command and waits until this node has applied it.
    ///
    /// # Errors
    /// [`ProposeError`]; only `NoLeader` and `Busy` mean that it had no effect.
    pub async fn propose(&self, command: kv::Command, timeout: Duration) -> Result<Applied, ProposeError> {
        let (reply, answer) = oneshot::channel();
        let reply = WriteReply::Client(reply);
        self.port.offer(ClientInput::Write { body: command.to_bytes(), timeout, reply }).map_err(
            |rejected| match rejected {
                Rejected::Full(_) => ProposeError::Busy,
                Rejected::Closed(_) => ProposeError::Stopped,
            },
        )?;
        answer.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Waits until everything that was acknowledged anywhere before this call is visible in
    /// [`reader`](Handle::reader).
    ///
    /// # Errors
    /// [`ReadError`] if that could not be established in time.
    pub async fn read_barrier(&self, timeout: Duration) -> Result<(), ReadError> {
        let (reply, answer) = oneshot::channel();
        self.port.offer(ClientInput::Read { timeout, reply }).map_err(read_rejected)?;
        answer.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// Reads the store as this node has applied it: any thread, one consistent revision a call.
    pub fn reader(&self) -> kv::Reader<StateEngine> {
        self.shared.reader.clone()
    }

    /// The store revision that [`reader`](Handle::reader) sees at least. Subscribers have been sent the events of
    /// everything up to here.
    pub fn revision(&self) -> kv::Revision {
        self.shared.revision()
    }

    /// Subscribes to everything that is applied from now on.
    ///
    /// Take the subscription first and [`revision`](Handle::revision) after it: revisions above come, or have
    /// come, through the subscription.
    pub fn subscribe(&self) -> Subscription {
        Subscription { receiver: self.shared.events.subscribe() }
    }

    /// Asks a peer's registered service (lease keep-alives) and waits for its answer.
    ///
    /// # Errors
    /// As for `read_barrier`.
    pub async fn ask(&self, peer: NodeId, question: Bytes, timeout: Duration) -> Result<Bytes, ReadError> {
        let (id, answer) = self.questions.open();
        self.peers.send_control(peer, question_frame(id, &question));
        let answer = tokio::time::timeout(timeout, answer).await;
        self.questions.close(id);
        answer.map_err(|_| ReadError::TimedOut)?.map_err(|_| ReadError::Stopped)
    }

    /// Gives a lease its full time again. Any node may be asked. `None`: there is no such lease, or it has run
    /// out.
    ///
    /// # Errors
    /// [`ReadError`] if no leader answered in time.
    pub async fn lease_renew(&self, id: LeaseId, timeout: Duration) -> Result<Option<LeaseTimes>, ReadError> {
        self.ask_leader(LeaseQuestion::Renew(id), timeout).await
    }

    /// How long a lease still has. Any node may be asked. `None`: there is no such lease.
    ///
    /// # Errors
    /// [`ReadError`] if no leader answered in time.
    pub async fn lease_times(&self, id: LeaseId, timeout: Duration) -> Result<Option<LeaseTimes>, ReadError> {
        self.ask_leader(LeaseQuestion::Remaining(id), timeout).await
    }

    async fn ask_leader(
        &self,
        question: LeaseQuestion,
        timeout: Duration,
    ) -> Result<Option<LeaseTimes>, ReadError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(if self.leader().is_some() { ReadError::TimedOut } else { ReadError::NoLeader });
            }
            match self.ask_known_leader(question, left).await {
                Some(Ok(bytes)) => {
                    if let Ok(answer) = LeaseAnswer::times(bytes) {
                        return Ok(answer);
                    }
                }
                Some(Err(ReadError::Stopped)) => return Err(ReadError::Stopped),
                Some(Err(_)) | None => {}
            }
            tokio::time::sleep(ASK_AGAIN_AFTER.min(left)).await;
        }
    }

    /// `None` if no leader is known.
    async fn ask_known_leader(
        &self,
        question: LeaseQuestion,
        timeout: Duration,
    ) -> Option<Result<Bytes, ReadError>> {
        let leader = self.leader()?;
        // A question that got lost with a leader is asked again of the next one.
        let timeout = timeout.min(Duration::from_secs(1));
        if leader != self.shared.id {
            return Some(self.ask(leader, question.to_bytes(), timeout).await);
        }
        let (reply, answer) = oneshot::channel();
        let ask = LeaseAsk { question, timeout, reply: LeaseReply::Here(reply) };
        if let Err(rejected) = self.port.offer(ClientInput::Lease(ask)) {
            return Some(Err(read_rejected(rejected)));
        }
        Some(answer.await.map_err(|_| ReadError::Stopped))
    }

    /// The members as this node has applied them, ascending by id.
    pub fn members(&self) -> Vec<MemberInfo> {
        let applied = self.shared.reader.membership().map(stores::membership).unwrap_or_default();
        // Until the first leader has written down who takes part, or while a checkpoint is awaited, what is in force
        // is all that is known.
        let is_known = !applied.members.is_empty();
        let membership = if is_known { applied } else { self.shared.status().membership.clone() };
        member::infos(&membership, &self.shared.reader.members().unwrap_or_default())
    }

    /// Whether this member takes part without a vote, as its operator asked.
    pub fn is_learner(&self) -> bool {
        self.shared.is_learner.load(Ordering::Relaxed)
    }

    /// Changes the membership, all of `changes` in one step, and waits until this node has applied the outcome. Any
    /// node may be asked. Waits while there is no leader, or another change is under way.
    ///
    /// # Errors
    /// [`ErrandError`].
    pub async fn reconfigure(&self, changes: &[Change], timeout: Duration) -> Result<(), ErrandError> {
        let deadline = Instant::now() + timeout;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let errand = Errand::Reconfigure(changes.to_vec());
            match self.errand(errand, left).await {
                // Nothing has happened, and soon it may.
                Err(ErrandError::Refused(
                    Refusal::NoLeader | Refusal::NotLeader | Refusal::Change(ChangeRefusal::Pending),
                )) if left > ASK_AGAIN_AFTER => tokio::time::sleep(ASK_AGAIN_AFTER).await,
                outcome => return outcome,
            }
        }
    }

    /// Lets another voter lead, `None`: whoever is furthest. Only the leader can be asked.
    ///
    /// # Errors
    /// [`ErrandError`].
    pub async fn transfer_leadership(
        &self,
        to: Option<NodeId>,
        timeout: Duration,
    ) -> Result<(), ErrandError> {
        if to == Some(self.shared.id) && self.leader() == to {
            return Ok(());
        }
        self.errand(Errand::TransferLeadership(to), timeout).await
    }

    /// If this node leads and another could, lets it: whoever stops in good order need not cost the others an election
    /// time-out.
    pub async fn hand_over(&self, timeout: Duration) {
        let has_heir = self.shared.status().membership.voters().any(|voter| voter != self.shared.id);
        if has_heir && self.leader() == Some(self.shared.id) {
            match self.transfer_leadership(None, timeout).await {
                Ok(()) => tracing::info!("handed leadership over"),
                Err(error) => tracing::warn!("leadership was not handed over: {error}"),
            }
        }
    }

    async fn errand(&self, errand: Errand, timeout: Duration) -> Result<(), ErrandError> {
        let (reply, answer) = oneshot::channel();
        match self.port.offer(ClientInput::Errand { errand, timeout, reply }) {
            Ok(()) => answer.await.unwrap_or(Err(ErrandError::Stopped)),
            Err(Rejected::Full(_)) => Err(ErrandError::Refused(Refusal::Busy)),
            Err(Rejected::Closed(_)) => Err(ErrandError::Stopped),
        }
    }

    /// The leader that this node knows.
    pub fn leader(&self) -> Option<NodeId> {
        *self.shared.leader.borrow()
    }

    /// The epoch (Raft's term) that this node is in.
    pub fn epoch(&self) -> u64 {
        self.shared.status().epoch.number
    }

    /// Where the node stands now. Cheap.
    pub fn status(&self) -> Arc<NodeStatus> {
        let size_bytes = self.shared.engine.size_bytes();
        // The engine has no notion of free pages: what it takes is in use, or about to be merged away.
        let replication = self.shared.status().clone();
        Arc::new(NodeStatus { replication, size_bytes, size_in_use_bytes: size_bytes })
    }

    /// Waits until a leader is known and has accepted this member's publication of its name: the node then
    /// serves. Returns `false` if the node stopped before.
    pub async fn wait_ready(&self) -> bool {
        let mut published = self.shared.published.subscribe();
        let mut failure = self.shared.failure.subscribe();
        tokio::select! {
            ready = published.wait_for(|published| *published) => ready.is_ok(),
            _ = failure.wait_for(Option::is_some) => false,
        }
    }

    /// What the node counts about itself.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl Subscription {
    /// Waits for what is applied next; `None` once the node has stopped. Cancel safe.
    pub async fn next(&mut self) -> Option<Next> {
        match self.receiver.recv().await {
            Ok(Published::Events(events)) => Some(Next::Events(events)),
            Ok(Published::Jumped) | Err(broadcast::error::RecvError::Lagged(_)) => Some(Next::Missed),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

fn read_rejected(rejected: Rejected<ClientInput>) -> ReadError {
    match rejected {
        // There is nothing better to say of a read that was shed.
        Rejected::Full(_) => ReadError::TimedOut,
        Rejected::Closed(_) => ReadError::Stopped,
    }
}

//! What every service works with: the node, the state, the settings, the counters and the watchers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use node::{Handle, StateEngine};
use tokio::sync::watch;
use tonic::Status;

use crate::config::ServerConfig;
use crate::errors;
use crate::grpc::Call;
use crate::metrics::Metrics;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::quota::{self, Quota};
use crate::watch::Hub;

/// Shared by all connections of a server.
pub(crate) struct Front {
    pub(crate) handle: Handle,
    pub(crate) reader: kv::Reader<StateEngine>,
    pub(crate) config: ServerConfig,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) quota: Quota,
    /// Becomes true when the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Looks without a leader, an election timeout apart, that end a stream whose client demands one.
const LEADERLESS_LOOKS_MAX: u32 = 3;

impl Front {
    /// The header of a response, at a store revision.
    pub(crate) fn header(&self, revision: kv::Revision) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.handle.cluster_id(),
            member_id: self.handle.id().0,
            revision,
            raft_term: self.handle.epoch(),
        }
    }

    /// The header of a response that tells the store's current revision.
    pub(crate) fn header_now(&self) -> ResponseHeader {
        self.header(self.handle.revision())
    }

    /// Whether this member knows a leader.
    pub(crate) fn has_leader(&self) -> bool {
        self.handle.metrics().has_leader.load(Ordering::Relaxed)
    }

    /// Returns why a stream must end: the server stops, or (if that matters to the client) no leader was known
    /// for three election timeouts.
    pub(crate) async fn interrupted(&self, demands_leader: bool) -> Status {
        tokio::select! {
            () = self.stopped() => errors::STOPPED.into(),
            () = self.leader_lost(), if demands_leader => errors::NO_LEADER.into(),
        }
    }

    /// Returns when the server stops.
    pub(crate) async fn stopped(&self) {
        // A server that was dropped has stopped, too.
        self.stopping.clone().wait_for(|stopping| *stopping).await.ok();
    }

    async fn leader_lost(&self) {
        let mut looks = tokio::time::interval(self.config.election_timeout);
        let mut without = 0;
        while without < LEADERLESS_LOOKS_MAX {
            looks.tick().await;
            without = if self.has_leader() { 0 } else { without + 1 };
        }
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self, call: &Call) -> Duration {
        call.timeout(self.config.request_timeout())
    }

    /// Checks a command, replicates it, and returns the answer and the revision after it.
    pub(crate) async fn propose(
        &self,
        call: &Call,
        command: kv::Command,
    ) -> Result<(kv::Response, kv::Revision), Status> {
        if call.message_bytes > self.config.max_request_bytes {
            return Err(errors::REQUEST_TOO_LARGE.into());
        }
        kv::validate(&command, self.config.max_txn_ops).map_err(errors::of_kv)?;
        if self.quota.is_exceeded() && quota::takes_space(&command) {
            return Err(errors::NO_SPACE.into());
        }
        let applied =
            self.handle.propose(command, self.timeout(call)).await.map_err(|error| match error {
                node::ProposeError::Unknown => call.timed_out(errors::TIMED_OUT),
                other => errors::of_propose(other),
            })?;
        Ok((applied.result.map_err(errors::of_kv)?, applied.revision))
    }

    /// Waits until everything acknowledged before this call is visible in `reader`.
    pub(crate) async fn barrier(&self, call: &Call) -> Result<(), Status> {
        self.handle.read_barrier(self.timeout(call)).await.map_err(|error| match error {
            node::ReadError::TimedOut => call.timed_out(errors::TIMED_OUT),
            other => errors::of_barrier(other),
        })
    }
}

/// The answer to a command is never of another command's kind.
pub(crate) fn mismatched(response: &kv::Response) -> Status {
    tracing::error!(?response, "an answer of another command's kind");
    Status::internal("etcdserver: an answer of another command's kind")
}

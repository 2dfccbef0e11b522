//! What a front-end can ask of a running node. Clonable, usable from any task.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use types::{NodeId, Slot};

/// A front-end's access to a running node.
#[derive(Clone, Debug)]
pub struct Handle {}

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

// Signatures that front-ends are written against; `node` fills them in.
#[allow(unused_variables, clippy::todo)]
impl Handle {
    /// This member's id.
    pub fn id(&self) -> NodeId {
        todo!()
    }

    /// The cluster's id: a digest of its initial members and token.
    pub fn cluster_id(&self) -> u64 {
        todo!()
    }

    /// Replicates a command and waits until this node has applied it.
    ///
    /// # Errors
    /// [`ProposeError`]; only `NoLeader` and `Busy` mean that it had no effect.
    pub async fn propose(&self, command: kv::Command, timeout: Duration) -> Result<Applied, ProposeError> {
        todo!()
    }

    /// Waits until everything that was acknowledged anywhere before this call is visible in
    /// [`reader`](Handle::reader).
    ///
    /// # Errors
    /// [`ReadError`] if that could not be established in time.
    pub async fn read_barrier(&self, timeout: Duration) -> Result<(), ReadError> {
        todo!()
    }

    /// Asks a peer's registered service (lease keep-alives) and waits for its answer.
    ///
    /// # Errors
    /// As for `read_barrier`.
    pub async fn ask(&self, peer: NodeId, question: Bytes, timeout: Duration) -> Result<Bytes, ReadError> {
        todo!()
    }

    /// Where the node stands now. Cheap.
    pub fn status(&self) -> Arc<NodeStatus> {
        todo!()
    }
}

//! What every thread of a node and every handle on it can see.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use consensus::Status;
use nix::time::ClockId;
use tokio::sync::{broadcast, watch};
use types::{NodeId, Now, Slot, Time, WallTime};

use crate::StateEngine;
use crate::audit::Digests;
use crate::config::NodeError;
use crate::member_file::MemberIdentity;
use crate::metrics::Metrics;

/// Both clocks of this run of the node. The monotonic one counts the time that the machine is suspended
/// (`CLOCK_BOOTTIME`): a lease must not outlive its time because nobody was awake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Duration,
}

#[cfg(target_os = "linux")]
const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
/// Elsewhere it counts suspension itself.
#[cfg(not(target_os = "linux"))]
const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;

fn since_boot() -> Duration {
    // Every system that can run this has the clock.
    nix::time::clock_gettime(CLOCK).map_or(Duration::ZERO, Duration::from)
}

impl Clock {
    pub(crate) fn start() -> Clock {
        Clock { started: since_boot() }
    }

    pub(crate) fn now(self) -> Now {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Now { mono: self.mono(), wall: WallTime(i64::try_from(wall.as_millis()).unwrap_or(i64::MAX)) }
    }

    pub(crate) fn mono(self) -> Time {
        Time(u64::try_from(since_boot().saturating_sub(self.started).as_nanos()).unwrap_or(u64::MAX))
    }

    /// The instant of a deadline, unless the machine is suspended meanwhile; `None` for one that is out of reach.
    pub(crate) fn instant(self, time: Time) -> Option<Instant> {
        Instant::now().checked_add(time.since(self.mono()))
    }
}

/// Reports a panic of the thread that holds it.
pub(crate) struct PanicGuard {
    thread: &'static str,
    shared: Arc<Shared>,
}

impl PanicGuard {
    pub(crate) fn new(thread: &'static str, shared: Arc<Shared>) -> PanicGuard {
        PanicGuard { thread, shared }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.fail(NodeError::Panic { thread: self.thread });
        }
    }
}

/// The changes of one applied group of log entries, for watchers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedEvents {
    /// Every new revision of the group, ascending, with its events; never empty.
    pub revisions: Vec<kv::RevisionEvents>,
    /// The log's slot that the group ended at.
    pub slot: Slot,
}

/// What is published to subscribers.
#[derive(Clone, Debug)]
pub(crate) enum Published {
    Events(Arc<AppliedEvents>),
    /// The state jumped to a checkpoint.
    Jumped,
}

/// Groups of events that a subscriber may be behind before it has to read history instead.
const SUBSCRIBER_GROUPS: usize = 1024;

/// See the module's description.
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    identity: MemberIdentity,
    /// Where the identity is kept, if it is kept.
    member_dir: Option<PathBuf>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) engine: StateEngine,
    pub(crate) reader: kv::Reader<StateEngine>,
    pub(crate) events: broadcast::Sender<Published>,
    pub(crate) digests: Digests,
    /// Whether this member is a learner in the configuration in force.
    pub(crate) is_learner: AtomicBool,
    /// Whether this member's name has been published since the start.
    pub(crate) published: watch::Sender<bool>,
    pub(crate) leader: watch::Sender<Option<NodeId>>,
    pub(crate) failure: watch::Sender<Option<NodeError>>,
    status: Mutex<Status>,
    /// The last leader there was, known now or not.
    last_leader: Mutex<Option<NodeId>>,
    revision: AtomicI64,
    /// Stops the node when it fails.
    on_failure: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    pub(crate) fn new(
        identity: MemberIdentity,
        member_dir: Option<PathBuf>,
        clock: Clock,
        engine: StateEngine,
        kv: &kv::Kv<StateEngine>,
        status: Status,
    ) -> Shared {
        Shared {
            id: identity.member,
            identity,
            member_dir,
            clock,
            metrics: Arc::default(),
            engine,
            reader: kv.reader(),
            events: broadcast::channel(SUBSCRIBER_GROUPS).0,
            digests: Digests::default(),
            is_learner: AtomicBool::new(false),
            published: watch::channel(false).0,
            leader: watch::channel(None).0,
            failure: watch::channel(None).0,
            status: Mutex::new(status),
            last_leader: Mutex::default(),
            revision: AtomicI64::new(kv.revision()),
            on_failure: OnceLock::new(),
        }
    }

    /// The cluster's id.
    pub(crate) fn cluster_id(&self) -> u64 {
        self.identity.cluster
    }

    /// This member was removed: it ends, and never starts again on this data.
    pub(crate) fn removed(&self) {
        if self.has_failed() {
            return;
        }
        let identity = MemberIdentity { is_removed: true, ..self.identity.clone() };
        if let Some(error) = self.member_dir.as_ref().and_then(|directory| identity.write(directory).err()) {
            tracing::error!("that this member was removed cannot be written down: {error}");
        }
        self.fail(NodeError::Removed);
    }

    /// Where the core stands.
    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The known leader, or whether it is this node, changed.
    pub(crate) fn leadership(&self, leader: Option<NodeId>, leading: bool) {
        self.metrics.has_leader.store(leader.is_some(), Ordering::Relaxed);
        self.metrics.is_leader.store(leading, Ordering::Relaxed);
        let new_leader = leader.is_some() && leader != *self.last_leader();
        if new_leader {
            *self.last_leader() = leader;
            self.metrics.leader_changes.add(1);
        }
        if self.leader.send_replace(leader) != leader {
            tracing::info!(leader = ?leader, "the leader changed");
        }
    }

    fn last_leader(&self) -> MutexGuard<'_, Option<NodeId>> {
        self.last_leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store revision that readers see at least. Its events have been published before.
    pub(crate) fn revision(&self) -> kv::Revision {
        self.revision.load(Ordering::Acquire)
    }

    pub(crate) fn set_revision(&self, revision: kv::Revision) {
        self.revision.store(revision, Ordering::Release);
    }

    /// What to do when the node fails, besides telling the world.
    pub(crate) fn on_failure(&self, act: impl Fn() + Send + Sync + 'static) {
        if self.on_failure.set(Box::new(act)).is_ok() && self.has_failed() {
            self.act_on_failure();
        }
    }

    /// Reports what ends this node. The first report stands.
    pub(crate) fn fail(&self, error: NodeError) {
        self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            if first {
                *failure = Some(error);
            }
            first
        });
        self.act_on_failure();
    }

    fn act_on_failure(&self) {
        if let Some(act) = self.on_failure.get() {
            act();
        }
    }

    /// Whether the node is ending by itself.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.borrow().is_some()
    }
}

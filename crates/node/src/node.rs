//! Starting and stopping: which thread gets what, and in which order they end.
//!
//! ```text
//!   start: check ─▶ who are we? ─▶ listen ─▶ open log and state ─▶ recover the core ─▶ threads
//!   stop:  drain clients ─▶ core ─▶ connections ─▶ disk (writes and syncs the rest) ─▶ apply ─▶ state synced
//! ```

use std::net::{TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use consensus::{Consensus, Lane, Membership, Out, Recovered, Submitter, SubmitterConfig};
use storage::{Disk, Engine, Log};
use tokio::sync::oneshot;
use types::{NodeId, Now, SessionId, Wire};

use crate::apply_thread::{ApplyThread, Audits};
use crate::audit::Auditor;
use crate::checkpoints::Checkpoints;
use crate::config::{Config, NodeError, StartError};
use crate::core_thread::{CoreStart, CoreThread};
use crate::disk_thread::DiskThread;
use crate::handle::Handle;
use crate::identify::identify;
use crate::inputs::{ClientInput, ClientPort, CoreInput, Mailboxes};
use crate::intake::Intake;
use crate::mailbox::Mailbox;
use crate::member_file::MemberIdentity;
use crate::peers::{Acceptor, Hello, LinkNews, Outbox, Peers, Purpose, Roster, introduction_frame};
use crate::questions::Questions;
use crate::shared::{Clock, PanicGuard, Shared};
use crate::stores::{AnyLog, Stores, members, recovered};

/// A protocol that the threads of a node can drive.
pub(crate) trait Driven: Consensus<Message: Send, Meta: Send, Record: Send> + Send + 'static {}

impl<P: Consensus<Message: Send, Meta: Send, Record: Send> + Send + 'static> Driven for P {}

/// A running node. Dropping it ends it as a crash would; [`stop`](Node::stop) ends it in good order.
pub struct Node {
    handle: Handle,
    shared: Arc<Shared>,
    port: Arc<dyn ClientPort>,
    stages: Vec<Stage>,
}

/// Threads that end together.
struct Stage {
    /// Tells them to.
    close: Box<dyn Fn() + Send + Sync>,
    threads: Vec<JoinHandle<()>>,
}

/// How the peers' greeting names Raft.
const PROTOCOL_RAFT: u8 = 1;

/// Bytes from peers that may wait for the core before their connections are held up.
const CORE_BYTES_MAX: u64 = 16 << 20;

/// Wishes of clients that may wait for the core before more are refused.
const CORE_ITEMS_MAX: usize = 65_536;

/// How long `stop` waits for the outcome of what clients have asked.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

impl Node {
    /// Starts a node that runs Raft.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub fn start(config: &Config) -> Result<Node, StartError> {
        config.check()?;
        launch::<raft::Raft>(config, PROTOCOL_RAFT, |identity, seed, disk, now, out| {
            let mut raft = raft::Config::new(identity.member, []);
            if identity.is_founder {
                raft.membership = identity.known.clone();
            }
            raft.heartbeat_interval = config.heartbeat_interval;
            raft.election_timeout = config.election_timeout;
            raft.priority = config.leader_priority;
            raft.quiesce_after = config.quiesce_after;
            raft.checkpoint_entries = config.checkpoint_entries;
            raft.retained_entries = config.retained_entries;
            consensus::Protocol::recover(raft, seed, disk, now, out)
        })
    }

    /// Access for front-ends.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until the node ends by itself, and says why. The process must then end too: what this node has
    /// promised is safe on disk, but it can promise nothing more.
    pub async fn failed(&self) -> NodeError {
        let mut failure = self.shared.failure.subscribe();
        let error = failure.wait_for(Option::is_some).await.ok().and_then(|error| error.clone());
        match error {
            Some(error) => error,
            // The sender lives in `self.shared`.
            None => std::future::pending().await,
        }
    }

    /// Stops in good order: clients get their outcomes (within two seconds), everything is written and synced.
    pub async fn stop(mut self) {
        let (drained, done) = oneshot::channel();
        if self.port.offer(ClientInput::Drain { drained }).is_ok() {
            // Whatever is not decided in time is answered `Stopped`.
            tokio::time::timeout(DRAIN_TIMEOUT, done).await.ok();
        }
        let shared = self.shared.clone();
        let stopped = tokio::task::spawn_blocking(move || {
            self.end();
            if !shared.has_failed()
                && let Err(error) = shared.engine.persist()
            {
                tracing::warn!("the state was not synced, and will be replayed from the log: {error}");
            }
        });
        stopped.await.ok();
    }

    fn end(&mut self) {
        for stage in self.stages.drain(..) {
            (stage.close)();
            for thread in stage.threads {
                thread.join().ok(); // a panic has been reported by the thread's guard
            }
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("handle", &self.handle).finish_non_exhaustive()
    }
}

fn launch<P: Driven>(
    config: &Config,
    protocol: u8,
    recover: impl FnOnce(&MemberIdentity, u64, Recovered<P>, Now, &mut Out<P>) -> P,
) -> Result<Node, StartError> {
    // Before this member listens: those who start at the same time would wait for each other's answers.
    let whose = identify(config)?;
    let listeners = listen(&config.listen_peers)?;
    let stores = Stores::open(config, whose)?;
    stores.log_report();
    let Stores { identity, member_dir, log, recovery, engine, kv, staged, log_path, state_path } = stores;
    let id = identity.member;

    let clock = Clock::start();
    let mut out = Out::default();
    let unreadable = |source: kv::ReadError| StartError::Members { path: state_path.clone(), source };
    let (membership, published) = members(&kv).map_err(unreadable)?;
    let disk = recovered::<P>(recovery, kv.applied(), membership.clone(), &log_path)?;
    let core = recover(&identity, rand::random(), disk, clock.now(), &mut out);
    let contacts = if identity.is_founder { Membership::default() } else { identity.known.clone() };
    let shared = Arc::new(Shared::new(identity, member_dir, clock, engine.clone(), &kv, core.status()));

    let mailboxes = Mailboxes::<P> {
        core: Arc::new(Mailbox::new(CORE_BYTES_MAX, CORE_ITEMS_MAX)),
        disk: Arc::new(Mailbox::new(0, 0)),
        apply: Arc::new(Mailbox::new(0, 0)),
    };
    let Connections { peers, acceptor, questions } =
        connect(config, protocol, &contacts, shared.clone(), &mailboxes)?;
    if peers.apply(&membership, published.iter().map(|member| NodeId(member.id)).collect()) {
        shared.removed(); // a crash came before that was written down
    }

    let session = SessionId(rand::random());
    let submitter = Submitter::new(session, SubmitterConfig::default());
    let core_thread = CoreThread::new(CoreStart {
        core,
        out,
        submitter,
        outbox: Outbox::new(peers.clone()),
        peers: peers.clone(),
        mailboxes: mailboxes.clone(),
        shared: shared.clone(),
        publication: publication(config, id).to_bytes(),
    });

    let mut threads = Threads { shared: shared.clone(), stages: Vec::new() };
    let checkpoints =
        Checkpoints::start(staged, engine, mailboxes.clone(), shared.clone(), state_path.clone())
            .map_err(|source| StartError::System { what: "a thread", source })?;
    let (to_audit, inbox) = std::sync::mpsc::sync_channel(1);
    let auditor = Auditor {
        inbox,
        bytes_per_second: config.scrub_bytes_per_second,
        shared: shared.clone(),
        peers: peers.clone(),
        questions: questions.clone(),
        path: state_path.clone(),
    };
    let audits = Audits { every: config.audit_entries, to: to_audit };
    let apply_thread = ApplyThread::new(
        kv,
        checkpoints,
        session,
        mailboxes.clone(),
        peers.clone(),
        shared.clone(),
        state_path,
    )
    .audited((config.scrub_bytes_per_second > 0).then_some(audits));
    // It ends when the apply thread has.
    threads.stage(Box::new(|| ()), [("audit", Box::new(|| auditor.run()) as Body)])?;
    // The last stage to end is started first.
    threads.stage(closer(&mailboxes.apply), [("apply", Box::new(|| apply_thread.run()) as Body)])?;
    let outbox = Outbox::new(peers.clone());
    let disk_body = match log {
        AnyLog::Real(log) => {
            let scrub = config.scrub_bytes_per_second;
            disk_body(log, outbox, mailboxes.clone(), shared.clone(), scrub, log_path)
        }
        AnyLog::Memory(log) => disk_body(log, outbox, mailboxes.clone(), shared.clone(), 0, log_path),
    };
    threads.stage(closer(&mailboxes.disk), [("disk", disk_body)])?;
    threads.stage(
        Box::new({
            let (peers, acceptor) = (peers.clone(), acceptor.clone());
            move || {
                acceptor.stop();
                peers.stop();
            }
        }),
        listeners.into_iter().map(|listener| {
            let acceptor = acceptor.clone();
            ("peer-accept", Box::new(move || acceptor.run(&listener)) as Body)
        }),
    )?;
    threads.stage(
        Box::new({
            let (core, questions) = (mailboxes.core.clone(), questions.clone());
            move || {
                core.close();
                questions.stop();
            }
        }),
        [("core", Box::new(|| core_thread.run()) as Body)],
    )?;
    shared.on_failure({
        let core = mailboxes.core.clone();
        move || core.close()
    });

    let port: Arc<dyn ClientPort> = mailboxes.core.clone();
    let handle = Handle::new(shared.clone(), port.clone(), peers, questions);
    threads.stages.reverse();
    Ok(Node { handle, shared, port, stages: threads.stages })
}

/// What peers are talked to by.
struct Connections<P: Driven> {
    peers: Arc<Peers>,
    acceptor: Arc<Acceptor<Intake<P>>>,
    questions: Arc<Questions>,
}

/// Dials `contacts` and whoever turns up later; what arrives goes to the core.
fn connect<P: Driven>(
    config: &Config,
    protocol: u8,
    contacts: &Membership,
    shared: Arc<Shared>,
    mailboxes: &Mailboxes<P>,
) -> Result<Connections<P>, StartError> {
    let id = shared.id;
    let audited = shared.clone();
    let me = Hello {
        purpose: Purpose::Talk(Lane::Control),
        protocol,
        cluster: shared.cluster_id(),
        from: id,
        to: id,
        incarnation: rand::random(),
    };
    let introduction = introduction_frame(&config.peer_urls());
    let news = Arc::new(News { core: mailboxes.core.clone(), shared: shared.clone() });
    let metrics = shared.metrics.clone();
    let peers = Arc::new(Peers::new(me, introduction, Roster::new(id, contacts), shared, news));
    let questions = Arc::new(Questions::default());
    let intake = Intake::new(mailboxes.core.clone(), peers.clone(), questions.clone(), audited);
    let acceptor = Acceptor::new(me, intake, peers.clone(), metrics)
        .map_err(|source| StartError::System { what: "a descriptor", source })?;
    Ok(Connections { peers, acceptor: Arc::new(acceptor), questions })
}

/// What a thread does.
type Body = Box<dyn FnOnce() + Send>;

/// The threads started so far. Dropped before the node exists, it ends them.
struct Threads {
    shared: Arc<Shared>,
    stages: Vec<Stage>,
}

impl Threads {
    fn stage(
        &mut self,
        close: Box<dyn Fn() + Send + Sync>,
        bodies: impl IntoIterator<Item = (&'static str, Body)>,
    ) -> Result<(), StartError> {
        let mut stage = Stage { close, threads: Vec::new() };
        let mut result = Ok(());
        for (name, body) in bodies {
            let guard = PanicGuard::new(name, self.shared.clone());
            let spawned = std::thread::Builder::new().name(name.into()).spawn(move || {
                let _guard = guard;
                body();
            });
            match spawned {
                Ok(thread) => stage.threads.push(thread),
                Err(source) => result = Err(StartError::System { what: "a thread", source }),
            }
        }
        self.stages.push(stage);
        if result.is_err() {
            for stage in self.stages.drain(..).rev() {
                (stage.close)();
                stage.threads.into_iter().for_each(|thread| drop(thread.join()));
            }
        }
        result
    }
}

/// What links tell goes to the core.
struct News<P: Driven> {
    core: Arc<Mailbox<CoreInput<P>>>,
    shared: Arc<Shared>,
}

impl<P: Driven> LinkNews for News<P> {
    fn lost(&self, peer: NodeId) {
        self.core.post(CoreInput::Unreachable { peer });
    }

    fn removed(&self) {
        self.shared.removed();
    }
}

fn closer<T: Send + 'static>(mailbox: &Arc<Mailbox<T>>) -> Box<dyn Fn() + Send + Sync> {
    let mailbox = mailbox.clone();
    Box::new(move || mailbox.close())
}

fn disk_body<P: Driven, D: Disk>(
    log: Log<D>,
    outbox: Outbox,
    mailboxes: Mailboxes<P>,
    shared: Arc<Shared>,
    scrub_bytes_per_second: u64,
    path: String,
) -> Body {
    let thread = DiskThread::new(log, outbox, mailboxes, shared, scrub_bytes_per_second, path);
    Box::new(|| thread.run())
}

fn listen(addresses: &[String]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for address in addresses {
        let refused = |source| StartError::Listen { address: address.clone(), source };
        let resolved: Vec<_> = address.to_socket_addrs().map_err(refused)?.collect();
        let listener = TcpListener::bind(&resolved[..]).map_err(refused)?;
        // `accept` is called when `poll` says so; a connection that is gone by then must not block it.
        listener.set_nonblocking(true).map_err(refused)?;
        listeners.push(listener);
    }
    Ok(listeners)
}

/// What this member tells about itself. Where its peers reach it is for the membership to say.
fn publication(config: &Config, id: NodeId) -> kv::Command {
    kv::Command::PublishMember(kv::Member {
        id: id.0,
        name: config.name.clone(),
        peer_urls: Vec::new(),
        client_urls: config.client_urls.clone(),
    })
}

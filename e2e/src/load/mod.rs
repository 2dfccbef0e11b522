//! The load: writers, readers and a watcher at each node over the etcd API, and the history they record.
//!
//! Keys come in groups of [`GROUP_KEYS`]. A transaction or a range stays within a group, so that a checker which
//! searches each group on its own has a chance; the revisions tie all groups together for one that does not.

mod calls;
mod watchers;

pub use calls::send;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use checker::{Call, Change, ClientId, Compare, History, Outcome, Revision, Step};
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use types::{Rng, Time};

/// Keys that a transaction or a range may touch together.
pub const GROUP_KEYS: u64 = 4;

/// What the clients' keys begin with. Others may use the store for other keys meanwhile.
const PREFIX: &[u8] = b"load/";

/// A watcher whose member never comes back is not waited for any longer.
const WATCHERS_LIMIT: Duration = Duration::from_secs(60);

/// How long a node may take to say who leads.
const STATUS_TIMEOUT: Duration = Duration::from_millis(500);

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Clients from here on probe nodes, one each.
const PROBE: u64 = 1_000_000;
/// Clients from here on are the final readers, one a node.
pub const FINAL_READER: u64 = 2_000_000;

/// The final reads begin again when a straggler changes the store under them, but not for ever.
const FINAL_ROUNDS_MAX: usize = 10;

/// How much, how fast, on what.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Clients that write.
    pub writers: usize,
    /// Clients that read.
    pub readers: usize,
    /// Keys that they share. Few enough to collide, many enough for a checker by key.
    pub keys: u64,
    /// Pause between two operations of one client.
    pub think_time: Duration,
    /// A client gives up on one operation after this long; what it asked may still happen.
    pub operation_timeout: Duration,
    /// Seed of the clients' choices.
    pub seed: u64,
}

/// What the clients and watchers saw.
#[derive(Debug)]
pub struct Recorded {
    /// All operations, and what the watchers saw of their effects.
    pub history: History,
    /// Every change of the store, others' too, in its order.
    pub changes: Vec<Seen>,
    /// The store's revision after all of them; `None` if watchers did not see the end.
    pub last_revision: Option<Revision>,
    /// What watchers saw that cannot be: changes that differ between them, or that never came.
    pub watch_findings: Vec<String>,
}

/// A change, and when the first watcher heard of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What.
    pub change: Change,
    /// When, on the history's clock.
    pub at: Time,
}

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    clients: Mutex<Vec<JoinHandle<()>>>,
    watchers: Mutex<Vec<JoinHandle<Result<(), String>>>>,
}

struct Shared {
    endpoints: Vec<String>,
    options: LoadOptions,
    started: Instant,
    stop: AtomicBool,
    history: Mutex<History>,
    /// What the watchers agree on so far.
    changes: Mutex<Vec<Seen>>,
    /// By node: the last revision that its watcher has seen.
    watched: Vec<AtomicU64>,
    /// Writes acknowledged so far, by the instant at which they were asked: the latest of those instants.
    latest_acknowledged_start_ns: AtomicU64,
    values: AtomicU64,
    /// The last revision that watchers have to see; 0 while it is not known.
    last_revision: AtomicU64,
}

impl Load {
    /// Connects the clients and lets them begin.
    ///
    /// # Errors
    /// If the first node does not tell the revision that the history starts from.
    pub async fn start(endpoints: Vec<String>, options: LoadOptions) -> anyhow::Result<Load> {
        let mut history = History::new();
        history.start_revision = current_revision(&endpoints).await.context("the cluster does not answer")?;
        let start_revision = history.start_revision;
        let watched = endpoints.iter().map(|_| AtomicU64::new(start_revision.unsigned_abs())).collect();
        let shared = Arc::new(Shared {
            endpoints,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            history: Mutex::new(history),
            changes: Mutex::default(),
            watched,
            latest_acknowledged_start_ns: AtomicU64::new(0),
            values: AtomicU64::new(1),
            last_revision: AtomicU64::new(0),
            options,
        });
        let clients = (0..shared.options.writers + shared.options.readers).map(|index| {
            let rng = Rng::keyed(shared.options.seed, &[index as u64]);
            let writes = index < shared.options.writers;
            tokio::spawn(client(shared.clone(), index as u64, writes, rng))
        });
        let clients = Mutex::new(clients.collect());
        let watchers = (0..shared.endpoints.len() as u64)
            .map(|node| tokio::spawn(watchers::watch(shared.clone(), node, start_revision)));
        let watchers = Mutex::new(watchers.collect());
        Ok(Load { shared, clients, watchers })
    }

    /// Which node leads, by its place in the list of endpoints, once a majority says so.
    pub async fn leader(&self, limit: Duration) -> Option<usize> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(leader) = leader_of_majority(&self.shared.endpoints).await {
                return Some(leader);
            }
            if Instant::now() >= deadline {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a write that is asked after this call has been acknowledged.
    pub fn next_acknowledged_write(&self, limit: Duration) -> Option<()> {
        let called = self.shared.started.elapsed();
        while self.shared.started.elapsed() < called + limit {
            let latest = self.shared.latest_acknowledged_start_ns.load(Ordering::Acquire);
            if u128::from(latest) > called.as_nanos() {
                return Some(());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        None
    }

    /// The nodes through which no write is acknowledged within `limit`.
    pub async fn silent_nodes(&self, limit: Duration) -> Vec<usize> {
        let nodes = 0..self.shared.endpoints.len();
        let probes: Vec<_> =
            nodes.map(|node| tokio::spawn(probe(self.shared.clone(), node as u64, limit))).collect();
        let mut silent = Vec::new();
        for (node, answered) in probes.into_iter().enumerate() {
            if !answered.await.unwrap_or(false) {
                silent.push(node);
            }
        }
        silent
    }

    /// Up to which revision every watcher has seen everything.
    pub fn watched_revision(&self) -> Revision {
        self.shared.watched_revision()
    }

    /// What tells [`watched_revision`](Load::watched_revision) for as long as it is wanted.
    pub fn watched(&self) -> impl Fn() -> Revision + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.watched_revision()
    }

    /// When the clock of the history was at 0.
    pub fn clock(&self) -> Instant {
        self.shared.started
    }

    /// Operations invoked so far.
    pub fn operations(&self) -> usize {
        self.shared.history().operations().len()
    }

    /// Ends the load: [`end_clients`](Load::end_clients), then [`end_watchers`](Load::end_watchers).
    ///
    /// # Errors
    /// If a node does not answer the final read.
    pub async fn finish(&self) -> anyhow::Result<Recorded> {
        self.end_clients().await?;
        self.end_watchers().await
    }

    /// Stops the clients, reads everything once more through every node, and returns the store's revision then.
    ///
    /// The store may still change after it: by a write whose client had given up, or by a lease that runs out late.
    ///
    /// # Errors
    /// If a node does not answer the final read.
    pub async fn end_clients(&self) -> anyhow::Result<Revision> {
        self.shared.stop.store(true, Ordering::Release);
        for task in take(&self.clients) {
            task.await?;
        }
        final_reads(&self.shared).await
    }

    /// Lets the watchers see everything that the store went through until now, and returns what was recorded.
    ///
    /// # Errors
    /// If the first node does not tell the store's revision.
    pub async fn end_watchers(&self) -> anyhow::Result<Recorded> {
        let last_revision = current_revision(&self.shared.endpoints).await.context("no last revision")?;
        self.shared.last_revision.store(last_revision.unsigned_abs(), Ordering::Release);
        let mut watch_findings = Vec::new();
        for mut task in take(&self.watchers) {
            match tokio::time::timeout(WATCHERS_LIMIT, &mut task).await {
                Ok(ended) => watch_findings.extend(ended?.err()),
                Err(_) => {
                    task.abort();
                    watch_findings.push(format!("a watcher did not see the end within {WATCHERS_LIMIT:?}"));
                }
            }
        }
        let last_revision = Some(last_revision).filter(|_| watch_findings.is_empty());
        Ok(self.recorded(last_revision, watch_findings))
    }

    /// What was recorded so far, of a run that cannot be finished.
    pub fn abandon(&self) -> Recorded {
        self.shared.stop.store(true, Ordering::Release);
        take(&self.clients).iter().for_each(JoinHandle::abort);
        take(&self.watchers).iter().for_each(JoinHandle::abort);
        self.recorded(None, Vec::new())
    }

    /// Operations with what watchers saw of them: without what others did to other keys.
    fn recorded(&self, last_revision: Option<Revision>, watch_findings: Vec<String>) -> Recorded {
        let mut history = std::mem::take(&mut *self.shared.history());
        let changes = std::mem::take(&mut *self.shared.changes());
        let (own, others): (Vec<&Change>, Vec<&Change>) =
            changes.iter().map(|seen| &seen.change).partition(|change| change.key.starts_with(PREFIX));
        history.changes = own.into_iter().cloned().collect();
        let history = history.without_revisions(others.iter().map(|change| change.revision).collect());
        Recorded { history, changes, last_revision, watch_findings }
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changes(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watched_revision(&self) -> Revision {
        let least = self.watched.iter().map(|revision| revision.load(Ordering::Acquire)).min();
        least.unwrap_or_default().cast_signed()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// No value is written twice, so that a read tells whose write it saw.
    fn new_value(&self) -> Bytes {
        Bytes::from(self.values.fetch_add(1, Ordering::Relaxed).to_string())
    }

    fn endpoint(&self, index: u64) -> anyhow::Result<Endpoint> {
        let endpoint = &self.endpoints[(index % self.endpoints.len() as u64) as usize];
        Ok(Endpoint::from_shared(endpoint.clone())?.connect_timeout(CONNECT_TIMEOUT))
    }

    fn channel(&self, index: u64) -> anyhow::Result<Channel> {
        Ok(self.endpoint(index)?.timeout(self.options.operation_timeout).connect_lazy())
    }

    /// Asks, and writes down what was asked and what came of it.
    async fn ask(&self, client: u64, kv: &mut KvClient<Channel>, call: Call) -> Outcome {
        let asked = self.now();
        let op = self.history().invoke(ClientId(client), asked, call.clone());
        let outcome = calls::send(kv, &call).await;
        if call.may_write() && matches!(outcome, Outcome::Answered { .. }) {
            self.latest_acknowledged_start_ns.fetch_max(asked.0, Ordering::AcqRel);
        }
        if outcome != Outcome::Unknown {
            self.history().complete(op, self.now(), outcome.clone());
        }
        outcome
    }
}

/// One client: one operation after the other, another node after each that fails.
async fn client(shared: Arc<Shared>, index: u64, writes: bool, mut rng: Rng) {
    let mut node = index;
    let Ok(channel) = shared.channel(node) else { return };
    let mut kv = KvClient::new(channel);
    while !shared.stopped() {
        let call = if writes { write_call(&shared, &mut rng) } else { read_call(&shared, &mut rng) };
        if !matches!(shared.ask(index, &mut kv, call).await, Outcome::Answered { .. }) {
            node += 1;
            if let Ok(channel) = shared.channel(node) {
                kv = KvClient::new(channel);
            }
            // A refusal comes at once: without a pause, clients would do nothing but collect them.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(shared.options.think_time).await;
    }
}

/// Writes through one node until that is acknowledged. Returns whether it is, in time.
async fn probe(shared: Arc<Shared>, node: u64, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        let Ok(channel) = shared.channel(node) else { return false };
        let call = Call::put(key(node % shared.options.keys), shared.new_value());
        let outcome = shared.ask(PROBE + node, &mut KvClient::new(channel), call).await;
        if matches!(outcome, Outcome::Answered { .. }) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

fn write_call(shared: &Shared, rng: &mut Rng) -> Call {
    let keys = shared.options.keys;
    match rng.below(10) {
        0 => Call::delete(key(rng.below(keys))),
        1 | 2 => {
            let first = rng.below(keys);
            let second = first - first % GROUP_KEYS + (first + rng.between(1, GROUP_KEYS - 1)) % GROUP_KEYS;
            Call::txn(
                vec![Compare::Version(key(first), 0)],
                vec![Step::Put(key(first), shared.new_value()), Step::Get(key(second))],
                vec![Step::Get(key(first)), Step::Put(key(second), shared.new_value())],
            )
        }
        _ => Call::put(key(rng.below(keys)), shared.new_value()),
    }
}

fn read_call(shared: &Shared, rng: &mut Rng) -> Call {
    match rng.below(4) {
        0 => range_of_group(rng.below(shared.options.keys)),
        _ => Call::get(key(rng.below(shared.options.keys))),
    }
}

fn take<T>(tasks: &Mutex<Vec<T>>) -> Vec<T> {
    std::mem::take(&mut *tasks.lock().unwrap_or_else(PoisonError::into_inner))
}

fn range_of_group(number: u64) -> Call {
    let first = number - number % GROUP_KEYS;
    Call::range(key(first), key(first + GROUP_KEYS))
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("load/{number:04}"))
}

async fn current_revision(endpoints: &[String]) -> anyhow::Result<i64> {
    let mut kv = KvClient::connect(endpoints.first().context("no endpoint")?.clone()).await?;
    let response = kv.range(calls::range_request(&key(0), Bytes::new())).await?.into_inner();
    Ok(calls::revision(response.header))
}

async fn leader_of_majority(endpoints: &[String]) -> Option<usize> {
    let asked: Vec<_> = endpoints.iter().map(|endpoint| tokio::spawn(status(endpoint.clone()))).collect();
    let (mut leaders, mut members) = (Vec::new(), Vec::new());
    for (node, answer) in asked.into_iter().enumerate() {
        if let Some((leader, member)) = answer.await.ok().flatten() {
            leaders.push(leader);
            members.push((member, node));
        }
    }
    let votes = |leader: u64| leaders.iter().filter(|other| **other == leader).count();
    let (_, node) = members.into_iter().find(|(member, _)| votes(*member) > endpoints.len() / 2)?;
    Some(node)
}

/// Whom a node takes for the leader, and its own id.
async fn status(endpoint: String) -> Option<(u64, u64)> {
    let asking = async {
        let mut client = MaintenanceClient::connect(endpoint).await.ok()?;
        let status = client.status(pb::StatusRequest {}).await.ok()?.into_inner();
        Some((status.leader, status.header?.member_id))
    };
    tokio::time::timeout(STATUS_TIMEOUT, asking).await.ok()?
}

/// Reads every key once more, through every node, until all have seen one state. Returns the store's revision.
async fn final_reads(shared: &Shared) -> anyhow::Result<Revision> {
    let mut round = Vec::new();
    for _ in 0..FINAL_ROUNDS_MAX {
        round = final_round(shared).await?;
        if round.iter().min() == round.iter().max() {
            break;
        }
    }
    round.into_iter().max().context("there was nothing to read")
}

/// The revisions of one round of final reads.
async fn final_round(shared: &Shared) -> anyhow::Result<Vec<Revision>> {
    let mut revisions = Vec::new();
    for node in 0..shared.endpoints.len() as u64 {
        let mut kv = KvClient::new(shared.channel(node)?);
        for first in (0..shared.options.keys).step_by(GROUP_KEYS as usize) {
            let outcome = shared.ask(FINAL_READER + node, &mut kv, range_of_group(first)).await;
            let answered = matches!(outcome, Outcome::Answered { .. });
            ensure!(answered, "node {} does not answer the final read", node + 1);
            revisions.extend(outcome.revision());
        }
    }
    Ok(revisions)
}

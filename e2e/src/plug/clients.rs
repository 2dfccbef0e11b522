//! The load: writers, readers and one watcher over the etcd API, and the history they record.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use checker::{Answer, Call, Change, ClientId, Compare, Found, History, Item, Outcome, Step, Verdict};
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use types::{Rng, Time};

/// Keys that writers and readers share. Few enough to collide, many enough for the per-key checker.
const KEYS: u64 = 256;
/// Pause between two operations of one client, so that histories stay within a million operations.
const THINK_TIME: Duration = Duration::from_millis(10);
/// A client gives up on one operation after this long; what it asked may still happen.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);

/// Clients at work.
pub struct Load {
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    endpoints: Vec<String>,
    started: Instant,
    stop: AtomicBool,
    history: Mutex<History>,
    /// Writes acknowledged so far, by the instant at which they were asked: the latest of those instants.
    latest_acknowledged_start_ns: AtomicU64,
    values: AtomicU64,
}

impl Load {
    /// Connects the clients and lets them begin.
    ///
    /// # Errors
    /// If no node tells the revision that the history starts from.
    pub async fn start(
        endpoints: Vec<String>,
        writers: usize,
        readers: usize,
        seed: u64,
    ) -> anyhow::Result<Load> {
        let mut history = History::new();
        history.start_revision = current_revision(&endpoints).await.context("the cluster does not answer")?;
        let shared = Arc::new(Shared {
            endpoints,
            started: Instant::now(),
            stop: AtomicBool::new(false),
            history: Mutex::new(history),
            latest_acknowledged_start_ns: AtomicU64::new(0),
            values: AtomicU64::new(1),
        });
        let clients = (0..writers + readers).map(|index| {
            let rng = Rng::keyed(seed, &[index as u64]);
            tokio::spawn(client(shared.clone(), index as u64, index < writers, rng))
        });
        let mut tasks: Vec<_> = clients.collect();
        tasks.push(tokio::spawn(watcher(shared.clone())));
        Ok(Load { shared, tasks: Mutex::new(tasks) })
    }

    /// Which node leads, by its place in the list of endpoints, once all agree.
    pub async fn leader(&self) -> Option<usize> {
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            if let Some(leader) = agreed_leader(&self.shared.endpoints).await {
                return Some(leader);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
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

    /// Stops the clients, reads everything once more, and returns the history.
    ///
    /// # Errors
    /// If the cluster does not answer the final read.
    pub async fn finish(&self) -> anyhow::Result<History> {
        self.shared.stop.store(true, Ordering::Release);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        final_reads(&self.shared).await?;
        for task in tasks {
            task.await?;
        }
        Ok(std::mem::take(&mut *self.shared.history()))
    }
}

impl Shared {
    fn now(&self) -> Time {
        Time(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn channel(&self, index: u64) -> anyhow::Result<Channel> {
        let endpoint = &self.endpoints[(index % self.endpoints.len() as u64) as usize];
        Ok(Endpoint::from_shared(endpoint.clone())?
            .connect_timeout(Duration::from_millis(500))
            .timeout(OPERATION_TIMEOUT)
            .connect_lazy())
    }

    /// Asks, and writes down what was asked and what came of it.
    async fn ask(&self, client: u64, kv: &mut KvClient<Channel>, call: Call) -> Outcome {
        let asked = self.now();
        let op = self.history().invoke(ClientId(client), asked, call.clone());
        let outcome = send(kv, &call).await;
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
        let call = if writes { write_call(&shared, &mut rng) } else { Call::get(key(rng.below(KEYS))) };
        if !matches!(shared.ask(index, &mut kv, call).await, Outcome::Answered { .. }) {
            node += 1;
            if let Ok(channel) = shared.channel(node) {
                kv = KvClient::new(channel);
            }
        }
        tokio::time::sleep(THINK_TIME).await;
    }
}

fn write_call(shared: &Shared, rng: &mut Rng) -> Call {
    let key_of = |rng: &mut Rng| key(rng.below(KEYS));
    let value = || Bytes::from(shared.values.fetch_add(1, Ordering::Relaxed).to_string());
    match rng.below(10) {
        0 => Call::delete(key_of(rng)),
        1 | 2 => {
            let (first, second) = (rng.below(KEYS), rng.below(KEYS - 1));
            let second = if second >= first { second + 1 } else { second };
            Call::txn(
                vec![Compare::Version(key(first), 0)],
                vec![Step::Put(key(first), value()), Step::Get(key(second))],
                vec![Step::Get(key(first)), Step::Put(key(second), value())],
            )
        }
        _ => Call::put(key_of(rng), value()),
    }
}

fn key(number: u64) -> Bytes {
    Bytes::from(format!("plug/{number:04}"))
}

async fn send(kv: &mut KvClient<Channel>, call: &Call) -> Outcome {
    let answered = match call {
        Call::One(step) => send_step(kv, step).await,
        Call::Txn(txn) => send_txn(kv, txn).await,
    };
    match answered {
        Ok((revision, answer)) => Outcome::Answered { revision: Some(revision), answer },
        Err(status) if was_never_sent(&status) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

async fn send_step(kv: &mut KvClient<Channel>, step: &Step) -> Result<(i64, Answer), tonic::Status> {
    let (header, found) = match step {
        Step::Get(key) => {
            let response = kv.range(range_request(key, Bytes::new())).await?.into_inner();
            (response.header, Found::Get(response.kvs.into_iter().next().map(item)))
        }
        Step::Range(from, to) => {
            let response = kv.range(range_request(from, to.clone())).await?.into_inner();
            let pairs = response.kvs.into_iter().map(|pair| (pair.key.clone(), item(pair)));
            (response.header, Found::Range(pairs.collect()))
        }
        Step::Put(key, value) => {
            let request = pb::PutRequest { key: key.clone(), value: value.clone(), ..Default::default() };
            (kv.put(request).await?.into_inner().header, Found::Put)
        }
        Step::Delete(key) => {
            let request = pb::DeleteRangeRequest { key: key.clone(), ..Default::default() };
            let response = kv.delete_range(request).await?.into_inner();
            (response.header, Found::Delete(response.deleted))
        }
    };
    Ok((revision(header), Answer::One(found)))
}

async fn send_txn(kv: &mut KvClient<Channel>, txn: &checker::Txn) -> Result<(i64, Answer), tonic::Status> {
    let request = pb::TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.then.iter().map(request_op).collect(),
        failure: txn.otherwise.iter().map(request_op).collect(),
    };
    let response = kv.txn(request).await?.into_inner();
    let found = response.responses.into_iter().filter_map(|op| op.response).filter_map(found).collect();
    Ok((revision(response.header), Answer::Txn { succeeded: response.succeeded, found }))
}

/// The connection could not be made, so that nothing was sent.
fn was_never_sent(status: &tonic::Status) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(status);
    while let Some(error) = cause {
        if error
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
        {
            return true;
        }
        cause = error.source();
    }
    false
}

fn range_request(key: &Bytes, range_end: Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key: key.clone(), range_end, ..Default::default() }
}

fn compare(compare: &Compare) -> pb::Compare {
    use pb::compare::{CompareResult, CompareTarget, TargetUnion};
    let (target, union) = match compare {
        Compare::Value(_, value) => (CompareTarget::Value, TargetUnion::Value(value.clone())),
        Compare::Version(_, version) => (CompareTarget::Version, TargetUnion::Version(*version)),
        Compare::ModRevision(_, revision) => (CompareTarget::Mod, TargetUnion::ModRevision(*revision)),
        Compare::CreateRevision(_, revision) => {
            (CompareTarget::Create, TargetUnion::CreateRevision(*revision))
        }
    };
    pb::Compare {
        result: CompareResult::Equal.into(),
        target: target.into(),
        key: compare.key().clone(),
        target_union: Some(union),
        ..Default::default()
    }
}

fn request_op(step: &Step) -> pb::RequestOp {
    use pb::request_op::Request;
    let request = match step {
        Step::Get(key) => Request::RequestRange(range_request(key, Bytes::new())),
        Step::Range(from, to) => Request::RequestRange(range_request(from, to.clone())),
        Step::Put(key, value) => Request::RequestPut(pb::PutRequest {
            key: key.clone(),
            value: value.clone(),
            ..Default::default()
        }),
        Step::Delete(key) => {
            Request::RequestDeleteRange(pb::DeleteRangeRequest { key: key.clone(), ..Default::default() })
        }
    };
    pb::RequestOp { request: Some(request) }
}

fn found(response: pb::response_op::Response) -> Option<Found> {
    use pb::response_op::Response;
    match response {
        Response::ResponseRange(range) => Some(Found::Get(range.kvs.into_iter().next().map(item))),
        Response::ResponsePut(_) => Some(Found::Put),
        Response::ResponseDeleteRange(delete) => Some(Found::Delete(delete.deleted)),
        Response::ResponseTxn(_) => None,
    }
}

fn item(pair: etcd::proto::mvccpb::KeyValue) -> Item {
    Item {
        value: pair.value,
        mod_revision: Some(pair.mod_revision),
        create_revision: Some(pair.create_revision),
        version: Some(pair.version),
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.map_or(0, |header| header.revision)
}

async fn current_revision(endpoints: &[String]) -> anyhow::Result<i64> {
    let mut kv = KvClient::connect(endpoints.first().context("no endpoint")?.clone()).await?;
    let response = kv.range(range_request(&key(0), Bytes::new())).await?.into_inner();
    Ok(revision(response.header))
}

async fn agreed_leader(endpoints: &[String]) -> Option<usize> {
    let (mut leaders, mut members) = (Vec::new(), Vec::new());
    for endpoint in endpoints {
        let connecting =
            tokio::time::timeout(Duration::from_secs(1), MaintenanceClient::connect(endpoint.clone()));
        let status = connecting.await.ok()?.ok()?.status(pb::StatusRequest {}).await.ok()?.into_inner();
        leaders.push(status.leader);
        members.push(status.header?.member_id);
    }
    let leader = *leaders.first()?;
    let agreed = leaders.iter().all(|other| *other == leader);
    if agreed { members.iter().position(|member| *member == leader) } else { None }
}

/// Reads every key once more, from every node.
async fn final_reads(shared: &Shared) -> anyhow::Result<()> {
    for node in 0..shared.endpoints.len() as u64 {
        let mut kv = KvClient::new(shared.channel(node)?);
        let call = Call::range(key(0), Bytes::from_static(b"plug0"));
        let outcome = shared.ask(1_000_000 + node, &mut kv, call).await;
        anyhow::ensure!(
            matches!(outcome, Outcome::Answered { .. }),
            "node {node} does not answer the final read"
        );
    }
    Ok(())
}

/// Watches everything from the start, from whichever node lives, and writes down each change once.
async fn watcher(shared: Arc<Shared>) {
    let mut next = shared.history().start_revision + 1;
    let mut node = 0;
    loop {
        // An error only means that the node died: go on where the stream broke off, at another one.
        drop(watch_from(&shared, node, &mut next).await);
        if shared.stopped() {
            return;
        }
        node += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn watch_from(shared: &Shared, node: u64, next: &mut i64) -> anyhow::Result<()> {
    let endpoint = shared.endpoints[(node % shared.endpoints.len() as u64) as usize].clone();
    let mut client = WatchClient::connect(endpoint).await?;
    let create = pb::WatchCreateRequest {
        key: Bytes::from_static(b"plug/"),
        range_end: Bytes::from_static(b"plug0"),
        start_revision: *next,
        ..Default::default()
    };
    let request =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    let (_keep_open, requests) = tokio::sync::mpsc::channel(1);
    let requests = tokio_stream::StreamExt::chain(
        tokio_stream::once(request),
        tokio_stream::wrappers::ReceiverStream::new(requests),
    );
    let mut responses = client.watch(requests).await?.into_inner();
    // After the clients have stopped, a second without events means that there are no more.
    loop {
        let response = match tokio::time::timeout(Duration::from_secs(1), responses.message()).await {
            Ok(response) => response?.context("the stream ended")?,
            Err(_) if shared.stopped() => return Ok(()),
            Err(_) => continue,
        };
        for event in response.events {
            let pair = event.kv.clone().context("an event without a pair")?;
            *next = pair.mod_revision + 1;
            let put = event.r#type() == etcd::proto::mvccpb::event::EventType::Put;
            shared.history().changes.push(Change {
                revision: pair.mod_revision,
                key: pair.key,
                value: put.then_some(pair.value),
            });
        }
    }
}

/// Judges a history by every checker that fits.
pub fn verdicts(history: &History) -> Vec<(&'static str, Verdict)> {
    vec![("strictly serializable in revision order", checker::check_revisions(history))]
}

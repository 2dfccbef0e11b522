//! One writer, many watchers of all keys. An operation is one event at one watcher; its latency counts from when
//! the put was sent, which the value says.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use etcd::proto::etcdserverpb as pb;
use prost::Message;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::BenchArgs;
use super::http2::{Connection, Event};
use super::load::{Measured, ends, histogram, micros, progress_bar};
use super::workload::{PREFIX, PUT};
use crate::failure::Failure;

const WATCH: &str = "/etcdserverpb.Watch/Watch";
/// How long watches may take to start, and the last events to come.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a value that say when it was sent, ns after the start.
const STAMP_BYTES: usize = 8;

struct Shared {
    args: BenchArgs,
    started: Instant,
    /// Puts that were acknowledged; the watchers are done when they have seen as many.
    written: Cell<u64>,
    writer_done: Cell<bool>,
    watching: Cell<usize>,
    all_watch: Notify,
    bar: indicatif::ProgressBar,
}

/// Starts the watchers, then the writer, and waits until every watcher has seen every put.
///
/// # Errors
/// A connection is lost, or a watcher misses events for too long.
pub async fn run(endpoints: &[String], args: &BenchArgs) -> Result<Measured, Failure> {
    let shared = Rc::new(Shared {
        args: args.clone(),
        started: Instant::now(),
        written: Cell::new(0),
        writer_done: Cell::new(false),
        watching: Cell::new(0),
        all_watch: Notify::new(),
        bar: progress_bar(args),
    });
    let mut watchers = JoinSet::new();
    for number in 0..args.conns {
        let endpoint = endpoints[number % endpoints.len()].clone();
        watchers.spawn_local(watch(shared.clone(), endpoint, number));
    }
    let all = timeout(SETTLE_TIMEOUT, shared.all_watch.notified());
    tokio::select! {
        all = all => all.map_err(|_| Failure::new(format_args!(
            "only {} of {} watches started within {} s",
            shared.watching.get(), args.clients, SETTLE_TIMEOUT.as_secs(),
        )).next("fewer --clients, or more --conns"))?,
        Some(ended) = watchers.join_next() => return Err(ended.map_err(Failure::new)?.err().unwrap_or_else(early)),
    }
    let started = Instant::now();
    let errors = write(&shared, &endpoints[0]).await?;
    shared.writer_done.set(true);
    let mut measured = Measured { latency_us: histogram(), errors, elapsed: Duration::ZERO };
    while let Some(part) = watchers.join_next().await {
        let part = part.map_err(Failure::new)??;
        measured.errors += part.errors;
        measured.latency_us.add(&part.latency_us).map_err(Failure::new)?;
    }
    measured.elapsed = started.elapsed();
    shared.bar.finish_and_clear();
    Ok(measured)
}

fn early() -> Failure {
    Failure::new("a watcher ended before it began").next("althing status")
}

/// Puts one key after the other, and returns how many puts failed.
async fn write(shared: &Shared, endpoint: &str) -> Result<u64, Failure> {
    let args = &shared.args;
    let mut connection = open(endpoint, false).await?;
    let ends = ends(args, Instant::now());
    let step = args.rate.map(|rate| Duration::from_secs(1).div_f64(rate as f64));
    let mut due = Instant::now();
    let (mut errors, mut events, mut message) = (0, Vec::new(), Vec::new());
    let total = args.total.unwrap_or(u64::MAX);
    while shared.written.get() + errors < total && ends.is_none_or(|ends| Instant::now() < ends) {
        if let Some(step) = step {
            sleep_until(due).await;
            due += step;
        }
        message.clear();
        put(shared).encode_raw(&mut message);
        connection.call(PUT, &message, true);
        loop {
            connection.exchange(&mut events).await.map_err(|error| lost(endpoint, &error))?;
            match events.pop() {
                Some(Event::Ended { answered: true, .. }) => {
                    break shared.written.set(shared.written.get() + 1);
                }
                Some(Event::Ended { answered: false, .. }) => break errors += 1,
                Some(Event::Message { .. }) | None => {}
            }
        }
    }
    Ok(errors)
}

fn put(shared: &Shared) -> pb::PutRequest {
    let stamp = u64::try_from(shared.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut value = stamp.to_be_bytes().to_vec();
    value.resize(shared.args.value_size.max(STAMP_BYTES), b'v');
    let number = shared.written.get() % shared.args.key_space;
    pb::PutRequest { key: format!("{PREFIX}{number:010}").into(), value: value.into(), ..Default::default() }
}

/// One connection's share of the watchers.
async fn watch(shared: Rc<Shared>, endpoint: String, number: usize) -> Result<Measured, Failure> {
    let args = &shared.args;
    let watchers = args.clients / args.conns + usize::from(number < args.clients % args.conns);
    let mut connection = open(&endpoint, true).await?;
    let request = request();
    for _ in 0..watchers {
        connection.call(WATCH, &request, false);
    }
    let mut measured = Measured { latency_us: histogram(), errors: 0, elapsed: Duration::ZERO };
    let mut events = Vec::new();
    let mut quiet_since = Instant::now();
    loop {
        let seen = measured.latency_us.len();
        if shared.writer_done.get() && seen >= shared.written.get() * watchers as u64 {
            return Ok(measured);
        }
        // A short wait, to see that the writer is done.
        match timeout(Duration::from_millis(100), connection.exchange(&mut events)).await {
            Ok(exchanged) => exchanged.map_err(|error| lost(&endpoint, &error))?,
            Err(_) if quiet_since.elapsed() > SETTLE_TIMEOUT && shared.writer_done.get() => {
                measured.errors += shared.written.get() * watchers as u64 - seen;
                return Ok(measured);
            }
            Err(_) => continue,
        }
        for event in events.drain(..) {
            match event {
                Event::Message { message } => on_message(&shared, &message, &mut measured)?,
                Event::Ended { .. } => return Err(Failure::new(format_args!("{endpoint} ended a watch"))),
            }
            quiet_since = Instant::now();
        }
    }
}

fn on_message(shared: &Shared, message: &[u8], measured: &mut Measured) -> Result<(), Failure> {
    let answer = pb::WatchResponse::decode(message)
        .map_err(|error| Failure::new(format_args!("a watch response cannot be decoded: {error}")))?;
    if answer.canceled {
        return Err(Failure::new(format_args!("the watch was cancelled: {}", answer.cancel_reason)));
    }
    if answer.created {
        shared.watching.set(shared.watching.get() + 1);
        if shared.watching.get() == shared.args.clients {
            shared.all_watch.notify_one();
        }
    }
    let now = shared.started.elapsed();
    for event in &answer.events {
        let stamp = event.kv.as_ref().and_then(|kv| kv.value.first_chunk::<STAMP_BYTES>());
        let sent = Duration::from_nanos(stamp.map_or(0, |stamp| u64::from_be_bytes(*stamp)));
        measured.latency_us.saturating_record(micros(now.saturating_sub(sent)));
    }
    shared.bar.inc(answer.events.len() as u64);
    Ok(())
}

fn request() -> Vec<u8> {
    let mut end = PREFIX.as_bytes().to_vec();
    end.pop();
    end.push(b'/' + 1);
    let create = pb::WatchCreateRequest {
        key: Bytes::from_static(PREFIX.as_bytes()),
        range_end: end.into(),
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) }
        .encode_to_vec()
}

async fn open(endpoint: &str, keep_messages: bool) -> Result<Connection, Failure> {
    Connection::open(endpoint, keep_messages).await.map_err(|error| lost(endpoint, &error))
}

fn lost(endpoint: &str, error: &std::io::Error) -> Failure {
    Failure::new(format_args!("the connection to {endpoint} is lost: {error}")).next("althing status")
}

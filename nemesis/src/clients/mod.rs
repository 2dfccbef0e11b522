//! Clients beside the load, each kind for one checker: what they see is evidence that reads and writes do not give.
//!
//! ```text
//!   load (e2e)  gets, puts, transactions ──▶ C1 C2 C4 C10        watchers of everything: the changes, in order
//!   lists       transactions that append ──▶ C4                                   │
//!   watches     streams that break off ────▶ C5 ◀──────────────────────────────────┤
//!   leases      granted, kept, left ───────▶ C6 ◀──────────────────────────────────┤
//!   locks       holders that oversleep ────▶ C6 ◀──────────────────────────────────┘
//!   replicas    serializable reads of all ─▶ C9
//!   compactor   takes the past away from all of them
//! ```
//!
//! Every kind has keys of its own; the changes that the load's watchers saw tell what became of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use checker::leases::ClockBound;
use checker::watch::{Compaction, Timeline, Watch};
use checker::{Change, ClientId, Revision};
use e2e::load::{Load, Recorded};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use types::{Rng, Time};

use crate::judge::Evidence;

mod compactor;
mod leases;
mod lists;
mod locks;
mod replicas;
mod watches;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// A client gives up on one request after this long; what it asked may still happen.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// After a request that failed: without a pause, clients would do nothing but collect refusals.
const AFTER_FAILURE: Duration = Duration::from_millis(100);

const LIST_CLIENTS: u64 = 4;
const LEASE_CLIENTS: u64 = 3;
const LOCK_CLIENTS: u64 = 4;
const WATCHES_PER_NODE: u64 = 2;

/// Clients at work.
pub struct Clients {
    shared: Arc<Shared>,
    runtime: Handle,
    lists: Vec<JoinHandle<Vec<checker::cycles::Transaction>>>,
    leases: Vec<JoinHandle<Vec<checker::leases::LeaseCall>>>,
    locks: Vec<JoinHandle<locks::Seen>>,
    watches: Vec<JoinHandle<Watch>>,
    compactor: JoinHandle<Vec<Compaction>>,
    replicas: JoinHandle<checker::Replicas>,
}

/// What all of them share.
struct Shared {
    endpoints: Vec<String>,
    /// When the clock of all histories was at 0.
    clock: Instant,
    seed: u64,
    /// Keys of the load.
    keys: u64,
    stop: AtomicBool,
    /// The last revision that watches have to see: 0 while it is not known, `u64::MAX` if it never will be.
    last_revision: AtomicU64,
    /// Lists that are full, and are not appended to any more.
    numbers: AtomicU64,
}

/// How good the clocks of nodes are against those of clients.
pub fn clock_bound(rates_change: bool) -> ClockBound {
    // A clock at one and a half times its rate says after two thirds of a time that it is over.
    let drift_ppm = if rates_change { 335_000 } else { 1_000 };
    ClockBound { drift_ppm, error: Duration::from_millis(100) }
}

impl Clients {
    /// Lets them begin beside `load`, which works on so many keys through these endpoints.
    pub fn start(runtime: &Handle, load: &Load, endpoints: Vec<String>, keys: u64, seed: u64) -> Clients {
        let shared = Arc::new(Shared {
            endpoints,
            clock: load.clock(),
            seed,
            keys,
            stop: AtomicBool::new(false),
            last_revision: AtomicU64::new(0),
            numbers: AtomicU64::new(1),
        });
        let nodes = shared.endpoints.len() as u64;
        Clients {
            lists: (0..LIST_CLIENTS).map(|n| runtime.spawn(lists::client(shared.clone(), n))).collect(),
            leases: (0..LEASE_CLIENTS).map(|n| runtime.spawn(leases::client(shared.clone(), n))).collect(),
            locks: (0..LOCK_CLIENTS).map(|n| runtime.spawn(locks::client(shared.clone(), n))).collect(),
            watches: (0..nodes * WATCHES_PER_NODE)
                .map(|n| runtime.spawn(watches::watch(shared.clone(), n)))
                .collect(),
            compactor: runtime.spawn(compactor::compact(shared.clone(), load.watched())),
            replicas: runtime.spawn(replicas::compare(shared.clone(), load.watched())),
            runtime: runtime.clone(),
            shared,
        }
    }

    /// Lets all but the watches come to an end, and their leases with them, so that they change the store no more.
    pub fn stop(&mut self) -> anyhow::Result<Stopped> {
        self.shared.stop.store(true, Ordering::Release);
        self.runtime.clone().block_on(async {
            let mut stopped = Stopped::default();
            for client in self.lists.drain(..) {
                stopped.lists.extend(client.await?);
            }
            for client in self.leases.drain(..) {
                stopped.leases.extend(client.await?);
            }
            for client in self.locks.drain(..) {
                stopped.locks.push(client.await?);
            }
            stopped.compactions = (&mut self.compactor).await?;
            stopped.replicas = (&mut self.replicas).await?;
            Ok(stopped)
        })
    }

    /// Waits until watches have seen everything up to `last`, the load's final reads, and every replica told its
    /// state there. Without `last`, nobody is waited for.
    pub fn listen(&mut self, last: Option<Revision>, stopped: Stopped) -> anyhow::Result<Heard> {
        self.shared.last_revision.store(last.map_or(u64::MAX, i64::unsigned_abs), Ordering::Release);
        let mut heard = Heard { stopped, watches: Vec::new(), silent_replicas: Vec::new() };
        self.runtime.clone().block_on(async {
            heard.silent_replicas = match last {
                Some(last) => replicas::compare_at_end(&self.shared, last, &mut heard.stopped.replicas).await,
                None => (0..self.shared.endpoints.len()).collect(),
            };
            for watch in self.watches.drain(..) {
                heard.watches.push(watch.await?);
            }
            Ok(heard)
        })
    }
}

/// What all clients but the watches have seen.
#[derive(Default)]
pub struct Stopped {
    lists: Vec<checker::cycles::Transaction>,
    leases: Vec<checker::leases::LeaseCall>,
    locks: Vec<locks::Seen>,
    compactions: Vec<Compaction>,
    replicas: checker::Replicas,
}

/// What all clients have seen.
pub struct Heard {
    stopped: Stopped,
    watches: Vec<Watch>,
    /// Nodes that did not tell their state at the end.
    silent_replicas: Vec<usize>,
}

impl Heard {
    /// Puts together what all have seen. The load's watchers ended after everyone here, and left `recorded`: nothing
    /// was heard of that they did not see.
    pub fn with(self, recorded: Recorded, clock: ClockBound) -> Evidence {
        let Heard { stopped, watches, silent_replicas } = self;
        Evidence {
            lists: checker::cycles::Transactions { list: stopped.lists, ..Default::default() },
            timeline: timeline(&recorded, &watches, stopped.compactions),
            watches,
            leases: checker::leases::LeaseHistory {
                calls: stopped.leases,
                changes: recorded.changes.iter().filter_map(leases::change).collect(),
                clock,
            },
            fences: locks::fences(stopped.locks, &recorded.changes),
            replicas: stopped.replicas,
            silent_replicas,
            is_complete: recorded.last_revision.is_some(),
            history: recorded.history,
        }
    }
}

/// Everything that somebody watched.
fn timeline(recorded: &Recorded, watches: &[Watch], compactions: Vec<Compaction>) -> Timeline {
    let requests: Vec<_> =
        watches.iter().filter_map(|watch| Some(&watch.streams.first()?.request.keys)).collect();
    let changes = recorded.changes.iter().map(|seen| &seen.change);
    let watched: Vec<Change> =
        changes.filter(|change| requests.iter().any(|keys| keys.contain(&change.key))).cloned().collect();
    let last = recorded.last_revision.unwrap_or(Revision::MAX);
    let mut timeline = Timeline::new(&watched, last);
    timeline.compactions = compactions;
    timeline
}

impl Shared {
    fn now(&self) -> Time {
        Time(u64::try_from(self.clock.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Sleeps, but not beyond the end.
    async fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.stopped() && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20).min(until - Instant::now().min(until))).await;
        }
    }

    fn rng(&self, kind: &str, number: u64) -> Rng {
        let kind = kind.bytes().fold(0, |sum, byte| sum << 8 | u64::from(byte));
        Rng::keyed(self.seed, &[kind, number])
    }

    /// No number is given twice.
    fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to node `node`, counted around the ring.
    fn channel(&self, node: u64) -> Channel {
        let endpoint = self.endpoints[(node % self.endpoints.len() as u64) as usize].clone();
        let endpoint = Endpoint::from_shared(endpoint).expect("an address and a port are an endpoint");
        endpoint.connect_timeout(CONNECT_TIMEOUT).timeout(REQUEST_TIMEOUT).connect_lazy()
    }
}

/// A client that goes on to the next node when one does not answer.
struct Wanderer {
    shared: Arc<Shared>,
    node: u64,
    channel: Channel,
}

impl Wanderer {
    fn new(shared: Arc<Shared>, node: u64) -> Wanderer {
        let channel = shared.channel(node);
        Wanderer { shared, node, channel }
    }

    async fn go_on(&mut self) {
        self.node += 1;
        self.channel = self.shared.channel(self.node);
        tokio::time::sleep(AFTER_FAILURE).await;
    }
}

fn client_id(base: u64, number: u64) -> ClientId {
    ClientId(base + number)
}

/// The key after all that begin with `prefix`, which ends with a slash.
fn after(prefix: &str) -> Bytes {
    Bytes::from(format!("{}0", prefix.trim_end_matches('/')))
}

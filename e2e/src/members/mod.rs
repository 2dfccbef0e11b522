//! The members' story: a cluster grows from one node to three and replaces members, dead ones and live ones, while
//! clients read and write. Nothing acknowledged may be lost, and each step must leave the cluster writing.
//!
//! The time from each step to the next acknowledged write is printed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use etcd::proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use rustix::process::Signal;
use tokio::runtime::Runtime;

use crate::cluster::{Cluster, free_ports};
use crate::load::{Load, LoadOptions};
use crate::plug::judge;

/// How much load.
#[derive(clap::Args)]
pub struct MembersOptions {
    /// Writing clients.
    #[arg(long, default_value_t = 16)]
    writers: usize,
    /// Reading clients.
    #[arg(long, default_value_t = 8)]
    readers: usize,
    /// Seed of the clients' choices.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Keys that the clients share.
const KEYS: u64 = 256;
/// Pause between two operations of one client.
const THINK_TIME: Duration = Duration::from_millis(10);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(5);
/// Writes must go on within this time of any step.
const RESUME_LIMIT: Duration = Duration::from_secs(30);
/// A change is asked for again until then: the leader may just have been killed.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);
/// What a server ends with whose member was removed.
const EXIT_REMOVED: i32 = 3;

/// Runs the story and prints what happened.
///
/// # Errors
/// If a step fails, writes do not go on, or the recorded history does not hold.
pub fn run(althing: &Path, options: &MembersOptions) -> anyhow::Result<()> {
    let ports = free_ports(3)?;
    let cluster = Cluster::althing(althing, &ports[..1], &[])?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let endpoints: Vec<String> =
        ports.iter().map(|(client, _)| format!("http://127.0.0.1:{client}")).collect();
    let load = LoadOptions {
        writers: options.writers,
        readers: options.readers,
        keys: KEYS,
        think_time: THINK_TIME,
        operation_timeout: OPERATION_TIMEOUT,
        seed: options.seed,
    };
    let load = runtime.block_on(Load::start(endpoints.clone(), load))?;
    let mut story = Story { cluster, runtime, load, ports, endpoints, places: vec![0] };

    story.grow()?;
    story.replace_the_dead()?;
    story.replace_the_living()?;
    story.restart_one_by_one()?;

    let recorded = story.runtime.block_on(story.load.finish())?;
    judge(&recorded)
}

struct Story {
    cluster: Cluster,
    runtime: Runtime,
    load: Load,
    /// Where members live, and which node of `cluster` lives there at the moment.
    ports: Vec<(u16, u16)>,
    endpoints: Vec<String>,
    places: Vec<usize>,
}

impl Story {
    fn grow(&mut self) -> anyhow::Result<()> {
        for place in 1..3 {
            self.places.push(usize::MAX);
            self.join(place, 0)?;
        }
        Ok(())
    }

    fn replace_the_dead(&mut self) -> anyhow::Result<()> {
        let (place, asked) = (0, 1);
        self.move_leader(place)?;
        let id = self.member_at(place)?;
        self.cluster.stop(self.places[place], Signal::KILL)?;
        self.writes_go_on("the founder, which leads, is killed for good")?;
        self.change(asked, pb::MemberRemoveRequest { id })?;
        self.writes_go_on("the dead founder is removed")?;
        self.join(place, asked)
    }

    fn replace_the_living(&mut self) -> anyhow::Result<()> {
        let (place, asked) = (1, 0);
        self.move_leader(place)?;
        let id = self.member_at(place)?;
        self.change(asked, pb::MemberRemoveRequest { id })?;
        self.writes_go_on("the leader is removed")?;
        let node = self.places[place];
        for attempt in ["when it is removed", "when it is started again"] {
            let status = self.cluster.wait_until_ended(node)?;
            let log = self.cluster.log_tail(node);
            ensure!(status.code() == Some(EXIT_REMOVED), "{attempt}, the member ends with {status}:\n{log}");
            if attempt == "when it is removed" {
                self.cluster.spawn(node)?;
            }
        }
        self.join(place, asked)
    }

    fn restart_one_by_one(&mut self) -> anyhow::Result<()> {
        for place in 0..3 {
            self.move_leader(place)?;
            let node = self.places[place];
            self.cluster.signal(node, Signal::TERM)?;
            self.writes_go_on("a leader is told to stop")?;
            let status = self.cluster.wait_until_ended(node)?;
            ensure!(status.success(), "a member that was told to stop ends with {status}");
            self.writes_go_on("it has stopped")?;
            self.cluster.spawn(node)?;
            self.cluster.wait_until_serving(node)?;
        }
        Ok(())
    }

    /// Adds a voter in a free place, and waits until it votes: it leads for a moment.
    fn join(&mut self, place: usize, asked: usize) -> anyhow::Result<()> {
        let ports = self.ports[place];
        let peer_urls = vec![format!("http://127.0.0.1:{}", ports.1)];
        self.change(asked, pb::MemberAddRequest { peer_urls, is_learner: false })?;
        self.writes_go_on("a member is added that does not run yet")?;
        let node = self.cluster.describe_joiner(ports);
        self.places[place] = node;
        self.cluster.spawn(node)?;
        self.cluster.wait_until_serving(node)?;
        self.writes_go_on("it runs")?;
        self.move_leader(place)?;
        self.writes_go_on("it leads")
    }

    fn writes_go_on(&self, what: &str) -> anyhow::Result<()> {
        let started = Instant::now();
        let resumed = self.load.next_acknowledged_write(RESUME_LIMIT);
        ensure!(resumed.is_some(), "no write within {RESUME_LIMIT:?}: {what}");
        println!("{what}: the next write took {:.2?}", started.elapsed());
        Ok(())
    }

    fn member_at(&self, place: usize) -> anyhow::Result<u64> {
        let endpoint = self.endpoints[place].clone();
        self.runtime.block_on(async {
            let mut maintenance = MaintenanceClient::connect(endpoint).await?;
            let status = maintenance.status(pb::StatusRequest {}).await?.into_inner();
            Ok(status.header.context("a status without a header")?.member_id)
        })
    }

    /// Has whoever leads hand over to the member in `place`, as soon as that one votes.
    fn move_leader(&self, place: usize) -> anyhow::Result<()> {
        let target_id = self.member_at(place)?;
        self.runtime.block_on(until_done("move the leader", async || {
            let mut last = anyhow::anyhow!("there is nobody to ask");
            for endpoint in &self.endpoints {
                let Ok(mut maintenance) = MaintenanceClient::connect(endpoint.clone()).await else {
                    continue;
                };
                let status = maintenance.status(pb::StatusRequest {}).await?.into_inner();
                if status.leader == target_id {
                    return Ok(());
                }
                if status.header.is_some_and(|header| header.member_id == status.leader) {
                    match maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await {
                        Ok(_) => return Ok(()),
                        Err(status) => last = status.into(),
                    }
                }
            }
            Err(last)
        }))
    }

    fn change(&self, asked: usize, change: impl Change) -> anyhow::Result<()> {
        let endpoint = self.endpoints[asked].clone();
        self.runtime.block_on(until_done("change the members", async || {
            change.make(ClusterClient::connect(endpoint.clone()).await?).await
        }))
    }
}

/// A change of the members that may be asked for again when its outcome is not known.
trait Change {
    async fn make(&self, cluster: ClusterClient<tonic::transport::Channel>) -> anyhow::Result<()>;
}

impl Change for pb::MemberAddRequest {
    async fn make(&self, mut cluster: ClusterClient<tonic::transport::Channel>) -> anyhow::Result<()> {
        match cluster.member_add(self.clone()).await {
            Err(status) if !status.message().ends_with("Peer URLs already exists") => Err(status.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl Change for pb::MemberRemoveRequest {
    async fn make(&self, mut cluster: ClusterClient<tonic::transport::Channel>) -> anyhow::Result<()> {
        match cluster.member_remove(*self).await {
            Err(status) if !status.message().ends_with("member not found") => Err(status.into()),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

async fn until_done(what: &str, attempt: impl AsyncFn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + CHANGE_LIMIT;
    loop {
        match attempt().await {
            Err(error) if Instant::now() > deadline => return Err(error.context(format!("cannot {what}"))),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Ok(()) => return Ok(()),
        }
    }
}

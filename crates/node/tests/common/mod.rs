//! A cluster of real nodes in this process: loopback sockets, real files, nothing simulated.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use consensus::{Change, ChangeRefusal, Refusal, Standing};
use node::{
    Applied, Cluster, Config, ErrandError, Handle, InitialMember, MemberContext, Node, ProposeError, Storage,
};
use types::{NodeId, Wire};

/// Every wait for a condition ends here, with a panic that names the condition.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What a test's request may take.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Members `n0`, `n1`, …, each running or not.
pub struct TestCluster {
    pub configs: Vec<Config>,
    pub nodes: Vec<Option<Node>>,
    /// Removed when the test ends.
    pub directory: tempfile::TempDir,
}

impl TestCluster {
    /// Describes `size` members that keep their data in a temporary directory; starts none.
    pub fn new(size: usize) -> TestCluster {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let ports = free_ports(size);
        let members = (0..size)
            .map(|index| (format!("n{index}"), vec![format!("http://127.0.0.1:{}", ports[index])]))
            .collect();
        let cluster = Cluster::new(members, "test").expect("members differ");
        let configs: Vec<Config> = (0..size)
            .map(|index| {
                let data = directory.path().join(format!("n{index}"));
                let mut config = Config::new(format!("n{index}"), cluster.clone(), Storage::Directory(data));
                // Slow enough for a loaded machine, fast enough for a test.
                config.heartbeat_interval = Duration::from_millis(50);
                config.election_timeout = Duration::from_millis(500);
                config.log_segment_bytes = 1 << 20;
                config.client_urls = vec![format!("http://127.0.0.1:{}", 40_000 + index)];
                config
            })
            .collect();
        let nodes = configs.iter().map(|_| None).collect();
        TestCluster { configs, nodes, directory }
    }

    /// Starts every member and waits until all serve.
    pub async fn started(size: usize) -> TestCluster {
        let mut cluster = TestCluster::new(size);
        for index in 0..size {
            cluster.start(index);
        }
        for index in 0..size {
            cluster.ready(index).await;
        }
        cluster
    }

    /// Describes one more member, which is to join the running ones; returns its index and its peer URLs.
    pub fn describe_joiner(&mut self) -> (usize, Vec<String>) {
        let index = self.configs.len();
        let url = format!("http://127.0.0.1:{}", free_ports(1)[0]);
        let mut members: Vec<_> = self.configs[0].cluster.members.iter().map(named).collect();
        members.extend(self.configs.iter().skip(members.len()).map(|joined| named(own(joined))));
        members.push((format!("n{index}"), vec![url.clone()]));
        let cluster = Cluster::new(members, "test").expect("members differ");
        let mut config = self.configs[0].clone();
        config.name = format!("n{index}");
        config.storage = Storage::Directory(self.data_dir(index));
        config.cluster = cluster;
        config.joins = true;
        config.listen_peers = vec![url.trim_start_matches("http://").to_owned()];
        config.client_urls = vec![format!("http://127.0.0.1:{}", 40_000 + index)];
        self.configs.push(config);
        self.nodes.push(None);
        (index, vec![url])
    }

    /// Adds a member by asking `asked`, starts it, and waits until it serves. Returns its index.
    pub async fn join(&mut self, asked: usize, as_learner: bool) -> usize {
        let (index, peer_urls) = self.describe_joiner();
        add(&self.handle(asked), index, &peer_urls, as_learner).await.expect("the member is added");
        self.start(index);
        self.ready(index).await;
        index
    }

    /// The id that member `index` goes by.
    pub fn id(&self, index: usize) -> NodeId {
        self.handle(index).id()
    }

    pub fn start(&mut self, index: usize) {
        self.nodes[index] = Some(Node::start(&self.configs[index]).expect("the node starts"));
    }

    /// Ends a member as a crash would.
    pub fn kill(&mut self, index: usize) {
        self.nodes[index] = None;
    }

    pub async fn stop(&mut self, index: usize) {
        if let Some(node) = self.nodes[index].take() {
            node.stop().await;
        }
    }

    pub async fn ready(&self, index: usize) {
        let handle = self.handle(index);
        let ready = tokio::time::timeout(PATIENCE, handle.wait_ready()).await;
        assert_eq!(ready, Ok(true), "n{index} became ready");
    }

    pub fn handle(&self, index: usize) -> Handle {
        self.nodes[index].as_ref().expect("the node runs").handle()
    }

    /// The member that leads, once all running members agree on one.
    pub async fn leader(&self) -> usize {
        let mut found = None;
        until("all agree on a leader", || {
            let running: Vec<Handle> = self.nodes.iter().flatten().map(Node::handle).collect();
            let leaders: Vec<_> = running.iter().map(Handle::leader).collect();
            found = leaders[0].filter(|leader| leaders.iter().all(|other| *other == Some(*leader)));
            found.is_some_and(|leader| running.iter().any(|handle| handle.id() == leader))
        })
        .await;
        let leader = found.expect("just found");
        self.nodes
            .iter()
            .position(|node| node.as_ref().is_some_and(|node| node.handle().id() == leader))
            .expect("the leader is one of us")
    }

    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("n{index}"))
    }
}

fn named(member: &InitialMember) -> (String, Vec<String>) {
    (member.name.clone(), member.peer_urls.clone())
}

fn own(config: &Config) -> &InitialMember {
    config.cluster.member(&config.name).expect("a member is in its own flags")
}

/// Adds a member; `number` makes its id another one than any before.
pub async fn add(
    handle: &Handle,
    number: usize,
    peer_urls: &[String],
    as_learner: bool,
) -> Result<NodeId, ErrandError> {
    let node = node::added_member_id(peer_urls, handle.cluster_id(), number as u128);
    let context = MemberContext { peer_urls: peer_urls.to_vec() }.to_bytes();
    let change = match as_learner {
        true => Change::AddLearner { node, context },
        false => Change::AddVoter { node, context },
    };
    match change_until_known(handle, change).await {
        Err(ErrandError::Refused(Refusal::Change(ChangeRefusal::Exists(known)))) if known == node => Ok(node),
        outcome => outcome.map(|()| node),
    }
}

/// Asks until the outcome is known, as an operator does: what a dead leader was asked is not answered.
pub async fn change_until_known(handle: &Handle, change: Change) -> Result<(), ErrandError> {
    let start = Instant::now();
    loop {
        let outcome = handle.reconfigure(std::slice::from_ref(&change), Duration::from_secs(2)).await;
        if outcome != Err(ErrandError::Unknown) || start.elapsed() > PATIENCE {
            return outcome;
        }
    }
}

/// How a member stands, as a node has applied it.
pub fn standing(handle: &Handle, node: NodeId) -> Option<Standing> {
    handle.members().iter().find(|member| member.id == node).map(|member| member.standing)
}

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "still waiting: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn put(key: &str, value: &str) -> kv::Command {
    kv::Command::Put(kv::PutRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        ..kv::PutRequest::default()
    })
}

/// Puts, and insists.
pub async fn put_ok(handle: &Handle, key: &str, value: &str) -> Applied {
    let applied = handle.propose(put(key, value), TIMEOUT).await.expect("the put is applied");
    assert!(applied.result.is_ok(), "{applied:?}");
    applied
}

/// Puts until it is known to be done, as a client does while leaders come and go.
pub async fn put_until_done(handle: &Handle, key: &str, value: &str) {
    let start = Instant::now();
    loop {
        match handle.propose(put(key, value), TIMEOUT).await {
            Ok(_) => return,
            Err(ProposeError::Stopped) => panic!("the node stopped"),
            Err(error) => assert!(start.elapsed() < PATIENCE, "putting {key}: {error}"),
        }
    }
}

/// Reads a key linearizably.
pub async fn get(handle: &Handle, key: &str) -> Option<String> {
    handle.read_barrier(TIMEOUT).await.expect("a read point");
    get_local(handle, key)
}

/// Reads a key as this node has it.
pub fn get_local(handle: &Handle, key: &str) -> Option<String> {
    let request =
        kv::RangeRequest { key: Bytes::copy_from_slice(key.as_bytes()), ..kv::RangeRequest::default() };
    let (_, response) = handle.reader().range(&request).expect("the state is readable");
    response.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).expect("text"))
}

/// Ports that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
    listeners.iter().map(|listener| listener.local_addr().expect("bound").port()).collect()
}

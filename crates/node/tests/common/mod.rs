//! A cluster of real nodes in this process: loopback sockets, real files, nothing simulated.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use node::{Applied, Cluster, Config, Handle, Node, ProposeError, Storage};

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

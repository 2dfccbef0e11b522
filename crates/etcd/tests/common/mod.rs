//! One real node in memory, its client port, and clients of it.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::net::SocketAddr;
use std::time::Duration;

use etcd::proto::etcdserverpb::cluster_client::ClusterClient;
use etcd::proto::etcdserverpb::kv_client::KvClient;
use etcd::proto::etcdserverpb::{MemberAddRequest, PutRequest, RangeRequest, RangeResponse, ResponseHeader};
use etcd::{Server, ServerConfig};
use node::{Cluster, Config, Node, Storage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Every wait for something that must come ends here.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server and a connection to it.
pub struct TestServer {
    pub node: Node,
    pub server: Option<Server>,
    pub address: SocketAddr,
    pub channel: Channel,
    pub kv: KvClient<Channel>,
}

impl TestServer {
    pub async fn start() -> TestServer {
        TestServer::with(ServerConfig::default()).await
    }

    pub async fn with(config: ServerConfig) -> TestServer {
        TestServer::of_members("alone=http://127.0.0.1:1", config, true).await
    }

    /// A server whose node never finds a leader: the other two members do not exist.
    pub async fn leaderless(config: ServerConfig) -> TestServer {
        let members = "alone=http://127.0.0.1:1,b=http://127.0.0.1:2,c=http://127.0.0.1:3";
        TestServer::of_members(members, config, false).await
    }

    async fn of_members(members: &str, config: ServerConfig, ready: bool) -> TestServer {
        let cluster = Cluster::parse(members, "test").expect("a cluster");
        let mut node_config = Config::new("alone", cluster, Storage::Ephemeral);
        node_config.listen_peers = vec!["127.0.0.1:0".to_owned()];
        TestServer::of(node_config, config, ready).await
    }

    /// Two servers, of which the second has been added to the first as a learner.
    pub async fn with_learner() -> (TestServer, TestServer) {
        let [founder, learner] = [free_url(), free_url()];
        let cluster = |members: &str| Cluster::parse(members, "test").expect("a cluster");
        let alone = cluster(&format!("alone={founder}"));
        let alone = Config::new("alone", alone, Storage::Ephemeral);
        let first = TestServer::of(alone, ServerConfig::default(), true).await;
        let add = MemberAddRequest { peer_urls: vec![learner.clone()], is_learner: true };
        ClusterClient::new(first.channel.clone()).member_add(add).await.expect("it is added");
        let both = cluster(&format!("alone={founder},learner={learner}"));
        let mut joiner = Config::new("learner", both, Storage::Ephemeral);
        joiner.joins = true;
        let second = TestServer::of(joiner, ServerConfig::default(), true).await;
        (first, second)
    }

    async fn of(mut node_config: Config, config: ServerConfig, ready: bool) -> TestServer {
        node_config.client_urls = vec!["http://127.0.0.1:2379".to_owned()];
        node_config.heartbeat_interval = Duration::from_millis(20);
        node_config.election_timeout = Duration::from_millis(100);
        let node = Node::start(&node_config).expect("the node starts");
        if ready {
            assert!(within(node.handle().wait_ready()).await, "the node serves");
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let server = Server::serve(node.handle(), [listener], config);
        let channel = connect(address).await;
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        TestServer { node, server: Some(server), address, channel, kv }
    }

    /// Puts a key and returns the store's revision.
    pub async fn put(&mut self, key: &str, value: &str) -> i64 {
        let put = self.kv.put(put(key, value)).await.expect("put");
        put.into_inner().header.expect("a header").revision
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> i64 {
        let page = http_get(self.address, "/metrics").await;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing")).parse().expect("a whole number")
    }

    pub async fn get(&mut self, key: &str) -> RangeResponse {
        self.range(RangeRequest { key: key.to_owned().into(), ..Default::default() }).await.expect("range")
    }

    pub async fn range(&mut self, request: RangeRequest) -> Result<RangeResponse, Status> {
        self.kv.range(request).await.map(tonic::Response::into_inner)
    }
}

fn free_url() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    format!("http://{}", listener.local_addr().expect("its address"))
}

/// Sends bytes and returns everything that comes until the server closes the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(bytes).await.expect("the server reads");
    let mut answer = Vec::new();
    // A reset counts as closed.
    within(stream.read_to_end(&mut answer)).await.ok();
    String::from_utf8_lossy(&answer).into_owned()
}

pub async fn http_get(address: SocketAddr, path: &str) -> String {
    exchange(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
}

pub async fn connect(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
    within(endpoint.connect()).await.expect("the server listens")
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: key.to_owned().into(), value: value.to_owned().into(), ..Default::default() }
}

/// Everything, as `\0` to `\0` asks for.
pub fn everything() -> RangeRequest {
    RangeRequest { key: b"\0".as_slice().into(), range_end: b"\0".as_slice().into(), ..Default::default() }
}

pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it comes in time")
}

/// A refusal's code and text.
#[track_caller]
pub fn refusal<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.expect_err("a refusal");
    (status.code(), status.message().to_owned())
}

#[track_caller]
pub fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}

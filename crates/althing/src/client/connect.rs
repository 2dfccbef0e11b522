//! A client of a cluster: one connection an endpoint, made when first needed; the next endpoint when one fails.
//!
//! Promises:
//! - K1  a read goes to every endpoint before it fails;
//! - K2  a write is sent at most once: after a lost answer nobody can tell whether it was executed, so it is
//!   reported as such and not sent again. Before it is sent the next endpoint is tried.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::proto::pb::kv_client::KvClient;
use crate::failure::{Failure, chain};

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an answer may take: longer than a server takes to give up (etcd: 7 s with default timeouts).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of a cluster.
#[derive(Clone)]
pub struct Client {
    endpoints: Arc<[Peer]>,
    /// Whether answers are printed as JSON.
    pub json: bool,
}

struct Peer {
    address: String,
    channel: OnceCell<Channel>,
}

impl Client {
    /// A client of these endpoints, `HOST:PORT` each. Connects to none of them yet.
    pub fn new(endpoints: &[String], json: bool) -> Client {
        let peer = |address: &String| Peer { address: address.clone(), channel: OnceCell::new() };
        Client { endpoints: endpoints.iter().map(peer).collect(), json }
    }

    /// A client that prints nothing.
    pub fn to(endpoints: &[String]) -> Client {
        Client::new(endpoints, false)
    }

    /// A client of each endpoint alone, with its address.
    pub fn each(&self) -> Vec<(String, Client)> {
        let alone =
            |peer: &Peer| (peer.address.clone(), Client::new(std::slice::from_ref(&peer.address), self.json));
        self.endpoints.iter().map(alone).collect()
    }

    /// A connection to the first endpoint that takes one.
    ///
    /// # Errors
    /// None does.
    pub async fn channel(&self) -> Result<Channel, Failure> {
        let mut failures = Vec::new();
        for peer in &*self.endpoints {
            match peer.connect().await {
                Ok(channel) => return Ok(channel),
                Err(why) => failures.push(format!("{}: {why}", peer.address)),
            }
        }
        Err(unreachable_cluster(&failures))
    }

    /// Asks something that changes nothing, at every endpoint until one answers (K1).
    ///
    /// # Errors
    /// A refusal, or no answer from any.
    pub async fn read<T>(
        &self,
        call: impl AsyncFn(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let mut failures = Vec::new();
        for peer in &*self.endpoints {
            let why = match peer.connect().await {
                Err(why) => why,
                Ok(channel) => match answer(call(channel)).await {
                    Ok(response) => return Ok(response),
                    Err(status) if is_outage(&status) => describe(&status),
                    Err(status) => return Err(refused(&status)),
                },
            };
            failures.push(format!("{}: {why}", peer.address));
        }
        Err(unreachable_cluster(&failures))
    }

    /// Asks for a change, once (K2).
    ///
    /// # Errors
    /// A refusal, nobody to ask, or an answer that was lost.
    pub async fn write<T>(
        &self,
        call: impl AsyncFnOnce(Channel) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        let channel = self.channel().await?;
        answer(call(channel)).await.map_err(|status| {
            if is_outage(&status) && !was_never_proposed(&status) {
                unknown(&status)
            } else {
                refused(&status)
            }
        })
    }

    /// The key-value service on a connection, for answers of any size.
    pub fn kv(channel: Channel) -> KvClient<Channel> {
        KvClient::new(channel).max_decoding_message_size(usize::MAX)
    }
}

impl Peer {
    async fn connect(&self) -> Result<Channel, String> {
        let connect = async || {
            let endpoint = Endpoint::from_shared(format!("http://{}", self.address))?;
            endpoint.connect_timeout(CONNECT_TIMEOUT).tcp_nodelay(true).connect().await
        };
        let channel = self.channel.get_or_try_init(connect).await;
        channel.cloned().map_err(|error: tonic::transport::Error| root_cause(&error))
    }
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
    }
}

/// Whether another endpoint might answer where this one did not.
fn is_outage(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// The refusals that promise that nothing was done.
fn was_never_proposed(status: &Status) -> bool {
    matches!(status.message(), "etcdserver: no leader" | "etcdserver: too many requests")
}

fn unreachable_cluster(failures: &[String]) -> Failure {
    Failure::new(format_args!("no endpoint answers: {}", failures.join("; ")))
        .next("althing dev   (starts a cluster here), or --endpoints HOST:PORT,… of one that runs")
}

fn unknown(status: &Status) -> Failure {
    Failure::new(format_args!("{}; the change may or may not have been made", describe(status)))
        .next("althing status, then althing get the key to see")
}

/// What to say about a request that was refused.
pub fn refused(status: &Status) -> Failure {
    let failure = Failure::new(describe(status));
    match advice(status.message()) {
        Some(next) => failure.next(next),
        None => failure,
    }
}

fn advice(message: &str) -> Option<&'static str> {
    let advices = [
        ("requested lease not found", "althing lease list, or althing lease grant SECONDS"),
        ("has been compacted", "leave --rev out to read the latest"),
        ("is a future revision", "althing status shows the current revision"),
        ("no leader", "althing status"),
        ("in sync with leader", "wait until it has caught up; althing status shows its index"),
        ("not enough started members", "add another member first; a cluster cannot be without voters"),
        ("Peer URLs already exists", "althing members"),
        ("too many learner", "althing members promote, or remove, the one there is"),
        ("unhealthy cluster", "althing status; bring members back, or remove those that are gone first"),
        ("not supported for learner", "--endpoints of a voter; althing members"),
        (
            "database space exceeded",
            "etcdctl compact and etcdctl alarm disarm, or serve --quota-backend-bytes",
        ),
        ("request is too large", "split it, or serve --max-request-bytes"),
        ("too many operations", "split it, or serve --max-txn-ops"),
    ];
    advices.iter().find(|(text, _)| message.contains(text)).map(|(_, next)| *next)
}

fn describe(status: &Status) -> String {
    match status.message() {
        "" => format!("{}: {}", status.code().description(), chain(status)),
        message => message.strip_prefix("etcdserver: ").unwrap_or(message).to_owned(),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nobody_there_names_every_endpoint_and_what_to_do() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let failure = Client::to(std::slice::from_ref(&address)).channel().await.unwrap_err().to_string();
        assert!(failure.contains(&address) && failure.contains("althing dev"), "{failure}");
    }

    #[test]
    fn a_refusal_is_etcds_text_with_an_advice() {
        let status = Status::not_found("etcdserver: requested lease not found");
        let text = refused(&status).to_string();
        assert!(text.starts_with("requested lease not found; help: althing lease list"), "{text}");
    }
}

//! A member's life: configured, started, serving, stopped.
//!
//! ```text
//!   sockets bound ─▶ node started ─▶ front-end serves ─▶ a leader is known: "ready" ─▶ signal ─▶ drained, stopped
//!                                                                                  ├▶ failed disk: exit 1
//!                                                                                  └▶ removed: exit 3
//! ```

use std::io;
use std::net::TcpListener as StdListener;
use std::process::ExitCode;
use std::time::Duration;

use etcd::{Server, ServerConfig};
use node::{Cluster, Node, NodeError, StartError, Storage};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

use super::args::ServeArgs;
use super::config::Config;
use super::settings::Settings;
use super::signals::shutdown_requested;
use super::{notify, url::Url};
use crate::failure::{Failure, Outcome, chain};
use crate::logging;

/// How long clients have to take their last answers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// What a process ends with whose member was removed: restarting it is of no use.
const EXIT_REMOVED: u8 = 3;
/// Threads for clients' connections, at most one per two cores: the core, the disk and the state have their own.
const CLIENT_THREADS_MAX: usize = 8;

/// Serves until it is told to stop.
///
/// # Errors
/// A configuration that cannot be served, or a failure while serving.
pub fn run(args: &ServeArgs) -> Outcome {
    let settings = Settings::gather(&args.given, args.config_file.as_deref(), std::env::vars())?;
    let config = Config::from_settings(&settings)?;
    if !config.data_dir.join("member").exists() {
        config.check_first_start(&settings)?;
    }
    logging::init(settings.text("log-level"), settings.text("log-format"))?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    check_data_dir(&config)?;
    let listeners = bind(&config.listen_client, &settings.cite("listen-client-urls"))?;
    let runtime = runtime()?;
    let node = Node::start(&node_config(&config)?).map_err(|error| start_failure(&error, &config))?;
    runtime.block_on(serve(node, listeners, &config, args.stop_with_stdin))
}

async fn serve(node: Node, listeners: Vec<StdListener>, config: &Config, stop_with_stdin: bool) -> Outcome {
    let listeners: io::Result<Vec<_>> = listeners.into_iter().map(TcpListener::from_std).collect();
    let listeners =
        listeners.map_err(|error| Failure::new(format_args!("cannot listen for clients: {error}")))?;
    let server = Server::serve(node.handle(), listeners, server_config(config));
    let handle = node.handle();
    let announced = async {
        if handle.wait_ready().await {
            announce(config);
        }
        std::future::pending::<()>().await;
    };
    let why = tokio::select! {
        why = shutdown_requested(stop_with_stdin) => why,
        error = node.failed() => return Err(ended(server, error, config).await),
        () = announced => "never",
    };
    tracing::info!("{why}: stopping");
    notify::tell("STOPPING=1");
    handle.hand_over(config.election_timeout).await;
    server.stop(DRAIN_TIMEOUT).await;
    node.stop().await;
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

async fn ended(server: Server, error: NodeError, config: &Config) -> Failure {
    match error {
        NodeError::Removed => {
            tracing::error!("{error}: stopping");
            server.stop(DRAIN_TIMEOUT).await;
            removed(&error, config)
        }
        other => Failure::new(other),
    }
}

fn removed(error: &dyn std::fmt::Display, config: &Config) -> Failure {
    let (name, dir) = (&config.name, config.data_dir.display());
    let urls: Vec<_> = config.advertise_peer.iter().map(Url::to_string).collect();
    Failure::new(error).exit_code(EXIT_REMOVED).next(format_args!(
        "to let it come back as a new member: rm -r {dir}; althing members add {name} --peer-urls {}; \
         then start it with --initial-cluster-state existing",
        urls.join(",")
    ))
}

fn announce(config: &Config) {
    for url in &config.listen_client {
        tracing::info!(name = config.name, address = url.authority(), "ready to serve client requests");
    }
    notify::tell("READY=1");
}

fn runtime() -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads((cores / 2).clamp(1, CLIENT_THREADS_MAX))
        .thread_name("clients")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format_args!("cannot start the runtime: {error}")))
}

fn bind(urls: &[Url], cite: &str) -> Result<Vec<StdListener>, Failure> {
    let mut listeners = Vec::new();
    for url in urls {
        let listener = StdListener::bind(&url.resolve(cite)?[..]).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        listeners.push(listener.map_err(|error| {
            Failure::new(format_args!("cannot listen for clients on {url}: {error}"))
                .next("--listen-client-urls with an address of this machine and a port that is free")
        })?);
    }
    Ok(listeners)
}

/// Refuses what is not ours to use before anything is written.
fn check_data_dir(config: &Config) -> Result<(), Failure> {
    let dir = config.data_dir.display();
    let member = config.data_dir.join("member");
    if member.join("wal").exists() || member.join("snap").exists() {
        return Err(Failure::new(format_args!(
            "{dir} holds the data of an etcd server, which cannot be read"
        ))
        .next("another --data-dir; move the keys with etcdctl get and althing put"));
    }
    Ok(())
}

fn node_config(config: &Config) -> Result<node::Config, Failure> {
    let urls = |urls: &[Url]| urls.iter().map(Url::to_string).collect::<Vec<_>>();
    let lives_at = |(name, founded_at): (&String, &Vec<Url>)| match *name == config.name {
        true => (name.clone(), urls(&config.advertise_peer)), // it may have moved
        false => (name.clone(), urls(founded_at)),
    };
    let members = config.members.iter().map(lives_at).collect();
    let cluster = Cluster::new(members, &config.token).map_err(Failure::new)?;
    let mut node = node::Config::new(&config.name, cluster, Storage::Directory(config.data_dir.clone()));
    node.joins = !config.founding;
    node.listen_peers = config.listen_peer.iter().map(Url::authority).collect();
    node.client_urls = urls(&config.advertise_client);
    node.heartbeat_interval = config.heartbeat;
    node.election_timeout = config.election_timeout;
    node.leader_priority = config.leader_priority;
    node.quiesce_after = config.quiesce_after;
    node.checkpoint_entries = config.snapshot_count;
    Ok(node)
}

fn server_config(config: &Config) -> ServerConfig {
    ServerConfig {
        max_request_bytes: config.max_request_bytes,
        max_txn_ops: config.max_txn_ops,
        election_timeout: config.election_timeout,
        quota_bytes: config.quota_bytes.unwrap_or_default(),
        ..ServerConfig::default()
    }
}

fn start_failure(error: &StartError, config: &Config) -> Failure {
    match error {
        StartError::Removed { .. } => removed(error, config),
        _ => Failure::new(chain(error)),
    }
}

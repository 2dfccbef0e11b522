//! The client port: gRPC and plain HTTP on the same sockets, until told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use node::Handle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::ServerConfig;
use crate::counted_io::CountedIo;
use crate::front::Front;
use crate::gathered_io::GatheredIo;
use crate::metrics::Metrics;
use crate::quota::{self, Quota};
use crate::router::route;
use crate::watch::{Hub, pump};

/// HTTP/2 flow control: what a client may send before it must wait, for a stream and for its connection.
/// One request of the largest size and its neighbours fit.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// A connection on which nothing comes is asked whether it is alive after this time, and closed if it does not
/// answer (etcd's `--grpc-keepalive-interval` and `-timeout`).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2 * 3600);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client of plain HTTP may take to send its request's head.
const HTTP1_HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Before accepting again when the system refuses, most often because the process has no file descriptors left.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// A running front-end. Dropping it closes every connection; [`stop`](Server::stop) ends them in good order.
#[derive(Debug)]
pub struct Server {
    stopping: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Serves etcd's API on `listeners`. Must be called inside a tokio runtime.
    pub fn serve(
        handle: Handle,
        listeners: impl IntoIterator<Item = TcpListener>,
        config: ServerConfig,
    ) -> Server {
        // First subscribe, then look: what comes after that revision comes through the subscription.
        let events = handle.subscribe();
        let stopping = watch::Sender::new(false);
        let front = Arc::new(Front {
            reader: handle.reader(),
            hub: Arc::new(Hub::new(handle.revision(), config.receive_bytes_max())),
            metrics: Arc::new(Metrics::default()),
            quota: Quota::default(),
            stopping: stopping.subscribe(),
            handle,
            config,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(pump(front.clone(), events));
        tasks.spawn(quota::look_after(front.clone()));
        for listener in listeners {
            tasks.spawn(accept(front.clone(), listener));
        }
        Server { stopping, tasks }
    }

    /// Takes no more connections and no more requests, ends the streams, and waits for the answers to be sent;
    /// after `patience` closes what is left.
    pub async fn stop(mut self, patience: Duration) {
        self.stopping.send_replace(true);
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!("closed client connections whose requests were not answered within {patience:?}");
        }
    }
}

async fn accept(front: Arc<Front>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(serve_connection(front.clone(), stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a client connection");
                    tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = front.stopped() => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(front: Arc<Front>, stream: TcpStream, peer: SocketAddr) {
    if let Err(error) = stream.set_nodelay(true) {
        return tracing::debug!(%peer, %error, "a client connection was closed at once");
    }
    let io = TokioIo::new(GatheredIo::new(CountedIo::new(stream, front.metrics.clone())));
    let builder = builder(&front.config);
    let service = service_fn(|request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(route(front, request).await) }
    });
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = front.stopped() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        report(peer, &*error);
    }
}

fn builder(config: &ServerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_concurrent_streams(config.max_concurrent_streams)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HTTP1_HEAD_TIMEOUT);
    builder
}

/// One line for a connection that ended badly. Clients that just go away are no news.
fn report(peer: SocketAddr, error: &(dyn std::error::Error + 'static)) {
    let mut causes = vec![error.to_string()];
    let mut source = error.source();
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    let reason = causes.join(": ");
    let went_away = error.downcast_ref::<hyper::Error>().is_some_and(is_ordinary)
        || error.downcast_ref::<std::io::Error>().is_some();
    if went_away {
        tracing::debug!(%peer, reason, "a client went away");
    } else {
        tracing::warn!(%peer, reason, "closed a client connection that spoke neither gRPC nor HTTP");
    }
}

fn is_ordinary(error: &hyper::Error) -> bool {
    error.is_incomplete_message() || error.is_canceled() || error.is_closed() || error.is_timeout()
}

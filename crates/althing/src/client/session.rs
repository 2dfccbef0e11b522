//! A lease that is kept alive while something is held: a lock, a leadership.
//!
//! Promise N1: by this process's own clock, [`Session::lost`] is over before the cluster can have given the lease
//! to somebody else. The clock counts from when the last answered keep-alive was *sent*, so that a slow answer
//! shortens the lease here and never lengthens it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;

use super::connect::Client;
use super::proto::pb::{self, lease_client::LeaseClient};
use crate::failure::Failure;

/// Keep-alives in the time of one lease.
const KEEP_ALIVES_PER_TTL: u32 = 3;
/// Between attempts to renew while nobody answers.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// A lease and the task that keeps it alive.
pub struct Session {
    /// The lease.
    pub lease: i64,
    /// How long the cluster keeps it without a keep-alive.
    pub ttl: Duration,
    client: Client,
    expires: watch::Receiver<Instant>,
    keeper: JoinHandle<()>,
}

impl Session {
    /// Grants a lease of `ttl_seconds`, or a little more if the cluster says so, and begins to keep it alive.
    ///
    /// # Errors
    /// The cluster's refusal, or no answer.
    pub async fn open(client: &Client, ttl_seconds: i64) -> Result<Session, Failure> {
        let sent = Instant::now();
        let request = pb::LeaseGrantRequest { ttl: ttl_seconds, id: 0 };
        let granted =
            client.write(async |channel| LeaseClient::new(channel).lease_grant(request).await).await?;
        let ttl = Duration::from_secs(u64::try_from(granted.ttl).unwrap_or_default());
        let (deadline, expires) = watch::channel(sent + ttl);
        let keeper = tokio::task::spawn_local(keep(client.clone(), granted.id, ttl, Arc::new(deadline)));
        Ok(Session { lease: granted.id, ttl, client: client.clone(), expires, keeper })
    }

    /// Waits until less than `margin` is left of the lease.
    pub async fn nearly_lost(&self, margin: Duration) {
        let mut expires = self.expires.clone();
        loop {
            let at = *expires.borrow_and_update() - margin;
            tokio::select! {
                () = tokio::time::sleep_until(at) => return,
                // The keeper ends when the cluster says that the lease is gone; the deadline then is in the past.
                changed = expires.changed() => if changed.is_err() {
                    return tokio::time::sleep_until(*expires.borrow() - margin).await;
                },
            }
        }
    }

    /// Waits until the lease may be gone.
    pub async fn lost(&self) {
        self.nearly_lost(Duration::ZERO).await;
    }

    /// Gives the lease back: whatever hangs on it is released now and not when it expires.
    ///
    /// # Errors
    /// No answer; the lease then expires by itself.
    pub async fn close(self) -> Result<(), Failure> {
        self.keeper.abort();
        let request = pb::LeaseRevokeRequest { id: self.lease };
        let revoke = async |channel: Channel| LeaseClient::new(channel).lease_revoke(request).await;
        self.client.write(revoke).await.map(drop)
    }
}

async fn keep(client: Client, lease: i64, ttl: Duration, deadline: Arc<watch::Sender<Instant>>) {
    loop {
        sleep(ttl / KEEP_ALIVES_PER_TTL).await;
        loop {
            let sent = Instant::now();
            match timeout(ttl / KEEP_ALIVES_PER_TTL, keep_alive(&client, lease)).await {
                Ok(Ok(0)) => {
                    deadline.send_replace(sent);
                    return;
                }
                Ok(Ok(_)) => {
                    deadline.send_replace(sent + ttl);
                    break;
                }
                Ok(Err(_)) | Err(_) => sleep(RETRY_DELAY.min(ttl / 10)).await,
            }
        }
    }
}

/// Renews the lease once and returns the seconds it has; 0: it is gone.
///
/// # Errors
/// No answer from any endpoint.
pub async fn keep_alive(client: &Client, lease: i64) -> Result<i64, Failure> {
    let answers = client
        .read(async |channel| {
            let request = pb::LeaseKeepAliveRequest { id: lease };
            let requests =
                tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
            let mut answers = LeaseClient::new(channel).lease_keep_alive(requests).await?.into_inner();
            let answer = answers.message().await?;
            answer.map(tonic::Response::new).ok_or_else(|| tonic::Status::unavailable("the stream ended"))
        })
        .await?;
    Ok(answers.ttl.max(0))
}

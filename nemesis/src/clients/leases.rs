//! Leases that are granted, kept alive for a while and then revoked or left alone, with keys that hang on them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use checker::leases::{Effect, LeaseCall, LeaseId, LeaseOutcome, LeaseRequest, LeasedChange};
use e2e::load::Seen;
use etcd::proto::etcdserverpb as pb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use tonic::transport::Channel;
use trace::OpId;
use types::Time;

use super::{Shared, Wanderer};

const TTL_S: (u64, u64) = (2, 8);
const KEYS_MAX: u64 = 3;
const KEPT_ALIVE_MAX: u64 = 5;

/// Of the leases that a client has left alone, so many may not be over yet.
pub(super) const LEFT_MAX: usize = 20;

/// At the end every lease is revoked, so that nothing changes the store any more. A client tries for so long.
const END_LIMIT: Duration = Duration::from_secs(10);

const PREFIX: &str = "lease/";

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Vec<LeaseCall> {
    let mut rng = shared.rng("leas", number);
    let mut wanderer = Wanderer::new(shared.clone(), number);
    let (mut calls, mut granted) = (Vec::new(), VecDeque::new());
    while !shared.stopped() {
        let (lease, ttl) = (new_lease(&shared), rng.between(TTL_S.0, TTL_S.1));
        let mut tenant = Tenant { wanderer: &mut wanderer, lease, calls: &mut calls, number };
        granted.push_back(lease);
        granted.drain(..granted.len().saturating_sub(LEFT_MAX));
        if !tenant.ask(LeaseRequest::Grant, ttl).await {
            wanderer.go_on().await;
            continue;
        }
        for key in 0..rng.between(1, KEYS_MAX) {
            tenant.attach(key).await;
        }
        for _ in 0..rng.below(KEPT_ALIVE_MAX) {
            // Now and then too late.
            shared.sleep(Duration::from_millis(rng.between(100, ttl * 1_100))).await;
            if !tenant.ask(LeaseRequest::KeepAlive, ttl).await {
                tenant.wanderer.go_on().await;
            }
        }
        if rng.below(3) == 0 {
            tenant.ask(LeaseRequest::Revoke, ttl).await;
        }
        shared.sleep(Duration::from_millis(rng.between(0, 500))).await;
    }
    let started = Instant::now();
    for lease in granted {
        let mut tenant = Tenant { wanderer: &mut wanderer, lease, calls: &mut calls, number };
        while !tenant.ask(LeaseRequest::Revoke, 0).await && started.elapsed() < END_LIMIT {
            tenant.wanderer.go_on().await;
        }
    }
    calls
}

/// Revokes leases that nobody counts on, each until that is answered.
pub(super) async fn end(wanderer: &mut Wanderer, leases: impl IntoIterator<Item = LeaseId>) {
    let started = Instant::now();
    for lease in leases {
        while ask(wanderer.channel.clone(), lease, LeaseRequest::Revoke, 0).await == LeaseOutcome::Unknown
            && started.elapsed() < END_LIMIT
        {
            wanderer.go_on().await;
        }
    }
}

fn new_lease(shared: &Shared) -> LeaseId {
    shared.number().cast_signed()
}

/// A client with a lease.
struct Tenant<'a> {
    wanderer: &'a mut Wanderer,
    lease: LeaseId,
    calls: &'a mut Vec<LeaseCall>,
    number: u64,
}

impl Tenant<'_> {
    /// Asks, and notes what came of it. Returns whether there was an answer.
    async fn ask(&mut self, request: LeaseRequest, ttl: u64) -> bool {
        let sent = self.wanderer.shared.now();
        let outcome = ask(self.wanderer.channel.clone(), self.lease, request, ttl).await;
        let answered = outcome != LeaseOutcome::Unknown;
        self.calls.push(LeaseCall {
            id: OpId((self.number + 1) << 32 | self.calls.len() as u64),
            lease: self.lease,
            request,
            sent,
            returned: answered.then(|| self.wanderer.shared.now()),
            outcome,
        });
        answered
    }

    /// Puts a key that goes when the lease ends. Whether it was put the watchers tell.
    async fn attach(&mut self, key: u64) {
        let put = pb::PutRequest {
            key: Bytes::from(format!("{PREFIX}{}/{key}", self.lease)),
            value: Bytes::from_static(b"held"),
            lease: self.lease,
            ..Default::default()
        };
        drop(KvClient::new(self.wanderer.channel.clone()).put(put).await);
    }
}

async fn ask(channel: Channel, lease: LeaseId, request: LeaseRequest, ttl: u64) -> LeaseOutcome {
    let mut client = LeaseClient::new(channel);
    let answered = match request {
        LeaseRequest::Grant => {
            let request = pb::LeaseGrantRequest { id: lease, ttl: ttl.cast_signed() };
            client.lease_grant(request).await.map(|answer| alive(answer.into_inner().ttl))
        }
        LeaseRequest::KeepAlive => keep_alive(&mut client, lease).await,
        LeaseRequest::Revoke => {
            let answer = client.lease_revoke(pb::LeaseRevokeRequest { id: lease }).await;
            answer.map(|answer| LeaseOutcome::Revoked {
                revision: answer.into_inner().header.map(|header| header.revision),
            })
        }
    };
    answered.unwrap_or_else(|status| match status.code() {
        tonic::Code::NotFound => LeaseOutcome::Gone,
        _ => LeaseOutcome::Unknown,
    })
}

async fn keep_alive(
    client: &mut LeaseClient<Channel>,
    lease: LeaseId,
) -> Result<LeaseOutcome, tonic::Status> {
    let request = tokio_stream::once(pb::LeaseKeepAliveRequest { id: lease });
    let answer = client.lease_keep_alive(request).await?.into_inner().message().await?;
    answer.map(|answer| alive(answer.ttl)).ok_or_else(|| tonic::Status::unknown("no answer"))
}

/// A time to live that is over says that there is no such lease.
fn alive(ttl: i64) -> LeaseOutcome {
    match u64::try_from(ttl) {
        Ok(ttl @ 1..) => LeaseOutcome::Alive { ttl: Duration::from_secs(ttl) },
        _ => LeaseOutcome::Gone,
    }
}

/// What became of a key that hangs on a lease: which one its name tells. No client deletes any.
pub(super) fn change(seen: &Seen) -> Option<LeasedChange> {
    let change = &seen.change;
    let lease = std::str::from_utf8(&change.key).ok()?.strip_prefix(PREFIX)?.split('/').next()?;
    let lease: LeaseId = lease.parse().ok()?;
    let effect = if change.value.is_some() { Effect::Put(Some(lease)) } else { Effect::Vanished };
    let at: Time = seen.at;
    Some(LeasedChange { revision: change.revision, key: change.key.clone(), effect, seen: Some(at) })
}

#[cfg(test)]
mod tests {
    use checker::Change;

    use super::*;

    #[test]
    fn a_key_tells_whose_it_is_and_vanishes_with_it() {
        let seen = |key: &'static str, value: Option<&'static str>| Seen {
            change: Change { revision: 5, key: key.into(), value: value.map(Into::into) },
            at: Time(9),
        };
        assert_eq!(change(&seen("lease/17/0", Some("held"))).unwrap().effect, Effect::Put(Some(17)));
        assert_eq!(change(&seen("lease/17/0", None)).unwrap().effect, Effect::Vanished);
        assert!(change(&seen("load/0017", Some("1"))).is_none());
    }
}

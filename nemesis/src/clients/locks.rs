//! Clients that hold locks, oversleep, and write all the same: only whoever still holds the lock may.
//!
//! A write is a transaction on the condition that the lock's key is still the one that the holder was given. So its
//! token, the revision of that key, has to be newer than all that were accepted before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use checker::leases::{FenceHistory, GuardedWrite, Hold, LeaseId, WriteOutcome};
use checker::{Answer, Call, Compare, Found, Outcome, Revision, Step};
use e2e::load::{Seen as SeenChange, send};
use etcd::proto::etcdserverpb as pb;
use etcd::proto::v3lockpb;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use trace::OpId;
use types::Rng;
use v3lockpb::lock_client::LockClient;

use super::leases::{LEFT_MAX, end};
use super::{Shared, Wanderer, client_id};

const LOCKS: u64 = 2;
/// Short, so that who oversleeps loses the lock.
const TTL_S: i64 = 3;
const WRITES_MAX: u64 = 4;

const FIRST_CLIENT: u64 = 4_000_000;

/// What one client has seen.
#[derive(Default)]
pub(super) struct Seen {
    holds: Vec<Held>,
    writes: Vec<GuardedWrite>,
}

/// A hold, its lock's key, and the revision at which the store said that it holds.
struct Held {
    hold: Hold,
    key: Bytes,
    from: Revision,
}

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Seen {
    let mut rng = shared.rng("lock", number);
    let mut wanderer = Wanderer::new(shared.clone(), number);
    let (mut seen, mut leases) = (Seen::default(), VecDeque::new());
    while !shared.stopped() {
        let lock = Bytes::from(format!("lock/{}", rng.below(LOCKS)));
        let lease = shared.number().cast_signed();
        leases.push_back(lease);
        leases.drain(..leases.len().saturating_sub(LEFT_MAX));
        match hold(&wanderer, number, &lock, lease, &seen).await {
            Ok(Some(held)) => {
                use_it(&wanderer, &mut rng, number, &held, &mut seen.writes).await;
                if rng.below(4) > 0 {
                    // Otherwise, or if that fails, it is left to its lease.
                    let unlock = v3lockpb::UnlockRequest { key: held.key.clone() };
                    drop(LockClient::new(wanderer.channel.clone()).unlock(unlock).await);
                }
                seen.holds.push(held);
            }
            Ok(None) => {}
            Err(_) => wanderer.go_on().await,
        }
        shared.sleep(Duration::from_millis(rng.between(0, 300))).await;
    }
    end(&mut wanderer, leases).await;
    seen
}

/// Waits for the lock with a lease of its own. `None` if it was lost again before its token was known.
async fn hold(
    wanderer: &Wanderer,
    number: u64,
    lock: &Bytes,
    lease: LeaseId,
    seen: &Seen,
) -> Result<Option<Held>, tonic::Status> {
    let grant = pb::LeaseGrantRequest { id: lease, ttl: TTL_S };
    LeaseClient::new(wanderer.channel.clone()).lease_grant(grant).await?;
    let asked = wanderer.shared.now();
    let request = v3lockpb::LockRequest { name: lock.clone(), lease };
    let answer = LockClient::new(wanderer.channel.clone()).lock(request).await?.into_inner();
    let granted = wanderer.shared.now();
    let mut kv = KvClient::new(wanderer.channel.clone());
    let Outcome::Answered { answer: Answer::One(Found::Get(Some(item))), .. } =
        send(&mut kv, &Call::get(answer.key.clone())).await
    else {
        return Ok(None);
    };
    let hold = Hold {
        id: OpId((number + 1) << 32 | seen.holds.len() as u64),
        lock: lock.clone(),
        client: client_id(FIRST_CLIENT, number),
        token: item.create_revision.unwrap_or_default(),
        asked,
        granted,
        held: None,
    };
    let from = answer.header.map_or(0, |header| header.revision);
    Ok(Some(Held { hold, key: answer.key, from }))
}

/// Writes some times what the lock guards, and sleeps too long before some.
async fn use_it(
    wanderer: &Wanderer,
    rng: &mut Rng,
    number: u64,
    held: &Held,
    writes: &mut Vec<GuardedWrite>,
) {
    let (lock, token) = (&held.hold.lock, held.hold.token);
    let guarded = [b"guarded/", &lock[..]].concat();
    for _ in 0..rng.between(1, WRITES_MAX) {
        let nap_ms = if rng.below(6) == 0 { TTL_S.unsigned_abs() * 1_500 } else { rng.below(200) };
        wanderer.shared.sleep(Duration::from_millis(nap_ms)).await;
        let call = Call::txn(
            vec![Compare::CreateRevision(held.key.clone(), token)],
            vec![Step::Put(guarded.clone().into(), token.to_string().into())],
            Vec::new(),
        );
        let asked = wanderer.shared.now();
        let outcome = match send(&mut KvClient::new(wanderer.channel.clone()), &call).await {
            Outcome::Answered { revision, answer: Answer::Txn { succeeded: true, .. } } => {
                WriteOutcome::Accepted(revision)
            }
            Outcome::Answered { .. } | Outcome::Refused => WriteOutcome::Refused,
            Outcome::Unknown => WriteOutcome::Unknown,
        };
        let (id, returned) =
            (OpId((number + 1) << 32 | 1 << 31 | writes.len() as u64), wanderer.shared.now());
        writes.push(GuardedWrite { id, lock: lock.clone(), token, asked, returned, outcome });
    }
}

/// Everything that was seen of locks; `changes` tell when each hold ended.
pub(super) fn fences(seen: Vec<Seen>, changes: &[SeenChange]) -> FenceHistory {
    let mut ends: BTreeMap<&Bytes, Vec<Revision>> = BTreeMap::new();
    for SeenChange { change, .. } in changes {
        if change.value.is_none() && change.key.starts_with(b"lock/") {
            ends.entry(&change.key).or_default().push(change.revision);
        }
    }
    let mut history = FenceHistory::default();
    for Seen { holds, writes } in seen {
        history.writes.extend(writes);
        history.holds.extend(holds.into_iter().map(|Held { mut hold, key, from }| {
            let end = ends.get(&key).and_then(|ends| ends.iter().find(|end| **end > hold.token).copied());
            // One that was over before its holder was told is none.
            let is_told_in_time = end.is_none_or(|end| end > from);
            hold.held = is_told_in_time.then_some((from, end));
            hold
        }));
    }
    history
}

#[cfg(test)]
mod tests {
    use checker::{Change, check_fences};
    use types::Time;

    use super::*;

    /// Client 1 holds from revision 6 with token 5, until its key is deleted at revision 9; client 2 from `from`.
    fn history(from: Revision) -> FenceHistory {
        let held = |number: u64, key: &'static str, token, from| Held {
            hold: Hold {
                id: OpId(number),
                lock: "lock/0".into(),
                client: client_id(FIRST_CLIENT, number),
                token,
                asked: Time(number),
                granted: Time(100),
                held: None,
            },
            key: key.into(),
            from,
        };
        let seen = [held(1, "lock/0/a", 5, 6), held(2, "lock/0/b", 7, from)];
        let seen = seen.into_iter().map(|held| Seen { holds: vec![held], writes: Vec::new() }).collect();
        let gone = Change { revision: 9, key: "lock/0/a".into(), value: None };
        fences(seen, &[SeenChange { change: gone, at: Time(50) }])
    }

    #[test]
    fn a_lock_is_held_until_its_key_is_deleted() {
        assert!(check_fences(&history(9)).holds());
        assert!(check_fences(&history(8)).violated());
    }
}

//! Good leases and good locks: servers with slow or fast clocks, late answers, lost answers, and clients that pause,
//! but never an early end or an old token.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use checker::leases::{
    ClockBound, Effect, FenceHistory, GuardedWrite, Hold, LeaseCall, LeaseHistory, LeaseId, LeaseOutcome,
    LeaseRequest, LeasedChange, WriteOutcome,
};
use checker::{ClientId, Revision};
use trace::OpId;
use types::{Rng, Time};

const DRIFT_PPM: u32 = 50_000;
const ERROR: u64 = 20;

/// What the store does at one moment.
enum Act {
    Put(Bytes, Option<LeaseId>),
    Delete(Bytes),
    End(LeaseId),
    Revoke(LeaseId, usize),
}

struct Leasing {
    rng: Rng,
    calls: Vec<LeaseCall>,
    acts: BTreeMap<(u64, u64), Act>,
    /// How much faster the server's clock runs.
    drift_ppm: u64,
}

/// A good history of leases.
pub fn leases(seed: u64) -> LeaseHistory {
    let mut rng = Rng::keyed(seed, &[31]);
    let drift_ppm = rng.between(0, u64::from(DRIFT_PPM));
    let count = rng.between(1, 8);
    let mut leasing = Leasing { rng, calls: Vec::new(), acts: BTreeMap::new(), drift_ppm };
    (1..=count as LeaseId).for_each(|lease| leasing.live(lease));
    let changes = leasing.execute();
    let clock = ClockBound { drift_ppm: DRIFT_PPM, error: Duration::from_nanos(ERROR) };
    LeaseHistory { calls: leasing.calls, changes, clock }
}

impl Leasing {
    fn at(&mut self, time: u64, act: Act) {
        let count = self.acts.len() as u64;
        self.acts.insert((time, count), act);
    }

    fn call(
        &mut self,
        lease: LeaseId,
        request: LeaseRequest,
        sent: u64,
        executed: u64,
        outcome: LeaseOutcome,
    ) {
        let lost = self.rng.chance_ppm(100_000);
        let returned = (!lost).then(|| Time(executed + self.rng.between(1, 200)));
        let outcome = if lost { LeaseOutcome::Unknown } else { outcome };
        let id = OpId(self.calls.len() as u64);
        self.calls.push(LeaseCall { id, lease, request, sent: Time(sent), returned, outcome });
    }

    /// The life of one lease: granted, kept alive for a while, then revoked or left to expire.
    fn live(&mut self, lease: LeaseId) {
        let ttl = self.rng.between(1_000, 4_000);
        let alive = LeaseOutcome::Alive { ttl: Duration::from_nanos(ttl) };
        let counted = ttl - ttl * self.drift_ppm / 1_000_000 - self.rng.below(ERROR);
        let mut sent = self.rng.below(3_000);
        let granted = sent + self.rng.between(1, 200);
        self.call(lease, LeaseRequest::Grant, sent, granted, alive);
        let mut deadline = granted + counted;
        for _ in 0..self.rng.below(6) {
            sent += self.rng.between(ttl / 4, ttl);
            let executed = sent + self.rng.between(1, 200);
            if executed >= deadline {
                self.call(lease, LeaseRequest::KeepAlive, sent, executed, LeaseOutcome::Gone);
                break;
            }
            self.call(lease, LeaseRequest::KeepAlive, sent, executed, alive);
            deadline = executed + counted;
        }
        let last = self.calls.iter().rev().find(|call| call.outcome != LeaseOutcome::Gone).unwrap().sent.0;
        let revoked = last + self.rng.between(201, 400);
        let mut end = deadline + self.rng.below(300);
        if self.rng.chance_ppm(400_000) && revoked < deadline {
            end = revoked;
            let sent = revoked - self.rng.between(1, 200);
            self.call(lease, LeaseRequest::Revoke, sent, end, LeaseOutcome::Revoked { revision: None });
            let call = self.calls.len() - 1;
            self.at(end, Act::Revoke(lease, call));
        } else {
            self.at(end, Act::End(lease));
        }
        for _ in 0..self.rng.between(1, 5) {
            let time = self.rng.between(granted + 1, end - 1);
            let key = Bytes::from(format!("k{}", self.rng.below(12)));
            let act = match self.rng.below(8) {
                0 => Act::Put(key, None),
                1 => Act::Delete(key),
                _ => Act::Put(key, Some(lease)),
            };
            self.at(time, act);
        }
    }

    fn execute(&mut self) -> Vec<LeasedChange> {
        let mut keys: BTreeMap<Bytes, Option<LeaseId>> = BTreeMap::new();
        let (mut revision, mut changes) = (1, Vec::new());
        for ((now, _), act) in std::mem::take(&mut self.acts) {
            let effects: Vec<(Bytes, Effect)> = match act {
                Act::Put(key, lease) => {
                    keys.insert(key.clone(), lease);
                    vec![(key, Effect::Put(lease))]
                }
                Act::Delete(key) => {
                    keys.remove(&key).map(|_| (key, Effect::DeletedByClient)).into_iter().collect()
                }
                Act::End(lease) => end(&mut keys, lease),
                Act::Revoke(lease, call) => {
                    let ended = end(&mut keys, lease);
                    if let LeaseOutcome::Revoked { revision: told } = &mut self.calls[call].outcome {
                        *told = Some(revision + Revision::from(!ended.is_empty()));
                    }
                    ended
                }
            };
            revision += Revision::from(!effects.is_empty());
            let seen = self.rng.chance_ppm(900_000).then(|| Time(now + self.rng.between(1, 100)));
            changes.extend(effects.into_iter().map(|(key, effect)| LeasedChange {
                revision,
                key,
                effect,
                seen,
            }));
        }
        changes
    }
}

fn end(keys: &mut BTreeMap<Bytes, Option<LeaseId>>, lease: LeaseId) -> Vec<(Bytes, Effect)> {
    let gone: BTreeSet<Bytes> =
        keys.iter().filter(|(_, owner)| **owner == Some(lease)).map(|(key, _)| key.clone()).collect();
    keys.retain(|key, _| !gone.contains(key));
    gone.into_iter().map(|key| (key, Effect::Vanished)).collect()
}

/// A good history of locks: clients queue up by the revision of their keys, pause, and write long after they have
/// lost the lock; what is guarded refuses tokens older than it has seen.
pub fn fences(seed: u64) -> FenceHistory {
    let mut rng = Rng::keyed(seed, &[32]);
    let mut history = FenceHistory::default();
    for lock in 0..rng.between(1, 3) {
        add_lock(&mut history, &mut rng, Bytes::from(format!("lock{lock}")));
    }
    history
}

/// One time unit is one revision.
fn add_lock(history: &mut FenceHistory, rng: &mut Rng, lock: Bytes) {
    let (mut token, mut free) = (1, 0);
    let mut writes = Vec::new();
    for client in 0..rng.between(2, 8) {
        token += rng.between(1, 60);
        let from = token.max(free);
        free = from + rng.between(5, 80);
        let granted = from + rng.between(1, 20);
        let id = OpId(history.holds.len() as u64);
        let held = rng.chance_ppm(800_000).then_some((from as Revision, Some(free as Revision)));
        let asked = Time(token - rng.between(1, 2));
        let (token, client) = (token as Revision, ClientId(client));
        history.holds.push(Hold {
            id,
            lock: lock.clone(),
            client,
            token,
            asked,
            granted: Time(granted),
            held,
        });
        for _ in 0..rng.below(4) {
            let asked = granted + rng.below(150);
            writes.push((asked + rng.between(1, 30), asked, token));
        }
    }
    writes.sort_unstable();
    let (mut newest, mut place) = (0, 0);
    let ordered = rng.chance_ppm(500_000);
    for (executed, asked, token) in writes {
        let mut outcome = WriteOutcome::Refused;
        if token >= newest {
            (newest, place) = (token, place + 1);
            outcome = WriteOutcome::Accepted(ordered.then_some(place));
        }
        let id = OpId(1_000 + history.writes.len() as u64);
        let returned = Time(executed + rng.between(1, 30));
        history.writes.push(GuardedWrite {
            id,
            lock: lock.clone(),
            token,
            asked: Time(asked),
            returned,
            outcome,
        });
    }
}

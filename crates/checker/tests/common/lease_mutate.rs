//! Changes to good leases and locks that no correct store could have caused.

use std::time::Duration;

use checker::leases::{
    ClockBound, Effect, FenceHistory, GuardedWrite, LeaseHistory, LeaseId, LeaseOutcome, LeaseRequest,
    LeasedChange, WriteOutcome,
};
use checker::{ClientId, Revision};
use types::{Rng, Time};

use super::table::{Spoiler, one, spoiler};

pub const LEASE_SPOILERS: &[Spoiler<LeaseHistory>] = &[
    spoiler("lease ends before its time", early_end),
    spoiler("lease promised longer than it lived", longer_promise),
    spoiler("keepalive sent later than it was", later_keepalive),
    spoiler("lease that nobody revoked ends", revoke_forgotten),
    spoiler("clocks said to be better than they are", better_clock),
    spoiler("one key outlives the others", left_behind),
    spoiler("one key goes before the others", gone_before),
    spoiler("keys outlive a revocation", outlived_revocation),
    spoiler("key attached after the end", attached_late),
    spoiler("key attached after a revocation", attached_after_revocation),
    spoiler("keepalive answered after the end", came_back),
    spoiler("key without a lease vanishes", vanished),
];

pub const FENCE_SPOILERS: &[Spoiler<FenceHistory>] = &[
    spoiler("token used twice", token_twice),
    spoiler("token older than one granted before", old_token),
    spoiler("lock held by two", held_twice),
    spoiler("lock never released", never_released),
    spoiler("refused write accepted", refused_accepted),
    spoiler("accepted writes in the other order", exchanged_writes),
    spoiler("old token accepted in real time", old_token_later),
];

/// The end of a lease that nobody revoked, as somebody saw it: lease, revision, when, and the last promise.
fn expiries(history: &LeaseHistory) -> Vec<(LeaseId, Revision, Time, usize)> {
    let mut found = Vec::new();
    for changes in history.changes.chunk_by(|a, b| a.revision == b.revision) {
        let Some(change) = changes.iter().find(|change| change.effect == Effect::Vanished) else { continue };
        let Some((lease, seen)) = lease_of(history, change).zip(change.seen) else { continue };
        let calls = || history.calls.iter().enumerate().filter(move |(_, call)| call.lease == lease);
        let revoked = calls().any(|(_, call)| call.request == LeaseRequest::Revoke);
        let promises = calls().filter(|(_, call)| matches!(call.outcome, LeaseOutcome::Alive { .. }));
        let last = promises
            .filter(|(_, call)| call.sent < seen)
            .max_by_key(|(_, call)| deadline(history, call.sent, call.outcome));
        if let (false, Some((last, _))) = (revoked, last) {
            found.push((lease, change.revision, seen, last));
        }
    }
    found
}

fn deadline(history: &LeaseHistory, sent: Time, outcome: LeaseOutcome) -> Time {
    match outcome {
        LeaseOutcome::Alive { ttl } => sent + history.clock.certain(ttl),
        _ => Time(0),
    }
}

/// The lease that the key of `change` belonged to before.
fn lease_of(history: &LeaseHistory, change: &LeasedChange) -> Option<LeaseId> {
    let earlier = history.changes.iter().rev().filter(|other| other.key == change.key);
    let before = earlier.into_iter().find(|other| other.revision < change.revision)?;
    match before.effect {
        Effect::Put(lease) => lease,
        Effect::DeletedByClient | Effect::Vanished => None,
    }
}

fn early_end(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let (_, revision, _, call) = one(rng, expiries(history))?;
    let call = &history.calls[call];
    let end = deadline(history, call.sent, call.outcome);
    let early = Time(call.sent.0 + 1 + rng.below(end.0 - call.sent.0 - 1));
    let mut spoiled = history.clone();
    spoiled
        .changes
        .iter_mut()
        .filter(|change| change.revision == revision)
        .for_each(|change| change.seen = Some(early));
    Some(spoiled)
}

fn longer_promise(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let (_, _, seen, call) = one(rng, expiries(history))?;
    let mut spoiled = history.clone();
    let ttl = Duration::from_nanos((seen.0 - history.calls[call].sent.0) * 2);
    spoiled.calls[call].outcome = LeaseOutcome::Alive { ttl };
    Some(spoiled)
}

fn later_keepalive(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let (_, _, seen, call) = one(rng, expiries(history))?;
    let mut spoiled = history.clone();
    spoiled.calls[call].sent = Time(seen.0 - 1);
    Some(spoiled)
}

/// A lease that was revoked before its time, without the revocation.
fn revoke_forgotten(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let mut places = Vec::new();
    for (index, revoke) in
        history.calls.iter().enumerate().filter(|(_, call)| call.request == LeaseRequest::Revoke)
    {
        let mut without = history.clone();
        without.calls.remove(index);
        let early = expiries(&without).into_iter().any(|(lease, _, seen, call)| {
            let call = &without.calls[call];
            lease == revoke.lease && seen < deadline(history, call.sent, call.outcome)
        });
        if early {
            places.push(without);
        }
    }
    one(rng, places)
}

/// A lease that ended within the error of the clocks, under a claim that they have none.
fn better_clock(history: &LeaseHistory, _: &mut Rng) -> Option<LeaseHistory> {
    let mut spoiled = history.clone();
    spoiled.clock = ClockBound::default();
    let early = expiries(&spoiled).into_iter().any(|(_, _, seen, call)| {
        let call = &spoiled.calls[call];
        seen < deadline(&spoiled, call.sent, call.outcome)
    });
    early.then_some(spoiled)
}

/// Ends of leases with several keys: where they stand in the changes.
fn ends(history: &LeaseHistory, keys_min: usize) -> Vec<std::ops::Range<usize>> {
    let (mut found, mut at) = (Vec::new(), 0);
    for changes in history.changes.chunk_by(|a, b| a.revision == b.revision) {
        let range = at..at + changes.len();
        at = range.end;
        if changes.iter().all(|change| change.effect == Effect::Vanished) && changes.len() >= keys_min {
            found.push(range);
        }
    }
    found
}

fn left_behind(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let end = one(rng, ends(history, 2))?;
    let mut spoiled = history.clone();
    let left = one(rng, end.collect())?;
    spoiled.changes.remove(left);
    Some(spoiled)
}

fn gone_before(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let end = one(rng, ends(history, 2))?;
    let mut spoiled = history.clone();
    spoiled.changes[end.start + 1..].iter_mut().for_each(|change| change.revision += 1);
    Some(spoiled)
}

/// Answered revocations that name a revision, with the keys that went then.
fn revocations(history: &LeaseHistory) -> Vec<(LeaseId, Revision)> {
    let revoked = history.calls.iter().filter_map(|call| match call.outcome {
        LeaseOutcome::Revoked { revision } => Some((call.lease, revision?)),
        _ => None,
    });
    revoked.collect()
}

fn outlived_revocation(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let keys = |lease: LeaseId, revision: Revision| {
        let at = history
            .changes
            .iter()
            .filter(move |change| change.revision == revision && change.effect == Effect::Vanished);
        at.filter(move |change| lease_of(history, change) == Some(lease)).count()
    };
    let revoked = revocations(history).into_iter().filter(|(lease, revision)| keys(*lease, *revision) > 0);
    let (_, revision) = one(rng, revoked.collect())?;
    let mut spoiled = history.clone();
    spoiled.changes.retain(|change| change.revision != revision);
    Some(spoiled)
}

fn attach(history: &LeaseHistory, lease: LeaseId) -> LeaseHistory {
    let mut spoiled = history.clone();
    let revision = history.changes.last().map_or(1, |last| last.revision) + 1;
    let effect = Effect::Put(Some(lease));
    spoiled.changes.push(LeasedChange { revision, key: "late".into(), effect, seen: None });
    spoiled
}

fn attached_late(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let end = one(rng, ends(history, 1))?;
    let lease = lease_of(history, &history.changes[end.start])?;
    Some(attach(history, lease))
}

fn attached_after_revocation(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let (lease, _) = one(rng, revocations(history))?;
    Some(attach(history, lease))
}

fn came_back(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let (_, _, seen, call) = one(rng, expiries(history))?;
    let mut spoiled = history.clone();
    let mut late = history.calls[call].clone();
    (late.request, late.sent, late.returned) =
        (LeaseRequest::KeepAlive, Time(seen.0 + 1), Some(Time(seen.0 + 9)));
    spoiled.calls.push(late);
    Some(spoiled)
}

fn vanished(history: &LeaseHistory, rng: &mut Rng) -> Option<LeaseHistory> {
    let free = |index: &usize| {
        let change = &history.changes[*index];
        change.effect == Effect::DeletedByClient && lease_of(history, change).is_none()
    };
    let place = one(rng, (0..history.changes.len()).filter(free).collect())?;
    let mut spoiled = history.clone();
    spoiled.changes[place].effect = Effect::Vanished;
    Some(spoiled)
}

/// Two holds of one lock, the first of which was granted before the second was asked for.
fn two_holds(history: &FenceHistory) -> Vec<(usize, usize)> {
    let all = || 0..history.holds.len();
    let pairs = all().flat_map(|first| all().map(move |second| (first, second)));
    pairs
        .filter(|(first, second)| {
            let (first, second) = (&history.holds[*first], &history.holds[*second]);
            first.lock == second.lock && first.granted < second.asked
        })
        .collect()
}

fn token_twice(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let (first, second) = one(rng, two_holds(history))?;
    let mut spoiled = history.clone();
    spoiled.holds[second].token = spoiled.holds[first].token;
    Some(spoiled)
}

fn old_token(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let (first, second) = one(rng, two_holds(history))?;
    let mut spoiled = history.clone();
    spoiled.holds[second].token = spoiled.holds[first].token - 1;
    Some(spoiled)
}

fn held_twice(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let known = history.holds.iter().filter(|hold| hold.held.is_some()).collect();
    let hold = one(rng, known)?;
    let mut spoiled = history.clone();
    let mut other = hold.clone();
    (other.token, other.client) = (1_000_000, ClientId(99));
    (other.asked, other.granted) = (Time(1_000_000), Time(1_000_001));
    other.held = hold.held.map(|(from, until)| (from + 1, until));
    spoiled.holds.push(other);
    Some(spoiled)
}

fn never_released(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let later = |index: &usize| {
        let hold = &history.holds[*index];
        let mut others =
            history.holds.iter().filter(|other| other.lock == hold.lock && other.token > hold.token);
        hold.held.is_some() && others.any(|other| other.held.is_some())
    };
    let place = one(rng, (0..history.holds.len()).filter(later).collect())?;
    let mut spoiled = history.clone();
    spoiled.holds[place].held = history.holds[place].held.map(|(from, _)| (from, None));
    Some(spoiled)
}

fn accepted(write: &GuardedWrite) -> bool {
    matches!(write.outcome, WriteOutcome::Accepted(_))
}

/// A write that was asked after one with a newer token had been accepted is accepted itself.
fn refused_accepted(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let old = |index: &usize| {
        let write = &history.writes[*index];
        let mut others = history.writes.iter().filter(|other| accepted(other) && other.lock == write.lock);
        !accepted(write) && others.any(|other| other.token > write.token && other.returned < write.asked)
    };
    let place = one(rng, (0..history.writes.len()).filter(old).collect())?;
    let mut spoiled = history.clone();
    spoiled.writes[place].outcome = WriteOutcome::Accepted(None);
    Some(spoiled)
}

fn exchanged_writes(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let ordered = |write: &GuardedWrite| matches!(write.outcome, WriteOutcome::Accepted(Some(_)));
    let mut places = Vec::new();
    for (first, a) in history.writes.iter().enumerate().filter(|(_, write)| ordered(write)) {
        let others = history.writes.iter().enumerate().filter(|(_, b)| ordered(b) && b.lock == a.lock);
        places.extend(others.filter(|(_, b)| b.token > a.token).map(|(second, _)| (first, second)));
    }
    let (first, second) = one(rng, places)?;
    let mut spoiled = history.clone();
    let outcome = spoiled.writes[first].outcome;
    spoiled.writes[first].outcome = spoiled.writes[second].outcome;
    spoiled.writes[second].outcome = outcome;
    Some(spoiled)
}

fn old_token_later(history: &FenceHistory, rng: &mut Rng) -> Option<FenceHistory> {
    let place =
        one(rng, (0..history.writes.len()).filter(|index| accepted(&history.writes[*index])).collect())?;
    let mut spoiled = history.clone();
    let mut late = history.writes[place].clone();
    (late.asked, late.returned) = (Time(1_000_000), Time(1_000_001));
    (late.token, late.outcome) = (late.token - 1, WriteOutcome::Accepted(None));
    spoiled.writes.push(late);
    Some(spoiled)
}

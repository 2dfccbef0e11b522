//! Every rule, in the fewest calls and changes that break it.

use super::*;
use crate::ClientId;

const LEASE: LeaseId = 7;

fn call(id: u64, request: LeaseRequest, sent: u64, outcome: LeaseOutcome) -> LeaseCall {
    LeaseCall {
        id: OpId(id),
        lease: LEASE,
        request,
        sent: Time(sent),
        returned: Some(Time(sent + 5)),
        outcome,
    }
}

fn alive(ttl: u64) -> LeaseOutcome {
    LeaseOutcome::Alive { ttl: Duration::from_nanos(ttl) }
}

fn change(revision: Revision, key: &'static str, effect: Effect, seen: u64) -> LeasedChange {
    LeasedChange { revision, key: key.into(), effect, seen: Some(Time(seen)) }
}

/// Granted at 0 for 100, kept alive at 50; keys `a` and `b`, which vanish when `seen`.
fn history(seen: u64) -> LeaseHistory {
    LeaseHistory {
        calls: vec![
            call(1, LeaseRequest::Grant, 0, alive(100)),
            call(2, LeaseRequest::KeepAlive, 50, alive(100)),
        ],
        changes: vec![
            change(2, "a", Effect::Put(Some(LEASE)), 10),
            change(3, "b", Effect::Put(Some(LEASE)), 20),
            change(4, "a", Effect::Vanished, seen),
            change(4, "b", Effect::Vanished, seen),
        ],
        clock: ClockBound::default(),
    }
}

fn broken(history: &LeaseHistory) -> &'static str {
    let verdict = check_leases(history);
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

#[test]
fn k1_a_lease_lives_as_long_as_was_promised() {
    assert_eq!(check_leases(&history(150)), Verdict::Holds);
    assert_eq!(
        check_leases(&history(149)).to_string(),
        "lease ended early: expected lease 7 alive until 0.000150ms, as operation 2, sent at 0.000050ms, was promised \
         100ns; found its keys gone at revision 4, seen at 0.000149ms"
    );
    let mut fast = history(141);
    fast.clock = ClockBound { drift_ppm: 50_000, error: Duration::from_nanos(4) };
    assert_eq!(check_leases(&fast), Verdict::Holds);
    fast.changes[2].seen = Some(Time(140));
    assert_eq!(broken(&fast), "lease ended early");
}

#[test]
fn a_lost_keepalive_promises_nothing_and_a_revocation_ends_it() {
    let mut lost = history(120);
    lost.calls[1].outcome = LeaseOutcome::Unknown;
    assert_eq!(check_leases(&lost), Verdict::Holds);
    let mut revoked = history(60);
    revoked.calls.push(call(3, LeaseRequest::Revoke, 55, LeaseOutcome::Unknown));
    assert_eq!(check_leases(&revoked), Verdict::Holds);
    revoked.calls[2].sent = Time(61);
    assert_eq!(broken(&revoked), "lease ended early");
}

#[test]
fn k2_all_keys_go_at_one_revision() {
    let mut parts = history(200);
    parts.changes[3].revision = 5;
    assert_eq!(broken(&parts), "lease ended in parts");
    parts.changes.pop();
    assert_eq!(broken(&parts), "lease ended in parts");
    parts.changes[1].effect = Effect::Put(None);
    assert_eq!(check_leases(&parts), Verdict::Holds, "b belongs to no lease");
}

#[test]
fn k3_nothing_outlives_a_revocation() {
    let mut revoked = history(60);
    revoked.calls.push(call(3, LeaseRequest::Revoke, 55, LeaseOutcome::Revoked { revision: Some(4) }));
    assert_eq!(check_leases(&revoked), Verdict::Holds);
    revoked.calls[2].outcome = LeaseOutcome::Revoked { revision: Some(3) };
    assert_eq!(broken(&revoked), "key outlived its lease");
}

#[test]
fn k4_and_k5_who_deletes_and_what_is_over() {
    let mut vanished = history(200);
    vanished.changes.push(change(5, "c", Effect::Vanished, 210));
    assert_eq!(broken(&vanished), "key vanished without a lease");
    let mut dead = history(200);
    dead.changes.push(change(5, "c", Effect::Put(Some(LEASE)), 210));
    assert_eq!(broken(&dead), "key attached to a dead lease");
    let mut back = history(200);
    back.calls.push(call(3, LeaseRequest::KeepAlive, 201, alive(100)));
    assert_eq!(broken(&back), "lease came back");
    back.calls[2].outcome = LeaseOutcome::Gone;
    assert_eq!(check_leases(&back), Verdict::Holds);
}

fn hold(id: u64, token: Revision, asked: u64, held: (Revision, Option<Revision>)) -> Hold {
    Hold {
        id: OpId(id),
        lock: "l".into(),
        client: ClientId(id),
        token,
        asked: Time(asked),
        granted: Time(asked + 5),
        held: Some(held),
    }
}

fn write(id: u64, token: Revision, asked: u64, outcome: WriteOutcome) -> GuardedWrite {
    GuardedWrite {
        id: OpId(id),
        lock: "l".into(),
        token,
        asked: Time(asked),
        returned: Time(asked + 5),
        outcome,
    }
}

fn fenced(holds: Vec<Hold>, writes: Vec<GuardedWrite>) -> Verdict {
    check_fences(&FenceHistory { holds, writes })
}

fn rule(verdict: &Verdict) -> &'static str {
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

#[test]
fn f1_and_f3_tokens_grow_and_holds_do_not_overlap() {
    let held = |first: (Revision, Option<Revision>), second| {
        fenced(vec![hold(1, 5, 0, first), hold(2, second, 10, (9, None))], vec![])
    };
    assert_eq!(held((5, Some(9)), 8), Verdict::Holds);
    assert_eq!(rule(&held((5, Some(10)), 8)), "lock held twice");
    assert_eq!(rule(&held((5, None), 8)), "lock held twice");
    assert_eq!(rule(&held((5, Some(9)), 5)), "fencing token used twice");
    assert_eq!(rule(&held((5, Some(9)), 4)), "fencing token not newer");
}

/// The lock without a fence that a pause breaks: the first holder writes after the second.
#[test]
fn f2_an_old_token_is_refused_once_a_newer_one_was_accepted() {
    let late = |outcome| {
        let writes = vec![write(1, 8, 20, WriteOutcome::Accepted(None)), write(2, 5, 30, outcome)];
        fenced(vec![], writes)
    };
    assert_eq!(late(WriteOutcome::Refused), Verdict::Holds);
    assert_eq!(late(WriteOutcome::Unknown), Verdict::Holds);
    assert_eq!(
        late(WriteOutcome::Accepted(None)).to_string(),
        "old fencing token accepted: expected a token for l not older than 8, which had been accepted; found token 5"
    );
    let concurrent = |places: [Revision; 2]| {
        let accepted = places.map(|place| WriteOutcome::Accepted(Some(place)));
        fenced(vec![], vec![write(1, 8, 20, accepted[0]), write(2, 5, 20, accepted[1])])
    };
    assert_eq!(concurrent([2, 1]), Verdict::Holds);
    assert_eq!(rule(&concurrent([1, 2])), "old fencing token accepted");
}

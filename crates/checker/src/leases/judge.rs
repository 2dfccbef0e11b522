//! The store's changes replayed: which keys hang on which lease, and how each lease ended.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use trace::OpId;
use types::Time;

use super::{Effect, LeaseCall, LeaseHistory, LeaseId, LeaseOutcome, LeaseRequest, LeasedChange};
use crate::history::Text;
use crate::{Revision, Violation};

/// A broken rule, or none.
type Judged = Result<(), Box<Violation>>;

pub(super) fn judge(history: &LeaseHistory) -> Judged {
    let mut judge = Judge::new(history);
    for changes in history.changes.chunk_by(|a, b| a.revision == b.revision) {
        judge.replay(changes)?;
    }
    judge.check_revocations()?;
    judge.check_ends()
}

struct Judge<'h> {
    history: &'h LeaseHistory,
    calls: BTreeMap<LeaseId, Vec<&'h LeaseCall>>,
    /// By key: the lease that it belongs to.
    attached: BTreeMap<&'h Bytes, LeaseId>,
    /// By lease: the keys that belong to it.
    keys: BTreeMap<LeaseId, BTreeSet<&'h Bytes>>,
    ends: BTreeMap<LeaseId, End>,
    /// By lease: spans of revisions in which a key belonged to it; the second is open while it does.
    spans: BTreeMap<LeaseId, Vec<Span<'h>>>,
}

#[derive(Clone, Copy)]
struct End {
    revision: Revision,
    /// The first time that somebody knew of it.
    seen: Option<Time>,
}

struct Span<'h> {
    key: &'h Bytes,
    from: Revision,
    to: Option<Revision>,
}

impl<'h> Judge<'h> {
    fn new(history: &'h LeaseHistory) -> Judge<'h> {
        let mut calls: BTreeMap<LeaseId, Vec<&LeaseCall>> = BTreeMap::new();
        history.calls.iter().for_each(|call| calls.entry(call.lease).or_default().push(call));
        Judge {
            history,
            calls,
            attached: BTreeMap::new(),
            keys: BTreeMap::new(),
            ends: BTreeMap::new(),
            spans: BTreeMap::new(),
        }
    }

    fn calls(&self, lease: LeaseId) -> &[&'h LeaseCall] {
        self.calls.get(&lease).map_or(&[], |calls| &calls[..])
    }

    /// All that happened at one revision.
    fn replay(&mut self, changes: &'h [LeasedChange]) -> Judged {
        let revision = changes[0].revision;
        let mut ending: BTreeMap<LeaseId, Option<Time>> = BTreeMap::new();
        for change in changes {
            let lease = self.detach(&change.key, revision);
            match (change.effect, lease) {
                (Effect::Put(Some(lease)), _) => self.attach(&change.key, lease, revision)?,
                (Effect::Put(None) | Effect::DeletedByClient, _) => {}
                (Effect::Vanished, Some(lease)) => {
                    let seen = ending.entry(lease).or_insert(change.seen);
                    *seen = seen.iter().copied().chain(change.seen).min();
                }
                (Effect::Vanished, None) => {
                    let expected = format!("{} deleted by clients only", Text(&change.key));
                    let found = format!("deleted at revision {revision}, and nobody had asked for that");
                    return broken("key vanished without a lease", expected, found, None);
                }
            }
        }
        ending.into_iter().try_for_each(|(lease, seen)| self.end(lease, End { revision, seen }))
    }

    fn attach(&mut self, key: &'h Bytes, lease: LeaseId, revision: Revision) -> Judged {
        if let Some(end) = self.ends.get(&lease) {
            let expected =
                format!("nothing attached to lease {lease}, which ended at revision {}", end.revision);
            let found = format!("{} at revision {revision}", Text(key));
            return broken("key attached to a dead lease", expected, found, None);
        }
        self.attached.insert(key, lease);
        self.keys.entry(lease).or_default().insert(key);
        self.spans.entry(lease).or_default().push(Span { key, from: revision, to: None });
        Ok(())
    }

    fn detach(&mut self, key: &Bytes, revision: Revision) -> Option<LeaseId> {
        let lease = self.attached.remove(key)?;
        self.keys.entry(lease).or_default().remove(key);
        let spans = self.spans.entry(lease).or_default();
        if let Some(span) = spans.iter_mut().rev().find(|span| span.key == key) {
            span.to = Some(revision);
        }
        Some(lease)
    }

    /// K1 and K2: `lease` lost keys that no client deleted.
    fn end(&mut self, lease: LeaseId, end: End) -> Judged {
        if let Some(left) = self.keys.get(&lease).and_then(BTreeSet::first) {
            let expected = format!("all keys of lease {lease} deleted at revision {}", end.revision);
            return broken("lease ended in parts", expected, format!("{} is still there", Text(left)), None);
        }
        self.ends.insert(lease, end);
        let Some(seen) = end.seen else { return Ok(()) };
        let revoked = |call: &LeaseCall| {
            call.request == LeaseRequest::Revoke
                && call.sent < seen
                && matches!(call.outcome, LeaseOutcome::Revoked { .. } | LeaseOutcome::Unknown)
        };
        if self.calls(lease).iter().any(|call| revoked(call)) {
            return Ok(());
        }
        let sent_before = self.calls(lease).iter().filter(|call| call.sent < seen);
        let deadlines = sent_before.filter_map(|call| {
            let ttl = ttl(call)?;
            Some((call.sent + self.history.clock.certain(ttl), ttl, *call))
        });
        match deadlines.max_by_key(|(deadline, ..)| *deadline) {
            Some((deadline, ttl, call)) if seen < deadline => {
                let sent = call.sent;
                let expected = format!(
                    "lease {lease} alive until {deadline:?}, as operation {}, sent at {sent:?}, was promised {ttl:?}",
                    call.id.0
                );
                let found = format!("its keys gone at revision {}, seen at {seen:?}", end.revision);
                broken("lease ended early", expected, found, Some(call.id))
            }
            _ => Ok(()),
        }
    }

    /// K3.
    fn check_revocations(&self) -> Judged {
        for call in &self.history.calls {
            let LeaseOutcome::Revoked { revision: Some(revision) } = call.outcome else { continue };
            let spans = self.spans.get(&call.lease).into_iter().flatten();
            let mut left = spans.filter(|span| span.to.is_none_or(|to| to > revision));
            if let Some(span) = left.next() {
                let expected =
                    format!("nothing attached to lease {}, revoked at revision {revision}", call.lease);
                let until = span.to.map_or("the end".to_owned(), |to| format!("revision {to}"));
                let found = format!("{} attached from revision {} to {until}", Text(span.key), span.from);
                return broken("key outlived its lease", expected, found, Some(call.id));
            }
        }
        Ok(())
    }

    /// K5 for requests.
    fn check_ends(&self) -> Judged {
        for (lease, end) in &self.ends {
            let Some(seen) = end.seen else { continue };
            let mut later = self.calls(*lease).iter().filter(|call| call.sent > seen);
            if let Some(call) = later.find(|call| ttl(call).is_some()) {
                let expected = format!("lease {lease} over, as it was seen to be at {seen:?}");
                let found = format!("alive by operation {}, sent at {:?}", call.id.0, call.sent);
                return broken("lease came back", expected, found, Some(call.id));
            }
        }
        Ok(())
    }
}

/// The time to live that an answer promises.
fn ttl(call: &LeaseCall) -> Option<Duration> {
    match call.outcome {
        LeaseOutcome::Alive { ttl } => Some(ttl),
        _ => None,
    }
}

fn broken(rule: &'static str, expected: String, found: String, op: Option<OpId>) -> Judged {
    Err(Box::new(Violation { rule, expected, found, ops: op.into_iter().collect() }))
}

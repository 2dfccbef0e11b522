//! What is made of the evidence: every checker that fits, one line each. To plug one in, add it to [`CHECKS`].

use std::collections::BTreeMap;
use std::time::Instant;

use checker::cycles::Transactions;
use checker::leases::{FenceHistory, LeaseHistory};
use checker::watch::{Timeline, Watch};
use checker::{Answer, FinalState, Found, History, Outcome, Replicas, Verdict};
use e2e::load::FINAL_READER;
use serde::Serialize;

/// Everything that clients have seen.
#[derive(Debug, Default)]
pub struct Evidence {
    /// What the load saw.
    pub history: History,
    /// Whether the watchers of everything have seen the end: without, nobody knows which revisions are others'.
    pub is_complete: bool,
    /// What the clients of lists saw.
    pub lists: Transactions,
    /// The changes of all keys that `watches` asked for.
    pub timeline: Timeline,
    /// What the watches heard.
    pub watches: Vec<Watch>,
    /// What became of leases.
    pub leases: LeaseHistory,
    /// Who held locks when, and wrote.
    pub fences: FenceHistory,
    /// Digests of every node's state.
    pub replicas: Replicas,
    /// Nodes that did not tell their state at the end.
    pub silent_replicas: Vec<usize>,
}

impl Evidence {
    /// A history that was written down, and nothing else.
    pub fn of(history: History) -> Evidence {
        Evidence { history, is_complete: true, ..Evidence::default() }
    }
}

/// A checker.
struct Check {
    name: &'static str,
    /// How much it has to judge; without anything it is not asked.
    size: fn(&Evidence) -> usize,
    judge: fn(&Evidence) -> Verdict,
}

/// Some seconds: many unknown outcomes on few keys may need for ever.
const C2_STEPS_MIN: u64 = 2_000_000;

/// Enough for a history in which nearly everything is answered.
const C2_STEPS_PER_OPERATION: u64 = 10;

/// The one check that is a search, and may end without an answer: C1 decides more than it does.
const C2: &str = "C2 linearizable by group of keys";

/// Longer histories are not searched: C1 judges them, and more strictly.
const C2_OPERATIONS_MAX: usize = 2_000_000;

const CHECKS: &[Check] = &[
    Check { name: "C1 strictly serializable in revision order", size: operations, judge: revisions },
    Check { name: C2, size: operations, judge: linearizable },
    Check { name: "C4 no circles among reads and writes", size: operations, judge: registers },
    Check {
        name: "C4 no circles among transactions on lists",
        size: |evidence| evidence.lists.list.len(),
        judge: |evidence| checker::check_cycles(&evidence.lists),
    },
    Check { name: "C5 watches tell the history", size: events, judge: watches },
    Check {
        name: "C6 leases live as long as promised",
        size: |evidence| evidence.leases.calls.len(),
        judge: leases,
    },
    Check {
        name: "C6 fencing tokens keep old holders out",
        size: |evidence| evidence.fences.holds.len() + evidence.fences.writes.len(),
        judge: |evidence| checker::check_fences(&evidence.fences),
    },
    Check { name: "C9 replicas are equal", size: |evidence| evidence.replicas.len(), judge: replicas },
    Check { name: "C10 everything acknowledged is there", size: operations, judge: ledger },
];

/// What one checker said.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The checker's number and claim.
    pub check: &'static str,
    /// `holds`, `violated` or `undecided`.
    pub verdict: &'static str,
    /// Why, unless it holds.
    pub why: String,
    /// How much it judged: operations, transactions, messages, calls, holds and writes, or points of comparison.
    pub size: usize,
    /// How long it took.
    pub seconds: f64,
}

impl Judgement {
    /// Whether somebody has to know more before anything can be called good.
    pub fn is_open(&self) -> bool {
        self.verdict == "undecided" && self.check != C2
    }

    /// Whether a promise is broken.
    pub fn is_violated(&self) -> bool {
        self.verdict == "violated"
    }
}

/// Asks every checker that has something to judge.
pub fn judge(evidence: &Evidence) -> Vec<Judgement> {
    CHECKS.iter().filter(|check| (check.size)(evidence) > 0).map(|check| check.run(evidence)).collect()
}

impl Check {
    fn run(&self, evidence: &Evidence) -> Judgement {
        let started = Instant::now();
        let verdict = (self.judge)(evidence);
        let (word, why) = match &verdict {
            Verdict::Holds => ("holds", String::new()),
            Verdict::Violated(violation) => ("violated", violation.explain(&evidence.history).to_string()),
            Verdict::Undecided { reason } => ("undecided", reason.clone()),
        };
        let (size, seconds) = ((self.size)(evidence), started.elapsed().as_secs_f64());
        Judgement { check: self.name, verdict: word, why, size, seconds }
    }
}

fn operations(evidence: &Evidence) -> usize {
    evidence.history.operations().len()
}

fn events(evidence: &Evidence) -> usize {
    evidence.watches.iter().flat_map(|watch| &watch.streams).map(|stream| stream.heard.len()).sum()
}

/// The judgement of what needs all changes of the store.
fn if_complete(evidence: &Evidence, judge: impl FnOnce() -> Verdict) -> Verdict {
    match evidence.is_complete {
        true => judge(),
        false => undecided("the watchers did not see the end".to_owned()),
    }
}

fn undecided(reason: String) -> Verdict {
    Verdict::Undecided { reason }
}

fn revisions(evidence: &Evidence) -> Verdict {
    if_complete(evidence, || checker::check_revisions(&evidence.history))
}

fn registers(evidence: &Evidence) -> Verdict {
    if_complete(evidence, || checker::check_history_cycles(&evidence.history))
}

fn linearizable(evidence: &Evidence) -> Verdict {
    let history = &evidence.history;
    let count = history.operations().len();
    if count > C2_OPERATIONS_MAX {
        return undecided(format!("{count} operations are more than the {C2_OPERATIONS_MAX} it searches"));
    }
    let steps = C2_STEPS_MIN + C2_STEPS_PER_OPERATION * count as u64;
    if_complete(evidence, || checker::check_linearizable(history, steps))
}

fn watches(evidence: &Evidence) -> Verdict {
    if_complete(evidence, || {
        let verdicts = evidence.watches.iter().map(|watch| checker::check_watch(&evidence.timeline, watch));
        verdicts.into_iter().find(|verdict| !verdict.holds()).unwrap_or(Verdict::Holds)
    })
}

fn leases(evidence: &Evidence) -> Verdict {
    if_complete(evidence, || checker::check_leases(&evidence.leases))
}

/// Wherever two replicas were read at one revision, and at the end all of them.
fn replicas(evidence: &Evidence) -> Verdict {
    let verdict = checker::check_replicas(&evidence.replicas);
    match evidence.silent_replicas.first() {
        Some(node) if verdict.holds() => {
            undecided(format!("n{} did not tell its state at the end", node + 1))
        }
        _ => verdict,
    }
}

/// The ledger needs the final state, which the final readers have seen.
fn ledger(evidence: &Evidence) -> Verdict {
    if_complete(evidence, || match final_state(&evidence.history) {
        Some(last) => checker::check_ledger(&evidence.history, &last),
        None => undecided("the final reads saw no single state".to_owned()),
    })
}

/// What the final readers saw last, if all that they ever asked for was seen at that revision.
///
/// They begin again when a straggler changes the store under them.
fn final_state(history: &History) -> Option<FinalState> {
    let reads = || history.operations().iter().filter(|operation| operation.client.0 >= FINAL_READER);
    let revision = reads().last()?.outcome.revision()?;
    let at_last = || reads().filter(|operation| operation.outcome.revision() == Some(revision));
    if !reads().all(|asked| at_last().any(|answered| answered.call == asked.call)) {
        return None;
    }
    let mut items = BTreeMap::new();
    for operation in at_last() {
        let Outcome::Answered { answer: Answer::One(Found::Range(found)), .. } = &operation.outcome else {
            return None;
        };
        // One reader's items are everyone's: the other checkers hold each reader to its revision.
        items.extend(found.iter().cloned());
    }
    Some(FinalState { revision, items: items.into_iter().collect() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::cycles::{Action, Ended, Transaction};
    use checker::leases::{
        Effect, GuardedWrite, Hold, LeaseCall, LeaseOutcome, LeaseRequest, LeasedChange, WriteOutcome,
    };
    use checker::watch::{Event, Heard, Keys, Message, WatchRequest, WatchStream};
    use checker::{Call, Change, ClientId, Item, Point};
    use std::time::Duration;
    use trace::OpId;
    use types::{NodeId, Time};

    /// A put at revision 2, and a final read at revision 2 that shows `value`.
    fn history(value: &'static str) -> History {
        let mut history = History::new();
        let put = history.invoke(ClientId(1), Time(1), Call::put("k", "1"));
        history.complete(put, Time(2), Outcome::ok(2, Found::Put));
        let read = history.invoke(ClientId(FINAL_READER), Time(3), Call::range("k", "l"));
        let item =
            Item { value: value.into(), mod_revision: Some(2), create_revision: Some(2), version: Some(1) };
        history.complete(read, Time(4), Outcome::ok(2, Found::Range(vec![("k".into(), item)])));
        history.changes.push(Change { revision: 2, key: "k".into(), value: Some("1".into()) });
        history
    }

    fn list(number: u64, action: Action) -> Transaction {
        Transaction {
            id: OpId(number),
            process: ClientId(number),
            invoked: Time(10 * number),
            returned: Some(Time(10 * number + 1)),
            ended: Ended::Committed,
            actions: vec![action],
        }
    }

    /// Every kind of evidence: good, or with one lie in each.
    fn evidence(is_good: bool) -> Evidence {
        let history = history(if is_good { "1" } else { "2" });
        let read = if is_good { vec![7] } else { Vec::new() };
        let lists = vec![
            list(1, Action::Append { key: 1, value: 7 }),
            list(2, Action::ReadList { key: 1, values: read }),
        ];
        let timeline = Timeline::from_history(&history);
        let mut event: Event = timeline.events()[0].clone();
        if !is_good {
            event.item.iter_mut().for_each(|item| item.value = "9".into());
        }
        let heard = Message::Events { revision: 2, events: vec![event] };
        let stream = WatchStream {
            request: WatchRequest::new(Keys::One("k".into()), Some(1)),
            heard: vec![Heard { at: Time(5), message: heard }],
            awaited: Some(2),
        };
        let ttl = Duration::from_nanos(100);
        let grant = LeaseCall {
            id: OpId(1),
            lease: 5,
            request: LeaseRequest::Grant,
            sent: Time(1),
            returned: Some(Time(2)),
            outcome: LeaseOutcome::Alive { ttl },
        };
        let leased = |revision, effect, at| LeasedChange {
            revision,
            key: "lease/5/0".into(),
            effect,
            seen: Some(Time(at)),
        };
        let leases = LeaseHistory {
            calls: vec![grant],
            changes: vec![
                leased(3, Effect::Put(Some(5)), 3),
                leased(4, Effect::Vanished, if is_good { 200 } else { 50 }),
            ],
            ..LeaseHistory::default()
        };
        let guarded = |token, asked, at| GuardedWrite {
            id: OpId(asked),
            lock: "l".into(),
            token,
            asked: Time(asked),
            returned: Time(asked + 1),
            outcome: WriteOutcome::Accepted(Some(at)),
        };
        let hold = Hold {
            id: OpId(9),
            lock: "l".into(),
            client: ClientId(1),
            token: 5,
            asked: Time(1),
            granted: Time(2),
            held: None,
        };
        let writes = vec![guarded(5, 10, 11), guarded(if is_good { 8 } else { 4 }, 20, 12)];
        let mut replicas = Replicas::new();
        replicas.report(NodeId(1), Point::Revision(2), 1);
        replicas.report(NodeId(2), Point::Revision(2), if is_good { 1 } else { 2 });
        Evidence {
            lists: Transactions { list: lists, ..Transactions::default() },
            timeline,
            watches: vec![Watch { name: "0".into(), streams: vec![stream] }],
            leases,
            fences: FenceHistory { holds: vec![hold], writes },
            replicas,
            ..Evidence::of(history)
        }
    }

    #[test]
    fn good_evidence_holds_in_every_check() {
        let judged = judge(&evidence(true));
        assert_eq!(judged.len(), CHECKS.len());
        assert!(judged.iter().all(|judgement| judgement.verdict == "holds"), "{judged:#?}");
    }

    #[test]
    fn every_check_finds_the_lie_that_is_for_it() {
        let judged = judge(&evidence(false));
        assert_eq!(judged.len(), CHECKS.len());
        assert!(judged.iter().all(|judgement| judgement.verdict == "violated"), "{judged:#?}");
    }

    #[test]
    fn without_the_end_of_the_history_nobody_is_accused() {
        let incomplete = Evidence { is_complete: false, ..Evidence::of(history("2")) };
        assert!(judge(&incomplete).iter().all(|judgement| judgement.verdict == "undecided"));
        let silent = Evidence { silent_replicas: vec![1], ..evidence(true) };
        assert!(judge(&silent).iter().any(|judgement| judgement.why.starts_with("n2 did not tell")));
    }

    #[test]
    fn without_final_reads_the_ledger_is_undecided() {
        let mut no_reads = History::new();
        no_reads.invoke(ClientId(1), Time(1), Call::put("k", "1"));
        let judged = judge(&Evidence::of(no_reads));
        assert_eq!(judged.last().map(|judgement| judgement.verdict), Some("undecided"));
    }

    #[test]
    fn final_reads_count_once_they_have_seen_one_state() {
        let mut history = History::new();
        let mut read = |at, (from, to): (&'static str, &'static str), revision, value: &'static str| {
            let asked = history.invoke(ClientId(FINAL_READER), Time(at), Call::range(from, to));
            let item = Item {
                value: value.into(),
                mod_revision: Some(revision),
                create_revision: Some(2),
                version: Some(1),
            };
            history.complete(
                asked,
                Time(at + 1),
                Outcome::ok(revision, Found::Range(vec![(from.into(), item)])),
            );
            final_state(&history)
        };
        let (first, second) = (("a", "b"), ("c", "d"));
        assert!(read(1, first, 5, "old").is_some());
        // A straggler came in between: the first keys at its revision are not known.
        assert!(read(3, second, 6, "new").is_none());
        let last = read(5, first, 6, "newer").expect("everything was seen at revision 6");
        assert_eq!(last.revision, 6);
        let values: Vec<_> =
            last.items.iter().map(|(key, item)| (key.as_ref(), item.value.as_ref())).collect();
        assert_eq!(values, [(&b"a"[..], &b"newer"[..]), (b"c", b"new")]);
    }
}

//! What is made of a history: every checker that fits, one line each. To plug one in, add it to [`CHECKS`].

use std::time::Instant;

use checker::{Answer, FinalState, Found, History, Outcome, Verdict};
use e2e::load::FINAL_READER;
use serde::Serialize;

/// A checker, and the largest history that it is asked to judge.
struct Check {
    name: &'static str,
    operations_max: usize,
    judge: fn(&History) -> Verdict,
}

/// Some seconds: many unknown outcomes on few keys may need for ever.
const C2_STEPS_MIN: u64 = 2_000_000;

/// Enough for a history in which nearly everything is answered.
const C2_STEPS_PER_OPERATION: u64 = 10;

const CHECKS: &[Check] = &[
    Check {
        name: "C1 strictly serializable in revision order",
        operations_max: usize::MAX,
        judge: checker::check_revisions,
    },
    Check { name: "C2 linearizable by group of keys", operations_max: 2_000_000, judge: linearizable },
    Check { name: "C10 everything acknowledged is there", operations_max: usize::MAX, judge: ledger },
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
    /// How long it took.
    pub seconds: f64,
}

/// Asks every checker.
pub fn judge(history: &History) -> Vec<Judgement> {
    CHECKS
        .iter()
        .filter(|check| history.operations().len() <= check.operations_max)
        .map(|check| check.run(history))
        .collect()
}

impl Check {
    fn run(&self, history: &History) -> Judgement {
        let started = Instant::now();
        let verdict = (self.judge)(history);
        let (word, why) = match &verdict {
            Verdict::Holds => ("holds", String::new()),
            Verdict::Violated(violation) => ("violated", violation.explain(history).to_string()),
            Verdict::Undecided { reason } => ("undecided", reason.clone()),
        };
        Judgement { check: self.name, verdict: word, why, seconds: started.elapsed().as_secs_f64() }
    }
}

fn linearizable(history: &History) -> Verdict {
    let steps = C2_STEPS_MIN + C2_STEPS_PER_OPERATION * history.operations().len() as u64;
    checker::check_linearizable(history, steps)
}

/// The ledger needs the final state, which the final readers have seen.
fn ledger(history: &History) -> Verdict {
    match final_state(history) {
        Some(last) => checker::check_ledger(history, &last),
        None => Verdict::Undecided { reason: "the final reads saw no single state".to_owned() },
    }
}

/// What every final reader saw, if all saw the store at one revision.
fn final_state(history: &History) -> Option<FinalState> {
    let reads = history.operations().iter().filter(|operation| operation.client.0 >= FINAL_READER);
    let mut last = FinalState::default();
    for operation in reads {
        let Outcome::Answered { revision, answer: Answer::One(Found::Range(items)) } = &operation.outcome
        else {
            return None;
        };
        if last.revision > 0 && *revision != Some(last.revision) {
            return None;
        }
        last.revision = (*revision)?;
        // The last reader's items are everyone's: the other checkers hold each reader to its revision.
        last.items.retain(|(key, _)| items.iter().all(|(other, _)| other != key));
        last.items.extend(items.iter().cloned());
    }
    (last.revision > 0).then_some(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::{Call, Change, ClientId, Item};
    use types::Time;

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

    #[test]
    fn a_good_history_holds_in_every_check() {
        let judged = judge(&history("1"));
        assert_eq!(judged.len(), CHECKS.len());
        assert!(judged.iter().all(|judgement| judgement.verdict == "holds"), "{judged:?}");
    }

    #[test]
    fn a_value_that_nobody_wrote_is_reported_by_every_check() {
        let judged = judge(&history("2"));
        assert!(judged.iter().all(|judgement| judgement.verdict == "violated"), "{judged:?}");
    }

    #[test]
    fn without_final_reads_the_ledger_is_undecided() {
        assert_eq!(CHECKS[2].run(&History::new()).verdict, "undecided");
    }
}

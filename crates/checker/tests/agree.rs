//! No good history is rejected; stores with real bugs are; and the two checkers, which share no search, agree.
//!
//! `cargo test -p checker --test agree -- --nocapture` prints the table of bugs.

mod common;

use checker::{
    FinalState, History, STEPS_DEFAULT, Verdict, check_ledger, check_linearizable, check_revisions,
};
use common::store::{Bug, Store};
use common::{Recipe, World};

fn run(seed: u64, store: Store) -> (History, FinalState) {
    let (history, store) = World::run(seed, Recipe::drawn(seed), store);
    let last = FinalState { revision: store.revision, items: store.items().collect() };
    (history, last)
}

#[test]
fn no_good_history_is_rejected() {
    for seed in 0..1_500 {
        let (history, last) = run(seed, Store::default());
        let verdicts = [
            check_revisions(&history),
            check_linearizable(&history, STEPS_DEFAULT),
            check_ledger(&history, &last),
        ];
        for verdict in verdicts {
            let report = verdict.violation().map(|violation| violation.explain(&history).to_string());
            assert!(verdict.holds(), "seed {seed}: {verdict}\n{}", report.unwrap_or_default());
        }
    }
}

/// A bug may stay unseen in a run, or show in revisions only, or only in the final state, which C10 alone sees.
/// But what values show, revisions show too.
#[test]
fn stores_with_bugs_are_caught() {
    const RUNS: u64 = 200;
    println!("{:<24} {:>6} {:>12} {:>12} {:>14}", "bug", "runs", "C1 rejects", "C2 rejects", "C10 rejects");
    for bug in Bug::ALL {
        let mut caught = [0; 3];
        for seed in 0..RUNS {
            let (history, last) = run(seed, Store::with_bug(bug));
            let verdicts = [
                check_revisions(&history),
                check_linearizable(&history, STEPS_DEFAULT),
                check_ledger(&history, &last),
            ];
            assert!(
                verdicts.iter().all(|verdict| !matches!(verdict, Verdict::Undecided { .. })),
                "seed {seed}"
            );
            let [by_revisions, by_values, by_ledger] = verdicts.map(|verdict| verdict.violated());
            assert!(by_revisions || !by_values, "{bug:?}, seed {seed}: C1 misses what C2 sees");
            let rejects = [by_revisions, by_values, by_ledger];
            caught.iter_mut().zip(rejects).for_each(|(count, rejected)| *count += u32::from(rejected));
        }
        let [by_revisions, by_values, by_ledger] = caught;
        let name = format!("{bug:?}");
        println!("{name:<24} {RUNS:>6} {by_revisions:>12} {by_values:>12} {by_ledger:>14}");
        assert!(by_revisions >= 20, "{bug:?} was caught in {by_revisions} of {RUNS} runs");
    }
}

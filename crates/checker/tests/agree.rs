//! No good history is rejected; stores with real bugs are; and the two checkers, which share no search, agree.
//!
//! `cargo test -p checker --test agree -- --nocapture` prints the table of bugs.

mod common;

use checker::{
    FinalState, History, STEPS_DEFAULT, Verdict, check_history_cycles, check_ledger, check_linearizable,
    check_revisions,
};
use common::blind::without_revisions;
use common::mutate::OPERATORS;
use common::store::{Bug, Store};
use common::{Recipe, World};
use types::Rng;

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

/// Three checkers that share no algorithm, on the same histories: good ones, spoiled ones, and those of stores with
/// bugs. By design they differ in what they can see:
///
/// - all accept good histories;
/// - C1 sees whatever C2 or C4 sees, as it asks that the store's own order explain everything;
/// - C2 sees whatever C4 sees without revisions, as a circle of dependencies rules out every order.
#[test]
fn three_checkers_agree() {
    const HISTORIES: u64 = 10_000;
    let mut seen = [0; 8];
    for seed in 0..HISTORIES {
        let (good, history) = drawn(seed);
        let verdicts = [
            check_revisions(&history),
            check_linearizable(&history, STEPS_DEFAULT),
            check_history_cycles(&history),
            check_history_cycles(&without_revisions(&history)),
        ];
        let report =
            || format!("seed {seed}\n{}", verdicts.clone().map(|verdict| verdict.to_string()).join("\n"));
        assert!(verdicts.iter().all(|verdict| verdict.holds() || verdict.violated()), "{}", report());
        assert!(!good || verdicts.iter().all(Verdict::holds), "{}", report());
        let [by_revisions, by_values, by_cycles, by_blind_cycles] =
            verdicts.clone().map(|verdict| verdict.violated());
        assert!(by_revisions || !by_values, "{}", report());
        assert!(by_revisions || !by_cycles, "{}", report());
        assert!(by_values || !by_blind_cycles, "{}", report());
        seen[usize::from(by_revisions) + 2 * usize::from(by_values) + 4 * usize::from(by_cycles)] += 1;
    }
    let [holds, c1, _, c1_c2, _, c1_c4, _, all] = seen;
    println!(
        "of {HISTORIES} histories {holds} hold; rejected by C1 alone {c1}, C1 and C2 {c1_c2}, C1 and C4 {c1_c4}, all {all}"
    );
    assert!(holds > 4_000 && all > 1_000 && c1_c2 > 100 && c1_c4 > 50, "{seen:?}");
}

/// A history and whether it is certainly good: one in two.
fn drawn(seed: u64) -> (bool, History) {
    let mut rng = Rng::keyed(seed, &[6]);
    let recipe = Recipe { operations: rng.between(20, 50), ..Recipe::drawn(seed) };
    match rng.below(4) {
        0 | 1 => (true, World::history(seed, recipe)),
        2 => {
            let bug = *rng.pick(&Bug::ALL).expect("there are bugs");
            (false, World::run(seed, recipe, Store::with_bug(bug)).0)
        }
        _ => {
            let good = World::history(seed, recipe);
            let spoiled = rng.pick(OPERATORS).and_then(|operator| (operator.spoil)(&good, &mut rng));
            (spoiled.is_none(), spoiled.unwrap_or(good))
        }
    }
}

//! Both checkers against the definition itself: on histories of a few operations, try every order of every subset.
//!
//! Half of these histories are spoiled at random, without knowing whether that makes them wrong. So this finds
//! what the mutants cannot: a checker that rejects what some order explains.

mod common;

use checker::{
    Answer, Found, History, Level, Operation, Outcome, STEPS_DEFAULT, check_history_cycles,
    check_linearizable, check_revisions,
};
use common::blind::{forget, without_revisions};
use common::store::Store;
use common::{Recipe, World};
use types::Rng;

const HISTORIES: u64 = 6_000;

/// Small, crowded, and full of lost answers.
fn recipe(seed: u64) -> Recipe {
    let mut rng = Rng::keyed(seed, &[4]);
    Recipe {
        clients: rng.between(2, 5),
        keys: rng.between(1, 2),
        operations: rng.between(4, 9),
        unknown_ppm: 350_000,
        refused_ppm: 30_000,
        serializable_ppm: 0,
        range_ppm: 100_000,
        txn_ppm: 300_000,
        watched: false,
    }
}

#[test]
fn the_revision_checker_is_the_definition() {
    let mut counts = [0; 2];
    for seed in 0..HISTORIES {
        let history = spoiled(seed, World::history(seed, recipe(seed)));
        let explained = some_order(&history, true);
        let verdict = check_revisions(&history);
        assert_eq!(verdict.holds(), explained, "seed {seed}: {verdict}\n{}", text(&history));
        assert_eq!(verdict.violated(), !explained, "seed {seed}: {verdict}");
        counts[usize::from(explained)] += 1;
    }
    println!("C1 agrees with the definition on {} bad and {} good histories", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > 400), "{counts:?}");
}

#[test]
fn the_linearizability_checker_is_the_definition() {
    let mut counts = [0; 2];
    for seed in 0..HISTORIES {
        let history = without_revisions(&spoiled(seed, World::history(seed, recipe(seed))));
        let explained = some_order(&history, false);
        let verdict = check_linearizable(&history, STEPS_DEFAULT);
        assert_eq!(verdict.holds(), explained, "seed {seed}: {verdict}\n{}", text(&history));
        assert_eq!(verdict.violated(), !explained, "seed {seed}: {verdict}");
        counts[usize::from(explained)] += 1;
    }
    println!("C2 agrees with the definition on {} bad and {} good histories", counts[0], counts[1]);
    assert!(counts.iter().all(|count| *count > 400), "{counts:?}");
}

/// C4 need not see everything, but what it rejects no order explains.
#[test]
fn the_cycle_checker_rejects_nothing_that_some_order_explains() {
    let mut counts = [[0; 2]; 2];
    for seed in 0..HISTORIES {
        let history = spoiled(seed, World::history(seed, recipe(seed)));
        for (revisions, history) in [(true, history.clone()), (false, without_revisions(&history))] {
            let explained = some_order(&history, revisions);
            let verdict = check_history_cycles(&history);
            assert!(verdict.holds() || verdict.violated(), "seed {seed}: {verdict}");
            assert!(verdict.holds() || !explained, "seed {seed}: {verdict}\n{}", text(&history));
            counts[usize::from(revisions)][usize::from(explained)] +=
                u32::from(verdict.violated() != explained);
        }
    }
    println!("C4 sees {} of the bad histories with revisions, {} without", counts[1][0], counts[0][0]);
    assert!(counts[1][0] > 350 && counts[0][0] > 200, "{counts:?}");
}

/// Changes a few answers of most histories into something plausible.
fn spoiled(seed: u64, history: History) -> History {
    let mut rng = Rng::keyed(seed, &[5]);
    let mut operations = history.operations().to_vec();
    for _ in 0..rng.below(4) {
        spoil_one(&mut operations, &mut rng);
    }
    History::from_operations(operations)
}

fn spoil_one(operations: &mut [Operation], rng: &mut Rng) {
    let answers: Vec<Outcome> = operations.iter().map(|operation| operation.outcome.clone()).collect();
    let index = usize::try_from(rng.below(operations.len() as u64)).expect("small");
    let operation = &mut operations[index];
    operation.returned = operation.returned.or(Some(operation.invoked));
    let similar: Vec<&Outcome> =
        answers.iter().filter(|other| same_shape(other, &operation.outcome)).collect();
    match rng.below(8) {
        // Another operation's answer, or what it found at this operation's own revision.
        0..=2 => operation.outcome = rng.pick(&similar).map_or(Outcome::Unknown, |other| (*other).clone()),
        3 | 4 => {
            if let (Some(other), Outcome::Answered { answer, .. }) =
                (rng.pick(&similar), &mut operation.outcome)
                && let Some(found) = other.answer()
            {
                *answer = found.clone();
            }
        }
        5 => operation.outcome = Outcome::Refused,
        6 => {
            if let Outcome::Answered { answer: Answer::One(Found::Get(item)), .. } = &mut operation.outcome {
                *item = None;
            }
        }
        _ => {
            if let Outcome::Answered { revision: Some(revision), .. } = &mut operation.outcome {
                *revision += 1;
            }
        }
    }
}

fn same_shape(a: &Outcome, b: &Outcome) -> bool {
    match (a.answer(), b.answer()) {
        (Some(Answer::One(a)), Some(Answer::One(b))) => {
            std::mem::discriminant(a) == std::mem::discriminant(b)
        }
        _ => false,
    }
}

/// Whether some order of all answered and some unanswered operations explains every answer.
fn some_order(history: &History, revisions: bool) -> bool {
    let ops: Vec<&Operation> =
        history.operations().iter().filter(|operation| operation.outcome != Outcome::Refused).collect();
    assert!(ops.iter().all(|operation| operation.level == Level::Linearizable));
    extend(&ops, &mut vec![false; ops.len()], &Store::default(), revisions)
}

fn extend(ops: &[&Operation], placed: &mut Vec<bool>, store: &Store, revisions: bool) -> bool {
    let open = |index: &usize| !placed[*index] && ops[*index].outcome != Outcome::Unknown;
    let Some(fence) = (0..ops.len()).filter(open).map(|index| ops[index].returned).min() else { return true };
    for index in 0..ops.len() {
        if placed[index] || Some(ops[index].invoked) > fence {
            continue;
        }
        let mut next = store.clone();
        let (outcome, _) = next.execute(&ops[index].call);
        if ops[index].outcome == Outcome::Unknown || agrees(&ops[index].outcome, &outcome, revisions) {
            placed[index] = true;
            if extend(ops, placed, &next, revisions) {
                return true;
            }
            placed[index] = false;
        }
    }
    false
}

fn agrees(said: &Outcome, right: &Outcome, revisions: bool) -> bool {
    let mut right = right.clone();
    if let (false, Outcome::Answered { revision, answer }) = (revisions, &mut right) {
        *revision = None;
        match answer {
            Answer::One(found) => forget(found),
            Answer::Txn { found, .. } => found.iter_mut().for_each(forget),
        }
    }
    *said == right
}

fn text(history: &History) -> String {
    history.iter().map(|(op, operation)| format!("{} {operation}\n", op.0)).collect()
}

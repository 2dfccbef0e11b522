//! The checkers are checked: every change that no correct store could have caused is rejected.
//!
//! `cargo test -p checker --test mutants -- --nocapture` prints the table.

mod common;

use checker::{History, STEPS_DEFAULT, Verdict, check_linearizable, check_revisions};
use common::mutate::{OPERATORS, Operator};
use common::{Recipe, World};
use types::Rng;

const HISTORIES: u64 = 600;

#[derive(Default)]
struct Row {
    mutants: u32,
    by_revisions: u32,
    by_values: u32,
}

#[test]
fn every_mutant_is_rejected() {
    let histories: Vec<History> =
        (0..HISTORIES).map(|seed| World::history(seed, Recipe::drawn(seed))).collect();
    println!("{:<34} {:>8} {:>12} {:>14}", "mutation", "mutants", "C1 rejects", "C2 rejects");
    for operator in OPERATORS {
        let row = judge_all(operator, &histories);
        let must = if operator.by_values { "" } else { " (need not)" };
        let (Row { mutants, by_revisions, by_values }, name) = (row, operator.name);
        println!("{name:<34} {mutants:>8} {by_revisions:>12} {by_values:>14}{must}");
        assert!(mutants >= 20, "{name}: only {mutants} mutants in {HISTORIES} histories");
    }
}

fn judge_all(operator: &Operator, histories: &[History]) -> Row {
    let mut row = Row::default();
    for (seed, good) in (0..).zip(histories) {
        let Some(mutant) = (operator.spoil)(good, &mut Rng::keyed(seed, &[3])) else { continue };
        let (revisions, values) = (check_revisions(&mutant), check_linearizable(&mutant, STEPS_DEFAULT));
        let what =
            || format!("{} of seed {seed}: C1 {revisions}; C2 {values}\n{}", operator.name, text(&mutant));
        assert!(revisions.violated(), "{}", what());
        assert!(values.violated() || !operator.by_values, "{}", what());
        assert!(!matches!(values, Verdict::Undecided { .. }), "{}", what());
        row.mutants += 1;
        row.by_revisions += u32::from(revisions.violated());
        row.by_values += u32::from(values.violated());
    }
    row
}

fn text(history: &History) -> String {
    let ops = history.iter().map(|(op, operation)| format!("{} {operation}", op.0));
    let changes = history.changes.iter().map(ToString::to_string);
    ops.chain(changes).collect::<Vec<_>>().join("\n")
}

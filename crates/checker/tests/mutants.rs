//! The checkers are checked: every change that no correct store could have caused is rejected.
//!
//! `cargo test -p checker --test mutants -- --nocapture` prints the table.

mod common;

use checker::{History, STEPS_DEFAULT, Verdict, check_history_cycles, check_linearizable, check_revisions};
use common::mutate::{OPERATORS, Operator};
use common::{Recipe, World};
use types::Rng;

const HISTORIES: u64 = 1_000;

#[derive(Default)]
struct Row {
    mutants: u32,
    by_revisions: u32,
    by_values: u32,
    by_cycles: u32,
}

#[test]
fn every_mutant_is_rejected() {
    let histories: Vec<History> =
        (0..HISTORIES).map(|seed| World::history(seed, Recipe::drawn(seed))).collect();
    println!("{:<34} {:>8} {:>6} {:>12} {:>12}", "mutation", "mutants", "C1", "C2", "C4");
    for operator in OPERATORS {
        let row = judge_all(operator, &histories);
        let need = |must: bool| if must { "     " } else { " (may)" };
        let (by_values, by_cycles) = (need(operator.by_values), need(operator.by_cycles));
        println!(
            "{:<34} {:>8} {:>6} {:>6}{by_values:<6} {:>6}{by_cycles:<6}",
            operator.name, row.mutants, row.by_revisions, row.by_values, row.by_cycles
        );
        assert!(
            row.mutants >= 20,
            "{}: only {} mutants in {HISTORIES} histories",
            operator.name,
            row.mutants
        );
    }
}

fn judge_all(operator: &Operator, histories: &[History]) -> Row {
    let mut row = Row::default();
    for (seed, good) in (0..).zip(histories) {
        let Some(mutant) = (operator.spoil)(good, &mut Rng::keyed(seed, &[3])) else { continue };
        let (revisions, values) = (check_revisions(&mutant), check_linearizable(&mutant, STEPS_DEFAULT));
        let cycles = check_history_cycles(&mutant);
        let verdicts = format!("C1 {revisions}; C2 {values}; C4 {cycles}");
        let what = || format!("{} of seed {seed}: {verdicts}\n{}", operator.name, text(&mutant));
        assert!(revisions.violated(), "{}", what());
        assert!(values.violated() || !operator.by_values, "{}", what());
        assert!(cycles.violated() || !operator.by_cycles, "{}", what());
        assert!(!matches!(values, Verdict::Undecided { .. }), "{}", what());
        row.mutants += 1;
        row.by_revisions += u32::from(revisions.violated());
        row.by_values += u32::from(values.violated());
        row.by_cycles += u32::from(cycles.violated());
    }
    row
}

fn text(history: &History) -> String {
    let ops = history.iter().map(|(op, operation)| format!("{} {operation}", op.0));
    let changes = history.changes.iter().map(ToString::to_string);
    ops.chain(changes).collect::<Vec<_>>().join("\n")
}

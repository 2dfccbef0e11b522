//! How long the checkers take: `cargo run --release -p checker --example figures`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this program measures time")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use checker::{
    FinalState, History, STEPS_DEFAULT, Verdict, check_ledger, check_linearizable, check_revisions,
};
use common::store::Store;
use common::{Recipe, World};

fn main() {
    println!(
        "{:>10} {:>5} {:>8} {:>8} {:>9} {:>9} {:>9}  verdicts",
        "operations", "keys", "clients", "unknown", "C1 ms", "C2 ms", "C10 ms"
    );
    for operations in [10_000, 100_000] {
        for (keys, clients) in [(1, 8), (1, 32), (10, 16), (10, 64), (1_000, 64)] {
            for unknown_ppm in [0, 10_000] {
                measure(Recipe {
                    clients,
                    keys,
                    operations,
                    unknown_ppm,
                    refused_ppm: 1_000,
                    serializable_ppm: 0,
                    range_ppm: 0,
                    txn_ppm: if keys > 100 { 0 } else { 50_000 },
                    watched: false,
                });
            }
        }
    }
}

fn measure(recipe: Recipe) {
    let Recipe { operations, keys, clients, unknown_ppm, .. } = recipe;
    let (history, store) = World::run(1, recipe, Store::default());
    let last = FinalState { revision: store.revision, items: store.items().collect() };
    let (c1, first) = timed(&history, check_revisions);
    let (c2, second) = timed(&history, |history| check_linearizable(history, STEPS_DEFAULT));
    let (c10, third) = timed(&history, |history| check_ledger(history, &last));
    let verdicts = [first, second, third].map(|verdict| verdict.to_string()).join(", ");
    let percent = f64::from(unknown_ppm) / 10_000.0;
    println!(
        "{operations:>10} {keys:>5} {clients:>8} {percent:>7}% {c1:>9.1} {c2:>9.1} {c10:>9.1}  {verdicts}"
    );
}

fn timed(history: &History, check: impl FnOnce(&History) -> Verdict) -> (f64, Verdict) {
    let start = Instant::now();
    let verdict = check(history);
    (start.elapsed().as_secs_f64() * 1_000.0, verdict)
}

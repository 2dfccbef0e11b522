//! How long C1, C2 and C4 take over histories of real size: `cargo run --release -p checker --example volume -- 1000000`.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this program measures time")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::Instant;

use checker::{
    STEPS_DEFAULT, Verdict, check_cycles, check_history_cycles, check_linearizable, check_revisions,
};
use common::{Recipe, World, lists};

/// Keys of a history, so that C2 can take them one by one.
const KEYS: u64 = 1_000;
const CLIENTS: u64 = 64;
const OPERATIONS_DEFAULT: u64 = 1_000_000;

fn main() {
    let asked = std::env::args().nth(1).and_then(|number| number.parse().ok());
    let operations = asked.unwrap_or(OPERATIONS_DEFAULT);
    println!(
        "{operations} operations of {CLIENTS} clients on {KEYS} keys; transactions of up to 4 actions on lists"
    );
    let history = World::history(1, recipe(operations, 0));
    timed("C1, single steps", || check_revisions(&history));
    timed("C2, single steps", || check_linearizable(&history, STEPS_DEFAULT));
    timed("C4, single steps", || check_history_cycles(&history));
    drop(history);
    let history = World::history(2, recipe(operations, 300_000));
    timed("C1, three in ten transactions", || check_revisions(&history));
    timed("C4, three in ten transactions", || check_history_cycles(&history));
    drop(history);
    // A list is read whole, so that each stays short: there are as many as there are hundreds of transactions.
    let recipe = lists::Recipe {
        clients: CLIENTS,
        keys: operations.div_ceil(100),
        transactions: operations,
        actions_max: 4,
        unknown_ppm: 10_000,
        aborted_ppm: 10_000,
        register_ppm: 0,
    };
    let transactions = lists::transactions(3, &recipe);
    timed("C4, transactions on lists", || check_cycles(&transactions));
}

fn recipe(operations: u64, txn_ppm: u32) -> Recipe {
    Recipe {
        clients: CLIENTS,
        keys: KEYS,
        operations,
        unknown_ppm: 1_000,
        refused_ppm: 1_000,
        serializable_ppm: 0,
        range_ppm: 0,
        txn_ppm,
        watched: true,
    }
}

fn timed(name: &str, check: impl FnOnce() -> Verdict) {
    let start = Instant::now();
    let verdict = check();
    println!("{name:<32} {:>8.2} s  {verdict}", start.elapsed().as_secs_f64());
}

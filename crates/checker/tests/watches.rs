//! C5: no good watch is rejected, no mutant gets through.
//!
//! `cargo test -p checker --test watches -- --nocapture` prints the table.

mod common;

use checker::check_watch;
use common::table::judge_all;
use common::watching::{Watched, watched};

#[test]
fn every_mutant_is_rejected() {
    let good: Vec<Watched> = (0..1_500).map(watched).collect();
    judge_all(&good, common::watch_mutate::SPOILERS, 20, |watched| {
        check_watch(&watched.timeline, &watched.watch)
    });
}

//! No good history is rejected, and the two checkers, which share no search, agree.

mod common;

use checker::{STEPS_DEFAULT, check_linearizable, check_revisions};
use common::{Recipe, World};

#[test]
fn no_good_history_is_rejected() {
    for seed in 0..2_000 {
        let history = World::history(seed, Recipe::drawn(seed));
        for verdict in [check_revisions(&history), check_linearizable(&history, STEPS_DEFAULT)] {
            let report = verdict.violation().map(|violation| violation.explain(&history).to_string());
            assert!(verdict.holds(), "seed {seed}: {verdict}\n{}", report.unwrap_or_default());
        }
    }
}

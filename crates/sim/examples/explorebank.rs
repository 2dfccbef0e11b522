//! Plants bugs of the bank in small worlds, explores each and prints how many states it took to find it; exits with 1 if
//! one is not found: `explorebank [NAME]`.

#[cfg(not(feature = "planted"))]
fn main() {
    eprintln!(
        "the bugs are not built in: cargo run -p sim --release --features planted --example explorebank"
    );
    std::process::exit(2);
}

#[cfg(feature = "planted")]
fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    // A core that asserts is a catch like any other, and needs no backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    println!("| bug | bounds | states | steps | broken promise |\n|---|---|---|---|---|");
    let rows = planted::rows().into_iter().filter(|(name, _)| name.contains(wanted.as_str()));
    let missed = rows.filter(|(name, bounds)| !planted::print(name, bounds)).count();
    std::process::exit(i32::from(missed > 0));
}

#[cfg(feature = "planted")]
mod planted {
    use sim::Options;
    use sim::explore::{Bounds, explore};

    /// Each bug and a world that is large enough for it.
    pub fn rows() -> Vec<(&'static str, Bounds)> {
        let election = Bounds { terms: 1, proposals: 0, timers: 1, crashes: 0, ..Bounds::default() };
        let two_candidates = Bounds { timers: 2, crashes: 1, ..election.clone() };
        let two_leaders = Bounds { terms: 2, timers: 2, ..election.clone() };
        vec![
            ("Raft(AcksBeforeDurable)", election.clone()),
            ("Raft(CountsUnsynced)", election.clone()),
            ("Driver(EarlySends)", election.clone()),
            ("Driver(EarlyEvents)", election.clone()),
            ("Raft(AnswersBeforeMeta)", two_candidates.clone()),
            ("Raft(ForgetsVote)", two_candidates),
            ("Raft(CommitsOldTerms)", two_leaders.clone()),
            ("Raft(AcksGap)", two_leaders.clone()),
            ("Raft(OldAppendTruncates)", Bounds { proposals: 2, ..election }),
            ("Raft(ReadsBeforeOwnCommit)", Bounds { reads: 1, ..two_leaders }),
        ]
    }

    pub fn print(name: &str, bounds: &Bounds) -> bool {
        let planted = sim::bugbank::all().into_iter().find(|bug| bug.name() == name);
        let options = Options { planted, ..Options::default() };
        let explored = explore(bounds, &options, &mut |_| true);
        let Bounds { terms, proposals, reads, timers, crashes, .. } = bounds;
        let (steps, check) = match &explored.violation {
            Some((broken, path)) => (path.steps.len().to_string(), broken.check),
            None => ("–".to_owned(), "not found"),
        };
        let states = explored.progress.states;
        println!(
            "| {name} | terms {terms}, proposals {proposals}, reads {reads}, timers {timers}, crashes {crashes} | \
             {states} | {steps} | {check} |"
        );
        explored.violation.is_some()
    }
}

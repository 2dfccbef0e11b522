//! Small worlds that take a second or two, and the bugs that they find.

use super::*;

/// One election, with whatever its leader does next.
fn election() -> Bounds {
    Bounds { terms: 1, proposals: 0, timers: 1, crashes: 0, ..Bounds::default() }
}

fn find(bounds: &Bounds, options: &Options) -> Explored {
    explore(bounds, options, &mut |_| true)
}

#[test]
fn a_small_world_keeps_every_promise_and_is_the_same_each_time() {
    let bounds = Bounds { crashes: 1, duplicates: 1, ..election() };
    let explored = find(&bounds, &Options::default());
    assert_eq!(explored.violation, None);
    assert!(explored.exhausted && explored.progress.states > 10_000, "{explored:?}");
    assert_eq!(find(&bounds, &Options::default()), explored);
}

#[test]
fn a_world_of_one_node_commits_alone() {
    let bounds = Bounds { nodes: 1, proposals: 2, terms: 2, timers: 3, ..election() };
    let explored = find(&bounds, &Options::default());
    assert_eq!((explored.violation, explored.exhausted), (None, true));
}

#[test]
fn an_exploration_ends_when_it_is_told_to() {
    let stopped = explore(&election(), &Options::default(), &mut |_| false);
    assert!(!stopped.exhausted);
    let full = find(&Bounds { states_max: 100, ..election() }, &Options::default());
    assert!(!full.exhausted && full.progress.states < 200, "{full:?}");
}

#[test]
fn a_path_is_walked_as_it_is_written() {
    let text = "timer n1  # asks for pre-votes\n\ndeliver m1\ndeliver m3\ndisk n1\n";
    let (path, broken) = walk(&election(), &Options::default(), text).unwrap();
    assert_eq!((path.steps.len(), broken), (4, None));
    assert!(path.story[2].contains("n1 is Candidate in e1"), "{path}");
    for (text, reason) in [
        ("deliver m1", "no such message is under way"),
        ("timer n4", "no such node"),
        ("jump n1", "no such step"),
        ("crash n1 keeps all", "`keeps` takes a number of writes"),
    ] {
        let error = walk(&election(), &Options::default(), text).unwrap_err();
        assert_eq!((error.step, error.reason), (1, reason));
    }
}

#[cfg(feature = "planted")]
mod planted {
    use super::*;
    use crate::bugbank::{Bug, DriverBug};
    use raft::Planted;

    /// Finds a planted bug, and breaks the same promise again by walking the path that was found.
    fn caught(bug: Bug, bounds: &Bounds) -> &'static str {
        let options = Options { planted: Some(bug), ..Options::default() };
        let (broken, path) = find(bounds, &options).violation.expect("the bug is found");
        let walked = walk(bounds, &options, &path.steps.join("\n")).unwrap();
        assert_eq!(walked, (path, Some(broken.clone())));
        broken.check
    }

    #[test]
    fn gates_that_open_early_are_caught_within_one_election() {
        assert_eq!(caught(Bug::Raft(Planted::AcksBeforeDurable), &election()), "durable while committed");
        assert_eq!(caught(Bug::Raft(Planted::CountsUnsynced), &election()), "apply after durable");
        assert_eq!(caught(Bug::Driver(DriverBug::EarlySends), &election()), "durable while committed");
        assert_eq!(caught(Bug::Driver(DriverBug::EarlyEvents), &election()), "apply after durable");
    }

    /// The simulator needs thousands of seeds for these two: two candidates of one term, and a voter that dies and is
    /// back between hearing them.
    #[test]
    fn two_votes_in_a_term_are_caught() {
        let bounds = Bounds { timers: 2, crashes: 1, ..election() };
        assert_eq!(caught(Bug::Raft(Planted::AnswersBeforeMeta), &bounds), "one leader per epoch");
        assert_eq!(caught(Bug::Raft(Planted::ForgetsVote), &bounds), "one leader per epoch");
    }

    #[test]
    fn a_leader_that_counts_copies_of_earlier_terms_is_caught() {
        let bounds = Bounds { terms: 2, timers: 2, ..election() };
        assert_eq!(caught(Bug::Raft(Planted::CommitsOldTerms), &bounds), "invariant of the core");
    }
}

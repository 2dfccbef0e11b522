//! What faults do to a world, seen from outside.

use super::*;
use crate::options::Options;
use crate::report::Report;
use crate::run::run_seed;
use crate::setup::Setup;

/// A world of three nodes whose election time-outs are long enough to tell why a leader was replaced.
fn seed() -> (u64, Duration) {
    let patient = |seed: &u64| {
        let Setup { tuning, pace, .. } = Setup::draw(*seed, Some(3));
        tuning.election >= tuning.heartbeat * 8 && pace.drift_ppm == 0 && tuning.lease_drift_ppm.is_none()
    };
    let seed = (0..).find(patient).unwrap();
    (seed, Setup::draw(seed, Some(3)).tuning.heartbeat)
}

fn run(seed: u64, faults: &str) -> Report {
    let schedule = format!("net delay=0.1ms..0.2ms\n{faults}").parse().unwrap();
    let report = run_seed(&Options { nodes: Some(3), schedule: Some(schedule), ..Options::default() }, seed);
    assert!(report.is_ok(), "{report}");
    report
}

#[test]
fn a_leader_that_everybody_lost_is_replaced_sooner_if_they_are_told() {
    let (seed, heartbeat) = seed();
    let cut = format!("at 2s for {}ms cut leader\n", (heartbeat * 6).as_millis());
    assert_eq!(run(seed, &cut).counters.leaders, 1);
    assert!(run(seed, &format!("{cut}at 2.001s for 1ms reset leader\n")).counters.leaders > 1);
}

#[test]
fn starved_processors_take_longer_to_answer() {
    let (seed, _) = seed();
    let answered = |faults: &str| run(seed, faults).counters.answered;
    assert!(answered("at 1s for 2s slowcpu all extra=300ms") < answered(""));
}

#[test]
fn what_is_no_command_is_replicated_and_changes_nothing() {
    let (seed, _) = seed();
    let committed = |faults: &str| run(seed, faults).counters.committed;
    let poison: String =
        (0..50).map(|number| format!("at {}ms for 1ms poison all\n", 500 + number * 20)).collect();
    assert!(committed(&poison) > committed("") + 20);
}

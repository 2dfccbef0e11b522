//! A few cases of some scenarios; all of them take minutes (`althing sim sweep`).

use std::collections::BTreeMap;

use super::*;

/// Runs every `step`th case of a scenario, from the `first` on.
fn sample(scenario: Scenario, first: usize, step: usize) -> BTreeMap<Verdict, u64> {
    let options = Options::default();
    let cases = cases(&options, scenario).unwrap();
    let mut verdicts = BTreeMap::new();
    for case in cases.iter().skip(first).step_by(step) {
        let verdict = run(&options, case).unwrap_or_else(|finding| panic!("{finding}"));
        *verdicts.entry(verdict).or_default() += 1;
    }
    verdicts
}

#[test]
fn a_sample_of_cases_ends_well() {
    for scenario in [Scenario::Single, Scenario::Transfer, Scenario::Roll, Scenario::IdleRestart] {
        let verdicts = sample(scenario, 100 * scenario as usize + 7, 997);
        assert!(!verdicts.is_empty(), "{scenario}: {verdicts:?}");
    }
}

#[test]
fn a_name_is_parsed_back_to_its_scenario() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.name().parse(), Ok(scenario));
    }
    assert!("nonsense".parse::<Scenario>().is_err());
}

/// A sweep that misses a planted bug is itself the defect.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_of_the_log_are_found() {
    use crate::bugbank::Bug;
    use storage::Planted;

    let finds = |bug: Planted, scenario: Scenario, fault: DiskFault, step: usize| {
        let cases = cases(&Options::default(), scenario).unwrap();
        let planted = Options { planted: Some(Bug::Log(bug)), ..Options::default() };
        let cases = cases.into_iter().filter(|case| case.fault == fault && case.node == NodeId(1));
        cases.step_by(step).any(|case| run(&planted, &case).is_err())
    };
    assert!(finds(Planted::CacheIsTrusted, Scenario::Single, DiskFault::Error, 1));
    assert!(finds(Planted::SyncDoesNothing, Scenario::Single, DiskFault::CrashAfter, 7));
    assert!(finds(Planted::DamageIsTruncated, Scenario::Single, DiskFault::Flip, 3));
}

//! A few cases of every scenario; all of them take minutes (`althing sim sweep`).

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
fn a_sample_of_every_scenario_ends_well() {
    for scenario in Scenario::ALL {
        let verdicts = sample(scenario, scenario as usize, 97);
        assert!(verdicts.values().sum::<u64>() > 3, "{scenario}: {verdicts:?}");
    }
}

#[test]
fn a_name_is_parsed_back_to_its_scenario() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.name().parse(), Ok(scenario));
    }
    assert!("nonsense".parse::<Scenario>().is_err());
}

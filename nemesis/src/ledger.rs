//! The line that a run leaves in the reliability ledger.

use std::collections::BTreeSet;

use campaign::{Begun, Campaign, Cases, Failed, Kind, Operations};

use crate::report::Report;

/// Where things are on one machine says nothing on another.
const PATHS: [&str; 3] = ["--directory", "--ledger", "--althing"];

/// What a run did and found. `arguments`: those that it was started with.
pub fn campaign(begun: &Begun, report: &Report, arguments: &[String]) -> Campaign {
    let mut replay = "cargo xtask nemesis".to_owned();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.split_once('=') {
            Some((name, _)) if PATHS.contains(&name) => {}
            None if PATHS.contains(&argument.as_str()) => drop(rest.next()),
            _ => replay += &format!(" {argument}"),
        }
    }
    let failed = report.checks.iter().filter(|check| check.is_violated() || check.is_open());
    let broken = failed.map(|check| check.check.to_owned()).chain(report.findings.iter().cloned());
    let failures = broken.map(|promise| Failed {
        case: format!("seed {}", report.seed),
        promise,
        replay: replay.clone(),
        closed: None,
    });
    // A tour of several clusters asks each check for each of them.
    let decided = report.checks.iter().filter(|check| check.verdict != "undecided");
    let promises: BTreeSet<String> = decided.map(|check| check.check.to_owned()).collect();
    let (answered, unknown) = (report.operations.answered as u64, report.operations.unknown as u64);
    Campaign {
        cases: Cases { from: report.seed, count: 1 },
        operations: Operations { answered, unknown },
        faults: report.faults.iter().map(|row| (row.kind.to_owned(), row.count as u64)).collect(),
        cluster_hours: campaign::hours(std::time::Duration::from_secs_f64(report.seconds)),
        failures: failures.collect(),
        promises: promises.into_iter().chain(["every node recovers".to_owned()]).collect(),
        ..Campaign::ended(Kind::Nemesis, begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Judgement;

    #[test]
    fn a_finding_is_an_open_failure_of_its_seed() {
        let mut report = Report { seed: 7, nodes: 3, seconds: 3600.0, ..Report::default() };
        report.count("kill");
        report.findings.push("n2 ended".to_owned());
        let arguments = ["--each", "--directory", "here", "--ledger=there", "--seed", "7"].map(str::to_owned);
        let campaign = campaign(&Begun::now(), &report, &arguments);
        let open: Vec<_> = campaign.open().map(|failed| (&*failed.promise, &*failed.replay)).collect();
        assert_eq!(open, [("n2 ended", "cargo xtask nemesis --each --seed 7")]);
        assert_eq!((campaign.faults["kill"], campaign.cluster_hours), (1, 1.0));
    }

    #[test]
    fn what_was_not_judged_is_open_and_no_promise_was_checked() {
        let judged = |check, verdict| Judgement { check, verdict, why: String::new(), size: 1, seconds: 0.0 };
        let checks = vec![judged("C1", "undecided"), judged("C5", "holds"), judged("C9", "violated")];
        let report = Report { checks, ..Report::default() };
        let campaign = campaign(&Begun::now(), &report, &[]);
        assert_eq!(campaign.open().map(|failed| &*failed.promise).collect::<Vec<_>>(), ["C1", "C9"]);
        assert_eq!(campaign.promises, ["C5", "C9", "every node recovers"]);
    }
}

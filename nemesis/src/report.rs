//! What a run comes to: a table for people, JSON for programs.

use std::time::Duration;

use checker::{History, Outcome};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::arena::Tally;
use crate::judge::Judgement;
use crate::plan::Plan;

/// Everything that is known after a run, or after a history was judged again.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The seed of plan and clients.
    pub seed: u64,
    /// How many nodes.
    pub nodes: usize,
    /// How long clients worked.
    pub seconds: f64,
    /// What they asked and were told.
    pub operations: Operations,
    /// What was done to the cluster, by kind.
    pub faults: Vec<Row>,
    /// What was done to files, and what came of it.
    pub corruption: Tally,
    /// What happened that is worth a look, but may.
    pub notes: Vec<String>,
    /// What should not have happened, beside what checkers say.
    pub findings: Vec<String>,
    /// What the checkers say.
    pub checks: Vec<Judgement>,
}

/// Operations by how they ended.
#[derive(Debug, Default, Serialize)]
pub struct Operations {
    /// All of them.
    pub invoked: usize,
    /// Answered.
    pub answered: usize,
    /// Certainly without effect.
    pub refused: usize,
    /// Perhaps with, perhaps without.
    pub unknown: usize,
    /// Changes that the watchers saw.
    pub changes: usize,
}

/// All faults of one kind.
#[derive(Debug, Serialize)]
pub struct Row {
    /// The kind.
    pub kind: &'static str,
    /// How often it was brought about.
    pub count: usize,
    /// How often it was planned and left out, because members were still changing.
    pub skipped: usize,
    /// From each one's end until a write was acknowledged that was asked after it.
    pub resumed_ms: Vec<u64>,
    /// From each one's end until a write had been acknowledged through every node.
    pub whole_ms: Vec<u64>,
}

impl Operations {
    /// Counts those of a history.
    pub fn of(history: &History) -> Operations {
        let count = |wanted: fn(&Outcome) -> bool| {
            history.operations().iter().filter(|operation| wanted(&operation.outcome)).count()
        };
        Operations {
            invoked: history.operations().len(),
            answered: count(|outcome| matches!(outcome, Outcome::Answered { .. })),
            refused: count(|outcome| matches!(outcome, Outcome::Refused)),
            unknown: count(|outcome| matches!(outcome, Outcome::Unknown)),
            changes: history.changes.len(),
        }
    }
}

impl Operations {
    fn add(&mut self, other: Operations) {
        let Operations { invoked, answered, refused, unknown, changes } = other;
        self.invoked += invoked;
        self.answered += answered;
        self.refused += refused;
        self.unknown += unknown;
        self.changes += changes;
    }
}

impl Report {
    /// A report on what has not happened yet.
    pub fn new(plan: &Plan) -> Report {
        Report { seed: plan.seed, nodes: plan.nodes, ..Report::default() }
    }

    /// Notes one fault of `kind`.
    pub fn count(&mut self, kind: &'static str) {
        self.row(kind).count += 1;
    }

    /// Notes one fault of `kind` that was planned and left out.
    pub fn skip(&mut self, kind: &'static str) {
        self.row(kind).skipped += 1;
    }

    /// Adds what another run came to.
    pub fn absorb(&mut self, other: Report) {
        let Report { seed, nodes, seconds, operations, faults, corruption, notes, findings, checks } = other;
        (self.seed, self.nodes) = (seed, nodes);
        self.seconds += seconds;
        self.operations.add(operations);
        for row in faults {
            let own = self.row(row.kind);
            own.count += row.count;
            own.skipped += row.skipped;
            own.resumed_ms.extend(row.resumed_ms);
            own.whole_ms.extend(row.whole_ms);
        }
        self.corruption.add(corruption);
        self.notes.extend(notes);
        self.findings.extend(findings);
        self.checks.extend(checks);
    }

    /// Notes how long the cluster took to recover from a fault of `kind`.
    pub fn recovered(&mut self, kind: &'static str, resumed: Duration, whole: Duration) {
        let row = self.row(kind);
        row.resumed_ms.push(millis(resumed));
        row.whole_ms.push(millis(whole));
    }

    fn row(&mut self, kind: &'static str) -> &mut Row {
        let at = self.faults.iter().position(|row| row.kind == kind).unwrap_or_else(|| {
            self.faults.push(Row {
                kind,
                count: 0,
                skipped: 0,
                resumed_ms: Vec::new(),
                whole_ms: Vec::new(),
            });
            self.faults.len() - 1
        });
        &mut self.faults[at]
    }

    /// Whether nothing speaks against the server, and everything that was to be judged was.
    pub fn is_good(&self) -> bool {
        self.verdict() == "good"
    }

    /// For programs: one line, the verdict first.
    ///
    /// # Errors
    /// None that this report can cause.
    pub fn json(&self) -> serde_json::Result<String> {
        #[derive(Serialize)]
        struct Judged<'a> {
            verdict: &'static str,
            #[serde(flatten)]
            report: &'a Report,
        }
        serde_json::to_string(&Judged { verdict: self.verdict(), report: self })
    }

    fn verdict(&self) -> &'static str {
        match self.findings.is_empty() && !self.checks.iter().any(Judgement::is_violated) {
            false => "BAD",
            true if self.checks.iter().any(Judgement::is_open) => "undecided",
            true => "good",
        }
    }

    /// For people.
    pub fn text(&self) -> String {
        let Operations { invoked, answered, refused, unknown, changes } = self.operations;
        let mut lines = vec![format!(
            "{invoked} operations in {:.0} s: {answered} answered, {refused} refused, {unknown} unknown; \
             {changes} changes seen by a watcher at each node",
            self.seconds
        )];
        if !self.faults.is_empty() {
            lines.push(format!("\n{}\n", self.table()));
        }
        if self.corruption.nodes > 0 {
            lines.push(self.corruption.to_string());
        }
        for Judgement { check, verdict, why, size, seconds } in &self.checks {
            lines.push(format!("{check}: {verdict} (of {size}, {seconds:.2} s) {why}"));
        }
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.extend(self.findings.iter().map(|finding| format!("finding: {finding}")));
        lines.push(format!("verdict: {}\n", self.verdict()));
        lines.join("\n")
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "fault",
            "count",
            "left out",
            "writes resume: median",
            "worst",
            "all nodes serve: median",
            "worst",
        ]);
        for row in &self.faults {
            let (resumed, whole) = (spread(&row.resumed_ms), spread(&row.whole_ms));
            table.add_row([
                row.kind.to_owned(),
                row.count.to_string(),
                row.skipped.to_string(),
                resumed.0,
                resumed.1,
                whole.0,
                whole.1,
            ]);
        }
        table.column_iter_mut().skip(1).for_each(|column| column.set_cell_alignment(CellAlignment::Right));
        table
    }
}

/// Median and worst, as text.
fn spread(times_ms: &[u64]) -> (String, String) {
    let mut sorted = times_ms.to_vec();
    sorted.sort_unstable();
    let seconds =
        |ms: Option<&u64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{:.2} s", *ms as f64 / 1e3));
    (seconds(sorted.get(sorted.len() / 2)), seconds(sorted.last()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_row_and_the_worst_time_shows() {
        let mut report = Report::default();
        for ms in [30, 10, 9_000] {
            report.count("kill");
            report.recovered("kill", Duration::from_millis(ms), Duration::from_millis(2 * ms));
        }
        assert_eq!(report.faults.len(), 1);
        let text = report.text();
        assert!(text.contains("0.03 s") && text.contains("9.00 s") && text.contains("18.00 s"), "{text}");
    }

    #[test]
    fn two_runs_come_to_one_report() {
        let mut report = Report::default();
        for kind in ["kill", "pause", "kill"] {
            let mut other = Report { seconds: 2.0, ..Report::default() };
            other.count(kind);
            other.operations.invoked = 5;
            report.absorb(other);
        }
        assert_eq!((report.faults.len(), report.faults[0].count, report.operations.invoked), (2, 2, 15));
        assert!(report.is_good());
    }

    #[test]
    fn only_the_search_may_stay_without_an_answer() {
        let verdict = |check| {
            let judgement =
                Judgement { check, verdict: "undecided", why: String::new(), size: 1, seconds: 0.0 };
            Report { checks: vec![judgement], ..Report::default() }.verdict()
        };
        assert_eq!(verdict("C2 linearizable by group of keys"), "good");
        assert_eq!(verdict("C1 strictly serializable in revision order"), "undecided");
    }

    #[test]
    fn a_finding_alone_makes_it_bad() {
        let mut report = Report::default();
        assert!(report.is_good());
        report.findings.push("n2 ended".to_owned());
        assert!(!report.is_good());
        assert!(report.text().contains("finding: n2 ended\nverdict: BAD"));
        let json = report.json().unwrap();
        assert!(json.starts_with("{\"verdict\":\"BAD\"") && !json.contains('\n'), "{json}");
    }
}

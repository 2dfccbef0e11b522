//! `cargo xtask ledger`: what was tried so far, summed up from `reliability/ledger.jsonl`.
//!
//! ```text
//!   reliability/ledger.jsonl ──sums──▶ terminal
//!                                └──▶ <!-- ledger: NAME --> … <!-- end --> in README.md and docs/reliability.md
//! ```
//!
//! A figure between such markers is computed (`--write`), and the gate fails if it is not what the ledger says.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use campaign::{Campaign, Kind};
use clap::Args;

use crate::command::root;
use crate::docs;

/// The files with computed parts.
const FILES: [&str; 2] = ["README.md", "docs/reliability.md"];

const HOURS_PER_YEAR: f64 = 365.25 * 24.0;

#[derive(Args)]
pub struct LedgerArgs {
    /// Write the figures into README.md and docs/reliability.md
    #[arg(long)]
    write: bool,
    /// Fail if they are not what the ledger says
    #[arg(long, conflicts_with = "write")]
    check: bool,
}

/// Prints, writes or checks the sums.
///
/// # Errors
/// The ledger or a document cannot be read, or is not up to date.
pub fn ledger(args: &LedgerArgs) -> anyhow::Result<()> {
    let totals = Totals::of(&read()?);
    match (args.write, args.check) {
        (true, _) => each_file(|path, text| Ok(fs::write(path, totals.filled_in(text)?)?)),
        (_, true) => check(),
        _ => {
            println!("{}\n\n{}{}", totals.by_kind(), totals.by_fault(), totals.open_failures());
            Ok(())
        }
    }
}

/// What the gate wants: documents that say what the ledger says.
///
/// # Errors
/// One of them does not.
pub fn check() -> anyhow::Result<()> {
    let totals = Totals::of(&read()?);
    each_file(|path, text| {
        let is_current = totals.filled_in(text)? == text;
        ensure!(is_current, "{} is not what the ledger says: cargo xtask ledger --write", path.display());
        Ok(())
    })
}

fn read() -> anyhow::Result<Vec<Campaign>> {
    Ok(campaign::read(&root().join("reliability/ledger.jsonl"))?)
}

fn each_file(mut act: impl FnMut(&PathBuf, &str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    FILES.iter().try_for_each(|name| {
        let path = root().join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        act(&path, &text).with_context(|| (*name).to_owned())
    })
}

/// All campaigns together.
#[derive(Default)]
struct Totals {
    kinds: BTreeMap<Kind, Sum>,
    /// By class, in simulated worlds and in real ones.
    faults: BTreeMap<String, (u64, u64)>,
    open: Vec<String>,
}

/// All campaigns of one kind.
#[derive(Clone, Default)]
struct Sum {
    campaigns: u64,
    cases: u64,
    operations: u64,
    faults: u64,
    cluster_hours: f64,
    real_minutes: f64,
    failures_open: u64,
    failures_closed: u64,
}

impl Totals {
    fn of(campaigns: &[Campaign]) -> Totals {
        let mut totals = Totals::default();
        for campaign in campaigns {
            totals.kinds.entry(campaign.kind).or_default().add(campaign);
            for (class, count) in &campaign.faults {
                let (simulated, real) = totals.faults.entry(class.clone()).or_default();
                *(if campaign.kind == Kind::Nemesis { real } else { simulated }) += count;
            }
            totals.open.extend(
                campaign
                    .open()
                    .map(|failed| format!("{}: {}   {}", failed.case, failed.promise, failed.replay)),
            );
        }
        totals
    }

    /// A row for each kind, and their sum.
    fn by_kind(&self) -> String {
        let mut all = Sum::default();
        let mut table = "| campaigns | cases | operations | faults | cluster time | machine time | failures \
                         (open) |\n|---|---|---|---|---|---|---|"
            .to_owned();
        for (kind, sum) in &self.kinds {
            all.merge(sum);
            let cases = format!("{} {}", grouped(sum.cases), unit(*kind));
            table += &sum.row(&format!("{} {}", sum.campaigns, title(*kind)), &cases);
        }
        // Seeds, states and inputs have no sum.
        table + &all.row(&format!("**{} in all**", all.campaigns), "")
    }

    /// A row for each class of faults.
    fn by_fault(&self) -> String {
        let rows = self.faults.iter().map(|(class, (simulated, real))| {
            format!("| `{class}` | {} | {} |\n", grouped(*simulated), grouped(*real))
        });
        format!("| fault | simulated | on real processes |\n|---|---|---|\n{}", rows.collect::<String>())
    }

    fn open_failures(&self) -> String {
        self.open.iter().map(|line| format!("\nopen: {line}")).collect()
    }

    /// The text with everything between markers computed anew.
    fn filled_in(&self, text: &str) -> anyhow::Result<String> {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let (name, after) = after.split_once(" -->").context("a marker without an end")?;
            let (_, after) = after.split_once(END).context("a part without an end marker")?;
            let part = match name {
                "kinds" => self.by_kind(),
                "faults" => self.by_fault(),
                "classes" => docs::classes(text)?,
                _ => bail!("there is no part called {name}; there are: kinds, faults, classes"),
            };
            out += &format!("{before}{BEGIN}{name} -->\n{}\n{END}", part.trim_end());
            rest = after;
        }
        Ok(out + rest)
    }
}

const BEGIN: &str = "<!-- ledger: ";
const END: &str = "<!-- end -->";

impl Sum {
    fn add(&mut self, campaign: &Campaign) {
        let open = campaign.open().count() as u64;
        self.merge(&Sum {
            campaigns: 1,
            cases: campaign.cases.count,
            operations: campaign.operations.answered + campaign.operations.unknown,
            faults: campaign.faults.values().sum(),
            cluster_hours: campaign.cluster_hours,
            real_minutes: campaign.real_minutes,
            failures_open: open,
            failures_closed: campaign.failures.len() as u64 - open,
        });
    }

    fn merge(&mut self, other: &Sum) {
        self.campaigns += other.campaigns;
        self.cases += other.cases;
        self.operations += other.operations;
        self.faults += other.faults;
        self.cluster_hours += other.cluster_hours;
        self.real_minutes += other.real_minutes;
        self.failures_open += other.failures_open;
        self.failures_closed += other.failures_closed;
    }

    fn row(&self, name: &str, cases: &str) -> String {
        let some = |count: u64| if count == 0 { "–".to_owned() } else { grouped(count) };
        format!(
            "\n| {name} | {cases} | {} | {} | {} | {} | {} ({}) |",
            some(self.operations),
            some(self.faults),
            time(self.cluster_hours),
            time(self.real_minutes / 60.0),
            self.failures_open + self.failures_closed,
            self.failures_open
        )
    }
}

fn title(kind: Kind) -> &'static str {
    match kind {
        Kind::Sim => "of random weather (`althing sim`)",
        Kind::Sweep => "of single disk faults (`althing sim sweep`)",
        Kind::Explore => "of every order (`althing sim explore`)",
        Kind::Bugbank => "of planted bugs (`cargo xtask bugbank`)",
        Kind::Corruption => "of harm to a log at rest (`corrupt`)",
        Kind::Fuzz => "of hostile bytes (`cargo xtask fuzz`)",
        Kind::Nemesis => "on real processes (`cargo xtask nemesis`)",
    }
}

fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Sim => "seeds",
        Kind::Explore => "states",
        Kind::Bugbank => "searches",
        Kind::Fuzz => "inputs",
        Kind::Nemesis => "runs",
        Kind::Sweep | Kind::Corruption => "cases",
    }
}

/// Hours in a unit that people grasp.
fn time(hours: f64) -> String {
    match hours {
        0.0 => "–".to_owned(),
        years if years >= HOURS_PER_YEAR / 10.0 => format!("{:.2} years", years / HOURS_PER_YEAR),
        hours => format!("{hours:.1} h"),
    }
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    std::iter::once(head.to_owned())
        .chain(groups)
        .filter(|group| !group.is_empty())
        .collect::<Vec<_>>()
        .join(",")
}

#[cfg(test)]
mod tests {
    use campaign::{Begun, Cases, Failed};

    use super::*;

    fn campaigns() -> Vec<Campaign> {
        let failed = |closed: Option<&str>| Failed {
            case: "7".to_owned(),
            promise: "liveness".to_owned(),
            replay: "althing sim --seed 7".to_owned(),
            closed: closed.map(str::to_owned),
        };
        let sim = Campaign {
            cases: Cases { from: 0, count: 1_000 },
            faults: BTreeMap::from([("cut".to_owned(), 1_500)]),
            cluster_hours: 8766.0,
            real_minutes: 60.0,
            failures: vec![failed(None), failed(Some("abc"))],
            ..Campaign::ended(Kind::Sim, &Begun::now())
        };
        let nemesis = Campaign {
            real_minutes: 0.0,
            cases: Cases { from: 3, count: 1 },
            faults: BTreeMap::from([("cut".to_owned(), 2)]),
            ..Campaign::ended(Kind::Nemesis, &Begun::now())
        };
        vec![sim.clone(), sim, nemesis]
    }

    #[test]
    fn campaigns_of_a_kind_are_one_row() {
        let table = Totals::of(&campaigns()).by_kind();
        let row =
            "| 2 of random weather (`althing sim`) | 2,000 seeds | – | 3,000 | 2.00 years | 2.0 h | 4 (2) |";
        assert!(table.contains(row), "{table}");
        assert!(table.contains("| **3 in all** |  | – | 3,002 |"), "{table}");
    }

    #[test]
    fn faults_on_real_processes_are_counted_apart() {
        assert!(Totals::of(&campaigns()).by_fault().contains("| `cut` | 3,000 | 2 |"));
    }

    #[test]
    fn only_what_stands_between_markers_is_computed() {
        let totals = Totals::of(&campaigns());
        let text = "before\n<!-- ledger: faults -->\nold\n<!-- end -->\nafter\n";
        let filled = totals.filled_in(text).unwrap();
        assert!(filled.starts_with("before\n<!-- ledger: faults -->\n| fault |"), "{filled}");
        assert!(filled.ends_with("| 3,000 | 2 |\n<!-- end -->\nafter\n"), "{filled}");
        assert_eq!(totals.filled_in(&filled).unwrap(), filled);
        assert!(totals.filled_in("<!-- ledger: nothing -->\n<!-- end -->").is_err());
        assert!(totals.filled_in("<!-- ledger: kinds -->").is_err());
    }

    #[test]
    fn open_failures_are_listed() {
        assert_eq!(
            Totals::of(&campaigns()).open_failures().lines().filter(|line| !line.is_empty()).count(),
            2
        );
    }

    #[test]
    fn long_numbers_are_grouped() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

//! One line of the reliability ledger: what a campaign ran, injected and found.
//!
//! ```text
//!   althing sim --ledger FILE ─┐
//!   althing sim sweep …        ├─▶ reliability/ledger.jsonl ──▶ cargo xtask ledger ──▶ figures in README and docs
//!   cargo xtask nemesis …      ┘      a line a campaign
//! ```
//!
//! Figures about what was tried are computed from these lines, never typed. A line is appended whole, and only when its
//! campaign ends or is interrupted, so that it says what really ran. Nothing is ever removed: a failure that was dealt
//! with gets the commit that did it in its `closed`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What one campaign did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Campaign {
    /// What was done.
    pub kind: Kind,
    /// The commit that was checked out when it began, with `+` if something was changed on top of it; empty if nobody can say.
    pub commit: String,
    /// When the campaign ended, UTC.
    pub date: String,
    /// What was run, in the unit of its kind.
    pub cases: Cases,
    /// What clients asked for.
    pub operations: Operations,
    /// Faults injected, by class.
    pub faults: BTreeMap<String, u64>,
    /// Hours that passed in simulated worlds.
    pub simulated_hours: f64,
    /// Hours that clusters lived, simulated and real ones: hours of one times how many there were.
    pub cluster_hours: f64,
    /// Minutes that the campaign took.
    pub real_minutes: f64,
    /// On how many threads.
    pub threads: u64,
    /// What was broken.
    pub failures: Vec<Failed>,
    /// What was demanded of every case.
    pub promises: Vec<String>,
}

/// Kinds of campaigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Random weather in the simulator, a seed a case.
    Sim,
    /// A fault at an effect of a scripted cluster a case.
    Sweep,
    /// A state of a small world a case.
    Explore,
    /// A search for a planted bug a case.
    Bugbank,
    /// A harm to a log at rest a case.
    Corruption,
    /// An input a case.
    Fuzz,
    /// A run of real processes a case.
    Nemesis,
}

/// Cases `from` to `from + count`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cases {
    /// The first, where they are numbered; else 0.
    pub from: u64,
    /// How many.
    pub count: u64,
}

/// Operations by how they ended; those that were refused without effect do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operations {
    /// Answered.
    pub answered: u64,
    /// Perhaps with effect, perhaps without.
    pub unknown: u64,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Which case: a seed, say.
    pub case: String,
    /// What was broken.
    pub promise: String,
    /// The command that shows it again.
    pub replay: String,
    /// The commit that dealt with it, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<String>,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("cannot use the ledger {path}")]
    File {
        /// Which file.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is no campaign.
    #[error("line {line} of the ledger {path} is no campaign")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// A campaign that is under way.
#[derive(Clone, Debug)]
pub struct Begun {
    at: Instant,
    commit: String,
}

impl Begun {
    /// Begins now, with what is checked out now: by the end somebody may have committed something else.
    pub fn now() -> Begun {
        Begun { at: Instant::now(), commit: commit() }
    }

    /// How long it has taken.
    pub fn elapsed(&self) -> Duration {
        self.at.elapsed()
    }
}

impl Campaign {
    /// A campaign that ends now; the rest is for the caller to fill in.
    pub fn ended(kind: Kind, begun: &Begun) -> Campaign {
        Campaign {
            kind,
            commit: begun.commit.clone(),
            date: said_by("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]).unwrap_or_default(),
            cases: Cases::default(),
            operations: Operations::default(),
            faults: BTreeMap::new(),
            simulated_hours: 0.0,
            cluster_hours: 0.0,
            real_minutes: rounded(begun.elapsed().as_secs_f64() / 60.0),
            threads: 1,
            failures: Vec::new(),
            promises: Vec::new(),
        }
    }

    /// Failures that nobody has dealt with.
    pub fn open(&self) -> impl Iterator<Item = &Failed> {
        self.failures.iter().filter(|failed| failed.closed.is_none())
    }

    /// Appends the line of this campaign.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&self, path: &Path) -> Result<(), LedgerError> {
        let failed = |source| LedgerError::File { path: path.display().to_string(), source };
        let line = serde_json::to_string(self).map_err(|error| failed(error.into()))?;
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        // One write, so that campaigns that end together do not mix their lines.
        file.write_all(format!("{line}\n").as_bytes()).map_err(failed)
    }
}

/// All campaigns of a ledger.
///
/// # Errors
/// The file cannot be read, or has a line that is no campaign.
pub fn read(path: &Path) -> Result<Vec<Campaign>, LedgerError> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| LedgerError::File { path: name(), source })?;
    let parsed = text.lines().enumerate().map(|(at, line)| {
        serde_json::from_str(line).map_err(|source| LedgerError::Line { path: name(), line: at + 1, source })
    });
    parsed.collect()
}

/// Takes `--ledger FILE` out of the arguments of a program that parses its own.
pub fn taken_from(arguments: &mut Vec<String>) -> Option<PathBuf> {
    let at = arguments.iter().position(|word| word == "--ledger")?;
    let mut taken = arguments.drain(at..(at + 2).min(arguments.len()));
    taken.nth(1).map(PathBuf::from)
}

/// Hours, as a ledger has them.
pub fn hours(time: Duration) -> f64 {
    rounded(time.as_secs_f64() / 3600.0)
}

/// To a thousandth: more digits would claim what nobody measured.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn commit() -> String {
    let Some(commit) = said_by("git", &["rev-parse", "HEAD"]) else { return String::new() };
    let changes = said_by("git", &["status", "--porcelain", "--untracked-files=no", "--", ":!reliability"]);
    let is_changed = changes.is_some_and(|changes| !changes.is_empty());
    format!("{commit}{}", if is_changed { "+" } else { "" })
}

/// What a program prints, without the last line's end; nothing if it fails.
fn said_by(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn campaign() -> Campaign {
        let failed = Failed {
            case: "7".to_owned(),
            promise: "liveness".to_owned(),
            replay: "althing sim --seed 7".to_owned(),
            closed: None,
        };
        Campaign {
            cases: Cases { from: 5, count: 10 },
            faults: BTreeMap::from([("cut".to_owned(), 3)]),
            failures: vec![failed],
            ..Campaign::ended(Kind::Sim, &Begun::now())
        }
    }

    #[test]
    fn what_is_appended_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        let (first, mut second) = (campaign(), campaign());
        second.failures[0].closed = Some("0123abc".to_owned());
        first.append(&path).unwrap();
        second.append(&path).unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read.iter().map(|campaign| campaign.open().count()).collect::<Vec<_>>(), [1, 0]);
        assert_eq!(read, [first, second]);
    }

    #[test]
    fn a_line_that_is_no_campaign_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger.jsonl");
        campaign().append(&path).unwrap();
        fs::write(&path, format!("{}{{}}\n", fs::read_to_string(&path).unwrap())).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.starts_with("line 2 of the ledger"), "{error}");
    }

    #[test]
    fn the_ledgers_name_is_taken_out_of_the_arguments() {
        let mut words = ["100", "--ledger", "a.jsonl", "5"].map(str::to_owned).to_vec();
        assert_eq!(taken_from(&mut words), Some(PathBuf::from("a.jsonl")));
        assert_eq!(words, ["100", "5"]);
        assert_eq!(taken_from(&mut words), None);
    }

    #[test]
    fn a_campaign_says_when_it_ended() {
        let Campaign { date, .. } = campaign();
        assert_eq!((date.len(), &date[..2], &date[19..]), (20, "20", "Z"));
    }
}

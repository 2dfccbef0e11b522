//! `cargo xtask docs`: what documents say about the code is so. The tests that they name exist, and every class of
//! faults has its row.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::command::root;
use crate::ledger;

/// Classes of faults in `docs/reliability.md`.
const CLASSES: usize = 58;

/// Checks all documents.
///
/// # Errors
/// The first that is wrong.
pub fn check() -> anyhow::Result<()> {
    ledger::check()?;
    let documents = files(&root().join("docs"), "md")?;
    documents.iter().try_for_each(|path| named_tests_exist(path))
}

/// The sentence that counts the rows of the table of faults in `text`.
///
/// # Errors
/// A class is missing or is there twice, or a dash does not say why it stands there.
pub fn classes(text: &str) -> anyhow::Result<String> {
    let rows: Vec<Vec<String>> = text.lines().filter_map(class).collect();
    ensure!(rows.len() == CLASSES, "{} of {CLASSES} classes of faults have a row", rows.len());
    let (mut worlds, mut tests, mut processes) = (0, 0, 0);
    for (row, number) in rows.iter().zip(1..) {
        ensure!(row[0] == number.to_string(), "class {number} stands in the row of {}", row[0]);
        ensure!(row.len() == 5, "the row of class {number} has {} cells", row.len());
        let is_covered = |cell: &String| !(cell.is_empty() || cell.starts_with('–'));
        // In worlds and on real processes; tests are named only where a world has nothing of the kind, or less.
        let says_why = |cell: &String| !matches!(cell.trim_start_matches('–').trim(), "" | "not yet");
        ensure!(
            [&row[2], &row[4]].into_iter().all(says_why),
            "the row of class {number} does not say why not"
        );
        worlds += usize::from(is_covered(&row[2]));
        tests += usize::from(!is_covered(&row[2]) && is_covered(&row[3]));
        processes += usize::from(is_covered(&row[4]));
    }
    let all = worlds + tests;
    Ok(format!(
        "Of {CLASSES} classes, {worlds} are brought about in worlds, {tests} more in deterministic tests only ({all} \
         together), and {processes} on real processes."
    ))
}

/// The cells of a row that begins with a number.
fn class(line: &str) -> Option<Vec<String>> {
    let line = line.strip_prefix("| ")?.strip_suffix(" |")?.replace("\\|", "\0");
    let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
    cells[0].parse::<u64>().ok().map(|_| cells)
}

/// Every name in backquotes that may be a test's, `crate::module::what_holds`, is in that crate.
fn named_tests_exist(path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    for name in text.split('`').skip(1).step_by(2).filter(|name| is_test_name(name)) {
        let (package, test) = (name.split("::").next().unwrap_or_default(), last(name));
        let sources = files(&folder(package), "rs")?;
        let has_it = |file: &PathBuf| fs::read_to_string(file).is_ok_and(|source| defines(&source, test));
        ensure!(sources.iter().any(has_it), "{} names a test {name} that is not there", path.display());
    }
    Ok(())
}

fn is_test_name(name: &str) -> bool {
    let is_path = name.contains("::")
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | ':'));
    is_path && last(name).contains('_')
}

fn last(name: &str) -> &str {
    name.rsplit("::").next().unwrap_or(name)
}

/// As a function, or as the name that a macro gives to one.
fn defines(source: &str, test: &str) -> bool {
    source.lines().any(|line| {
        let line = line.trim_start();
        let line = line.strip_prefix("async ").unwrap_or(line);
        let rest = line.strip_prefix("fn ").unwrap_or(line).strip_prefix(test);
        rest.is_some_and(|rest| rest.starts_with(['(', ',', ':']))
    })
}

fn folder(package: &str) -> PathBuf {
    let inner = root().join("crates").join(package);
    if inner.is_dir() { inner } else { root().join(package) }
}

/// All files with this extension below a folder; none if there is no such folder.
fn files(folder: &Path, extension: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, extension)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: usize) -> String {
        let row = |number| format!("| {number} | what | `cut n1\\|n2` | | – why not |\n");
        (1..=rows).map(row).collect()
    }

    #[test]
    fn rows_of_faults_are_counted_and_none_may_be_missing() {
        let sentence = classes(&table(CLASSES)).unwrap();
        assert!(sentence.starts_with("Of 58 classes, 58 are brought about in worlds, 0 more"), "{sentence}");
        assert!(sentence.contains("and 0 on real processes"), "{sentence}");
        assert!(classes(&table(CLASSES - 1)).is_err());
        assert!(classes(&table(CLASSES).replace("| 7 |", "| 70 |")).is_err());
        assert!(classes(&table(CLASSES).replace("– why not", "–")).is_err());
        assert!(classes(&table(CLASSES).replace("– why not", "– not yet")).is_err());
    }

    #[test]
    fn a_test_is_named_by_its_crate_and_its_claim() {
        assert!(is_test_name("raft::tests::bank::a_vote_survives_a_crash"));
        assert!(!is_test_name("sim::explore"));
        assert!(!is_test_name("Raft::check_all_the_invariants"));
        let source = "#[tokio::test]\nasync fn a_claim_that_holds() {}\nstory! {\n    another_that_holds, Bug, |x| {}\n";
        assert!(defines(source, "a_claim_that_holds") && defines(source, "another_that_holds"));
        assert!(!defines(source, "a_claim_that"));
    }

    #[test]
    fn this_test_is_found_where_it_is() {
        let sources = files(&folder("xtask"), "rs").unwrap();
        let here =
            |file: &PathBuf| defines(&fs::read_to_string(file).unwrap(), "this_test_is_found_where_it_is");
        assert_eq!(sources.iter().filter(|file| here(file)).count(), 1);
    }
}

//! The tasks that are one program with a build before it.

use std::process::{Command, Stdio};

use anyhow::Context;

use crate::command::{cargo, release_dir, root, run};

/// The suites of `e2e`, in the order in which `cargo xtask e2e` runs them.
pub const E2E_SUITES: [&str; 5] = ["etcdctl", "clients", "bad-input", "members", "plug"];

/// `althing sim`.
///
/// # Errors
/// A promise was broken, or the build fails.
pub fn sim(arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "--package", "althing", "--features", "buggify"])?;
    run(Command::new(release_dir().join("althing")).arg("sim").args(arguments))
}

/// `althing sim --seed N --trace FILE`, from the line that a failure printed.
///
/// # Errors
/// As for `sim`.
pub fn replay(line: &[String]) -> anyhow::Result<()> {
    sim(&replay_arguments(line))
}

fn replay_arguments(line: &[String]) -> Vec<String> {
    // The line may come as one quoted word.
    let words: Vec<String> =
        line.iter().flat_map(|word| word.split_whitespace()).map(str::to_owned).collect();
    let after_sim = words.iter().position(|word| word == "sim").map_or(0, |at| at + 1);
    let mut arguments = match &words[after_sim..] {
        [seed] if seed.parse::<u64>().is_ok() => vec!["--seed".to_owned(), seed.clone()],
        words => words.to_vec(),
    };
    if !arguments.iter().any(|word| word == "--trace") {
        arguments.extend(["--trace".to_owned(), "replay.labtrace".to_owned()]);
    }
    arguments
}

/// One suite of `e2e`, or all of them.
///
/// # Errors
/// A claim does not hold, or the build fails.
pub fn e2e(arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "--package", "althing", "--package", "e2e"])?;
    let e2e = |arguments: &[String]| run(Command::new(release_dir().join("e2e")).args(arguments));
    if !arguments.is_empty() {
        return e2e(arguments);
    }
    E2E_SUITES.iter().try_for_each(|suite| e2e(&[(*suite).to_owned()]))
}

/// Real clusters under faults, in network namespaces.
///
/// # Errors
/// A promise was broken, the run could not take place, or the build fails.
pub fn nemesis(arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "--package", "althing", "--package", "nemesis"])?;
    run(Command::new(release_dir().join("nemesis")).args(arguments))
}

/// The comparison with etcd.
///
/// # Errors
/// A cluster does not start, a request fails, or the build fails.
pub fn bench_etcd(arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "--package", "althing", "--package", "bench"])?;
    // Where temporary files often are, in memory, a durable write costs nothing.
    let data = release_dir().join("bench-data");
    std::fs::create_dir_all(&data)?;
    run(Command::new(release_dir().join("bench")).env("TMPDIR", data).args(arguments))
}

/// The bug bank. The bugs are compiled into this program only. `update` before the other arguments writes the table into
/// `docs/simulation.md`.
///
/// # Errors
/// A planted bug is not caught.
pub fn bugbank(arguments: &[String]) -> anyhow::Result<()> {
    let mut words =
        vec!["run", "--release", "--package", "sim", "--features", "planted", "--example", "bugbank", "--"];
    if arguments.first().map(String::as_str) != Some("update") {
        words.extend(arguments.iter().map(String::as_str));
        return cargo(&words);
    }
    words.extend(arguments[1..].iter().map(String::as_str));
    let output = Command::new("cargo").args(words).current_dir(root()).stderr(Stdio::inherit()).output()?;
    let file = root().join("docs/simulation.md");
    let page = std::fs::read_to_string(&file)?;
    let is_whole = arguments.len() < 4;
    std::fs::write(&file, with_table(&page, &String::from_utf8(output.stdout)?, is_whole)?)?;
    anyhow::ensure!(output.status.success(), "not every bug was caught; see {}", file.display());
    Ok(())
}

/// The page with the rows of `table` in the place of those of the same bugs, or of all if the table `is_whole`.
fn with_table(page: &str, table: &str, is_whole: bool) -> anyhow::Result<String> {
    let header = table.lines().next().context("the bug bank printed nothing")?;
    let (before, rest) = page.split_once(header).context("the page has no table of bugs")?;
    let (old, after) = rest.split_once("\n\n").context("the table of bugs does not end")?;
    // The name is what stands before the first colon.
    let name = |row: &str| row.split(':').next().map(str::to_owned);
    let mut rows: Vec<String> = old.lines().skip(2).filter(|_| !is_whole).map(str::to_owned).collect();
    for new in table.lines().skip(2) {
        match rows.iter_mut().find(|row| name(row) == name(new)) {
            Some(row) => *row = new.to_owned(),
            None => rows.push(new.to_owned()),
        }
    }
    let rule = table.lines().nth(1).context("the bug bank printed no rule")?;
    Ok(format!("{before}{header}\n{rule}\n{}\n\n{after}", rows.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &[&str]) -> String {
        replay_arguments(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn rows_of_the_bug_bank_take_the_place_of_older_ones() {
        let page = "text\n\n| row | bug |\n|---|---|\n| R1 | A: old | 1 |\n| R2 | B: old | 2 |\n\nmore\n";
        let table = "| row | bug |\n|---|---|\n| R2 | B: new | 3 |\n| R3 | C: new | 4 |\n";
        let part = with_table(page, table, false).expect("a page with a table");
        assert!(
            part.contains("| R1 | A: old | 1 |\n| R2 | B: new | 3 |\n| R3 | C: new | 4 |\n\nmore"),
            "{part}"
        );
        let whole = with_table(page, table, true).expect("a page with a table");
        assert!(whole.contains("|---|---|\n| R2 | B: new | 3 |\n| R3 | C: new | 4 |\n\nmore"), "{whole}");
    }

    #[test]
    fn a_seed_or_the_whole_line_can_be_replayed() {
        assert_eq!(arguments(&["7"]), "--seed 7 --trace replay.labtrace");
        let whole = "--protocol raft --seed 7 --trace replay.labtrace";
        assert_eq!(arguments(&["althing", "sim", "--protocol", "raft", "--seed", "7"]), whole);
        assert_eq!(arguments(&["althing sim --protocol raft --seed 7"]), whole);
    }
}

//! The tasks that are one program with a build before it.

use std::process::Command;

use crate::command::{cargo, release_dir, run};

/// The suites of `e2e`, in the order in which `cargo xtask e2e` runs them.
pub const E2E_SUITES: [&str; 5] = ["etcdctl", "clients", "bad-input", "members", "plug"];

/// `althing sim`.
///
/// # Errors
/// A promise was broken, or the build fails.
pub fn sim(arguments: &[String]) -> anyhow::Result<()> {
    cargo(&["build", "--release", "--package", "althing"])?;
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

/// The bug bank. The bugs are compiled into this program only.
///
/// # Errors
/// A planted bug is not caught.
pub fn bugbank(arguments: &[String]) -> anyhow::Result<()> {
    let mut words =
        vec!["run", "--release", "--package", "sim", "--features", "planted", "--example", "bugbank", "--"];
    words.extend(arguments.iter().map(String::as_str));
    cargo(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(line: &[&str]) -> String {
        replay_arguments(&line.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).join(" ")
    }

    #[test]
    fn a_seed_or_the_whole_line_can_be_replayed() {
        assert_eq!(arguments(&["7"]), "--seed 7 --trace replay.labtrace");
        let whole = "--protocol raft --seed 7 --trace replay.labtrace";
        assert_eq!(arguments(&["althing", "sim", "--protocol", "raft", "--seed", "7"]), whole);
        assert_eq!(arguments(&["althing sim --protocol raft --seed 7"]), whole);
    }
}

//! `cargo xtask fuzz`: libFuzzer on every decoder, and what came of it.
//!
//! ```text
//!   fuzz/corpus/TARGET ──▶ program of TARGET ──▶ target/fuzz/corpus/TARGET     what it has learnt, kept between runs
//!        ▲                                  └──▶ target/fuzz/findings/TARGET   inputs that break a claim
//!        └── --keep: the smallest set that reaches as much
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use campaign::{Begun, Campaign, Cases, Failed, Kind};
use clap::Args;

use crate::command::{cargo, root, run};

/// Files that a target's committed corpus has at most, besides those that were named by hand, and bytes of each.
const KEPT_FILES_MAX: usize = 50;
const KEPT_BYTES_MAX: u64 = 1024;

/// Bytes of an input: enough for several log entries or lines.
const INPUT_BYTES_MAX: u64 = 4096;

/// Megabytes of memory and seconds of one input that count as a finding.
const MEMORY_MB_MAX: u64 = 1024;
const INPUT_SECONDS_MAX: u64 = 10;

#[derive(Args)]
pub struct FuzzArgs {
    /// The target [default: all, one after the other]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "MINUTES", default_value_t = 1.0)]
    minutes: f64,
    /// Keep the smallest set of inputs that reaches as much in `fuzz/corpus`, for the tests
    #[arg(long)]
    keep: bool,
    /// Append a line about what was run and found to this file
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Print the table as JSON
    #[arg(long)]
    json: bool,
}

/// What came of one target.
struct Row {
    target: String,
    executions: u64,
    executions_per_second: u64,
    corpus_files: usize,
    findings: BTreeSet<PathBuf>,
}

/// Builds the programs and runs them.
///
/// # Errors
/// A claim is broken, there is no such target, or the build fails.
pub fn fuzz(args: &FuzzArgs) -> anyhow::Result<()> {
    let targets = chosen(args.target.as_deref())?;
    build()?;
    let begun = Begun::now();
    let rows: Vec<Row> = targets.iter().map(|target| run_target(target, args)).collect::<Result<_, _>>()?;
    print!("{}", if args.json { as_json(&rows) } else { as_table(&rows) });
    if let Some(path) = &args.ledger {
        campaign(&begun, &rows).append(path)?;
    }
    let findings: Vec<_> = rows.iter().flat_map(|row| &row.findings).collect();
    for finding in &findings {
        println!("finding: {}", finding.display());
    }
    ensure!(findings.is_empty(), "{} inputs break a claim; see docs/fuzzing.md", findings.len());
    Ok(())
}

fn campaign(begun: &Begun, rows: &[Row]) -> Campaign {
    let promise = "no panic, no hang, memory in proportion";
    let findings = rows.iter().flat_map(|row| row.findings.iter().map(move |file| (row, file)));
    let failures = findings.map(|(row, file)| Failed {
        case: format!("{} {}", row.target, file.file_name().unwrap_or_default().display()),
        promise: promise.to_owned(),
        replay: format!("cargo xtask fuzz {}", row.target),
        closed: None,
    });
    Campaign {
        cases: Cases { from: 0, count: rows.iter().map(|row| row.executions).sum() },
        failures: failures.collect(),
        promises: vec![promise.to_owned()],
        ..Campaign::ended(Kind::Fuzz, begun)
    }
}

/// Every program there is, or one.
fn chosen(target: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut targets: Vec<String> = files(&root().join("fuzz/libfuzzer/fuzz_targets"))?
        .iter()
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    if let Some(wanted) = target {
        let known = targets.join(", ");
        targets.retain(|name| name == wanted);
        ensure!(!targets.is_empty(), "no target is called {wanted}; there are {known}");
    }
    Ok(targets)
}

/// `cargo fuzz` wants the unstable flags of a nightly compiler; with this variable a stable one takes them too.
/// There is no unsafe code in the workspace for a sanitizer to watch.
fn build() -> anyhow::Result<()> {
    let mut version = Command::new("cargo");
    version.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    if !version.status().is_ok_and(|status| status.success()) {
        cargo(&["install", "cargo-fuzz", "--locked"])?;
    }
    let mut command = Command::new("cargo");
    command.args(["fuzz", "build", "--fuzz-dir", "fuzz/libfuzzer", "--sanitizer", "none"]);
    run(command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", work()))
}

fn run_target(target: &str, args: &FuzzArgs) -> anyhow::Result<Row> {
    let (learnt, findings) = (work().join("corpus").join(target), work().join("findings").join(target));
    fs::create_dir_all(&learnt)?;
    fs::create_dir_all(&findings)?;
    let before: BTreeSet<_> = files(&findings)?.into_iter().collect();
    let mut command = program(target)?;
    command.args([&learnt, &committed(target)]).args([
        format!("-artifact_prefix={}/", findings.display()),
        format!("-max_total_time={}", (args.minutes * 60.0).ceil()),
        format!("-max_len={INPUT_BYTES_MAX}"),
        format!("-rss_limit_mb={MEMORY_MB_MAX}"),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        "-use_value_profile=1".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    let output = command.output().with_context(|| format!("cannot start the program of {target}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let executions = statistic(&said, "number_of_executed_units");
    let found: BTreeSet<_> = files(&findings)?.into_iter().filter(|file| !before.contains(file)).collect();
    if !output.status.success() && found.is_empty() {
        bail!("the program of {target} ended with {}:\n{said}", output.status);
    }
    if args.keep {
        keep(target, &learnt)?;
    }
    eprintln!("{target}: {executions} executions, {} findings", found.len());
    Ok(Row {
        target: target.to_owned(),
        executions,
        executions_per_second: statistic(&said, "average_exec_per_sec"),
        corpus_files: files(&learnt)?.len(),
        findings: found,
    })
}

/// Replaces the inputs that libFuzzer named by a small set that reaches as much as all that was learnt.
fn keep(target: &str, learnt: &Path) -> anyhow::Result<()> {
    let merged = work().join("merged").join(target);
    if merged.exists() {
        fs::remove_dir_all(&merged)?;
    }
    fs::create_dir_all(&merged)?;
    let committed = committed(target);
    let mut command = program(target)?;
    command.args(["-merge=1", &format!("-max_len={KEPT_BYTES_MAX}")]).args([&merged, learnt, &committed]);
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    ensure!(status.success(), "merging the corpus of {target} ended with {status}");
    let by_hand: BTreeSet<Vec<u8>> = files(&committed)?
        .into_iter()
        .filter(|file| !is_learnt(file))
        .map(fs::read)
        .collect::<Result<_, _>>()?;
    files(&committed)?.iter().filter(|file| is_learnt(file)).try_for_each(fs::remove_file)?;
    let mut inputs: Vec<_> = files(&merged)?
        .into_iter()
        .map(|file| Ok((fs::read(&file)?, file)))
        .collect::<anyhow::Result<_>>()?;
    inputs.retain(|(bytes, _)| !by_hand.contains(bytes));
    inputs.sort_by_key(|(bytes, _)| bytes.len());
    // Long ones too: only they get far where an input is a sequence of events.
    let step = inputs.len().div_ceil(KEPT_FILES_MAX.saturating_sub(by_hand.len()).max(1)).max(1);
    for (bytes, file) in inputs.iter().rev().step_by(step) {
        fs::write(committed.join(file.file_name().unwrap_or_default()), bytes)?;
    }
    Ok(())
}

/// Whether a file has the name that libFuzzer gives: the SHA-1 of its content.
fn is_learnt(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    name.len() == 40 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn program(target: &str) -> anyhow::Result<Command> {
    let output = Command::new("rustc").arg("-vV").output().context("cannot start rustc")?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    Ok(Command::new(work().join(host).join("release").join(target)))
}

fn work() -> PathBuf {
    root().join("target/fuzz")
}

fn committed(target: &str) -> PathBuf {
    root().join("fuzz/corpus").join(target)
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

/// A line of libFuzzer's final statistics: `stat::number_of_executed_units: 1234`.
fn statistic(said: &str, name: &str) -> u64 {
    let line = said.lines().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
    line.and_then(|rest| rest.trim_start_matches(':').trim().parse().ok()).unwrap_or(0)
}

fn as_table(rows: &[Row]) -> String {
    let mut out = format!(
        "{:<18} {:>12} {:>10} {:>8} {:>9}\n",
        "target", "executions", "per second", "corpus", "findings"
    );
    for Row { target, executions, executions_per_second, corpus_files, findings } in rows {
        let findings = findings.len();
        out += &format!(
            "{target:<18} {executions:>12} {executions_per_second:>10} {corpus_files:>8} {findings:>9}\n"
        );
    }
    out
}

fn as_json(rows: &[Row]) -> String {
    let row = |row: &Row| {
        format!(
            r#"{{"target":"{}","executions":{},"executions_per_second":{},"corpus_files":{},"findings":{}}}"#,
            row.target,
            row.executions,
            row.executions_per_second,
            row.corpus_files,
            row.findings.len()
        )
    };
    format!("[{}]\n", rows.iter().map(row).collect::<Vec<_>>().join(",\n "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_from_what_libfuzzer_prints() {
        let said =
            "Done 12 runs\nstat::number_of_executed_units: 12345\nstat::average_exec_per_sec:     617\n";
        assert_eq!(statistic(said, "number_of_executed_units"), 12_345);
        assert_eq!(statistic(said, "average_exec_per_sec"), 617);
        assert_eq!(statistic(said, "new_units_added"), 0);
    }

    #[test]
    fn only_what_libfuzzer_named_is_replaced() {
        assert!(is_learnt(Path::new("corpus/adc83b19e793491b1c6ea0fd8b46cd9f32e592fc")));
        assert!(!is_learnt(Path::new("corpus/voters-out-of-order")));
    }

    #[test]
    fn the_table_is_json_on_demand() {
        let findings = BTreeSet::from([PathBuf::from("crash-1")]);
        let row = Row {
            target: "trace".into(),
            executions: 9,
            executions_per_second: 3,
            corpus_files: 2,
            findings,
        };
        assert_eq!(
            as_json(&[row]),
            "[{\"target\":\"trace\",\"executions\":9,\"executions_per_second\":3,\"corpus_files\":2,\"findings\":1}]\n"
        );
    }
}

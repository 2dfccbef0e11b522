//! The figures as a table.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::Flags;
use crate::machine::Machine;
use crate::measure::{Figures, Load};

/// A report in Markdown.
pub fn markdown(flags: &Flags, machine: &Machine, etcd: &Figures, althing: &Figures) -> String {
    let Flags { rounds, seconds, clients, conns, keys, value_size, .. } = flags;
    let mut text = format!(
        "Three nodes each on one machine, by turns: {machine}. Data on disk, fsync on; values of {value_size} bytes, \
         {keys} keys, {clients} clients on {conns} connections; medians of {rounds} rounds of {seconds} s.\n\n\
         | figure | etcd 3.5 | Althing | Althing ÷ etcd |\n|---|---|---|---|\n"
    );
    let mut row = |name: &str, unit: &str, of: &dyn Fn(&Figures) -> f64| {
        let (theirs, ours) = (of(etcd), of(althing));
        let number = |value: f64| if value < 100.0 { format!("{value:.2}") } else { format!("{value:.0}") };
        let line = format!(
            "| {name} | {} {unit} | {} {unit} | {:.2} |",
            number(theirs),
            number(ours),
            ours / theirs
        );
        writeln!(text, "{line}").expect("a String takes everything");
    };
    for (name, load) in WORKLOADS {
        row(&format!("{name}: throughput"), "/s", &|figures| load(figures).per_second);
        row(&format!("{name}: server CPU"), "µs/op", &|figures| load(figures).cpu_us);
        row(&format!("{name}: p50"), "ms", &|figures| load(figures).p50_us / 1000.0);
        row(&format!("{name}: p99"), "ms", &|figures| load(figures).p99_us / 1000.0);
    }
    row(&format!("memory after {keys} keys"), "MB", &|figures| figures.rss_bytes / 1e6);
    row("the client's own CPU for a put", "µs/op", &|figures| figures.client_cpu_us);
    text
}

type Workload = (&'static str, fn(&Figures) -> Load);

const WORKLOADS: [Workload; 4] = [
    ("put", |figures| figures.put),
    ("linearizable range", |figures| figures.range),
    ("serializable range", |figures| figures.serializable),
    ("one client's put", |figures| figures.lone_put),
];

/// Writes a report to `bench/results/NAME.md`.
pub fn save(name: &str, report: &str) -> anyhow::Result<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    let path = dir.join(format!("{name}.md"));
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    fs::write(&path, format!("# {name}\n\n{report}"))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

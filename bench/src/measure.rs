//! One cluster's figures: `althing bench` as a process of its own, its JSON read back.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::Flags;

/// A cluster that can be measured.
pub struct Bench<'a> {
    pub client: &'a Path,
    pub endpoints: String,
    pub pids: Vec<u32>,
    pub flags: &'a Flags,
}

/// What one workload showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    pub per_second: f64,
    pub cpu_us: f64,
    pub p50_us: f64,
    pub p99_us: f64,
}

/// What one cluster showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    pub put: Load,
    pub range: Load,
    pub serializable: Load,
    pub lone_put: Load,
    /// Memory of the three processes after the keys were written, bytes.
    pub rss_bytes: f64,
    /// The client's own CPU time for a put, µs.
    pub client_cpu_us: f64,
}

impl Bench<'_> {
    /// Fills the key space, which also warms the cluster up, and measures.
    pub fn all(&self) -> anyhow::Result<Figures> {
        let keys = self.flags.keys.to_string();
        let fill = self.run("put", &["--sequential", "--total", &keys], self.flags.clients)?;
        let put = self.timed("put", &[], self.flags.clients)?;
        Ok(Figures {
            put: load(&put)?,
            range: load(&self.timed("range", &[], self.flags.clients)?)?,
            serializable: load(&self.timed("range", &["--serializable"], self.flags.clients)?)?,
            lone_put: load(&self.timed("put", &[], 1)?)?,
            rss_bytes: number(&fill, "/server/rss_bytes")?,
            client_cpu_us: number(&put, "/client_cpu_us_per_operation")?,
        })
    }

    fn timed(&self, workload: &str, arguments: &[&str], clients: u32) -> anyhow::Result<Value> {
        let seconds = self.flags.seconds.to_string();
        self.run(workload, &[arguments, &["--duration", &seconds]].concat(), clients)
    }

    fn run(&self, workload: &str, arguments: &[&str], clients: u32) -> anyhow::Result<Value> {
        let pids: Vec<String> = self.pids.iter().map(u32::to_string).collect();
        let output = Command::new(self.client)
            .args(["--endpoints", &self.endpoints, "--json", "bench", workload])
            .args(["--clients", &clients.to_string(), "--conns", &self.flags.conns.min(clients).to_string()])
            .args(["--key-space", &self.flags.keys.to_string()])
            .args(["--value-size", &self.flags.value_size.to_string()])
            .args(["--pids", &pids.join(",")])
            .args(arguments)
            .output()
            .context("cannot start the client")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{workload} {arguments:?} failed: {errors}{}", text(&output.stdout));
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not a report: {}", text(&output.stdout)))
    }
}

impl Figures {
    /// The median of every figure.
    pub fn median(rounds: &[Figures]) -> Figures {
        let of = |figure: fn(&Figures) -> f64| median(rounds.iter().map(figure).collect());
        let of_load = |which: fn(&Figures) -> Load| {
            let of =
                |figure: fn(&Load) -> f64| median(rounds.iter().map(|round| figure(&which(round))).collect());
            Load {
                per_second: of(|load| load.per_second),
                cpu_us: of(|load| load.cpu_us),
                p50_us: of(|load| load.p50_us),
                p99_us: of(|load| load.p99_us),
            }
        };
        Figures {
            put: of_load(|figures| figures.put),
            range: of_load(|figures| figures.range),
            serializable: of_load(|figures| figures.serializable),
            lone_put: of_load(|figures| figures.lone_put),
            rss_bytes: of(|figures| figures.rss_bytes),
            client_cpu_us: of(|figures| figures.client_cpu_us),
        }
    }

    /// The figures that tell whether a round went as others did.
    pub fn brief(&self) -> String {
        format!(
            "put {:.0}/s {:.0} µs CPU, range {:.0}/s {:.0} µs CPU, {:.0} MB",
            self.put.per_second,
            self.put.cpu_us,
            self.range.per_second,
            self.range.cpu_us,
            self.rss_bytes / 1e6
        )
    }
}

fn load(report: &Value) -> anyhow::Result<Load> {
    Ok(Load {
        per_second: number(report, "/operations_per_second")?,
        cpu_us: number(report, "/server/cpu_us_per_operation")?,
        p50_us: number(report, "/latency_us/p50")?,
        p99_us: number(report, "/latency_us/p99")?,
    })
}

fn number(report: &Value, pointer: &str) -> anyhow::Result<f64> {
    report.pointer(pointer).and_then(Value::as_f64).with_context(|| format!("no {pointer} in {report}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_taken_figure_by_figure() {
        let round = |put: f64, rss_bytes: f64| Figures {
            put: Load { per_second: put, ..Load::default() },
            rss_bytes,
            ..Figures::default()
        };
        let median = Figures::median(&[round(3.0, 10.0), round(1.0, 30.0), round(2.0, 20.0)]);
        assert_eq!((median.put.per_second, median.rss_bytes), (2.0, 20.0));
        assert_eq!(super::median(vec![1.0, 2.0]), 1.5);
    }
}

//! What a measurement says.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::load::Measured;
use super::processes::Usage;
use super::{BenchArgs, Workload};
use crate::failure::Outcome;
use crate::output::{self, size, table, verdict_cell};

/// Prints the report. Succeeds only if no request failed.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(
    args: &BenchArgs,
    measured: &Measured,
    server: &Usage,
    client: &Usage,
    as_json: bool,
) -> Outcome {
    if as_json {
        output::json(&json_report(args, measured, server, client))?;
    } else {
        output::line(text_report(args, measured, server, client))?;
    }
    Ok(if measured.errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn operations_per_second(measured: &Measured) -> f64 {
    measured.latency_us.len() as f64 / measured.elapsed.as_secs_f64()
}

fn cpu_us_per_operation(usage: &Usage, measured: &Measured) -> f64 {
    usage.cpu.as_secs_f64() * 1e6 / measured.latency_us.len().max(1) as f64
}

fn text_report(args: &BenchArgs, measured: &Measured, server: &Usage, client: &Usage) -> String {
    let latency = |quantile: f64| millis(measured.latency_us.value_at_quantile(quantile));
    let mut rows = table(&["measured", "value"]);
    let mut row = |name: &str, value: String| {
        rows.add_row([name.to_owned(), value]);
    };
    row("workload", format!("{}, {} clients, {} connections", name(args), args.clients, args.conns));
    row("operations", format!("{} in {:.2} s", measured.latency_us.len(), measured.elapsed.as_secs_f64()));
    row("throughput", format!("{:.0} operations/s", operations_per_second(measured)));
    row("latency p50", latency(0.5));
    row("latency p99", latency(0.99));
    row("latency p99.9", latency(0.999));
    row("latency max", millis(measured.latency_us.max()));
    if server.count > 0 {
        let processes = format!("{} processes", server.count);
        row(
            "server CPU",
            format!("{:.1} µs/operation ({processes})", cpu_us_per_operation(server, measured)),
        );
        row(
            "server memory",
            format!("{} resident, {} at most", size(server.rss_bytes), size(server.rss_peak_bytes)),
        );
    }
    if !measured.latency_us.is_empty() {
        row("client CPU", format!("{:.1} µs/operation", cpu_us_per_operation(client, measured)));
    }
    rows.add_row([comfy_table::Cell::new("errors"), verdict_cell(measured.errors, measured.errors == 0)]);
    rows.to_string()
}

fn json_report(args: &BenchArgs, measured: &Measured, server: &Usage, client: &Usage) -> Value {
    let latency = |quantile: f64| measured.latency_us.value_at_quantile(quantile);
    let mut report = json!({
        "workload": name(args),
        "clients": args.clients,
        "connections": args.conns,
        "key_space": args.key_space,
        "value_bytes": args.value_size,
        "serializable": args.serializable,
        "operations": measured.latency_us.len(),
        "errors": measured.errors,
        "seconds": measured.elapsed.as_secs_f64(),
        "operations_per_second": operations_per_second(measured),
        "latency_us": {
            "mean": measured.latency_us.mean(),
            "p50": latency(0.5),
            "p99": latency(0.99),
            "p999": latency(0.999),
            "max": measured.latency_us.max(),
        },
        "client_cpu_us_per_operation": cpu_us_per_operation(client, measured),
    });
    if server.count > 0 {
        report["server"] = json!({
            "processes": server.count,
            "cpu_us_per_operation": cpu_us_per_operation(server, measured),
            "rss_bytes": server.rss_bytes,
            "rss_peak_bytes": server.rss_peak_bytes,
        });
    }
    report
}

fn name(args: &BenchArgs) -> &'static str {
    match args.workload {
        Workload::Put => "put",
        Workload::Range if args.serializable => "serializable range",
        Workload::Range => "linearizable range",
        Workload::Txn => "txn",
        Workload::Mixed => "mixed",
        Workload::WatchFanout => "watch-fanout",
    }
}

fn millis(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bench::load::histogram;
    use crate::bench::tests::args;

    #[test]
    fn cpu_time_is_shared_out_over_what_succeeded() {
        let mut latency_us = histogram();
        latency_us.record_n(500, 1000).unwrap();
        let measured = Measured { latency_us, errors: 3, elapsed: Duration::from_secs(2) };
        let server = Usage { cpu: Duration::from_millis(60), count: 3, ..Usage::default() };
        let report = json_report(&args(Workload::Put), &measured, &server, &Usage::default());
        assert_eq!(report["operations_per_second"], 500.0);
        assert_eq!(report["server"]["cpu_us_per_operation"], 60.0);
        assert_eq!(report["errors"], 3);
    }
}

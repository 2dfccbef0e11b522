//! Runs seeds one after another and prints what broke: `seeds FROM COUNT [NODES]`.

use sim::{Counters, Options, run_seed};

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let (from, count) = (numbers.first().copied().unwrap_or(0), numbers.get(1).copied().unwrap_or(100));
    let options =
        Options { nodes: numbers.get(2).copied(), buggify: cfg!(feature = "buggify"), ..Options::default() };
    let (mut total, mut failed) = (Counters::default(), 0);
    for seed in from..from + count {
        let report = run_seed(&options, seed);
        total.add(&report.counters);
        if count == 1 || !report.is_ok() {
            println!("{report}");
        }
        failed += u64::from(!report.is_ok());
    }
    let (fired, quiet) = total.sites_by_firing();
    total.sites.clear();
    println!("{count} seeds, {failed} failed\n{total:#?}\n{} sites fired, not {quiet:?}", fired.len());
}

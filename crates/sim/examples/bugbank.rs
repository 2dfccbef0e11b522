//! Plants every bug of the bank and counts the seeds that it takes to catch it:
//! `bugbank [SEEDS_MAX] [STARTS] [NAME]`.

#[cfg(not(feature = "planted"))]
fn main() {
    eprintln!("the bugs are not built in: cargo run -p sim --release --features planted --example bugbank");
    std::process::exit(2);
}

#[cfg(feature = "planted")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |index: usize, default| words.get(index).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (seeds_max, starts) = (number(0, 3_000), number(1, 5));
    let wanted = |bug: &sim::bugbank::Bug| words.get(2).is_none_or(|name| bug.name().contains(name.as_str()));
    // A core that asserts is a catch like any other, and needs no backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    println!("| row | bug | caught by | seeds (median) | seeds (worst of {starts}) |\n|---|---|---|---|---|");
    let mut missed = 0;
    for bug in sim::bugbank::all().into_iter().filter(wanted) {
        missed += u64::from(!print(bug, seeds_max, starts));
    }
    std::process::exit(i32::from(missed > 0));
}

#[cfg(feature = "planted")]
fn print(bug: sim::bugbank::Bug, seeds_max: u64, starts: u64) -> bool {
    let mut seeds = Vec::new();
    let mut checks: Vec<&'static str> = Vec::new();
    for start in 0..starts {
        if let Some(caught) = sim::bugbank::run(bug, start * 1_000_000, seeds_max) {
            seeds.push(caught.seeds);
            checks.push(caught.broken.check);
        }
    }
    seeds.sort_unstable();
    checks.sort_unstable();
    checks.dedup();
    let caught_always = seeds.len() as u64 == starts;
    let median = seeds.get(seeds.len() / 2).map_or("-".to_owned(), u64::to_string);
    let worst = match seeds.last() {
        Some(worst) if caught_always => worst.to_string(),
        _ => format!("missed in {} of {starts} times {seeds_max}", starts - seeds.len() as u64),
    };
    println!(
        "| {} | {}: {} | {} | {median} | {worst} |",
        bug.row(),
        bug.name(),
        bug.source(),
        checks.join(", ")
    );
    caught_always
}

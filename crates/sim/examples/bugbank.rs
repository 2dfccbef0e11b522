//! Plants every bug of the bank and counts the seeds that it takes to catch it, in STARTS searches of up to SEEDS_MAX
//! seeds each; exits with 1 if a bug is caught in fewer of them than it must be: `bugbank [SEEDS_MAX] [STARTS] [NAME]`.

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
    println!(
        "| row | bug | caught by | caught | seeds (median) | seeds (worst) |\n|---|---|---|---|---|---|"
    );
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
    // A search without a catch stands above all others.
    let at = |index: u64| match seeds.get(index as usize) {
        Some(count) => count.to_string(),
        None => format!("> {seeds_max}"),
    };
    println!(
        "| {} | {}: {} | {} | {} of {starts} | {} | {} |",
        bug.row(),
        bug.name(),
        bug.source(),
        checks.join(", "),
        seeds.len(),
        at(starts / 2),
        at(starts - 1)
    );
    seeds.len() as u64 >= bug.catches_min().min(starts)
}

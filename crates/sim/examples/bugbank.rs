//! Plants every bug of the bank and counts the seeds that it takes to catch it, in STARTS searches of up to SEEDS_MAX
//! seeds each; exits with 1 if one of them catches nothing: `bugbank [SEEDS_MAX] [STARTS] [PART] [--ledger FILE]`. Only
//! bugs whose name has PART in it; one whose story a test tells is searched for only if PART is its name.

#[cfg(not(feature = "planted"))]
fn main() {
    eprintln!("the bugs are not built in: cargo run -p sim --release --features planted --example bugbank");
    std::process::exit(2);
}

#[cfg(feature = "planted")]
fn main() {
    use std::sync::Mutex;

    let begun = campaign::Begun::now();
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let ledger = campaign::taken_from(&mut words);
    let number =
        |index: usize, default| words.get(index).and_then(|word| word.parse().ok()).unwrap_or(default);
    let (seeds_max, starts) = (number(0, 3_000), number(1, 20));
    let part = words.get(2).map(String::as_str);
    let wanted = |bug: &sim::bugbank::Bug| part.is_none_or(|part| bug.name().contains(part));
    let named = |bug: &sim::bugbank::Bug| part.is_some_and(|part| bug.name().ends_with(&format!("({part})")));
    let bugs: Vec<_> = sim::bugbank::all().into_iter().filter(wanted).collect();
    // A core that asserts is a catch like any other, and needs no backtrace.
    std::panic::set_hook(Box::new(|_| {}));
    println!(
        "| row | bug | caught by | caught | seeds (median) | seeds (worst) |\n|---|---|---|---|---|---|"
    );
    // Searches go on side by side, and are told in the order of the bank.
    let named = &named;
    let next = Mutex::new(bugs.iter().enumerate());
    let (sender, found) = std::sync::mpsc::channel();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let missed = std::thread::scope(|scope| {
        for _ in 0..threads {
            let sender = sender.clone();
            let next = &next;
            scope.spawn(move || {
                loop {
                    let taken = next.lock().ok().and_then(|mut next| next.next());
                    let Some((at, bug)) = taken else { return };
                    let row = match bug.story().filter(|_| !named(bug)) {
                        Some(story) => (told(*bug, story), true),
                        None => searched(*bug, seeds_max, starts),
                    };
                    if sender.send((at, row)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        print_in_order(found)
    });
    if let Some(path) = ledger {
        let searches = bugs.iter().filter(|bug| named(bug) || bug.story().is_none()).count() as u64 * starts;
        let line = ledger_line(&begun, searches, &missed, threads);
        line.append(&path).expect("the ledger can be written");
    }
    std::process::exit(i32::from(!missed.is_empty()));
}

/// The campaign, to be written down.
#[cfg(feature = "planted")]
fn ledger_line(
    begun: &campaign::Begun,
    searches: u64,
    missed: &[String],
    threads: usize,
) -> campaign::Campaign {
    use campaign::{Campaign, Cases, Failed, Kind};
    let failed = |row: &String| Failed {
        case: row.clone(),
        promise: "planted bugs are found".to_owned(),
        replay: "cargo xtask bugbank".to_owned(),
        closed: None,
    };
    Campaign {
        cases: Cases { from: 0, count: searches },
        threads: threads as u64,
        failures: missed.iter().map(failed).collect(),
        promises: vec!["planted bugs are found".to_owned()],
        ..Campaign::ended(Kind::Bugbank, begun)
    }
}

#[cfg(feature = "planted")]
type Row = (String, bool);

/// Prints rows as soon as those before them are there; returns those whose bug was missed.
#[cfg(feature = "planted")]
fn print_in_order(found: std::sync::mpsc::Receiver<(usize, Row)>) -> Vec<String> {
    let (mut early, mut next, mut missed) = (std::collections::BTreeMap::new(), 0, Vec::new());
    for (at, row) in found {
        early.insert(at, row);
        while let Some((line, is_caught)) = early.remove(&next) {
            println!("{line}");
            if !is_caught {
                missed.push(line);
            }
            next += 1;
        }
    }
    missed
}

#[cfg(feature = "planted")]
fn told(bug: sim::bugbank::Bug, story: &str) -> String {
    format!("| {} | {}: {} | `{story}` | a story | | |", bug.row(), bug.name(), bug.source())
}

#[cfg(feature = "planted")]
fn searched(bug: sim::bugbank::Bug, seeds_max: u64, starts: u64) -> Row {
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
    let line = format!(
        "| {} | {}: {} | {} | {} of {starts} | {} | {} |",
        bug.row(),
        bug.name(),
        bug.source(),
        checks.join(", "),
        seeds.len(),
        at(starts / 2),
        at(starts - 1)
    );
    (line, seeds.len() as u64 == starts)
}

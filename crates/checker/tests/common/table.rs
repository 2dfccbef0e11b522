//! Mutation operators of any kind of evidence, and the test that runs them all.

use checker::Verdict;
use types::Rng;

/// One way to spoil evidence so that it is certainly wrong; `None` where it does not apply.
pub struct Spoiler<T> {
    pub name: &'static str,
    pub spoil: fn(&T, &mut Rng) -> Option<T>,
}

pub const fn spoiler<T>(name: &'static str, spoil: fn(&T, &mut Rng) -> Option<T>) -> Spoiler<T> {
    Spoiler { name, spoil }
}

/// Accepts all of `good`, and rejects every mutant of each; at least `mutants_min` of every kind.
pub fn judge_all<T: std::fmt::Debug>(
    good: &[T],
    spoilers: &[Spoiler<T>],
    mutants_min: u32,
    check: impl Fn(&T) -> Verdict,
) {
    for (seed, good) in good.iter().enumerate() {
        let verdict = check(good);
        assert!(verdict.holds(), "seed {seed} is good: {verdict}\n{good:#?}");
    }
    println!("{:<44} {:>8}  reported as", "mutation", "mutants");
    for spoiler in spoilers {
        let (mut mutants, mut rules) = (0, std::collections::BTreeMap::new());
        for (seed, good) in (0..).zip(good) {
            let Some(mutant) = (spoiler.spoil)(good, &mut Rng::keyed(seed, &[3])) else { continue };
            let verdict = check(&mutant);
            let Some(violation) = verdict.violation() else {
                panic!("{} of seed {seed}: {verdict}\n{mutant:#?}", spoiler.name);
            };
            mutants += 1;
            *rules.entry(violation.rule).or_insert(0) += 1;
        }
        println!("{:<44} {mutants:>8}  {rules:?}", spoiler.name);
        assert!(mutants >= mutants_min, "{}: only {mutants} mutants", spoiler.name);
    }
}

/// One of the places that `places` offers.
pub fn one<T>(rng: &mut Rng, mut places: Vec<T>) -> Option<T> {
    let index = usize::try_from(rng.below(places.len() as u64)).ok()?;
    (!places.is_empty()).then(|| places.swap_remove(index))
}

/// A number below `bound`, for indexes.
pub fn index(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap()
}

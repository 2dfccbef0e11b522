//! Named places where something rare but legal is done more often, if a simulator asks for it.
//!
//! ```text
//!   seed ──▶ which sites, how often ──▶ Buggify ──fires("raft.append.one_entry")──▶ true, now and then
//!                                          └──▶ coverage: how often each was reached, and fired
//! ```
//!
//! A site is no bug: whatever it does must keep every promise. Without the feature `buggify` a [`Buggify`] is empty and
//! never fires, and the branches behind the sites are gone from the program.
//!
//! # Source
//! FoundationDB's `BUGGIFY` (Zhou et al., "FoundationDB: A Distributed Unbundled Transactional Key Value Store", SIGMOD
//! 2021, §4).

use std::fmt;
use std::hash::{Hash, Hasher};

#[cfg(feature = "buggify")]
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(feature = "buggify")]
use crate::Rng;

mod sites;

pub use sites::SITES;

/// Whether a site fires: `buggify!(self.config.buggify, "raft.append.one_entry")`. A name that is not in
/// [`SITES`](crate::buggify::SITES) does not compile.
#[macro_export]
macro_rules! buggify {
    ($buggify:expr, $name:literal) => {{
        const SITE: $crate::buggify::Site = $crate::buggify::site($name);
        $buggify.fires(SITE)
    }};
}

/// One of [`SITES`], by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site(#[cfg_attr(not(feature = "buggify"), allow(dead_code))] usize);

/// Finds a site when the program is compiled.
///
/// # Panics
/// If there is no such site; the program is then not compiled.
pub const fn site(name: &str) -> Site {
    let mut at = 0;
    while at < SITES.len() {
        if is_same(SITES[at].0, name) {
            return Site(at);
        }
        at += 1;
    }
    panic!("no site has this name: add it to types/src/buggify/sites.rs")
}

const fn is_same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Decides which sites fire; the default never does. Clones decide together.
#[derive(Clone, Default)]
pub struct Buggify {
    #[cfg(feature = "buggify")]
    table: Option<Arc<Table>>,
}

/// How often a site was reached, and how often it fired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// So often the program came by.
    pub reached: u64,
    /// So often it did the rare thing.
    pub fired: u64,
}

#[cfg(feature = "buggify")]
struct Table {
    seed: u64,
    who: u64,
    sites: [Tally; SITES.len()],
    rests: AtomicBool,
}

#[cfg(feature = "buggify")]
struct Tally {
    ppm: u32,
    reached: AtomicU64,
    fired: AtomicU64,
}

impl Buggify {
    /// Draws, from the seed alone, which sites fire and how often; `who` decides at which of its occasions. Some seeds
    /// have many sites, some few, and some none.
    #[cfg(feature = "buggify")]
    pub fn draw(seed: u64, who: u64) -> Buggify {
        let mut rng = Rng::keyed(seed, &[SITES.len() as u64]);
        let share_ppm = *rng.pick(&[0, 50_000, 250_000, 500_000]).unwrap_or(&0);
        let table = Table {
            seed,
            who,
            sites: std::array::from_fn(|at| Tally::draw(share_ppm, &mut Rng::keyed(seed, &[at as u64, 1]))),
            rests: AtomicBool::new(false),
        };
        Buggify { table: Some(Arc::new(table)) }
    }

    /// Without the feature nothing ever fires.
    #[cfg(not(feature = "buggify"))]
    pub fn draw(_seed: u64, _who: u64) -> Buggify {
        Buggify::default()
    }

    /// Whether the rare thing is to be done here and now.
    #[cfg(feature = "buggify")]
    pub fn fires(&self, site: Site) -> bool {
        self.table.as_ref().is_some_and(|table| table.fires(site))
    }

    /// Without the feature nothing ever fires.
    #[cfg(not(feature = "buggify"))]
    #[inline(always)]
    pub const fn fires(&self, _site: Site) -> bool {
        false
    }

    /// From now on nothing fires.
    #[cfg(feature = "buggify")]
    pub fn rest(&self) {
        if let Some(table) = &self.table {
            table.rests.store(true, Ordering::Relaxed);
        }
    }

    /// Without the feature nothing ever fires.
    #[cfg(not(feature = "buggify"))]
    pub fn rest(&self) {}

    /// What has happened so far, site by site in the order of [`SITES`]; empty if nothing can fire.
    pub fn coverage(&self) -> Vec<Coverage> {
        #[cfg(feature = "buggify")]
        if let Some(table) = &self.table {
            return table.sites.iter().map(Tally::coverage).collect();
        }
        Vec::new()
    }
}

#[cfg(feature = "buggify")]
impl Table {
    fn fires(&self, Site(at): Site) -> bool {
        let tally = &self.sites[at];
        let count = tally.reached.load(Ordering::Relaxed);
        tally.reached.store(count + 1, Ordering::Relaxed);
        if tally.ppm == 0 || self.rests.load(Ordering::Relaxed) {
            return false;
        }
        let fires = Rng::keyed(self.seed, &[at as u64, 2, self.who, count]).chance_ppm(tally.ppm);
        if fires {
            tally.fired.store(tally.fired.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        fires
    }
}

#[cfg(feature = "buggify")]
impl Tally {
    fn draw(share_ppm: u32, rng: &mut Rng) -> Tally {
        let often_ppm = *rng.pick(&[5_000, 50_000, 250_000]).unwrap_or(&0);
        let ppm = if rng.chance_ppm(share_ppm) { often_ppm } else { 0 };
        Tally { ppm, reached: AtomicU64::new(0), fired: AtomicU64::new(0) }
    }

    fn coverage(&self) -> Coverage {
        Coverage { reached: self.reached.load(Ordering::Relaxed), fired: self.fired.load(Ordering::Relaxed) }
    }
}

impl fmt::Debug for Buggify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Buggify")
    }
}

/// What may be done rarely or often is no part of what something is.
impl PartialEq for Buggify {
    fn eq(&self, _: &Buggify) -> bool {
        true
    }
}

impl Eq for Buggify {}

impl Hash for Buggify {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_site_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<&str> = SITES.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), SITES.len());
        assert!(SITES.len() >= 120, "{} sites", SITES.len());
    }

    #[test]
    fn nothing_fires_unasked() {
        assert!((0..1000).all(|_| !buggify!(Buggify::default(), "storage.roll.early")));
    }

    #[cfg(feature = "buggify")]
    #[test]
    fn the_same_seed_fires_at_the_same_occasions_and_another_at_others() {
        let fired = |seed: u64, who: u64| {
            let buggify = Buggify::draw(seed, who);
            (0..1000).filter(|_| buggify!(buggify, "storage.roll.early")).count() as u64
        };
        let counts: Vec<u64> = (0..100).map(|seed| fired(seed, 1)).collect();
        assert_eq!(counts, (0..100).map(|seed| fired(seed, 1)).collect::<Vec<_>>());
        assert_ne!(counts, (0..100).map(|seed| fired(seed, 2)).collect::<Vec<_>>());
        let some = counts.iter().filter(|count| **count > 0).count();
        assert!(some > 5 && some < 60, "swarm: most seeds do without a site, {some} of 100 have it");
    }

    #[cfg(feature = "buggify")]
    #[test]
    fn coverage_counts_who_came_by_and_rest_ends_it() {
        let seed = (0..100).find(|seed| {
            let buggify = Buggify::draw(*seed, 0);
            (0..1000).any(|_| buggify!(buggify, "storage.roll.early"))
        });
        let buggify = Buggify::draw(seed.unwrap(), 0);
        let fired = (0..1000).filter(|_| buggify!(buggify, "storage.roll.early")).count() as u64;
        buggify.rest();
        assert!(!buggify!(buggify, "storage.roll.early"));
        let Site(at) = site("storage.roll.early");
        assert_eq!(buggify.coverage()[at], Coverage { reached: 1001, fired });
    }
}

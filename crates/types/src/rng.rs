//! Seeded randomness: the only randomness that a core or the simulator may use.

use std::hash::{Hash, Hasher};

/// SplitMix64: tiny, fast, and the same on every platform.
///
/// A generator is made from a seed and a *key* (which link, which node, which moment), so that adding a draw
/// in one place never shifts the draws of another.
///
/// # Source
/// Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014, Figure 17.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rng {
    state: u64,
}

/// Adds nothing: replicas that differ only in what they would draw next are in the same state, and whoever explores
/// states would otherwise tell them apart by how often they have drawn.
impl Hash for Rng {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

impl Rng {
    /// The generator of `seed` itself.
    pub fn new(seed: u64) -> Rng {
        Rng { state: mix(seed) }
    }

    /// The generator of one keyed purpose under `seed`.
    pub fn keyed(seed: u64, key: &[u64]) -> Rng {
        let state = key.iter().fold(mix(seed), |state, part| {
            mix(state.wrapping_add(GOLDEN_GAMMA) ^ mix(part.wrapping_add(GOLDEN_GAMMA)))
        });
        Rng { state }
    }

    /// A uniformly distributed 64-bit number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN_GAMMA);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        (wide >> 64) as u64
    }

    /// A number in `low..=high`; `low` if the range is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True with a probability of `ppm` parts per million.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(1_000_000) < u64::from(ppm)
    }

    /// One of `items`; `None` if there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).ok()?)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_fixed_for_ever() {
        let mut rng = Rng::keyed(42, &[1, 2]);
        let drawn: Vec<u64> = (0..4).map(|_| rng.below(1000)).collect();
        let mut again = Rng::keyed(42, &[1, 2]);
        assert_eq!(drawn, (0..4).map(|_| again.below(1000)).collect::<Vec<_>>());
        assert_ne!(Rng::keyed(42, &[1, 2]).next_u64(), Rng::keyed(42, &[2, 1]).next_u64());
        assert_ne!(Rng::keyed(42, &[0]).next_u64(), Rng::keyed(42, &[0, 0]).next_u64());
    }

    #[test]
    fn bounds_hold_at_the_edges() {
        let mut rng = Rng::new(1);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.between(5, 5), 5);
        assert!((0..1000).all(|_| (3..=7).contains(&rng.between(3, 7))));
        assert!(!rng.chance_ppm(0));
        assert!(rng.chance_ppm(1_000_000));
        assert_eq!(rng.pick::<u8>(&[]), None);
    }
}

//! A stable 128-bit digest of a value that derives `Hash`.

use std::hash::Hasher;

use crate::Time;

/// A `std::hash::Hasher` whose result is the same on every platform and release.
///
/// Not cryptographic: it tells replayed states apart, it does not resist an adversary.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    low: u64,
    high: u64,
    /// What moments are measured from, and how far the difference matters.
    origin: Option<(Time, u64)>,
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Fingerprinter { low: 0x243f_6a88_85a3_08d3, high: 0x1319_8a2e_0370_7344, origin: None }
    }
}

impl Fingerprinter {
    /// A digest that sees of every [`Time`] only how long before or after `now` it is, and of that no more than
    /// `horizon_ns`: states that differ only in when they are reached count as the same. Right if nothing that reads
    /// the state waits for longer than `horizon_ns`.
    pub fn relative_to(now: Time, horizon_ns: u64) -> Fingerprinter {
        Fingerprinter { origin: Some((now, horizon_ns)), ..Fingerprinter::default() }
    }

    /// The digest of everything written so far.
    pub fn finish128(&self) -> u128 {
        (u128::from(scramble(self.high ^ self.low.rotate_left(32))) << 64) | u128::from(scramble(self.low))
    }

    fn absorb(&mut self, word: u64) {
        self.low = scramble(self.low ^ word);
        self.high = scramble(self.high.rotate_left(23) ^ word.wrapping_add(self.low));
    }
}

fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^ (word >> 32)
}

impl Hasher for Fingerprinter {
    fn finish(&self) -> u64 {
        self.finish128() as u64
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.absorb(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }

    // The defaults of the integer writers use the platform's byte order; `usize` also its width.
    fn write_u8(&mut self, i: u8) {
        self.absorb(u64::from(i));
    }
    fn write_u16(&mut self, i: u16) {
        self.absorb(u64::from(i));
    }
    fn write_u32(&mut self, i: u32) {
        self.absorb(u64::from(i));
    }
    fn write_u64(&mut self, i: u64) {
        self.absorb(i);
    }
    fn write_u128(&mut self, i: u128) {
        self.absorb(i as u64);
        self.absorb((i >> 64) as u64);
    }
    /// A moment: see [`Time`].
    fn write_i128(&mut self, i: i128) {
        let moment = match self.origin {
            None => i,
            Some((now, horizon)) => (i - i128::from(now.0)).clamp(-i128::from(horizon), i128::from(horizon)),
        };
        self.absorb(moment as u64);
    }
    fn write_usize(&mut self, i: usize) {
        self.absorb(i as u64);
    }
    fn write_isize(&mut self, i: isize) {
        self.absorb(i as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hash;

    fn print(value: impl Hash) -> u128 {
        let mut fingerprinter = Fingerprinter::default();
        value.hash(&mut fingerprinter);
        fingerprinter.finish128()
    }

    #[test]
    fn moments_count_by_their_distance_up_to_the_horizon() {
        let print = |now: u64, at: u64| {
            let mut fingerprinter = Fingerprinter::relative_to(Time(now), 10);
            (Time(at), 7u64).hash(&mut fingerprinter);
            fingerprinter.finish128()
        };
        assert_eq!(print(100, 105), print(1_000, 1_005));
        assert_eq!(print(100, 50), print(100, 90), "both long ago");
        assert_ne!(print(100, 91), print(100, 90));
        assert_ne!(print(100, 95), print(100, 105));
    }

    #[test]
    fn neighbours_differ() {
        let prints = [print(0u64), print(1u64), print((0u8, 1u8)), print((1u8, 0u8)), print("a"), print("b")];
        for (i, a) in prints.iter().enumerate() {
            assert!(prints[i + 1..].iter().all(|b| a != b));
        }
    }
}

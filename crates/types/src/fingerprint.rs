//! A stable 128-bit digest of a value that derives `Hash`.

use std::hash::Hasher;

/// A `std::hash::Hasher` whose result is the same on every platform and release.
///
/// Not cryptographic: it tells replayed states apart, it does not resist an adversary.
#[derive(Clone, Debug)]
pub struct Fingerprinter {
    low: u64,
    high: u64,
}

impl Default for Fingerprinter {
    fn default() -> Self {
        Fingerprinter { low: 0x243f_6a88_85a3_08d3, high: 0x1319_8a2e_0370_7344 }
    }
}

impl Fingerprinter {
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
    fn neighbours_differ() {
        let prints = [print(0u64), print(1u64), print((0u8, 1u8)), print((1u8, 0u8)), print("a"), print("b")];
        for (i, a) in prints.iter().enumerate() {
            assert!(prints[i + 1..].iter().all(|b| a != b));
        }
    }
}

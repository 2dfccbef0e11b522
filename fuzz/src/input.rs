//! Choices made from bytes: how a target gets structure out of what the fuzzer sends.
//!
//! Everything is read from the front, so that a change of one byte changes one choice. When the bytes have run out,
//! every choice is 0.

use bytes::Bytes;

/// Bytes that have not been used yet.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

/// Where off-by-one mistakes and overflows live.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    65_535,
    65_536,
    (1 << 31) - 1,
    1 << 32,
    (1 << 62) - 1,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    u64::MAX,
];

impl<'a> Input<'a> {
    /// Starts at the front.
    pub fn new(data: &'a [u8]) -> Input<'a> {
        Input(data)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number below `end`, which is at most 256 and at least 1.
    pub fn below(&mut self, end: usize) -> usize {
        usize::from(self.byte()) % end
    }

    /// One of `items`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Any number: mostly small, often at an edge.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ 0..=199 => u64::from(small),
            edge @ 200..=215 => EDGES[usize::from(edge - 200)],
            216..=235 => u64::from(self.byte()) << 8 | u64::from(self.byte()),
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    /// Any number, signed.
    pub fn signed(&mut self) -> i64 {
        let number = self.number() as i64;
        if self.flag() { number.wrapping_neg() } else { number }
    }

    /// A number close to `other`, or any.
    pub fn near(&mut self, other: u64) -> u64 {
        match self.byte() {
            up @ 0..=99 => other.saturating_add(u64::from(up % 8)),
            down @ 100..=199 => other.saturating_sub(u64::from(down % 8)),
            _ => self.number(),
        }
    }

    /// Up to `len_max` bytes.
    pub fn bytes(&mut self, len_max: usize) -> &'a [u8] {
        let len = self.number().min(len_max.min(self.0.len()) as u64) as usize;
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    /// As [`bytes`](Input::bytes), in memory of their own.
    pub fn owned(&mut self, len_max: usize) -> Bytes {
        Bytes::copy_from_slice(self.bytes(len_max))
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

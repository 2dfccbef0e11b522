//! Inputs that are nearly those of a corpus.

use types::Rng;

/// Bytes that decoders treat specially more often than others.
const BYTES: [u8; 12] = [0, 1, 2, 0x7f, 0x80, 0xff, b'\n', b'"', b'=', b',', b':', b' '];

/// One of the corpus with one to eight changes, at most `len_max` bytes long.
pub fn mutation(rng: &mut Rng, corpus: &[Vec<u8>], len_max: usize) -> Vec<u8> {
    let mut bytes = rng.pick(corpus).cloned().unwrap_or_default();
    for _ in 0..rng.between(1, 8) {
        change(rng, &mut bytes, corpus);
    }
    bytes.truncate(len_max);
    bytes
}

fn change(rng: &mut Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = below(rng, bytes.len() + 1);
    match rng.below(9) {
        0 | 1 => if_there(bytes, at, |byte| *byte ^= 1 << rng.below(8)),
        2 => if_there(bytes, at, |byte| *byte = rng.pick(&BYTES).copied().unwrap_or(0)),
        3 => if_there(bytes, at, |byte| {
            *byte = byte.wrapping_add(rng.pick(&[1, 255, 16]).copied().unwrap_or(1))
        }),
        4 => bytes.insert(at, rng.next_u64() as u8),
        5 => drop(bytes.drain(at..(at + below(rng, 9)).min(bytes.len()))),
        6 => {
            let end = (at + below(rng, 17)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        7 => {
            let number = rng.next_u64() >> rng.below(64);
            let end = (at + 8).min(bytes.len());
            let width = end - at;
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..width]);
        }
        _ => {
            let other = rng.pick(corpus).cloned().unwrap_or_default();
            bytes.truncate(at);
            bytes.extend_from_slice(&other[below(rng, other.len() + 1)..]);
        }
    }
}

fn if_there(bytes: &mut [u8], at: usize, change: impl FnOnce(&mut u8)) {
    if let Some(byte) = bytes.get_mut(at) {
        change(byte);
    }
}

fn below(rng: &mut Rng, end: usize) -> usize {
    rng.below(end as u64) as usize
}

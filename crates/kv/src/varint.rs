//! Integers that are mostly small, in as few bytes as they need.
//!
//! LEB128: seven bits a byte, lowest first, the top bit says that more follow. Signed ones are zigzagged
//! first (0, -1, 1, -2 … become 0, 1, 2, 3 …). Every value has exactly one form, and only that is read back.

use bytes::Bytes;
use types::{Reader, WireError};

/// Appends `value`: one to ten bytes.
pub(crate) fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_unsigned`] appends.
pub(crate) fn unsigned_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value`, zigzagged.
pub(crate) fn put_signed(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag(value));
}

/// Bytes that [`put_signed`] appends.
pub(crate) fn signed_len(value: i64) -> usize {
    unsigned_len(zigzag(value))
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Appends a length and the bytes.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_unsigned(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what [`put_unsigned`] wrote.
pub(crate) fn unsigned(input: &mut Reader) -> Result<u64, WireError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = input.array()?;
        let bits = u64::from(byte & 0x7f);
        let overflows = shift == 63 && bits > 1;
        let overlong = shift > 0 && byte == 0;
        if overflows || overlong {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(WireError::Range { what: "variable-length integer" })
}

/// Reads what [`put_signed`] wrote.
pub(crate) fn signed(input: &mut Reader) -> Result<i64, WireError> {
    let zigzag = unsigned(input)?;
    Ok((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
}

/// Reads what [`put_bytes`] wrote, sharing the input's memory.
pub(crate) fn bytes(input: &mut Reader) -> Result<Bytes, WireError> {
    let len = unsigned(input)?;
    let left = input.remaining() as u64;
    if len > left {
        return Err(WireError::Truncated { needed: len, left });
    }
    input.take(len as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_reads_back_and_takes_the_fewest_bytes() {
        for shift in 0..64 {
            for value in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1, u64::MAX >> shift] {
                let mut out = Vec::new();
                put_unsigned(&mut out, value);
                assert_eq!(out.len(), unsigned_len(value));
                assert_eq!(out.len() > 1, value >= 1 << 7);
                assert_eq!(out.len() > 9, value >= 1 << 63);
                assert_eq!(unsigned(&mut Reader::new(out.into())), Ok(value));
                for value in [value as i64, (value as i64).wrapping_neg()] {
                    let mut out = Vec::new();
                    put_signed(&mut out, value);
                    assert_eq!(out.len(), signed_len(value));
                    assert_eq!(signed(&mut Reader::new(out.into())), Ok(value));
                }
            }
        }
    }

    #[test]
    fn a_second_form_of_a_value_is_refused() {
        let read = |bytes: &'static [u8]| unsigned(&mut Reader::new(Bytes::from_static(bytes)));
        assert!(read(&[0x80, 0]).is_err(), "overlong zero");
        assert!(read(&[0xff; 11]).is_err(), "too long");
        assert!(read(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err(), "65 bits");
        assert!(read(&[0x80]).is_err(), "cut off");
        assert!(bytes(&mut Reader::new(Bytes::from_static(&[5, 1, 2]))).is_err(), "cut off");
    }
}

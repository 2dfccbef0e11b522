//! Our own binary form for messages, log records and commands.
//!
//! Integers are little-endian and of fixed width; a sequence is a `u32` count and its items; `Bytes` is a
//! `u32` length and its bytes; an `Option` is a byte 0 or 1 and the value. Decoding is total: it returns an
//! error for any input that `encode` could not have written, and never allocates more than the input is long.

use bytes::Bytes;

/// Values with a binary form that is the same on every platform.
pub trait Wire: Sized {
    /// Appends the binary form to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value from the front of `input`.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are not what `encode` writes; `input` is then at an unspecified place.
    fn decode(input: &mut Reader) -> Result<Self, WireError>;

    /// Returns the binary form.
    fn to_bytes(&self) -> Bytes {
        let mut out = Vec::new();
        self.encode(&mut out);
        Bytes::from(out)
    }

    /// Reads a value that must fill `bytes` exactly. Byte strings inside it share `bytes`, without a copy.
    ///
    /// # Errors
    /// [`WireError`] if `bytes` is not exactly one encoded value.
    fn from_bytes(bytes: Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Why bytes could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The input ends inside a value.
    #[error("{needed} more bytes needed, {left} left")]
    Truncated {
        /// Bytes that the value still needed.
        needed: u64,
        /// Bytes that were left.
        left: u64,
    },
    /// The input goes on after the value.
    #[error("{left} bytes left over after the value")]
    Trailing {
        /// Bytes that were left.
        left: u64,
    },
    /// A tag byte names no variant.
    #[error("{what} has no variant {tag}")]
    Tag {
        /// The type being read.
        what: &'static str,
        /// The byte that was found.
        tag: u8,
    },
    /// A value is well-formed but not allowed.
    #[error("{what} is out of range")]
    Range {
        /// The field being read.
        what: &'static str,
    },
}

/// A cursor over bytes being decoded.
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Starts at the front of `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { rest: bytes }
    }

    /// Bytes not yet read.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Takes the next `len` bytes, sharing the input's memory.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        if self.rest.len() < len {
            return Err(WireError::Truncated { needed: len as u64, left: self.rest.len() as u64 });
        }
        Ok(self.rest.split_to(len))
    }

    /// Takes the next `N` bytes as an array.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((head, _)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::Truncated { needed: N as u64, left: self.rest.len() as u64 });
        };
        let head = *head;
        bytes::Buf::advance(&mut self.rest, N);
        Ok(head)
    }

    /// Reads the `u32` count of a sequence whose items take at least `item_len_min` bytes each.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if the rest of the input cannot hold that many, so that a hostile count
    /// never makes a caller allocate.
    pub fn count(&mut self, item_len_min: usize) -> Result<usize, WireError> {
        let count = u32::decode(self)? as usize;
        let needed = count.saturating_mul(item_len_min.max(1));
        if needed > self.rest.len() {
            return Err(WireError::Truncated { needed: needed as u64, left: self.rest.len() as u64 });
        }
        Ok(count)
    }

    /// Checks that everything has been read.
    ///
    /// # Errors
    /// [`WireError::Trailing`] if something is left.
    pub fn finish(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Trailing { left: self.rest.len() as u64 }) }
    }
}

macro_rules! wire_integer {
    ($($int:ty),*) => {$(
        impl Wire for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn decode(input: &mut Reader) -> Result<Self, WireError> {
                Ok(<$int>::from_le_bytes(input.array()?))
            }
        }
    )*};
}
wire_integer!(u8, u16, u32, u64, u128, i64);

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(WireError::Tag { what: "bool", tag }),
        }
    }
}

impl Wire for Bytes {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        out.extend_from_slice(self);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let len = u32::decode(input)? as usize;
        input.take(len)
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let bytes = Bytes::decode(input)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| WireError::Range { what: "UTF-8 string" })
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(1);
                value.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            0 => Ok(None),
            1 => Ok(Some(T::decode(input)?)),
            tag => Err(WireError::Tag { what: "option", tag }),
        }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        for item in self {
            item.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let count = input.count(1)?;
        // Grow as items arrive: an item may be larger in memory than on the wire.
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

/// Writes a length or count as a `u32`.
///
/// Everything that is encoded is bounded far below 4 GiB by the limits on requests and batches, so a longer
/// value is our own bug.
fn encode_len(len: usize, out: &mut Vec<u8>) {
    u32::try_from(len).expect("encoded values are shorter than 4 GiB").encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_count_is_refused_before_anything_is_allocated() {
        let mut bytes = u32::MAX.to_bytes().to_vec();
        bytes.extend_from_slice(&[0; 10]);
        assert!(matches!(
            Vec::<u64>::from_bytes(Bytes::from(bytes)),
            Err(WireError::Truncated { left: 10, .. })
        ));
    }

    #[test]
    fn every_truncation_and_every_extension_is_an_error() {
        let value = vec![Some(Bytes::from_static(b"abc")), None, Some(Bytes::new())];
        let good = value.to_bytes();
        assert_eq!(Vec::from_bytes(good.clone()), Ok(value));
        for len in 0..good.len() {
            assert!(Vec::<Option<Bytes>>::from_bytes(good.slice(..len)).is_err(), "cut to {len} bytes");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert_eq!(
            Vec::<Option<Bytes>>::from_bytes(Bytes::from(longer)),
            Err(WireError::Trailing { left: 1 })
        );
    }
}

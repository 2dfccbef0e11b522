//! What every fuzz target of a binary form claims.

use std::fmt::Debug;

use bytes::Bytes;

use crate::Wire;

/// Reads `bytes` as a `T` if they are one, and returns it.
///
/// # Panics
/// If they are, and `T` does not write the very same bytes: a value has one form only.
pub fn one_form<T: Wire + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value = T::from_bytes(Bytes::copy_from_slice(bytes)).ok()?;
    assert_eq!(value.to_bytes(), bytes, "another form of {value:?}");
    Some(value)
}

//! A set of keys as etcd's API writes it: a key and a range end.

use std::ops::Bound;

use bytes::Bytes;

/// The keys that a request's `key` and `range_end` name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// One key.
    Point(Bytes),
    /// From the first key, inclusive, to the second, exclusive; not empty.
    Between(Bytes, Bytes),
    /// Every key from here on.
    From(Bytes),
    /// No key: the range end is not above the key.
    Empty,
}

impl KeyRange {
    /// Reads a range as in [`crate::RangeRequest`]: an empty `range_end` means the key alone, `"\0"` everything
    /// from it on.
    pub fn new(key: &Bytes, range_end: &Bytes) -> KeyRange {
        match &range_end[..] {
            b"" => KeyRange::Point(key.clone()),
            b"\0" => KeyRange::From(key.clone()),
            end if end <= &key[..] => KeyRange::Empty,
            _ => KeyRange::Between(key.clone(), range_end.clone()),
        }
    }

    /// Whether `key` is in it.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::Point(only) => key == &only[..],
            KeyRange::Between(from, to) => &from[..] <= key && key < &to[..],
            KeyRange::From(from) => &from[..] <= key,
            KeyRange::Empty => false,
        }
    }

    /// The bounds for a scan; `None` if there is nothing to scan.
    pub(crate) fn bounds(&self) -> Option<(Bound<Bytes>, Bound<Bytes>)> {
        match self {
            KeyRange::Point(only) => Some((Bound::Included(only.clone()), Bound::Included(only.clone()))),
            KeyRange::Between(from, to) => Some((Bound::Included(from.clone()), Bound::Excluded(to.clone()))),
            KeyRange::From(from) => Some((Bound::Included(from.clone()), Bound::Unbounded)),
            KeyRange::Empty => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(&Bytes::from_static(key.as_bytes()), &Bytes::from_static(end.as_bytes()))
    }

    /// etcd-api.md §4.4, "Range".
    #[test]
    fn range_end_means_what_etcd_says() {
        assert!(range("b", "").contains(b"b") && !range("b", "").contains(b"ba"));
        assert!(range("b", "c").contains(b"ba") && !range("b", "c").contains(b"c"));
        assert!(range("b", "\0").contains(b"zz") && !range("b", "\0").contains(b"a"));
        assert!(range("\0", "\0").contains(b"\0") && range("\0", "\0").contains(b"\xff"));
        assert_eq!(range("b", "b"), KeyRange::Empty);
        assert_eq!(range("b", "a"), KeyRange::Empty);
    }
}

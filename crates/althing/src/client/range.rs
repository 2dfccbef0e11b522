//! Which keys a command is about: one, an interval, a prefix, or everything from a key on.

use bytes::Bytes;
use clap::Args;

/// Which keys.
#[derive(Clone, Debug, Args)]
pub struct RangeArgs {
    /// The key, or the first key
    pub key: String,
    /// The key after the last
    #[arg(conflicts_with_all = ["prefix", "from_key"])]
    pub end: Option<String>,
    /// Every key that begins with KEY
    #[arg(long)]
    pub prefix: bool,
    /// Every key from KEY on
    #[arg(long, conflicts_with = "prefix")]
    pub from_key: bool,
}

impl RangeArgs {
    /// Whether it names exactly one key.
    pub fn is_single(&self) -> bool {
        self.end.is_none() && !self.prefix && !self.from_key
    }

    /// `key` and `range_end` as etcd's requests take them.
    pub fn bounds(&self) -> (Bytes, Bytes) {
        let key = self.key.as_bytes();
        if self.prefix {
            prefix_bounds(key)
        } else if self.from_key {
            (or_zero(key), Bytes::from_static(b"\0"))
        } else {
            let end = self.end.as_deref().unwrap_or_default();
            (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end.as_bytes()))
        }
    }
}

/// The interval of all keys that begin with `prefix`; all keys if it is empty.
pub fn prefix_bounds(prefix: &[u8]) -> (Bytes, Bytes) {
    let mut end = prefix.to_vec();
    while end.last() == Some(&0xff) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => *last += 1,
        // Nothing is above a key of only 0xff bytes: "\0" stands for no upper bound.
        None => end.push(0),
    }
    (or_zero(prefix), end.into())
}

/// The API has no empty key: the lowest is a zero byte.
fn or_zero(key: &[u8]) -> Bytes {
    if key.is_empty() { Bytes::from_static(b"\0") } else { Bytes::copy_from_slice(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_prefix() {
        let end = |prefix: &[u8]| prefix_bounds(prefix).1;
        assert_eq!(&end(b"ab")[..], b"ac");
        assert_eq!(&end(b"a\xff")[..], b"b");
        assert_eq!(&end(b"\xff\xff")[..], b"\0");
        assert_eq!(prefix_bounds(b""), (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")));
    }
}

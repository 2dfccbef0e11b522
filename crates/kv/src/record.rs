//! The values in the engine: pairs, replaced pairs, and what a revision did.
//!
//! They are encoded into exactly as much memory as they need: `Bytes` takes that over without another
//! allocation.

use bytes::Bytes;
use storage::EngineError;
use types::{Reader, WireError};

use crate::layout::undecodable;
use crate::varint::{put_signed, put_unsigned, signed, signed_len, unsigned, unsigned_len};
use crate::{EventKind, KeyValue, LeaseId, Revision};

/// The value in `LATEST`: a pair without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub create_revision: Revision,
    pub mod_revision: Revision,
    pub version: i64,
    pub lease: LeaseId,
    pub value: Bytes,
}

/// The value in `VERSIONS`: a pair, and the revision that replaced or deleted it. It is what its key holds
/// at every revision from `pair.mod_revision` up to, not including, `superseded`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OldPair {
    pub superseded: Revision,
    pub pair: Pair,
}

/// The value in `REVISIONS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub kind: EventKind,
    /// `mod_revision` of the pair that was replaced or deleted; 0 if there was none.
    pub previous: Revision,
    pub key: Bytes,
}

impl Pair {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        self.encode_to(&mut out);
        Bytes::from(out)
    }

    fn encoded_len(&self) -> usize {
        let numbers = [self.create_revision, self.mod_revision, self.version, self.lease];
        numbers.map(signed_len).iter().sum::<usize>() + self.value.len()
    }

    fn encode_to(&self, out: &mut Vec<u8>) {
        put_signed(out, self.create_revision);
        put_signed(out, self.mod_revision);
        put_signed(out, self.version);
        put_signed(out, self.lease);
        out.extend_from_slice(&self.value);
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Pair, EngineError> {
        Self::read(&mut Reader::new(bytes)).map_err(|_| undecodable("pair"))
    }

    fn read(input: &mut Reader) -> Result<Pair, WireError> {
        Ok(Pair {
            create_revision: signed(input)?,
            mod_revision: signed(input)?,
            version: signed(input)?,
            lease: signed(input)?,
            value: input.take(input.remaining())?,
        })
    }

    pub(crate) fn with_key(self, key: Bytes) -> KeyValue {
        KeyValue {
            key,
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
            value: self.value,
            lease: self.lease,
        }
    }
}

impl OldPair {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(signed_len(self.superseded) + self.pair.encoded_len());
        put_signed(&mut out, self.superseded);
        self.pair.encode_to(&mut out);
        Bytes::from(out)
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<OldPair, EngineError> {
        let mut input = Reader::new(bytes);
        let read = |input: &mut Reader| -> Result<OldPair, WireError> {
            Ok(OldPair { superseded: signed(input)?, pair: Pair::read(input)? })
        };
        read(&mut input).map_err(|_| undecodable("replaced pair"))
    }
}

impl Change {
    pub(crate) fn encode(&self) -> Bytes {
        let head = (self.previous as u64) << 1 | u64::from(self.kind == EventKind::Delete);
        let mut out = Vec::with_capacity(unsigned_len(head) + self.key.len());
        put_unsigned(&mut out, head);
        out.extend_from_slice(&self.key);
        Bytes::from(out)
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Change, EngineError> {
        let mut input = Reader::new(bytes);
        let read = |input: &mut Reader| -> Result<Change, WireError> {
            let head = unsigned(input)?;
            let kind = if head & 1 == 1 { EventKind::Delete } else { EventKind::Put };
            Ok(Change { kind, previous: (head >> 1) as Revision, key: input.take(input.remaining())? })
        };
        read(&mut input).map_err(|_| undecodable("change"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_read_back() {
        let pair = Pair {
            create_revision: 2,
            mod_revision: Revision::MAX,
            version: 300,
            lease: -9,
            value: Bytes::from_static(b"value"),
        };
        assert_eq!(Pair::decode(pair.encode()).unwrap(), pair);
        assert_eq!(pair.encode().len(), pair.encoded_len());
        let old = OldPair { superseded: 1 << 40, pair };
        assert_eq!(OldPair::decode(old.encode()).unwrap(), old);
        let change = Change { kind: EventKind::Delete, previous: 9, key: Bytes::from_static(b"k") };
        assert_eq!(Change::decode(change.encode()).unwrap(), change);
        assert!(Pair::decode(Bytes::from_static(b"\x01")).is_err());
    }
}

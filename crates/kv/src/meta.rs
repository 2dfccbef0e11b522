//! The one record that says where the state stands.

use bytes::Bytes;
use storage::{EngineError, View};
use types::{Epoch, Reader, Slot, WallTime, Wire, WireError};

use crate::Revision;
use crate::layout::{META, META_KEY, undecodable};

/// Written with every group of entries, in the same atomic batch as their changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// `false` only while a checkpoint is being installed.
    pub complete: bool,
    /// The last applied slot.
    pub applied: Slot,
    /// The epoch of that slot's entry.
    pub epoch: Epoch,
    /// The highest time stamped on any applied entry.
    pub wall: WallTime,
    /// The store revision.
    pub revision: Revision,
    /// The compacted revision: the lowest readable one. -1 before the first compaction, as in etcd, where
    /// compaction at 0 is allowed once.
    pub compacted: Revision,
    /// The compacted revision whose removal is finished; see `sweep.rs`.
    pub swept: Revision,
    /// Where removal goes on in `REVISIONS`.
    pub sweep_at: (Revision, u32),
}

/// Changes when a reader of the older form would misread the state.
const FORMAT: u8 = 1;

impl Meta {
    /// A store that nothing was applied to.
    pub(crate) fn fresh() -> Meta {
        Meta {
            complete: true,
            applied: Slot::ZERO,
            epoch: Epoch::default(),
            wall: WallTime(i64::MIN),
            revision: 1,
            compacted: -1,
            swept: -1,
            sweep_at: (0, 0),
        }
    }

    /// A store that waits for a checkpoint.
    pub(crate) fn incomplete() -> Meta {
        Meta { complete: false, ..Meta::fresh() }
    }

    /// Reads the record; `None` if nothing was ever written.
    pub(crate) fn load(view: &impl View) -> Result<Option<Meta>, EngineError> {
        view.get(META, META_KEY)?.map(Meta::decode_record).transpose()
    }

    pub(crate) fn decode_record(bytes: Bytes) -> Result<Meta, EngineError> {
        Meta::from_bytes(bytes).map_err(|_| undecodable("meta record"))
    }
}

impl Wire for Meta {
    fn encode(&self, out: &mut Vec<u8>) {
        FORMAT.encode(out);
        self.complete.encode(out);
        self.applied.encode(out);
        self.epoch.encode(out);
        self.wall.encode(out);
        self.revision.encode(out);
        self.compacted.encode(out);
        self.swept.encode(out);
        self.sweep_at.0.encode(out);
        self.sweep_at.1.encode(out);
    }

    fn decode(input: &mut Reader) -> Result<Meta, WireError> {
        let meta = match u8::decode(input)? {
            FORMAT => Meta {
                complete: bool::decode(input)?,
                applied: Slot::decode(input)?,
                epoch: Epoch::decode(input)?,
                wall: WallTime::decode(input)?,
                revision: Revision::decode(input)?,
                compacted: Revision::decode(input)?,
                swept: Revision::decode(input)?,
                sweep_at: (Revision::decode(input)?, u32::decode(input)?),
            },
            tag => return Err(WireError::Tag { what: "state format", tag }),
        };
        if meta.is_sensible() { Ok(meta) } else { Err(WireError::Range { what: "meta record" }) }
    }
}

impl Meta {
    /// Whether a store can stand there: sweeping and the next entry count on it.
    fn is_sensible(&self) -> bool {
        let revisions = [-1, self.swept, self.compacted, self.revision];
        let sweep = [0, self.sweep_at.0, self.compacted.max(0)];
        revisions.is_sorted() && sweep.is_sorted() && self.revision >= 1 && self.applied.0 < u64::MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_no_store_writes_is_refused() {
        let good = Meta { revision: 9, compacted: 7, swept: 3, sweep_at: (5, 1), ..Meta::fresh() };
        for meta in [Meta::fresh(), Meta::incomplete(), good.clone()] {
            assert_eq!(Meta::from_bytes(meta.to_bytes()), Ok(meta));
        }
        for bad in [
            Meta { revision: 6, ..good.clone() },
            Meta { swept: 8, ..good.clone() },
            Meta { sweep_at: (8, 0), ..good.clone() },
            Meta { applied: Slot(u64::MAX), ..good.clone() },
        ] {
            assert!(Meta::from_bytes(bad.to_bytes()).is_err(), "{bad:?}");
        }
    }
}

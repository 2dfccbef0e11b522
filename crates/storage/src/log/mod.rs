//! The durable log: records of slots, and one meta record.

mod api;

use std::collections::BTreeMap;

use bytes::Bytes;
use types::{Slot, SlotState, Wire};

#[cfg(feature = "planted")]
pub use api::Planted;
pub use api::{Identity, LogOp, LogOptions, OpenLogError, ReadLogError, Recovery, WriteLogError};

use crate::{Disk, DiskFile};

/// A log on a disk.
pub struct Log<D: Disk> {
    file: D::File,
    end: u64,
    pending: Vec<u8>,
    meta: Option<Bytes>,
    first: Slot,
    records: BTreeMap<u64, Bytes>,
    failed: bool,
}

impl<D: Disk> Log<D> {
    /// Opens or creates the log in `disk`.
    ///
    /// # Errors
    /// [`OpenLogError`].
    pub fn open(
        disk: D,
        identity: Identity,
        _options: LogOptions,
    ) -> Result<(Log<D>, Recovery), OpenLogError> {
        const NAME: &str = "log-0000000000000000";
        let created = !disk.list()?.iter().any(|name| name == NAME);
        let mut file = if created { disk.create(NAME)? } else { disk.open(NAME)? };
        if created {
            let mut header = identity.cluster.to_bytes().to_vec();
            identity.node.encode(&mut header);
            file.write_at(0, &header)?;
            file.sync()?;
            disk.sync_dir()?;
        }
        let mut log = Log {
            file,
            end: 16,
            pending: Vec::new(),
            meta: None,
            first: Slot(1),
            records: BTreeMap::new(),
            failed: false,
        };
        log.replay(identity)?;
        let recovery = Recovery {
            meta: log.meta.clone().map_or(SlotState::Missing, SlotState::Ok),
            first: log.first,
            records: log.records.values().cloned().map(SlotState::Ok).collect(),
            tail_damaged: false,
            created,
            report: Vec::new(),
        };
        Ok((log, recovery))
    }

    fn replay(&mut self, identity: Identity) -> Result<(), OpenLogError> {
        let mut bytes = vec![0; usize::try_from(self.file.size()?).unwrap_or(usize::MAX)];
        self.file.read_at(0, &mut bytes)?;
        let mut input = types::Reader::new(Bytes::from(bytes));
        let cluster = u64::decode(&mut input).unwrap_or_default();
        let node = types::NodeId::decode(&mut input).unwrap_or_default();
        if cluster != identity.cluster {
            return Err(OpenLogError::OtherCluster { found: cluster, expected: identity.cluster });
        }
        if node != identity.node {
            return Err(OpenLogError::OtherMember { found: node, expected: identity.node });
        }
        while let (Ok(crc), Ok(body)) = (u32::decode(&mut input), Bytes::decode(&mut input)) {
            if crc32c::crc32c(&body) != crc || body.is_empty() {
                break;
            }
            self.end += 8 + body.len() as u64;
            let mut body = types::Reader::new(body);
            while body.remaining() > 0 {
                let Ok(op) = decode(&mut body) else { break };
                self.apply(&op);
            }
        }
        Ok(())
    }

    /// Appends a batch.
    ///
    /// # Errors
    /// [`WriteLogError`].
    pub fn append(&mut self, ops: &[LogOp]) -> Result<(), WriteLogError> {
        if self.failed {
            return Err(WriteLogError::Failed);
        }
        let mut body = Vec::new();
        for op in ops {
            encode(op, &mut body);
            self.apply(op);
        }
        crc32c::crc32c(&body).encode(&mut self.pending);
        Bytes::from(body).encode(&mut self.pending);
        Ok(())
    }

    fn apply(&mut self, op: &LogOp) {
        match op {
            LogOp::SetMeta(meta) => self.meta = Some(meta.clone()),
            LogOp::Put(slot, record) => {
                self.records.insert(slot.0, record.clone());
            }
            LogOp::TruncateFrom(slot) => {
                self.records.split_off(&slot.0);
            }
            LogOp::CompactTo(slot) => {
                self.records = self.records.split_off(&(slot.0 + 1));
                self.first = self.first.max(slot.next());
            }
            LogOp::ResetTo { at } => {
                self.records.clear();
                self.first = at.next();
            }
        }
    }

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`WriteLogError`].
    pub fn sync(&mut self) -> Result<(), WriteLogError> {
        if self.failed {
            return Err(WriteLogError::Failed);
        }
        let pending = std::mem::take(&mut self.pending);
        self.failed = true;
        self.file.write_at(self.end, &pending)?;
        self.file.sync()?;
        self.failed = false;
        self.end += pending.len() as u64;
        Ok(())
    }

    /// Reads records by slot.
    ///
    /// # Errors
    /// [`ReadLogError`].
    pub fn read(&self, first: Slot, last: Slot, bytes_max: u64) -> Result<Vec<Bytes>, ReadLogError> {
        let mut found = Vec::new();
        let mut bytes = 0;
        for slot in first.0..=last.0 {
            let Some(record) = self.records.get(&slot) else {
                return Err(ReadLogError::Missing { slot: Slot(slot) });
            };
            bytes += record.len() as u64;
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(record.clone());
        }
        Ok(found)
    }

    /// The first slot that the log holds or will hold.
    pub fn first(&self) -> Slot {
        self.first
    }

    /// The last slot that the log holds; one below `first` if it is empty.
    pub fn last(&self) -> Slot {
        self.records.last_key_value().map_or(self.first.prev(), |(slot, _)| Slot(*slot))
    }

    /// Bytes of all segment files.
    pub fn size_bytes(&self) -> u64 {
        self.end
    }
}

fn encode(op: &LogOp, out: &mut Vec<u8>) {
    let (tag, slot, bytes) = match op {
        LogOp::SetMeta(meta) => (0u8, Slot::ZERO, meta.clone()),
        LogOp::Put(slot, record) => (1, *slot, record.clone()),
        LogOp::TruncateFrom(slot) => (2, *slot, Bytes::new()),
        LogOp::CompactTo(slot) => (3, *slot, Bytes::new()),
        LogOp::ResetTo { at } => (4, *at, Bytes::new()),
    };
    tag.encode(out);
    slot.encode(out);
    bytes.encode(out);
}

fn decode(input: &mut types::Reader) -> Result<LogOp, types::WireError> {
    let (tag, slot, bytes) = (u8::decode(input)?, Slot::decode(input)?, Bytes::decode(input)?);
    Ok(match tag {
        0 => LogOp::SetMeta(bytes),
        1 => LogOp::Put(slot, bytes),
        2 => LogOp::TruncateFrom(slot),
        3 => LogOp::CompactTo(slot),
        4 => LogOp::ResetTo { at: slot },
        tag => return Err(types::WireError::Tag { what: "LogOp", tag }),
    })
}

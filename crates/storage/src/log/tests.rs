//! Claims about the log, on a simulated disk, judged by a model that keeps everything in memory.

mod basics;
mod crashes;
mod damage;
mod failures;
mod faults;
mod format;
mod garbage;
#[cfg(feature = "planted")]
mod planted;
mod scrub;

use std::collections::BTreeMap;

use bytes::Bytes;
use types::{NodeId, Rng, Slot, SlotState};

use crate::{Identity, Log, LogOp, LogOptions, OpenLogError, Recovery, SimDisk};

const IDENTITY: Identity = Identity { cluster: 0xc1, node: NodeId(7) };

/// What a log should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Model {
    first: u64,
    last: u64,
    meta: SlotState<Bytes>,
    records: BTreeMap<u64, Bytes>,
}

impl Default for Model {
    fn default() -> Self {
        Model { first: 1, last: 0, meta: SlotState::Missing, records: BTreeMap::new() }
    }
}

impl Model {
    fn apply(&mut self, ops: &[LogOp]) {
        for op in ops {
            match op {
                LogOp::SetMeta(meta) => self.meta = SlotState::Ok(meta.clone()),
                LogOp::Put(slot, record) => {
                    self.records.insert(slot.0, record.clone());
                    self.last = self.last.max(slot.0);
                }
                LogOp::TruncateFrom(slot) => self.last = self.last.min(slot.0.max(self.first) - 1),
                LogOp::CompactTo(slot) => {
                    self.first = self.first.max(slot.0 + 1);
                    self.last = self.last.max(slot.0);
                }
                LogOp::ResetTo { at } => {
                    self.records.clear();
                    (self.first, self.last) = (at.0 + 1, at.0);
                }
            }
            self.records.retain(|slot, _| self.first <= *slot && *slot <= self.last);
        }
    }

    fn bounds(&self) -> (u64, u64) {
        (self.first, self.last)
    }

    /// What recovery found, if nothing in it is damaged.
    fn of(recovery: &Recovery) -> Option<Model> {
        let mut model = Model { first: recovery.first.0, last: recovery.first.0 - 1, ..Model::default() };
        model.meta = recovery.meta.clone();
        for record in &recovery.records {
            let SlotState::Ok(bytes) = record else { return None };
            model.last += 1;
            model.records.insert(model.last, bytes.clone());
        }
        (!recovery.tail_damaged && recovery.meta != SlotState::Damaged).then_some(model)
    }
}

fn open_with(disk: &SimDisk, segment_bytes: u64) -> Result<(Log<SimDisk>, Recovery), OpenLogError> {
    Log::open(disk.clone(), IDENTITY, LogOptions::with_segment_bytes(segment_bytes))
}

fn random_bytes(rng: &mut Rng, len_max: u64) -> Bytes {
    let len = rng.below(len_max + 1);
    let fill = rng.next_u64().to_le_bytes();
    (0..len).map(|at| fill[at as usize % 8] ^ at as u8).collect()
}

/// Changes as a core emits them: mostly appends, sometimes everything else.
fn random_ops(rng: &mut Rng, model: &Model) -> Vec<LogOp> {
    let mut model = model.clone();
    let mut ops = Vec::new();
    for _ in 0..=rng.below(3) {
        let within = Slot(rng.between(model.first.saturating_sub(1), model.last + 1));
        let op = match rng.below(24) {
            0..=3 => LogOp::SetMeta(random_bytes(rng, 600)),
            4 => LogOp::TruncateFrom(within),
            5 => LogOp::CompactTo(within),
            6 if rng.below(8) == 0 => LogOp::ResetTo { at: Slot(rng.between(1, model.last + 9)) },
            7 if model.first <= within.0 => LogOp::Put(within, random_bytes(rng, 700)),
            8 => LogOp::Put(Slot(model.last + 1), random_bytes(rng, 9000)),
            _ => LogOp::Put(Slot(model.last + 1), random_bytes(rng, 700)),
        };
        model.apply(std::slice::from_ref(&op));
        ops.push(op);
    }
    ops
}

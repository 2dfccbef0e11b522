//! A disk of the model: what is durable, and writes that are under way in their order.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;

use consensus::{Membership, Protocol, Recovered, StoreOp, WriteSeq};
use types::{Epoch, Fingerprinter, Slot, SlotState, Wire};

use super::table::print_bytes;

/// What is durable.
#[derive(Clone, Debug)]
pub(super) struct Store<P: Protocol> {
    meta: Option<P::Meta>,
    first: Slot,
    records: BTreeMap<Slot, P::Record>,
}

/// The writes that a crash loses, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Pending<P: Protocol>(pub(super) VecDeque<(WriteSeq, Vec<StoreOp<P>>)>);

impl<P: Protocol> Store<P> {
    pub(super) fn of(meta: P::Meta) -> Store<P> {
        Store { meta: Some(meta), first: Slot(1), records: BTreeMap::new() }
    }

    pub(super) fn apply(&mut self, ops: &[StoreOp<P>]) {
        for op in ops {
            match op {
                StoreOp::SetMeta(meta) => self.meta = Some(meta.clone()),
                StoreOp::Put(slot, record) => {
                    self.records.insert(*slot, record.clone());
                }
                StoreOp::TruncateFrom(slot) => {
                    self.records.split_off(slot);
                }
                StoreOp::CompactTo(slot) => {
                    self.records = self.records.split_off(&slot.next());
                    self.first = self.first.max(slot.next());
                }
                StoreOp::ResetTo { at } => {
                    self.records.clear();
                    self.first = at.next();
                }
            }
        }
    }

    /// The store once all of `pending` is durable too: the log as its owner sees it.
    pub(super) fn with(&self, pending: &Pending<P>) -> Store<P> {
        let mut store = self.clone();
        pending.0.iter().for_each(|(_, ops)| store.apply(ops));
        store
    }

    /// The digest of each record.
    pub(super) fn digests(&self) -> BTreeMap<Slot, u128> {
        self.records.iter().map(|(slot, record)| (*slot, print_bytes(&record.to_bytes()))).collect()
    }

    /// The records from `first` to `last`, as far as they are here.
    pub(super) fn read(&self, first: Slot, last: Slot) -> Vec<P::Record> {
        self.records.range(first..=last.max(first)).map(|(_, record)| record.clone()).collect()
    }

    /// What recovery finds; the state machine starts from nothing.
    pub(super) fn recovered(&self) -> Recovered<P> {
        let last = self.records.last_key_value().map_or(self.first.prev(), |(slot, _)| *slot);
        let slots = (self.first.0..=last.0).map(Slot);
        let state = |slot| self.records.get(&slot).cloned().map_or(SlotState::Missing, SlotState::Ok);
        Recovered {
            meta: self.meta.clone().map_or(SlotState::Missing, SlotState::Ok),
            first: self.first,
            log: slots.map(state).collect(),
            tail_damaged: false,
            applied: (Slot::ZERO, Epoch::default()),
            membership: Membership::default(),
        }
    }

    pub(super) fn digest(&self, into: &mut Fingerprinter) {
        into.write_u64(self.first.0);
        self.meta.iter().for_each(|meta| into.write(&meta.to_bytes()));
        for (slot, record) in &self.records {
            into.write_u64(slot.0);
            into.write(&record.to_bytes());
        }
    }
}

impl<P: Protocol> Pending<P> {
    pub(super) fn digest(&self, durable: WriteSeq, into: &mut Fingerprinter) {
        for (seq, ops) in &self.0 {
            into.write_u64(seq.0 - durable.0);
            ops.iter().for_each(|op| digest_op(op, into));
        }
    }
}

fn digest_op<P: Protocol>(op: &StoreOp<P>, into: &mut Fingerprinter) {
    let (kind, number, bytes) = match op {
        StoreOp::SetMeta(meta) => (1, 0, meta.to_bytes()),
        StoreOp::Put(slot, record) => (2, slot.0, record.to_bytes()),
        StoreOp::TruncateFrom(slot) => (3, slot.0, bytes::Bytes::new()),
        StoreOp::CompactTo(slot) => (4, slot.0, bytes::Bytes::new()),
        StoreOp::ResetTo { at } => (5, at.0, bytes::Bytes::new()),
    };
    into.write_u64(kind);
    into.write_u64(number);
    into.write(&bytes);
}

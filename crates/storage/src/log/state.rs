//! What the log holds at one moment, in terms of slots. The writer and recovery apply the same changes to it.

use std::collections::BTreeMap;

use bytes::Bytes;
use types::{Slot, SlotState};

use super::description::{LOW_NONE, LOWS};

/// The slots `first..=last`. One that is not in `records` is damaged: it was written, and cannot be read.
#[derive(Clone, Debug)]
pub(super) struct State<V> {
    pub first: Slot,
    /// One below `first` if there are none.
    pub last: Slot,
    pub meta: SlotState<Bytes>,
    /// Whether slots above `last` may have been written, acknowledged and lost.
    pub tail_damaged: bool,
    pub records: BTreeMap<Slot, V>,
}

/// Where the record of a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub segment: u64,
    /// The first sector of the batch's data.
    pub data: u64,
    /// Bytes of other records before it in the batch's data.
    pub offset: u32,
    pub len: u32,
    pub crc: u32,
}

/// What ties the next batch to the ones before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// The number of the next batch; the first is 1.
    pub next: u64,
    /// The stamp of the batch before it.
    pub stamp: u32,
    /// The `low` of the batches before it, the latest first.
    pub lows: [u64; LOWS],
}

impl Chain {
    /// Before the first batch.
    pub const START: Chain = Chain { next: 1, stamp: 0, lows: [LOW_NONE; LOWS] };

    /// Goes on behind a batch.
    pub fn push(&mut self, low: u64, stamp: u32) {
        self.next = self.next.saturating_add(1);
        self.stamp = stamp;
        self.lows.rotate_right(1);
        self.lows[0] = low;
    }

    /// The lowest slot that any of the last `count` batches touched; 0 if that is not known so far back.
    pub fn low_of_last(lows: &[u64; LOWS], count: u64) -> u64 {
        let known = usize::try_from(count).ok().and_then(|count| lows.get(..count));
        known.map_or(0, |lows| lows.iter().copied().min().unwrap_or(LOW_NONE))
    }
}

impl<V> Default for State<V> {
    fn default() -> Self {
        State {
            first: Slot(1),
            last: Slot::ZERO,
            meta: SlotState::Missing,
            tail_damaged: false,
            records: BTreeMap::new(),
        }
    }
}

impl<V> State<V> {
    pub fn put(&mut self, slot: Slot, record: V) {
        if slot >= self.first {
            self.records.insert(slot, record);
            self.last = self.last.max(slot);
        }
    }

    pub fn truncate_from(&mut self, slot: Slot) {
        // Who cuts the log has decided what counts above it, and keeps what it still has to repair in its meta
        // record.
        self.tail_damaged = false;
        if slot <= self.last {
            self.lose_from(slot.0);
            self.last = slot.prev().max(self.first.prev());
        }
    }

    pub fn compact_to(&mut self, slot: Slot) {
        if slot >= self.first {
            self.adopt(after(slot), self.last.max(slot));
        }
    }

    pub fn reset_to(&mut self, at: Slot) {
        self.tail_damaged = false;
        self.records.clear();
        self.first = after(at);
        self.last = at;
    }

    /// The records of `low` and above can no longer be trusted; their slots stay, damaged.
    pub fn lose_from(&mut self, low: u64) {
        drop(self.records.split_off(&Slot(low)));
    }

    /// Narrows or extends the log to these bounds; slots that it did not hold are damaged.
    pub fn adopt(&mut self, first: Slot, last: Slot) {
        if first > self.first {
            self.records = self.records.split_off(&first);
        }
        if last < self.last {
            self.lose_from(last.0.saturating_add(1));
        }
        (self.first, self.last) = (first, last);
    }

    /// How many slots the log holds that cannot be read.
    pub fn damaged(&self) -> u64 {
        after(self.last).above(self.first).saturating_sub(self.records.len() as u64)
    }

    /// Goes from one form of records to another.
    pub fn map<W>(self, change: impl Fn(V) -> W) -> State<W> {
        State {
            first: self.first,
            last: self.last,
            meta: self.meta,
            tail_damaged: self.tail_damaged,
            records: self.records.into_iter().map(|(slot, record)| (slot, change(record))).collect(),
        }
    }
}

/// The slot after this one, also for the largest: slots from a disk are any numbers.
pub(super) fn after(slot: Slot) -> Slot {
    Slot(slot.0.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(last: u64) -> State<()> {
        let mut state = State::default();
        (1..=last).for_each(|slot| state.put(Slot(slot), ()));
        state
    }

    fn held(state: &State<()>) -> (u64, u64, Vec<u64>) {
        (state.first.0, state.last.0, state.records.keys().map(|slot| slot.0).collect())
    }

    #[test]
    fn changes_move_the_bounds_and_drop_the_records_outside() {
        let mut state = filled(5);
        state.truncate_from(Slot(4));
        assert_eq!(held(&state), (1, 3, vec![1, 2, 3]));
        state.compact_to(Slot(2));
        assert_eq!(held(&state), (3, 3, vec![3]));
        state.compact_to(Slot(1));
        assert_eq!(held(&state), (3, 3, vec![3]), "compaction never goes back");
        state.truncate_from(Slot(1));
        assert_eq!(held(&state), (3, 2, vec![]), "truncation never goes below the first slot");
        state.compact_to(Slot(9));
        assert_eq!(held(&state), (10, 9, vec![]));
        state.reset_to(Slot(6));
        assert_eq!(held(&state), (7, 6, vec![]));
    }

    #[test]
    fn lost_records_leave_damaged_slots_until_they_are_written_again() {
        let mut state = filled(5);
        state.lose_from(4);
        assert_eq!((held(&state), state.damaged()), ((1, 5, vec![1, 2, 3]), 2));
        state.put(Slot(4), ());
        assert_eq!(state.damaged(), 1);
        state.truncate_from(Slot(5));
        assert_eq!(state.damaged(), 0);
    }

    #[test]
    fn a_damaged_tail_stays_until_its_owner_cuts_the_log() {
        let mut state = filled(5);
        let cuts: [fn(&mut State<()>); 2] =
            [|state| state.truncate_from(Slot(6)), |state| state.reset_to(Slot(9))];
        for cut in cuts {
            state.tail_damaged = true;
            state.compact_to(Slot(1));
            state.put(state.last.next(), ());
            assert!(state.tail_damaged);
            cut(&mut state);
            assert!(!state.tail_damaged);
        }
    }

    #[test]
    fn the_largest_slot_does_not_overflow() {
        let mut state = filled(2);
        state.compact_to(Slot(u64::MAX));
        state.reset_to(Slot(u64::MAX));
        state.adopt(Slot(0), Slot(u64::MAX));
        assert!(state.damaged() > 1 << 40);
    }
}

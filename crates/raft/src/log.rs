//! The log as one replica sees it in memory.
//!
//! ```text
//!      base      cache_first          last
//!   ────┼────────────┼─────────────────┼
//!    compacted  on disk only    also in memory          terms of everything above base: `runs`
//! ```
//!
//! Terms are kept as runs, so that the term of any slot is known at any time and costs a few bytes an election.
//! The records themselves are kept from some slot on; older ones must be read back from the disk.

use std::collections::VecDeque;

use types::{Slot, WallTime};

use crate::Record;

/// Slots above `base`, which is where the log was compacted or reset to.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Log {
    base: Slot,
    base_term: u64,
    last: Slot,
    /// Where each term begins, for slots above `base`.
    runs: VecDeque<Run>,
    cache: VecDeque<Cached>,
    /// Slot of the first cached record; one above `last` if there is none.
    cache_first: Slot,
    /// Position, in bytes since this value was made, of the end of the slot below `cache_first`.
    cache_start: u64,
    /// Position of the end of `base`.
    base_end: u64,
    /// Positions of the ends of some slots below `cache_first`, one every `MARK_BYTES`.
    marks: VecDeque<(Slot, u64)>,
}

#[derive(Clone, Copy, Debug, Hash)]
struct Run {
    first: Slot,
    term: u64,
}

#[derive(Clone, Debug, Hash)]
struct Cached {
    record: Record,
    /// Position of the end of this record.
    end: u64,
}

/// Compaction by size is exact to this much.
const MARK_BYTES: u64 = 64 * 1024;

impl Log {
    /// An empty log after `base`.
    pub fn new(base: Slot, base_term: u64) -> Log {
        Log {
            base,
            base_term,
            last: base,
            runs: VecDeque::new(),
            cache: VecDeque::new(),
            cache_first: base.next(),
            cache_start: 0,
            base_end: 0,
            marks: VecDeque::new(),
        }
    }

    /// The slot below the first one that is still here.
    pub fn base(&self) -> Slot {
        self.base
    }

    /// The first slot that is, or would be, here.
    pub fn first(&self) -> Slot {
        self.base.next()
    }

    /// The last slot; `base` if the log is empty.
    pub fn last(&self) -> Slot {
        self.last
    }

    /// The term of the last slot.
    pub fn last_term(&self) -> u64 {
        self.runs.back().map_or(self.base_term, |run| run.term)
    }

    /// The term of `slot`; `None` below `base` and above `last`.
    pub fn term_at(&self, slot: Slot) -> Option<u64> {
        if slot == self.base {
            return Some(self.base_term);
        }
        if slot < self.base || slot > self.last {
            return None;
        }
        let run = self.runs.partition_point(|run| run.first <= slot);
        Some(self.runs[run - 1].term)
    }

    /// The highest slot at or below `slot`, but not below `base`, whose term is at most `term`; and its term.
    ///
    /// Two logs that differ at a slot, where the other has `term`, cannot agree anywhere above the result
    /// (Raft §5.3, the optimisation at its end).
    pub fn highest_at_most(&self, slot: Slot, term: u64) -> (Slot, u64) {
        let slot = slot.clamp(self.base, self.last);
        let begun = self.runs.partition_point(|run| run.first <= slot);
        let older = self.runs.partition_point(|run| run.term <= term).min(begun);
        // Above `older` every run has a later term, so the answer ends where the next run begins.
        let end = if older < begun { self.runs[older].first.prev() } else { slot };
        match older {
            0 => (self.base, self.base_term),
            _ => (end, self.runs[older - 1].term),
        }
    }

    /// Adds a record at the end. Its term must not be below the last one's.
    pub fn append(&mut self, record: Record) -> Slot {
        let slot = self.last.next();
        if self.runs.back().is_none_or(|run| run.term != record.term) {
            self.runs.push_back(Run { first: slot, term: record.term });
        }
        let end = self.end_position() + record.cost_bytes();
        self.cache.push_back(Cached { record, end });
        self.last = slot;
        slot
    }

    /// Forgets `from` and everything above it. Everything above the commit index is cached, so nothing
    /// that is only on disk is ever cut off here.
    pub fn truncate_from(&mut self, from: Slot) {
        assert!(
            from >= self.cache_first,
            "truncation from {from:?} below the cache at {:?}",
            self.cache_first
        );
        while self.last >= from {
            self.cache.pop_back();
            self.last = self.last.prev();
        }
        while self.runs.back().is_some_and(|run| run.first > self.last) {
            self.runs.pop_back();
        }
    }

    /// Forgets `upto` and everything below it.
    pub fn compact_to(&mut self, upto: Slot) {
        let Some(term) = self.term_at(upto) else { return };
        self.base_end = self.position(upto);
        self.base = upto;
        self.base_term = term;
        let begun = self.runs.partition_point(|run| run.first <= upto);
        if begun > 0 {
            // The run that `upto` lies in may go on above it.
            self.runs.drain(..begun - 1);
            if upto == self.last || self.runs.get(1).is_some_and(|next| next.first == upto.next()) {
                self.runs.pop_front();
            } else {
                self.runs[0].first = upto.next();
            }
        }
        while self.cache_first <= upto && !self.cache.is_empty() {
            self.evict_first();
        }
        self.cache_first = self.cache_first.max(upto.next());
        while self.marks.front().is_some_and(|(slot, _)| *slot < upto) {
            self.marks.pop_front();
        }
    }

    /// The records from `first` to `last`, but no more than `bytes_max` unless it is a single one.
    /// `None` if `first` is not in memory.
    pub fn read(&self, first: Slot, last: Slot, bytes_max: u64) -> Option<Vec<Record>> {
        if first < self.cache_first || first > self.last {
            return None;
        }
        let skip = first.above(self.cache_first) as usize;
        let count = last.min(self.last).above(first.prev()) as usize;
        let start = if skip == 0 { self.cache_start } else { self.cache[skip - 1].end };
        let fits = |(at, cached): &(usize, &Cached)| *at == 0 || cached.end - start <= bytes_max;
        let range = self.cache.range(skip..skip + count).enumerate().take_while(fits);
        Some(range.map(|(_, cached)| cached.record.clone()).collect())
    }

    /// Drops the oldest records from memory, up to `upto`, until no more than `bytes_max` is kept.
    pub fn evict(&mut self, upto: Slot, bytes_max: u64) {
        while self.cache_first <= upto && self.end_position() - self.cache_start > bytes_max {
            self.evict_first();
        }
    }

    /// Bytes of the slots above `slot`; exact for what is in memory.
    pub fn bytes_above(&self, slot: Slot) -> u64 {
        self.end_position() - self.position(slot)
    }

    /// The lowest slot below which the log can be cut so that at most `bytes_max` are left up to `upto`.
    pub fn lowest_within(&self, upto: Slot, bytes_max: u64) -> Slot {
        let floor = self.position(upto).saturating_sub(bytes_max);
        if floor <= self.base_end {
            return self.base;
        }
        let marked = self.marks.partition_point(|(_, end)| *end < floor);
        if let Some((slot, _)) = self.marks.get(marked) {
            return (*slot).min(upto);
        }
        if floor <= self.cache_start {
            return self.cache_first.prev().min(upto);
        }
        let cached = self.cache.partition_point(|cached| cached.end < floor);
        self.cache_first.plus(cached as u64).min(upto)
    }

    /// The latest time on any record in memory.
    pub fn latest_wall(&self) -> Option<WallTime> {
        self.cache.iter().filter_map(|cached| cached.record.wall()).max()
    }

    /// The first slot whose record is in memory.
    pub fn cache_first(&self) -> Slot {
        self.cache_first
    }

    /// Whether terms grow along the log and memory holds what it should (promise R8).
    pub fn check(&self) -> Result<(), String> {
        let terms: Vec<u64> =
            std::iter::once(self.base_term).chain(self.runs.iter().map(|run| run.term)).collect();
        if !terms.is_sorted() {
            return Err(format!("terms decrease along the log: {terms:?}"));
        }
        let cached = self.cache.len() as u64;
        if self.last < self.base || self.last.next().above(self.cache_first) != cached {
            return Err(format!(
                "log {:?}..={:?} has {cached} records in memory from {:?}",
                self.first(),
                self.last,
                self.cache_first
            ));
        }
        let begins = self.runs.front().is_none_or(|run| run.first == self.first());
        if !begins || self.runs.is_empty() != (self.last == self.base) {
            return Err(format!("runs {:?} do not cover {:?}..={:?}", self.runs, self.first(), self.last));
        }
        Ok(())
    }

    fn evict_first(&mut self) {
        let Some(cached) = self.cache.pop_front() else { return };
        self.cache_start = cached.end;
        let marked = self.marks.back().map_or(0, |(_, end)| *end);
        if cached.end - marked >= MARK_BYTES {
            self.marks.push_back((self.cache_first, cached.end));
        }
        self.cache_first = self.cache_first.next();
    }

    fn end_position(&self) -> u64 {
        self.cache.back().map_or(self.cache_start, |cached| cached.end)
    }

    /// Position of the end of `slot`, rounded down to a mark below the cache.
    fn position(&self, slot: Slot) -> u64 {
        if slot >= self.last {
            return self.end_position();
        }
        if slot >= self.cache_first {
            return self.cache[slot.above(self.cache_first) as usize].end;
        }
        if slot.next() == self.cache_first {
            return self.cache_start;
        }
        let marked = self.marks.partition_point(|(at, _)| *at <= slot);
        match marked {
            0 => self.base_end,
            _ => self.marks[marked - 1].1.max(self.base_end),
        }
    }
}

#[cfg(test)]
mod tests;

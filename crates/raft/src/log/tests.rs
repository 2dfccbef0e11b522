use super::*;
use bytes::Bytes;
use consensus::{Entry, EntryKind};
use types::Rng;

fn record(term: u64, len: usize) -> Record {
    Record { term, entry: Entry { kind: EntryKind::Commands, payload: Bytes::from(vec![0; len]) } }
}

fn log(terms: &[u64]) -> Log {
    let mut log = Log::new(Slot(0), 0);
    for term in terms {
        log.append(record(*term, 10));
    }
    log
}

/// What a log is without memory limits: a base and all its records.
struct Model {
    base: u64,
    base_term: u64,
    records: Vec<Record>,
}

impl Model {
    fn last(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    fn term_at(&self, slot: u64) -> Option<u64> {
        match slot.checked_sub(self.base)? {
            0 => Some(self.base_term),
            above => self.records.get(above as usize - 1).map(|record| record.term),
        }
    }

    fn highest_at_most(&self, slot: u64, term: u64) -> (Slot, u64) {
        let mut slots = (self.base + 1..=slot.clamp(self.base, self.last())).rev();
        let found = slots.find(|slot| self.term_at(*slot).is_some_and(|at| at <= term)).unwrap_or(self.base);
        (Slot(found), self.term_at(found).unwrap_or_default())
    }

    fn bytes_above(&self, slot: u64) -> u64 {
        self.records[(slot - self.base) as usize..].iter().map(Record::cost_bytes).sum()
    }
}

#[test]
fn it_behaves_like_a_plain_vector_of_records() {
    for seed in 0..50 {
        let mut rng = Rng::new(seed);
        let mut log = Log::new(Slot(0), 0);
        let mut model = Model { base: 0, base_term: 0, records: Vec::new() };
        let mut term = 1;
        for _ in 0..300 {
            match rng.below(10) {
                0..6 => {
                    term += u64::from(rng.chance_ppm(200_000));
                    let record = record(term, rng.below(100) as usize);
                    assert_eq!(log.append(record.clone()).0, model.last() + 1);
                    model.records.push(record);
                }
                6 => {
                    let from = rng.between(log.cache_first().0, model.last() + 1);
                    log.truncate_from(Slot(from));
                    model.records.truncate((from - model.base - 1) as usize);
                }
                7 => {
                    let upto = rng.between(model.base, model.last());
                    log.compact_to(Slot(upto));
                    model.base_term = model.term_at(upto).unwrap();
                    model.records.drain(..(upto - model.base) as usize);
                    model.base = upto;
                }
                _ => log.evict(Slot(rng.between(model.base, model.last())), rng.below(2000)),
            }
            compare(&log, &model, &mut rng);
        }
    }
}

fn compare(log: &Log, model: &Model, rng: &mut Rng) {
    assert_eq!(log.check(), Ok(()));
    assert_eq!((log.base().0, log.last().0), (model.base, model.last()));
    for slot in model.base.saturating_sub(1)..=model.last() + 1 {
        assert_eq!(log.term_at(Slot(slot)), model.term_at(slot), "slot {slot}");
    }
    let (slot, term) = (rng.below(model.last() + 3), rng.below(8));
    assert_eq!(log.highest_at_most(Slot(slot), term), model.highest_at_most(slot, term));
    let first = rng.between(log.cache_first().0, model.last().max(log.cache_first().0));
    if let Some(read) = log.read(Slot(first), Slot(first + 3), u64::MAX) {
        let start = (first - model.base - 1) as usize;
        assert_eq!(read, model.records[start..(start + 4).min(model.records.len())]);
        assert_eq!(log.bytes_above(Slot(first)), model.bytes_above(first));
    } else {
        assert!(first > model.last());
    }
}

#[test]
fn reads_are_cut_by_size_but_never_empty() {
    let log = log(&[1, 1, 1]);
    let cost = record(1, 10).cost_bytes();
    let count = |bytes_max| log.read(Slot(1), Slot(3), bytes_max).map(|records| records.len());
    assert_eq!(
        [count(0), count(cost), count(2 * cost), count(u64::MAX)],
        [Some(1), Some(1), Some(2), Some(3)]
    );
    assert_eq!(log.read(Slot(4), Slot(4), u64::MAX), None);
}

/// The two rules of Raft §5.3's optimisation, on the paper's Figure 7 leader.
#[test]
fn conflicts_are_skipped_a_term_at_a_time() {
    let log = log(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
    assert_eq!(log.highest_at_most(Slot(10), 5), (Slot(7), 5));
    assert_eq!(log.highest_at_most(Slot(10), 3), (Slot(3), 1));
    assert_eq!(log.highest_at_most(Slot(6), 6), (Slot(6), 5));
    assert_eq!(log.highest_at_most(Slot(99), 99), (Slot(10), 6));
    assert_eq!(log.highest_at_most(Slot(5), 0), (Slot(0), 0));
}

#[test]
fn sizes_of_what_has_left_memory_are_known_roughly() {
    let mut log = Log::new(Slot(0), 0);
    let cost = record(1, 1000).cost_bytes();
    for _ in 0..1000 {
        log.append(record(1, 1000));
    }
    log.evict(Slot(900), 0);
    assert_eq!(log.bytes_above(Slot(900)), 100 * cost);
    let exact = 600 * cost;
    let known = log.bytes_above(Slot(400));
    assert!((exact..exact + MARK_BYTES + cost).contains(&known), "{known} for {exact}");
    let cut = log.lowest_within(Slot(900), 300 * cost);
    assert!((600..600 + MARK_BYTES / cost + 2).contains(&cut.0), "{cut:?}");
    assert_eq!(log.lowest_within(Slot(900), u64::MAX), Slot(0));
    log.compact_to(cut);
    assert_eq!(log.lowest_within(Slot(900), 400 * cost), cut);
}

//! Random commands against the naive model: same answers, same events, same reads at every revision.

use bytes::Bytes;
use kv::*;

use crate::generate::Generator;
use crate::harness::Harness;
use crate::model::{Model, attached};

#[test]
fn the_store_answers_like_the_naive_model() {
    for seed in 0..60 {
        follow(seed, 300);
    }
}

fn follow(seed: u64, commands: usize) {
    let mut generator = Generator::new(seed);
    let mut store = Harness::new();
    let mut model = Model::new();
    for step in 0..commands {
        let command = generator.command(model.revision());
        let expected = model.run(&command);
        let got = store.run(command.clone());
        assert_eq!(got, expected, "seed {seed} step {step}: {command:?}");
        assert_eq!(store.kv.revision(), model.revision(), "seed {seed} step {step}: {command:?}");
        assert_eq!(store.events.len(), model.events.len(), "seed {seed} step {step}: {command:?}");
        assert_eq!(store.events.last(), model.events.last(), "seed {seed} step {step}: {command:?}");
        for _ in 0..3 {
            let request = generator.range(model.revision());
            let expected = model.range(&request);
            assert_eq!(store.range(request.clone()), expected, "seed {seed} step {step}: {request:?}");
        }
        if step % 20 == 0 {
            compare_everything(&mut generator, &store, &model, &format!("seed {seed} step {step}"));
        }
    }
}

fn compare_everything(generator: &mut Generator, store: &Harness, model: &Model, place: &str) {
    for revision in model.compacted.max(1)..=model.revision() {
        let all = RangeRequest { revision, ..crate::harness::range("\0", "\0") };
        assert_eq!(store.range(all.clone()), model.range(&all), "{place}: revision {revision}");
    }
    compare_history(generator, store, model, place);
    let leases: Vec<_> = model.leases.iter().map(|(id, ttl)| (*id, *ttl)).collect();
    assert_eq!(store.reader.leases().unwrap(), leases, "{place}");
    for (id, ttl_seconds) in leases {
        let keys = attached(model.latest(), id);
        assert_eq!(store.reader.lease(id).unwrap(), Some(LeaseInfo { ttl_seconds, keys }), "{place}");
    }
    let members: Vec<_> = model.members.values().cloned().collect();
    assert_eq!(store.reader.members().unwrap(), members, "{place}");
}

fn compare_history(generator: &mut Generator, store: &Harness, model: &Model, place: &str) {
    let floor = model.compacted;
    assert_eq!(store.reader.compact_revision().unwrap(), floor);
    if floor > 0 {
        let below = store.reader.events(b"\0", b"\0", floor - 1, Revision::MAX, 1);
        assert!(matches!(below, Err(EventsError::Compacted { .. })), "{place}");
    }
    for _ in 0..4 {
        let (key, end) = (generator.key(), generator.key_and_end().1);
        let from = floor.max(0) + generator.rng.below(5) as i64;
        let told = history(store, &key, &end, from, 1 + generator.rng.below(4) as usize);
        assert_eq!(told, model.events_since(&key, &end, from), "{place}: {key:?} {end:?} from {from}");
    }
}

/// Reads all of a range's history in pages.
fn history(store: &Harness, key: &Bytes, end: &Bytes, from: Revision, limit: usize) -> Vec<RevisionEvents> {
    let mut told = Vec::new();
    let mut from = from;
    while from <= store.kv.revision() {
        let page = store.reader.events(key, end, from, Revision::MAX, limit).unwrap();
        told.extend(page.events);
        from = page.next;
    }
    told
}

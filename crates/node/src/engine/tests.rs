//! Both engines, which must not differ in anything that a state machine can see.

use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::KEY_LEN_MAX;
use types::Rng;

use super::*;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn write(engine: &StateEngine, space: u8, pairs: &[(&str, Option<&str>)]) {
    let mut batch = WriteBatch::default();
    for (key, value) in pairs {
        match value {
            Some(value) => batch.put(Space(space), bytes(key), bytes(value)),
            None => batch.remove(Space(space), bytes(key)),
        }
    }
    engine.write(batch).unwrap();
}

fn keys(view: &StateView, low: Bound<&str>, high: Bound<&str>, descending: bool) -> Vec<Bytes> {
    let scan = Scan { space: Space(2), low: low.map(bytes), high: high.map(bytes), descending };
    view.scan(scan).map(|pair| pair.unwrap().0).collect()
}

fn all(view: &StateView) -> Vec<Bytes> {
    keys(view, Bound::Unbounded, Bound::Unbounded, false)
}

/// Both engines, which must not differ in anything that a state machine can see.
fn engines() -> (tempfile::TempDir, [StateEngine; 2]) {
    let directory = tempfile::tempdir().unwrap();
    let lsm = StateEngine::open(directory.path()).unwrap();
    (directory, [lsm, StateEngine::memory()])
}

#[test]
fn a_view_stays_as_it_was_through_writes_and_a_clear() {
    let (_directory, engines) = engines();
    for engine in engines {
        write(&engine, 2, &[("a", Some("1")), ("b", Some("2"))]);
        let view = engine.view();
        write(&engine, 2, &[("a", Some("new")), ("b", None), ("c", Some("3"))]);
        assert_eq!(
            (all(&view), all(&engine.view())),
            (vec![bytes("a"), bytes("b")], vec![bytes("a"), bytes("c")])
        );
        engine.clear().unwrap();
        assert_eq!(view.get(Space(2), b"a").unwrap(), Some(bytes("1")));
        assert_eq!((all(&view), all(&engine.view())), (vec![bytes("a"), bytes("b")], vec![]));
        write(&engine, 2, &[("d", Some("4"))]);
        assert_eq!(all(&engine.view()), ["d"]);
    }
}

#[test]
fn a_scan_keeps_to_its_space_and_bounds_in_both_directions() {
    let (_directory, engines) = engines();
    for engine in engines {
        write(&engine, 2, &[("a", Some("")), ("b", Some("")), ("c", Some("")), ("d", Some(""))]);
        write(&engine, 3, &[("bb", Some(""))]);
        let view = engine.view();
        use Bound::{Excluded, Included, Unbounded};
        assert_eq!(keys(&view, Included("b"), Excluded("d"), false), ["b", "c"]);
        assert_eq!(keys(&view, Excluded("b"), Included("d"), true), ["d", "c"]);
        assert_eq!(keys(&view, Excluded("b"), Unbounded, true), ["d", "c"]);
        assert!(keys(&view, Excluded("b"), Excluded("b"), false).is_empty());
        assert!(keys(&view, Included("c"), Included("b"), true).is_empty());
    }
}

#[test]
fn a_key_that_is_too_long_is_refused_and_leaves_nothing_of_its_batch() {
    let (_directory, engines) = engines();
    for engine in engines {
        let mut batch = WriteBatch::default();
        batch.put(Space(2), bytes("a"), bytes("1"));
        batch.put(Space(2), Bytes::from(vec![b'k'; KEY_LEN_MAX + 1]), bytes("1"));
        assert!(engine.write(batch).is_err());
        assert!(all(&engine.view()).is_empty());
        write(&engine, 2, &[(&"k".repeat(KEY_LEN_MAX), Some("longest"))]);
    }
}

#[test]
fn what_was_persisted_is_there_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let engine = StateEngine::open(directory.path()).unwrap();
    for round in 0..200 {
        write(
            &engine,
            2,
            &[(&format!("key {round:04}"), Some("value")), ("latest", Some(&round.to_string()))],
        );
    }
    engine.persist().unwrap();
    assert!(engine.size_bytes() > 0);
    drop(engine);
    let engine = StateEngine::open(directory.path()).unwrap();
    let view = engine.view();
    assert_eq!(view.get(Space(2), b"latest").unwrap(), Some(bytes("199")));
    assert_eq!(all(&view).len(), 201);
}

/// One random batch: puts and removes over a few keys of a few spaces, and the batch's number in the first space.
fn random_batch(rng: &mut Rng, number: u64) -> WriteBatch {
    let mut batch = WriteBatch::default();
    batch.put(Space(0), bytes("number"), Bytes::from(number.to_string()));
    for _ in 0..rng.between(1, 12) {
        let space = Space(rng.between(1, 3) as u8);
        let key = Bytes::from(format!("key {:02}", rng.below(40)));
        match rng.below(4) {
            0 => batch.remove(space, key),
            _ => batch.put(space, key, Bytes::from(format!("{number} {}", rng.below(1000)))),
        }
    }
    batch
}

fn random_bound(rng: &mut Rng) -> Bound<Bytes> {
    let key = Bytes::from(format!("key {:02}", rng.below(40)));
    match rng.below(3) {
        0 => Bound::Unbounded,
        1 => Bound::Included(key),
        _ => Bound::Excluded(key),
    }
}

fn assert_same(rng: &mut Rng, disk: &StateView, memory: &StateView) {
    for _ in 0..5 {
        let space = Space(rng.below(4) as u8);
        let (low, high) = (random_bound(rng), random_bound(rng));
        let scan = Scan { space, low, high, descending: rng.chance_ppm(500_000) };
        let rows = |view: &StateView| view.scan(scan.clone()).collect::<Result<Vec<_>, _>>().unwrap();
        assert_eq!(rows(disk), rows(memory), "{scan:?}");
        let key = format!("key {:02}", rng.below(40));
        let get = |view: &StateView| view.get(space, key.as_bytes()).unwrap();
        assert_eq!(get(disk), get(memory), "{key}");
    }
}

/// Whatever lies in layers, in the tree or in the cache of rows, views show what the memory engine shows: also old
/// views, while rows are being loaded, and after a clear.
#[test]
fn both_engines_show_the_same_whatever_happens() {
    for seed in 0..10 {
        let (_directory, [disk, memory]) = engines();
        let mut rng = Rng::new(seed);
        let mut views = Vec::new();
        for number in 0..200 {
            let batch = random_batch(&mut rng, number);
            disk.write(batch.clone()).unwrap();
            memory.write(batch).unwrap();
            match rng.below(30) {
                0..4 => disk.persist().unwrap(),
                4..10 => views.push((disk.view(), memory.view())),
                10..13 => drop(views.pop()),
                13 => {
                    disk.clear().unwrap();
                    memory.clear().unwrap();
                }
                _ => {}
            }
            assert_same(&mut rng, &disk.view(), &memory.view());
            if let Some((disk, memory)) = rng.pick(&views) {
                assert_same(&mut rng, &disk.clone(), &memory.clone());
            }
        }
    }
}

/// Enough to fill layers, so that rows are loaded beside the writes.
#[test]
fn full_layers_are_loaded_while_writes_go_on() {
    let (_directory, [disk, memory]) = engines();
    let value = Bytes::from(vec![7; 4 << 10]);
    for number in 0..12_000_u64 {
        let key = Bytes::from(format!("key {}", number * 7919 % 10_007));
        let mut batch = WriteBatch::default();
        batch.put(Space(1), key.clone(), value.clone());
        batch.put(Space(2), Bytes::from(number.to_be_bytes().to_vec()), key);
        disk.write(batch.clone()).unwrap();
        memory.write(batch).unwrap();
    }
    assert!(disk.size_bytes() > 40 << 20);
    for space in [1, 2] {
        let scan =
            Scan { space: Space(space), low: Bound::Unbounded, high: Bound::Unbounded, descending: false };
        let (disk, memory) = (disk.view(), memory.view());
        assert!(disk.scan(scan.clone()).map(Result::unwrap).eq(memory.scan(scan).map(Result::unwrap)));
    }
}

/// Checkpoints are made by another thread than the one that writes. A stress only: what `Shared::writer` excludes takes
/// too short for this to hit reliably.
#[test]
fn nothing_is_lost_that_is_written_while_another_thread_persists() {
    let (_directory, [disk, memory]) = engines();
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                disk.persist().unwrap();
            }
        });
        let mut rng = Rng::new(1);
        for number in 0..20_000 {
            let batch = random_batch(&mut rng, number);
            disk.write(batch.clone()).unwrap();
            memory.write(batch).unwrap();
            if number % 50 == 0 {
                assert_same(&mut rng, &disk.view(), &memory.view());
            }
        }
        is_done.store(true, Ordering::Relaxed);
    });
    disk.persist().unwrap();
    let mut rng = Rng::new(2);
    for _ in 0..20 {
        assert_same(&mut rng, &disk.view(), &memory.view());
    }
}

/// The end of the process takes away what was not persisted, and never half a batch.
#[test]
fn what_is_left_without_a_persist_is_a_whole_number_of_batches() {
    for seed in 0..10 {
        let directory = tempfile::tempdir().unwrap();
        let mut rng = Rng::new(seed);
        let mut batches = Vec::new();
        let engine = StateEngine::open(directory.path()).unwrap();
        let persisted_at = rng.below(100);
        for number in 0..150 {
            let batch = random_batch(&mut rng, number);
            engine.write(batch.clone()).unwrap();
            batches.push(batch);
            if number == persisted_at {
                engine.persist().unwrap();
            }
        }
        drop(engine);
        let disk = StateEngine::open(directory.path()).unwrap().view();
        let number = disk.get(Space(0), b"number").unwrap().expect("something was persisted");
        let number: usize = String::from_utf8(number.to_vec()).unwrap().parse().unwrap();
        assert!(number >= persisted_at as usize);
        let memory = StateEngine::memory();
        batches.truncate(number + 1);
        batches.into_iter().for_each(|batch| memory.write(batch).unwrap());
        for _ in 0..20 {
            assert_same(&mut rng, &disk, &memory.view());
        }
    }
}

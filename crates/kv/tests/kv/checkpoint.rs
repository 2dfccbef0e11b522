//! Checkpoints between stores: whole and intact, or refused.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use kv::*;
use storage::{Engine, EngineError, MemEngine, MemView, WriteBatch};
use types::{Epoch, Slot};

use crate::generate::Generator;
use crate::harness::*;

/// A store of several chunks with something in every space.
fn full_store(seed: u64) -> Harness {
    let mut store = Harness::new();
    let mut generator = Generator::new(seed);
    for _ in 0..100 {
        let command = generator.command(store.kv.revision());
        drop(store.run(command));
    }
    store.grant(77);
    store.put_with(PutRequest { lease: 77, ..put("leased", "v") }).unwrap();
    store.run(Command::PublishMember(Member { id: 1, name: "m".into(), ..Member::default() })).unwrap();
    for i in 0..60 {
        store.put(&format!("big{i}"), &"x".repeat(20_000));
    }
    store
}

fn chunks(kv: &Kv<MemEngine>) -> Vec<Bytes> {
    let mut writer = kv.checkpoint().unwrap();
    assert_eq!(writer.at(), kv.applied());
    let mut chunks = Vec::new();
    loop {
        let (chunk, last) = writer.chunk(chunks.len() as u64).unwrap().unwrap();
        chunks.push(chunk);
        if last {
            return chunks;
        }
    }
}

fn from(chunks: &[Bytes]) -> impl FnMut(u64) -> Option<Bytes> {
    |index| chunks.get(index as usize).cloned()
}

fn verify(chunks: &[Bytes]) -> Result<CheckpointSummary, CheckpointError> {
    let mut verifier = ChunkVerifier::new();
    chunks.iter().try_for_each(|chunk| verifier.accept(chunk))?;
    verifier.finish()
}

#[test]
fn a_checkpoint_makes_an_equal_store() {
    let store = full_store(1);
    let chunks = chunks(&store.kv);
    assert!(chunks.len() > 3, "several chunks are needed to test their order");
    let summary = verify(&chunks).unwrap();
    assert_eq!((summary.at, summary.digest), (store.kv.applied(), store.kv.digest().unwrap()));

    let mut other = Harness::new();
    other.put("to be", "forgotten");
    other.kv.install(store.kv.applied(), from(&chunks)).unwrap();
    assert_eq!(other.kv.digest().unwrap(), store.kv.digest().unwrap());
    assert_eq!(other.kv.applied(), store.kv.applied());
    assert_eq!(
        other.reader.range(&range("\0", "\0")).unwrap(),
        store.reader.range(&range("\0", "\0")).unwrap()
    );

    // It is durable, and goes on alike: sessions, leases and history came with it.
    other.engine.crash();
    other.kv = open(&other.engine);
    let next = store.kv.applied().0.next();
    let mut store = store;
    for kv in [&mut store.kv, &mut other.kv] {
        let retry = entry(SESSION, 1, 0, Bytes::from_static(b"any"));
        let output = kv.apply(next, &[retry, (Epoch::of(2), Content::Nothing)]).unwrap();
        assert_eq!(output.executed[0].outcome, Outcome::Duplicate);
    }
    assert_eq!(other.kv.digest().unwrap(), store.kv.digest().unwrap());
}

/// P1: a transfer reads one unchanging state, and can go back to any chunk.
#[test]
fn chunks_do_not_change_while_writes_go_on_and_can_be_read_again() {
    let mut store = full_store(2);
    let expected = chunks(&store.kv);
    let mut writer = store.kv.checkpoint().unwrap();
    for index in 0..expected.len() as u64 {
        store.put("k", &index.to_string());
        assert_eq!(writer.chunk(index + 1).unwrap(), None, "chunks are first read in order");
        for again in 0..=index {
            let (chunk, last) = writer.chunk(again).unwrap().unwrap();
            assert_eq!(chunk, expected[again as usize]);
            assert_eq!(last, again + 1 == expected.len() as u64);
        }
    }
    assert_eq!(writer.chunk(expected.len() as u64).unwrap(), None);
}

/// P2, over every chunk.
#[test]
fn damaged_missing_repeated_reordered_and_foreign_chunks_are_refused() {
    let store = full_store(3);
    let good = chunks(&store.kv);
    let mut foreign = full_store(3);
    foreign.put("big30", "another value");
    let foreign = chunks(&foreign.kv);
    let mut bad: Vec<(String, Vec<Bytes>)> = Vec::new();
    for at in 0..good.len() {
        let variant = |change: &dyn Fn(&mut Vec<Bytes>)| {
            let mut chunks = good.clone();
            change(&mut chunks);
            chunks
        };
        bad.push((format!("{at} missing"), variant(&|chunks| drop(chunks.remove(at)))));
        bad.push((format!("{at} twice"), variant(&|chunks| chunks.insert(at, good[at].clone()))));
        bad.push((format!("{at} cut"), variant(&|chunks| chunks[at] = good[at].slice(..good[at].len() - 1))));
        bad.push((format!("{at} empty"), variant(&|chunks| chunks[at] = Bytes::new())));
        if at + 1 < good.len() {
            bad.push((format!("{at} swapped"), variant(&|chunks| chunks.swap(at, at + 1))));
        }
        if foreign.get(at).is_some_and(|chunk| *chunk != good[at]) {
            bad.push((format!("{at} foreign"), variant(&|chunks| chunks[at] = foreign[at].clone())));
        }
    }
    bad.push(("nothing".to_owned(), Vec::new()));
    assert!(bad.iter().any(|(what, _)| what.ends_with("foreign")));
    for (what, chunks) in bad {
        assert!(verify(&chunks).is_err(), "{what}");
    }
}

/// What is wrong is said in numbers.
#[test]
fn a_chunk_in_the_wrong_place_is_named() {
    let good = chunks(&full_store(8).kv);
    let skipped = Err(CheckpointError::OutOfOrder { expected: 0, found: 1 });
    assert_eq!(verify(&good[1..]), skipped);
    let last = good.len() - 1;
    assert_eq!(verify(&good[..last]), Err(CheckpointError::Unfinished { chunks: last as u64 }));
    let found = last as u64;
    assert_eq!(
        verify(&[&good[..], &good[last..]].concat()),
        Err(CheckpointError::OutOfOrder { expected: found + 1, found })
    );
}

#[test]
fn every_flipped_byte_is_noticed() {
    let store = full_store(4);
    let good = chunks(&store.kv);
    let mut dice = Generator::new(4);
    for at in 0..good.len() {
        for _ in 0..40 {
            let mut chunk = good[at].to_vec();
            let place = dice.rng.below(chunk.len() as u64) as usize;
            chunk[place] ^= 1 << dice.rng.below(8);
            let mut chunks = good.clone();
            chunks[at] = Bytes::from(chunk);
            assert!(
                matches!(verify(&chunks), Err(CheckpointError::Damaged { .. })),
                "chunk {at} byte {place}"
            );
        }
    }
}

/// P3: a refused checkpoint leaves the old state as it was.
#[test]
fn a_refused_checkpoint_changes_nothing() {
    let store = full_store(5);
    let good = chunks(&store.kv);
    let mut other = Harness::new();
    other.put("k", "old");
    let before = other.kv.digest().unwrap();
    let short = other.kv.install(store.kv.applied(), from(&good[..good.len() - 1]));
    assert!(matches!(short, Err(InstallError::Refused(CheckpointError::Missing { .. }))));
    let elsewhere = other.kv.install((Slot(3), Epoch::of(1)), from(&good));
    assert!(matches!(elsewhere, Err(InstallError::Refused(CheckpointError::Elsewhere { .. }))));
    assert_eq!(other.kv.digest().unwrap(), before);
    assert_eq!(other.put("k", "new"), 3);
}

/// P3: what was verified and then read back differently leaves a store that knows it.
/// A store cannot be opened on rows that it cannot read: they must not take the place of good ones.
#[test]
fn a_checkpoint_of_a_row_that_cannot_be_read_is_refused() {
    for bad in SPACES.into_iter().skip(1) {
        let mut store = Harness::new();
        store.put("k", "v");
        let mut batch = WriteBatch::default();
        batch.put(bad, Bytes::from_static(b"bad"), Bytes::from_static(b"\xff"));
        store.engine.write(batch).unwrap();
        let refusal = verify(&chunks(&store.kv)).unwrap_err();
        assert!(matches!(refusal, CheckpointError::Unreadable { space, .. } if space == bad.0), "{refusal}");
    }
}

#[test]
fn chunks_that_change_while_being_installed_leave_an_incomplete_store() {
    let store = full_store(6);
    let good = chunks(&store.kv);
    let mut other = Harness::new();
    let mut reads = 0;
    let result = other.kv.install(store.kv.applied(), |index| {
        reads += 1;
        (reads <= good.len() + 2).then(|| good[index as usize].clone())
    });
    assert!(matches!(result, Err(InstallError::Changed(CheckpointError::Missing { index: 2 }))));
    let mut other = open(&other.engine);
    assert!(other.is_incomplete());
    assert!(matches!(other.reader().revision(), Err(ReadError::Incomplete)));
    other.install(store.kv.applied(), from(&good)).unwrap();
    assert_eq!(other.digest().unwrap(), store.kv.digest().unwrap());
}

/// An engine that fails from its nth change on, as if the process died there.
#[derive(Clone)]
struct Failing {
    inner: MemEngine,
    changes_left: Arc<Mutex<u64>>,
}

impl Failing {
    fn change<T>(&self, run: impl FnOnce(&MemEngine) -> Result<T, EngineError>) -> Result<T, EngineError> {
        let mut left = self.changes_left.lock().unwrap();
        *left = left.checked_sub(1).ok_or(EngineError { operation: "write", reason: "dead".to_owned() })?;
        run(&self.inner)
    }
}

impl Engine for Failing {
    type View = MemView;

    fn view(&self) -> MemView {
        self.inner.view()
    }
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.change(|engine| engine.write(batch))
    }
    fn persist(&self) -> Result<(), EngineError> {
        self.change(MemEngine::persist)
    }
    fn clear(&self) -> Result<(), EngineError> {
        self.change(MemEngine::clear)
    }
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

/// P3, K4: a crash before any change of an installation leaves the old state, the new one, or a store that
/// knows that it is incomplete; and then the installation can be repeated. With and without the power loss
/// that takes what was not persisted.
#[test]
fn a_crash_anywhere_in_an_installation_is_noticed() {
    let source = full_store(7);
    let good = chunks(&source.kv);
    let new = source.kv.digest().unwrap();
    let (mut finished, mut incomplete) = (0, 0);
    for power_loss in [false, true] {
        for changes in 0..40 {
            let mut old = Harness::new();
            old.put("k", "old");
            old.engine.persist().unwrap();
            let old_digest = old.kv.digest().unwrap();
            let failing = Failing { inner: old.engine.clone(), changes_left: Arc::new(Mutex::new(changes)) };
            let died = Kv::open(failing).unwrap().install(source.kv.applied(), from(&good)).is_err();
            if power_loss {
                old.engine.crash();
            }
            let mut kv = open(&old.engine);
            if !kv.is_incomplete() {
                let digest = kv.digest().unwrap();
                assert!(digest == new || (died && digest == old_digest), "after {changes} changes");
                finished += u64::from(!died);
                continue;
            }
            incomplete += 1;
            assert!(died);
            assert_eq!(kv.applied(), (Slot::ZERO, Epoch::default()));
            assert!(matches!(kv.reader().range(&range("k", "")), Err(ReadError::Incomplete)));
            assert!(open(&old.engine).is_incomplete(), "opening it again does not heal it");
            kv.install(source.kv.applied(), from(&good)).unwrap();
            assert_eq!(kv.digest().unwrap(), new);
        }
    }
    assert!(finished > 10 && incomplete > 10, "{finished} finished, {incomplete} incomplete");
}

/// The whole log makes up for a checkpoint that never came whole: nothing of the half one shines through.
#[test]
fn an_incomplete_store_can_be_filled_from_slot_1() {
    let source = full_store(9);
    let engine = MemEngine::default();
    let failing = Failing { inner: engine.clone(), changes_left: Arc::new(Mutex::new(6)) };
    let half = Kv::open(failing).unwrap().install(source.kv.applied(), from(&chunks(&source.kv)));
    assert!(half.is_err() && engine.size_bytes() > 100_000, "some chunks were written");
    let mut kv = open(&engine);
    assert!(kv.is_incomplete());
    kv.apply(Slot(1), &[entry(SESSION, 0, 0, Bytes::new())]).unwrap();
    assert!(!kv.is_incomplete());
    assert_eq!(kv.digest().unwrap(), Harness::new().kv.digest().unwrap());
    assert_eq!(kv.reader().revision().unwrap(), 1);
}

#[test]
fn nothing_to_send_is_an_error() {
    assert!(open(&MemEngine::default()).checkpoint().is_err());
}

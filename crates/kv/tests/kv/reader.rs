//! Reads beside writes.

use std::sync::{Arc, Mutex};

use kv::*;
use storage::{Engine, EngineError, MemEngine, MemView, WriteBatch};
use types::Slot;

use crate::harness::*;

/// A reader sees whole groups, and always the latest one.
#[test]
fn a_reader_follows_every_apply() {
    let mut store = Harness::new();
    let early = store.kv.reader();
    for i in 0..5 {
        assert_eq!(early.revision().unwrap(), 1 + i);
        assert_eq!(early.applied().unwrap(), store.kv.applied());
        assert_eq!(early.digest().unwrap(), (store.kv.applied().0, store.kv.digest().unwrap()));
        store.put("k", "v");
        assert_eq!(early.range(&range("k", "")).unwrap().0, 2 + i);
    }
}

/// An engine in the middle of whose every write somebody reads.
#[derive(Clone, Default)]
struct Interrupted {
    inner: MemEngine,
    reader: Arc<Mutex<Option<Reader<Interrupted>>>>,
}

impl Engine for Interrupted {
    type View = MemView;

    fn view(&self) -> MemView {
        self.inner.view()
    }
    fn write(&self, batch: WriteBatch) -> Result<(), EngineError> {
        if let Some(reader) = &*self.reader.lock().unwrap() {
            reader.revision().unwrap();
        }
        self.inner.write(batch)
    }
    fn persist(&self) -> Result<(), EngineError> {
        self.inner.persist()
    }
    fn clear(&self) -> Result<(), EngineError> {
        self.inner.clear()
    }
    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }
}

/// What a read keeps for the next one must not outlive the write that it met.
#[test]
fn a_read_in_the_middle_of_a_write_does_not_hide_it() {
    let engine = Interrupted::default();
    let mut kv = Kv::open(engine.clone()).unwrap();
    *engine.reader.lock().unwrap() = Some(kv.reader());
    kv.apply(Slot(1), &[entry(SESSION, 0, 0, bytes(""))]).unwrap();
    let put = types::Wire::to_bytes(&Command::Put(put("k", "v")));
    kv.apply(Slot(2), &[entry(SESSION, 1, 0, put)]).unwrap();
    assert_eq!(kv.reader().revision().unwrap(), 2);
    assert_eq!(kv.reader().range(&range("k", "")).unwrap().1.count, 1);
}

/// Readers on other threads never see a slot without its state: each entry writes two keys alike.
#[test]
fn readers_on_other_threads_see_whole_entries() {
    let mut store = Harness::new();
    let reader = store.reader.clone();
    std::thread::scope(|scope| {
        let checks = scope.spawn(move || {
            let mut last = 0;
            while last < 301 {
                let (revision, response) = reader.range(&range("a", "c")).unwrap();
                assert!(revision >= last, "revisions do not go back");
                let values: Vec<_> = response.kvs.iter().map(|kv| kv.value.clone()).collect();
                assert!(values.is_empty() || (values.len() == 2 && values[0] == values[1]));
                assert!(values.is_empty() || response.kvs[0].mod_revision == revision);
                last = revision;
            }
        });
        for i in 0..300 {
            let value = i.to_string();
            store.txn(always(vec![put_op("a", &value), put_op("b", &value)])).unwrap();
        }
        checks.join().unwrap();
    });
}

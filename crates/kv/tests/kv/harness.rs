//! A store on the in-memory engine, one command an entry, and short ways to write requests.

use bytes::Bytes;
use kv::*;
use storage::MemEngine;
use types::{Batch, Epoch, SessionId, Slot, WallTime, Wire};

pub const SESSION: SessionId = SessionId(0xbeef);

pub struct Harness {
    pub kv: Kv<MemEngine>,
    pub engine: MemEngine,
    pub reader: Reader<MemEngine>,
    /// Everything that watchers were told.
    pub events: Vec<RevisionEvents>,
    /// Everything that the lessor was told.
    pub leases: Vec<LeaseChange>,
    number: u64,
}

/// A session's command number, encoded as a log entry of its own.
pub fn entry(session: SessionId, number: u64, wall_ms: i64, body: Bytes) -> (Epoch, Content) {
    let command = types::Command { session, number, acked_below: 1, body };
    (Epoch::of(1), Content::Commands(Batch { wall: WallTime(wall_ms), commands: vec![command] }.to_bytes()))
}

pub fn open(engine: &MemEngine) -> Kv<MemEngine> {
    Kv::open(engine.clone()).unwrap()
}

impl Harness {
    pub fn new() -> Harness {
        let engine = MemEngine::default();
        let kv = open(&engine);
        Harness::on(engine, kv)
    }

    /// A store with a bug, or without.
    #[cfg(feature = "planted")]
    pub fn with(planted: Option<Planted>) -> Harness {
        let engine = MemEngine::default();
        let kv = Kv::open_planted(engine.clone(), planted).unwrap();
        Harness::on(engine, kv)
    }

    fn on(engine: MemEngine, mut kv: Kv<MemEngine>) -> Harness {
        kv.apply(Slot(1), &[entry(SESSION, 0, 0, Bytes::new())]).unwrap();
        let reader = kv.reader();
        Harness { kv, engine, reader, events: Vec::new(), leases: Vec::new(), number: 1 }
    }

    /// Executes a command in an entry of its own.
    pub fn run(&mut self, command: Command) -> Result<Response, KvError> {
        self.run_bytes(command.to_bytes())
    }

    pub fn run_bytes(&mut self, body: Bytes) -> Result<Response, KvError> {
        let next = self.kv.applied().0.next();
        let output = self.kv.apply(next, &[entry(SESSION, self.number, 0, body)]).unwrap();
        self.number += 1;
        self.events.extend(output.events);
        self.leases.extend(output.leases);
        match &output.executed[..] {
            [Executed { outcome: Outcome::Done { result, revision }, .. }] => {
                assert_eq!(*revision, self.kv.revision());
                result.clone()
            }
            other => panic!("one executed command expected, got {other:?}"),
        }
    }

    /// Puts and returns the new revision.
    pub fn put(&mut self, key: &str, value: &str) -> Revision {
        self.run(Command::Put(put(key, value))).unwrap();
        self.kv.revision()
    }

    pub fn put_with(&mut self, put: PutRequest) -> Result<PutResponse, KvError> {
        self.run(Command::Put(put)).map(|response| match response {
            Response::Put(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub fn delete(&mut self, key: &str, range_end: &str) -> i64 {
        match self.run(Command::DeleteRange(delete(key, range_end))) {
            Ok(Response::DeleteRange(response)) => response.deleted,
            other => panic!("{other:?}"),
        }
    }

    pub fn txn(&mut self, request: TxnRequest) -> Result<TxnResponse, KvError> {
        self.run(Command::Txn(request)).map(|response| match response {
            Response::Txn(response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub fn compact(&mut self, revision: Revision) -> Result<Response, KvError> {
        self.run(Command::Compact { revision })
    }

    pub fn grant(&mut self, id: LeaseId) {
        self.run(Command::LeaseGrant { id, ttl_seconds: 60 }).unwrap();
    }

    /// Applies entries that change nothing, until removal after a compaction is done.
    pub fn idle(&mut self, entries: usize) {
        let next = self.kv.applied().0.next();
        self.kv.apply(next, &vec![(Epoch::of(1), Content::Nothing); entries]).unwrap();
    }

    pub fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        match self.reader.range(&request) {
            Ok((revision, response)) => {
                assert_eq!(revision, self.kv.revision(), "the header holds the current revision");
                Ok(response)
            }
            Err(ReadError::Kv(refusal)) => Err(refusal),
            Err(other) => panic!("{other:?}"),
        }
    }

    pub fn get(&self, key: &str) -> Option<KeyValue> {
        self.range(range(key, "")).unwrap().kvs.pop()
    }

    /// `key=value` of a range, joined by spaces.
    pub fn show(&self, request: RangeRequest) -> String {
        show(&self.range(request).unwrap().kvs)
    }
}

pub fn show(kvs: &[KeyValue]) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    kvs.iter().map(|kv| text(&kv.key) + "=" + &text(&kv.value)).collect::<Vec<_>>().join(" ")
}

pub fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub fn put(key: &str, value: &str) -> PutRequest {
    PutRequest { key: bytes(key), value: bytes(value), ..PutRequest::default() }
}

pub fn delete(key: &str, range_end: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: true }
}

pub fn range(key: &str, range_end: &str) -> RangeRequest {
    RangeRequest { key: bytes(key), range_end: bytes(range_end), ..RangeRequest::default() }
}

pub fn compare(key: &str, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { key: bytes(key), range_end: Bytes::new(), result, target }
}

/// A transaction without conditions.
pub fn always(success: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success, ..TxnRequest::default() }
}

pub fn put_op(key: &str, value: &str) -> RequestOp {
    RequestOp::Put(put(key, value))
}

pub fn delete_op(key: &str, range_end: &str) -> RequestOp {
    RequestOp::DeleteRange(delete(key, range_end))
}

pub fn range_op(key: &str, range_end: &str) -> RequestOp {
    RequestOp::Range(range(key, range_end))
}

/// The pairs that a transaction's range answered.
pub fn ranged(response: &ResponseOp) -> String {
    match response {
        ResponseOp::Range(_, response) => show(&response.kvs),
        other => panic!("a range was expected, got {other:?}"),
    }
}

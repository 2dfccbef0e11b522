//! Between the words of histories and the words of the store.

use bytes::Bytes;
use checker::{Answer, Call, Compare, Found, Item, Step, Txn};
use kv::{
    CompareResult, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, RequestOp,
    Response, ResponseOp, TxnRequest,
};
use types::{Rng, Wire};

/// A call that may write, as the state machine's command.
pub(crate) fn command(call: &Call) -> kv::Command {
    match call {
        Call::One(Step::Put(key, value)) => kv::Command::Put(put(key, value)),
        Call::One(Step::Delete(key)) => kv::Command::DeleteRange(delete(key)),
        Call::One(step) => {
            kv::Command::Txn(TxnRequest { success: vec![request_op(step)], ..TxnRequest::default() })
        }
        Call::Txn(txn) => kv::Command::Txn(transaction(txn)),
    }
}

/// Bytes that are no command: the beginning of one, or noise.
pub(crate) fn poison(rng: &mut Rng) -> Bytes {
    let whole =
        kv::Command::Put(put(&Bytes::from_static(b"poison"), &Bytes::from_static(b"poison"))).to_bytes();
    if rng.below(2) == 0 {
        return whole.slice(..rng.below(whole.len() as u64) as usize);
    }
    let noise = |rng: &mut Rng| (0..rng.below(40)).map(|_| rng.next_u64() as u8).collect::<Bytes>();
    let mut bytes = noise(rng);
    while kv::Command::from_bytes(bytes.clone()).is_ok() {
        bytes = noise(rng);
    }
    bytes
}

/// A call that only reads, as a range; `None` if it may write.
pub(crate) fn range_request(call: &Call) -> Option<RangeRequest> {
    match call {
        Call::One(Step::Get(key)) => Some(get(key)),
        Call::One(Step::Range(from, to)) => Some(range(from, to)),
        _ => None,
    }
}

/// All keys.
pub(crate) fn everything() -> RangeRequest {
    let every = Bytes::from_static(b"\0");
    range(&every, &every)
}

/// What the store answered to a call; `None` if that is no answer to it.
pub(crate) fn answer(call: &Call, response: &Response) -> Option<Answer> {
    match (call, response) {
        (Call::One(Step::Put(..)), Response::Put(_)) => Some(Answer::One(Found::Put)),
        (Call::One(Step::Delete(_)), Response::DeleteRange(deleted)) => {
            Some(Answer::One(Found::Delete(deleted.deleted)))
        }
        (Call::Txn(txn), Response::Txn(done)) => {
            let steps = if done.succeeded { &txn.then } else { &txn.otherwise };
            if steps.len() != done.responses.len() {
                return None;
            }
            let found = steps.iter().zip(&done.responses).map(|(step, response)| step_found(step, response));
            Some(Answer::Txn { succeeded: done.succeeded, found: found.collect::<Option<_>>()? })
        }
        _ => None,
    }
}

/// What a range found, as the answer to a reading call.
pub(crate) fn range_answer(call: &Call, response: &RangeResponse) -> Option<Answer> {
    match call {
        Call::One(step) => range_found(step, response).map(Answer::One),
        Call::Txn(_) => None,
    }
}

fn step_found(step: &Step, response: &ResponseOp) -> Option<Found> {
    match (step, response) {
        (Step::Put(..), ResponseOp::Put(..)) => Some(Found::Put),
        (Step::Delete(_), ResponseOp::DeleteRange(_, done)) => Some(Found::Delete(done.deleted)),
        (step, ResponseOp::Range(_, response)) => range_found(step, response),
        _ => None,
    }
}

fn range_found(step: &Step, response: &RangeResponse) -> Option<Found> {
    match step {
        Step::Get(_) => Some(Found::Get(response.kvs.first().map(item))),
        Step::Range(..) => {
            Some(Found::Range(response.kvs.iter().map(|kv| (kv.key.clone(), item(kv))).collect()))
        }
        _ => None,
    }
}

/// A version of a key, with its numbers.
pub(crate) fn item(kv: &kv::KeyValue) -> Item {
    Item {
        value: kv.value.clone(),
        mod_revision: Some(kv.mod_revision),
        create_revision: Some(kv.create_revision),
        version: Some(kv.version),
    }
}

fn transaction(txn: &Txn) -> TxnRequest {
    TxnRequest {
        compare: txn.compare.iter().map(compare).collect(),
        success: txn.then.iter().map(request_op).collect(),
        failure: txn.otherwise.iter().map(request_op).collect(),
    }
}

fn compare(compare: &Compare) -> kv::Compare {
    let target = match compare {
        Compare::Value(_, value) => CompareTarget::Value(value.clone()),
        Compare::Version(_, version) => CompareTarget::Version(*version),
        Compare::ModRevision(_, revision) => CompareTarget::Mod(*revision),
        Compare::CreateRevision(_, revision) => CompareTarget::Create(*revision),
    };
    kv::Compare { key: compare.key().clone(), range_end: Bytes::new(), result: CompareResult::Equal, target }
}

fn request_op(step: &Step) -> RequestOp {
    match step {
        Step::Get(key) => RequestOp::Range(get(key)),
        Step::Range(from, to) => RequestOp::Range(range(from, to)),
        Step::Put(key, value) => RequestOp::Put(put(key, value)),
        Step::Delete(key) => RequestOp::DeleteRange(delete(key)),
    }
}

fn get(key: &Bytes) -> RangeRequest {
    RangeRequest { key: key.clone(), ..RangeRequest::default() }
}

fn range(from: &Bytes, to: &Bytes) -> RangeRequest {
    RangeRequest { key: from.clone(), range_end: to.clone(), ..RangeRequest::default() }
}

fn put(key: &Bytes, value: &Bytes) -> PutRequest {
    PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() }
}

fn delete(key: &Bytes) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.clone(), ..DeleteRangeRequest::default() }
}

//! What is asked: requests of one shape on random keys with random values.

use bytes::Bytes;
use etcd::proto::etcdserverpb as pb;
use prost::Message;
use types::Rng;

use super::{BenchArgs, Workload};

/// Where the keys of a measurement live.
pub const PREFIX: &str = "bench/";
/// Values are cut from this much random data, so that a store that compresses gains nothing.
const POOL_BYTES: usize = 1 << 20;

pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const TXN: &str = "/etcdserverpb.KV/Txn";

/// Makes requests.
pub struct Requests {
    workload: Workload,
    rng: Rng,
    pool: Bytes,
    key_space: u64,
    value_bytes: usize,
    reads_percent: u64,
    serializable: bool,
    /// The next key and the distance to the one after, when keys are taken in order.
    in_order: Option<(u64, u64)>,
}

impl Requests {
    /// For connection number `number`.
    pub fn new(args: &BenchArgs, number: u64) -> Requests {
        let mut rng = Rng::keyed(args.seed, &[number]);
        let mut pool = vec![0; POOL_BYTES.max(2 * args.value_size)];
        pool.chunks_mut(8).for_each(|chunk| {
            let random = rng.next_u64().to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        });
        Requests {
            workload: args.workload,
            pool: pool.into(),
            key_space: args.key_space,
            value_bytes: args.value_size,
            reads_percent: args.reads,
            serializable: args.serializable,
            in_order: args.sequential.then_some((number, args.conns as u64)),
            rng,
        }
    }

    /// Encodes the next request into `message`, and returns its method.
    pub fn next(&mut self, message: &mut Vec<u8>) -> &'static str {
        message.clear();
        let read = match self.workload {
            Workload::Put | Workload::WatchFanout => false,
            Workload::Range => true,
            Workload::Mixed => self.rng.below(100) < self.reads_percent,
            Workload::Txn => return encode(&self.txn(), message, TXN),
        };
        match read {
            true => encode(&self.range(), message, RANGE),
            false => encode(&self.put(), message, PUT),
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        pb::PutRequest { key: self.key(), value: self.value(), ..Default::default() }
    }

    fn range(&mut self) -> pb::RangeRequest {
        pb::RangeRequest { key: self.key(), serializable: self.serializable, ..Default::default() }
    }

    /// Writes the key and reads it back if it exists, creates it if not.
    fn txn(&mut self) -> pb::TxnRequest {
        let put = self.put();
        let read = pb::RangeRequest { key: put.key.clone(), ..Default::default() };
        let exists = pb::Compare {
            result: pb::compare::CompareResult::Greater.into(),
            target: pb::compare::CompareTarget::Version.into(),
            key: put.key.clone(),
            target_union: Some(pb::compare::TargetUnion::Version(0)),
            ..Default::default()
        };
        let write = pb::request_op::Request::RequestPut(put);
        let op = |request| pb::RequestOp { request: Some(request) };
        pb::TxnRequest {
            compare: vec![exists],
            success: vec![op(write.clone()), op(pb::request_op::Request::RequestRange(read))],
            failure: vec![op(write)],
        }
    }

    fn key(&mut self) -> Bytes {
        let number = match &mut self.in_order {
            None => self.rng.below(self.key_space),
            Some((next, step)) => {
                let number = *next % self.key_space;
                *next += *step;
                number
            }
        };
        Bytes::from(format!("{PREFIX}{number:010}"))
    }

    fn value(&mut self) -> Bytes {
        let room = self.pool.len() - self.value_bytes;
        let at = self.rng.below(room as u64) as usize;
        self.pool.slice(at..at + self.value_bytes)
    }
}

fn encode(request: &impl Message, message: &mut Vec<u8>, path: &'static str) -> &'static str {
    request.encode_raw(message);
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::tests::args;

    fn keys(requests: &mut Requests, count: usize) -> Vec<Bytes> {
        let mut message = Vec::new();
        let mut next = || {
            requests.next(&mut message);
            pb::PutRequest::decode(&message[..]).unwrap().key
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let mut args = args(Workload::Put);
        args.key_space = 1_000_000;
        let first = keys(&mut Requests::new(&args, 1), 20);
        assert_eq!(first, keys(&mut Requests::new(&args, 1), 20));
        assert_ne!(first, keys(&mut Requests::new(&args, 2), 20));
    }

    #[test]
    fn connections_share_the_keys_when_they_are_taken_in_order() {
        let mut args = args(Workload::Put);
        (args.sequential, args.conns, args.key_space) = (true, 2, 6);
        let mut all = keys(&mut Requests::new(&args, 0), 3);
        all.extend(keys(&mut Requests::new(&args, 1), 3));
        all.sort();
        let expected: Vec<_> = (0..6).map(|number| Bytes::from(format!("bench/{number:010}"))).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn reads_and_writes_are_mixed_as_asked() {
        let mut args = args(Workload::Mixed);
        args.reads = 80;
        let mut requests = Requests::new(&args, 0);
        let mut message = Vec::new();
        let reads = (0..10_000).filter(|_| requests.next(&mut message) == RANGE).count();
        assert!((7_700..8_300).contains(&reads), "{reads}");
    }
}

//! Random commands over a few keys, so that they meet.

use bytes::Bytes;
use kv::*;
use types::Rng;

const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a\0", b"a\0\xff", b"ab", b"b", b"b\xff", b"c", b"d"];

pub struct Generator {
    pub rng: Rng,
}

impl Generator {
    pub fn new(seed: u64) -> Generator {
        Generator { rng: Rng::new(seed) }
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.rng.below(times) == 0
    }

    pub fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        self.rng.pick(items).unwrap().clone()
    }

    /// A command for a store that stands at `revision`.
    pub fn command(&mut self, revision: Revision) -> Command {
        match self.rng.below(20) {
            0..7 => Command::Put(self.put()),
            7..10 => Command::DeleteRange(self.delete_range()),
            10..16 => Command::Txn(self.txn(revision, 3)),
            16 => Command::Compact { revision: self.near(revision) },
            17 => Command::LeaseGrant { id: self.lease(), ttl_seconds: self.pick(&[1, 60, 9_000_000_001]) },
            18 => Command::LeaseRevoke { id: self.lease() },
            _ => Command::PublishMember(self.member()),
        }
    }

    pub fn key(&mut self) -> Bytes {
        Bytes::from_static(self.pick(&KEYS))
    }

    pub fn key_and_end(&mut self) -> (Bytes, Bytes) {
        let key = if self.once_in(30) { Bytes::new() } else { self.key() };
        let end = match self.rng.below(5) {
            0 | 1 => Bytes::new(),
            2 => Bytes::from_static(b"\0"),
            _ => self.key(),
        };
        (key, end)
    }

    fn lease(&mut self) -> LeaseId {
        self.pick(&[-1, 1, 2, 3, LeaseId::MAX])
    }

    fn value(&mut self) -> Bytes {
        let len = self.rng.below(4) as usize;
        Bytes::from((0..len).map(|_| self.rng.below(3) as u8).collect::<Vec<_>>())
    }

    /// Mostly a revision that can be read, sometimes one beyond either end.
    fn near(&mut self, revision: Revision) -> Revision {
        match self.rng.below(8) {
            0 => -(self.rng.below(3) as i64),
            1 => revision + self.rng.below(3) as i64,
            _ => revision - self.rng.below(12) as i64,
        }
    }

    fn put(&mut self) -> PutRequest {
        let ignore_value = self.once_in(6);
        let ignore_lease = self.once_in(6);
        // The combinations that are always refused come rarely.
        let with_lease = (!ignore_lease || self.once_in(8)) && self.once_in(3);
        PutRequest {
            key: if self.once_in(40) { Bytes::new() } else { self.key() },
            value: if ignore_value && !self.once_in(8) { Bytes::new() } else { self.value() },
            lease: if with_lease { self.lease() } else { 0 },
            prev_kv: self.once_in(2),
            ignore_value,
            ignore_lease,
        }
    }

    fn delete_range(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.key_and_end();
        DeleteRangeRequest { key, range_end, prev_kv: self.once_in(2) }
    }

    pub fn range(&mut self, revision: Revision) -> RangeRequest {
        let (key, range_end) = self.key_and_end();
        let filter = |generator: &mut Self| match generator.once_in(6) {
            true => generator.near(revision).max(0),
            false => 0,
        };
        let filters = [filter(self), filter(self), filter(self), filter(self)];
        RangeRequest {
            key,
            range_end,
            limit: self.pick(&[0, 0, 1, 2, 3, -1]),
            revision: if self.once_in(2) { 0 } else { self.near(revision) },
            sort_order: self.pick(&[SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
            sort_target: self.pick(&[
                SortTarget::Key,
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]),
            keys_only: self.once_in(5),
            count_only: self.once_in(5),
            min_mod_revision: filters[0],
            max_mod_revision: filters[1],
            min_create_revision: filters[2],
            max_create_revision: filters[3],
        }
    }

    fn txn(&mut self, revision: Revision, depth: u64) -> TxnRequest {
        TxnRequest {
            compare: (0..self.rng.below(3)).map(|_| self.compare(revision)).collect(),
            success: self.ops(revision, depth),
            failure: self.ops(revision, depth),
        }
    }

    fn ops(&mut self, revision: Revision, depth: u64) -> Vec<RequestOp> {
        (0..self.rng.below(4)).map(|_| self.op(revision, depth)).collect()
    }

    fn op(&mut self, revision: Revision, depth: u64) -> RequestOp {
        match self.rng.below(8) {
            0..3 => RequestOp::Put(self.put()),
            3 | 4 => RequestOp::DeleteRange(self.delete_range()),
            5 | 6 => RequestOp::Range(self.range(revision)),
            _ if depth > 0 => RequestOp::Txn(self.txn(revision, depth - 1)),
            _ => RequestOp::Put(self.put()),
        }
    }

    fn compare(&mut self, revision: Revision) -> Compare {
        let (key, range_end) = self.key_and_end();
        let target = match self.rng.below(5) {
            0 => CompareTarget::Version(self.rng.below(4) as i64),
            1 => CompareTarget::Create(self.near(revision)),
            2 => CompareTarget::Mod(self.near(revision)),
            3 => CompareTarget::Value(self.value()),
            _ => CompareTarget::Lease(self.pick(&[0, 1, 2])),
        };
        let result = self.pick(&[
            CompareResult::Equal,
            CompareResult::Greater,
            CompareResult::Less,
            CompareResult::NotEqual,
        ]);
        Compare { key, range_end, result, target }
    }

    fn member(&mut self) -> Member {
        let id = self.rng.below(3);
        let urls = |count: u64| (0..count).map(|i| format!("http://host:{i}")).collect();
        Member {
            id,
            name: format!("m{id}"),
            peer_urls: urls(self.rng.below(3)),
            client_urls: urls(self.rng.below(3)),
        }
    }
}

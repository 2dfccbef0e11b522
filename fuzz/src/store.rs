//! The store: entries with anything in them, queries for anything, checkpoints of anything.

use std::collections::VecDeque;
use std::hash::Hasher;

use bytes::Bytes;
use kv::{
    ChunkVerifier, Command, Compare, CompareResult, CompareTarget, Content, DeleteRangeRequest, Kv,
    PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget, TxnRequest,
};
use storage::MemEngine;
use types::{Batch, Epoch, Fingerprinter, SessionId, Slot, WallTime, Wire};

use crate::Input;

/// One entry's payload.
type Payload = Content;

/// A store that entries are applied to one after the other.
pub(crate) struct Shop {
    pub(crate) kv: Kv<MemEngine>,
}

const SESSION: SessionId = SessionId(1);

/// A command of an open session.
pub(crate) fn command(number: u64, body: Bytes) -> Payload {
    entry(vec![types::Command { session: SESSION, number, acked_below: 0, body }])
}

fn entry(commands: Vec<types::Command>) -> Payload {
    Content::Commands(Batch { wall: WallTime(1), commands }.to_bytes())
}

impl Shop {
    fn empty() -> Shop {
        Shop { kv: Kv::open(MemEngine::default()).expect("an empty engine is a fresh store") }
    }

    /// With a few keys, a lease, old versions and a session that has used the numbers below 9.
    pub(crate) fn stocked() -> Shop {
        let mut shop = Shop::empty();
        let put = |key: &'static str, value: &'static str, lease| {
            let (key, value) = (key.into(), value.into());
            Command::Put(PutRequest { key, value, lease, ..PutRequest::default() })
        };
        let delete = DeleteRangeRequest { key: "b".into(), ..DeleteRangeRequest::default() };
        let commands = [
            Command::LeaseGrant { id: 7, ttl_seconds: 10 },
            put("a", "1", 0),
            put("b", "2", 7),
            put("a", "3", 0),
            Command::DeleteRange(delete),
            put("c", "", 7),
            Command::Compact { revision: 2 },
            put("b", "4", 0),
        ];
        let session = types::Command { session: SESSION, number: 0, acked_below: 0, body: Bytes::new() };
        let bodies = (1..).zip(commands.iter().map(Wire::to_bytes));
        shop.apply(
            [entry(vec![session])].into_iter().chain(bodies.map(|(at, body)| command(at, body))).collect(),
        );
        shop
    }

    /// Applies entries as one group. Only the engine can make that fail, and this one does not.
    pub(crate) fn apply(&mut self, entries: VecDeque<Payload>) -> kv::ApplyOutput {
        let (slot, epoch) = self.kv.applied();
        let entries: Vec<_> = entries.into_iter().map(|payload| (epoch, payload)).collect();
        self.kv.apply(slot.next(), &entries).expect("applying is total")
    }
}

/// Entries in groups, and the same entries one by one.
pub fn kv_apply(data: &[u8]) {
    let mut input = Input::new(data);
    let (mut grouped, mut single) = (Shop::stocked(), Shop::stocked());
    while !input.is_empty() {
        let group: VecDeque<Payload> = (0..=input.below(4)).map(|_| payload(&mut input)).collect();
        let one_by_one = group.iter().map(|entry| single.apply(VecDeque::from([entry.clone()])));
        let one_by_one: Vec<_> = one_by_one.collect();
        let together = grouped.apply(group);
        let executed: Vec<_> = one_by_one.iter().flat_map(|output| &output.executed).collect();
        assert_eq!(together.executed.iter().collect::<Vec<_>>(), executed);
        let events: Vec<_> = one_by_one.iter().flat_map(|output| &output.events).collect();
        assert_eq!(together.events.iter().collect::<Vec<_>>(), events);
    }
    assert_eq!(grouped.kv.digest().ok(), single.kv.digest().ok());
    let reader = grouped.kv.reader();
    let all = RangeRequest { key: "\0".into(), range_end: "\0".into(), ..RangeRequest::default() };
    let found = reader.range(&all).expect("everything can be read").1;
    assert_eq!(found.count, found.kvs.len() as i64);
    for (id, _) in reader.leases().expect("leases can be read") {
        let lease = reader.lease(id).expect("a lease can be read").expect("it is there");
        let held = |pair: &&kv::KeyValue| pair.lease == id;
        assert_eq!(lease.keys.len(), found.kvs.iter().filter(held).count(), "keys of lease {id}");
    }
    reader.members().expect("members can be read");
}

/// Queries of a store with history.
pub fn kv_queries(data: &[u8]) {
    let mut input = Input::new(data);
    let mut shop = Shop::stocked();
    let reader = shop.kv.reader();
    let fine = |failed: &kv::ReadError| matches!(failed, kv::ReadError::Kv(_));
    while !input.is_empty() {
        match input.below(4) {
            0 => {
                let asked = range(&mut input);
                match reader.range(&asked) {
                    Ok((_, found)) => {
                        let count = found.kvs.len() as i64;
                        assert!(count <= found.count && (asked.limit <= 0 || count <= asked.limit));
                    }
                    Err(failed) => assert!(fine(&failed), "{failed:?}"),
                }
            }
            1 => {
                let (key, end) = (key(&mut input), key(&mut input));
                let (from, upto) = (input.signed(), input.signed());
                match reader.events(&key, &end, from, upto, input.below(256)) {
                    Ok(page) => assert!(page.events.is_sorted_by(|one, next| one.revision < next.revision)),
                    Err(kv::EventsError::Compacted { .. }) => {}
                    Err(failed) => panic!("{failed:?}"),
                }
            }
            2 => {
                let asked = txn(&mut input, 2);
                if kv::is_read_only(&asked) && kv::validate_txn(&asked, 128).is_ok() {
                    assert!(reader.txn(&asked).as_ref().err().is_none_or(fine));
                }
            }
            _ => drop(shop.apply(VecDeque::from([payload(&mut input)]))),
        }
    }
}

/// Chunks of a checkpoint. A whole one is installed; whatever it holds, the store then answers or reports damage.
pub fn kv_checkpoint(data: &[u8]) {
    let mut input = Input::new(data);
    let chunks = if input.flag() { forged(&mut input) } else { vec![sealed(input.rest())] };
    let mut verifier = ChunkVerifier::new();
    let accepted = chunks.iter().all(|chunk| verifier.accept(chunk).is_ok());
    let summary = verifier.finish().ok().filter(|_| accepted);
    let mut shop = Shop::stocked();
    let (before, digest) = (shop.kv.applied(), shop.kv.digest().ok());
    let expected = summary.as_ref().map_or(before, |summary| summary.at);
    let installed = shop.kv.install(expected, |index| chunks.get(usize::try_from(index).ok()?).cloned());
    let Some(summary) = summary else {
        assert!(matches!(installed, Err(kv::InstallError::Refused(_))), "{installed:?}");
        assert_eq!(
            (shop.kv.applied(), shop.kv.digest().ok()),
            (before, digest),
            "the old state is untouched"
        );
        return;
    };
    installed.expect("a checkpoint that was verified is installed");
    assert_eq!(shop.kv.digest().ok(), Some(summary.digest));
    use_whatever_it_holds(&mut shop.kv);
}

/// Reads and writes of a store whose rows may be nonsense: they succeed or fail, and never panic.
fn use_whatever_it_holds(kv: &mut Kv<MemEngine>) {
    let reader = kv.reader();
    for revision in [0, 1, 5, i64::MAX] {
        let all =
            RangeRequest { key: "\0".into(), range_end: "\0".into(), revision, ..RangeRequest::default() };
        drop(reader.range(&all));
        drop(reader.events(b"\0", b"\0", revision, i64::MAX, 10));
    }
    drop((reader.leases(), reader.lease(7), reader.members()));
    let delete = DeleteRangeRequest { key: "\0".into(), range_end: "\0".into(), prev_kv: true };
    let commands = [
        Command::Put(PutRequest { key: "a".into(), ..PutRequest::default() }),
        Command::LeaseRevoke { id: 7 },
        Command::DeleteRange(delete),
        Command::Compact { revision: kv.revision() },
    ];
    let bodies = std::iter::once(Bytes::new()).chain(commands.iter().map(Wire::to_bytes));
    for (number, body) in (0..).zip(bodies) {
        let (slot, epoch) = kv.applied();
        let command = types::Command { session: SessionId(u128::MAX), number, acked_below: 0, body };
        drop(kv.apply(slot.next(), &[(epoch, entry(vec![command]))]));
    }
}

/// Cuts rows into chunks that fit each other, or nearly.
fn forged(input: &mut Input<'_>) -> Vec<Bytes> {
    let mut rows = vec![(0, Bytes::from_static(b"meta"), meta(input))];
    while !input.is_empty() && rows.len() < 40 {
        rows.push((1 + input.byte() % 8, input.owned(40), input.owned(60)));
    }
    rows.sort();
    rows.dedup_by(|one, other| (one.0, &one.1) == (other.0, &other.1));
    let mut digest = Fingerprinter::default();
    for (space, key, value) in &rows {
        digest.write_u8(*space);
        for part in [key, value] {
            digest.write_u64(part.len() as u64);
            digest.write(part);
        }
    }
    let pieces = rows.chunks(7);
    let last = pieces.len() - 1;
    let chunks = pieces.enumerate().map(|(index, rows)| {
        let mut out = b"ALKV\x01".to_vec();
        (index == last).encode(&mut out);
        (index as u64).encode(&mut out);
        (rows.len() as u32).encode(&mut out);
        for (space, key, value) in rows {
            out.push(*space);
            key.encode(&mut out);
            value.encode(&mut out);
        }
        out
    });
    let mut chunks: Vec<Vec<u8>> = chunks.collect();
    let total: u64 = rows.len() as u64;
    total.encode(&mut chunks[last]);
    digest.finish128().encode(&mut chunks[last]);
    chunks.iter().map(|chunk| sealed(chunk)).collect()
}

/// The record that says where the state stands, of the form that `docs/state-format.md` gives it.
fn meta(input: &mut Input<'_>) -> Bytes {
    let mut out = vec![1, 1];
    // No consensus log is longer than this.
    Slot(input.number() % (1 << 62)).encode(&mut out);
    Epoch::of(input.number()).encode(&mut out);
    WallTime(input.signed()).encode(&mut out);
    for _ in 0..4 {
        input.signed().encode(&mut out);
    }
    (input.number() as u32).encode(&mut out);
    Bytes::from(out)
}

fn sealed(chunk: &[u8]) -> Bytes {
    Bytes::from([chunk, &crc32c::crc32c(chunk).to_le_bytes()].concat())
}

fn payload(input: &mut Input<'_>) -> Payload {
    match input.byte() % 8 {
        0 if input.flag() => Content::Membership(input.owned(40)),
        0 => Content::Nothing,
        1 => Content::Commands(input.owned(60)),
        _ => {
            let command = |input: &mut Input<'_>| types::Command {
                session: SessionId(1 + u128::from(input.byte() / 200)),
                number: input.near(9),
                acked_below: if input.byte() < 200 { 0 } else { input.near(9) },
                body: if input.byte() < 20 { input.owned(60) } else { request(input).to_bytes() },
            };
            let commands = (0..=input.below(3)).map(|_| command(input)).collect();
            Content::Commands(Batch { wall: WallTime(input.signed()), commands }.to_bytes())
        }
    }
}

fn request(input: &mut Input<'_>) -> Command {
    match input.below(9) {
        0..=2 => Command::Put(put(input)),
        3 => Command::DeleteRange(delete(input)),
        4 | 5 => Command::Txn(txn(input, 3)),
        6 => Command::Compact { revision: input.signed() },
        7 => Command::LeaseGrant { id: lease(input), ttl_seconds: input.signed() },
        _ => Command::LeaseRevoke { id: lease(input) },
    }
}

fn txn(input: &mut Input<'_>, depth: usize) -> TxnRequest {
    let ops = |input: &mut Input<'_>| (0..input.below(4)).map(|_| op(input, depth)).collect();
    TxnRequest {
        compare: (0..input.below(3)).map(|_| compare(input)).collect(),
        success: ops(input),
        failure: ops(input),
    }
}

fn op(input: &mut Input<'_>, depth: usize) -> RequestOp {
    match input.below(4) {
        0 => RequestOp::Put(put(input)),
        1 => RequestOp::DeleteRange(delete(input)),
        2 if depth > 0 => RequestOp::Txn(txn(input, depth - 1)),
        _ => RequestOp::Range(range(input)),
    }
}

fn compare(input: &mut Input<'_>) -> Compare {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    Compare {
        key: key(input),
        range_end: end(input),
        result: input.pick(&[Equal, Greater, Less, NotEqual]),
        target: match input.below(5) {
            0 => CompareTarget::Version(input.signed()),
            1 => CompareTarget::Create(input.signed()),
            2 => CompareTarget::Mod(input.signed()),
            3 => CompareTarget::Lease(input.signed()),
            _ => CompareTarget::Value(input.owned(4)),
        },
    }
}

fn put(input: &mut Input<'_>) -> PutRequest {
    let (prev_kv, ignore_value, ignore_lease) = (input.flag(), input.byte() > 220, input.byte() > 220);
    let value = if ignore_value { Bytes::new() } else { input.owned(10) };
    let lease = if ignore_lease || input.flag() { 0 } else { lease(input) };
    PutRequest { key: key(input), value, lease, prev_kv, ignore_value, ignore_lease }
}

fn delete(input: &mut Input<'_>) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key(input), range_end: end(input), prev_kv: input.flag() }
}

fn range(input: &mut Input<'_>) -> RangeRequest {
    use SortTarget::{Create, Key, Mod, Value, Version};
    let mut bound = || if input.flag() { 0 } else { input.signed() };
    let [limit, revision, a, b, c, d] = std::array::from_fn(|_| bound());
    RangeRequest {
        limit,
        revision,
        min_mod_revision: a,
        max_mod_revision: b,
        min_create_revision: c,
        max_create_revision: d,
        key: key(input),
        range_end: end(input),
        sort_order: input.pick(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
        sort_target: input.pick(&[Key, Version, Create, Mod, Value]),
        keys_only: input.flag(),
        count_only: input.flag(),
    }
}

fn lease(input: &mut Input<'_>) -> i64 {
    if input.flag() { 7 } else { input.signed() }
}

/// Keys meet each other if there are few of them.
fn key(input: &mut Input<'_>) -> Bytes {
    match input.byte() {
        few @ 0..=199 => Bytes::from_static([&b"a"[..], b"b", b"c", b"a\0", b"\0"][usize::from(few) % 5]),
        _ => input.owned(12),
    }
}

fn end(input: &mut Input<'_>) -> Bytes {
    if input.flag() { Bytes::new() } else { key(input) }
}

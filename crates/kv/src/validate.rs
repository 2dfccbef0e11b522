//! What etcd checks of a request before it is proposed, and what `apply` checks again: applying never relies on
//! a check that was made elsewhere.
//!
//! Not here: what depends on the state (revisions, leases, missing keys); `txn.rs` and `write.rs` check that.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytes::Bytes;

use crate::lease::validate_grant;
use crate::{
    Command, DeleteRangeRequest, KeyRange, KvError, PutRequest, RangeRequest, RequestOp, TxnRequest,
};

/// The longest key, in bytes: an escaped key with a revision behind it must fit the 65,000 bytes that our
/// engines take. (etcd's only bound is the size of the request.)
pub const KEY_LEN_MAX: usize = 32_000;

/// The deepest nesting of transactions. etcd bounds it only through the number of operations.
pub(crate) const TXN_DEPTH_MAX: usize = 100;

/// Checks a command before it is proposed. `ops_max` bounds a transaction's operations (etcd's
/// `--max-txn-ops`).
///
/// # Errors
/// The [`KvError`] to answer.
///
/// # Source
/// etcd `server/etcdserver/api/v3rpc/key.go`, `check*Request`.
pub fn validate(command: &Command, ops_max: usize) -> Result<(), KvError> {
    match command {
        Command::Put(put) => validate_put(put),
        Command::DeleteRange(delete) => validate_delete_range(delete),
        Command::Txn(txn) => validate_txn(txn, ops_max),
        Command::LeaseGrant { id, ttl_seconds } => validate_grant(*id, *ttl_seconds),
        Command::Compact { .. } | Command::LeaseRevoke { .. } | Command::PublishMember(_) => Ok(()),
    }
}

/// Checks a range request.
///
/// # Errors
/// The [`KvError`] to answer.
pub fn validate_range(request: &RangeRequest) -> Result<(), KvError> {
    validate_keys(&request.key, &request.range_end)
}

/// Checks a transaction, nested ones included.
///
/// # Errors
/// The [`KvError`] to answer.
pub fn validate_txn(request: &TxnRequest, ops_max: usize) -> Result<(), KvError> {
    validate_ops(request, ops_max, TXN_DEPTH_MAX)?;
    Footprint::of(&request.success)?;
    Footprint::of(&request.failure)?;
    Ok(())
}

/// Whether a transaction needs no consensus: every operation of both branches is a range (a nested
/// transaction counts as a write).
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| matches!(op, RequestOp::Range(_)))
}

fn validate_put(request: &PutRequest) -> Result<(), KvError> {
    validate_keys(&request.key, &[])?;
    if request.ignore_value && !request.value.is_empty() {
        return Err(KvError::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(KvError::LeaseProvided);
    }
    Ok(())
}

fn validate_delete_range(request: &DeleteRangeRequest) -> Result<(), KvError> {
    validate_keys(&request.key, &request.range_end)
}

fn validate_keys(key: &[u8], range_end: &[u8]) -> Result<(), KvError> {
    if key.is_empty() {
        return Err(KvError::EmptyKey);
    }
    if key.len().max(range_end.len()) > KEY_LEN_MAX {
        return Err(KvError::KeyTooLong);
    }
    Ok(())
}

/// Each level may hold `ops_max` operations, and the levels inside it what it leaves of them.
fn validate_ops(request: &TxnRequest, ops_max: usize, depth_max: usize) -> Result<(), KvError> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > ops_max || depth_max == 0 {
        return Err(KvError::TooManyOps);
    }
    for compare in &request.compare {
        validate_keys(&compare.key, &compare.range_end)?;
    }
    for op in request.success.iter().chain(&request.failure) {
        match op {
            RequestOp::Range(range) => validate_range(range)?,
            RequestOp::Put(put) => validate_put(put)?,
            RequestOp::DeleteRange(delete) => validate_delete_range(delete)?,
            RequestOp::Txn(txn) => validate_ops(txn, ops_max - ops, depth_max - 1)?,
        }
    }
    Ok(())
}

/// What operations that may run together write: no key may be put twice, or put and deleted. Deletes may
/// overlap, and the two branches of a transaction exclude each other.
///
/// etcd overlooks two cases that are refused here: a delete up to `"\0"` is a range to infinity (etcd issue
/// 22376), and a put in one nested transaction followed by a delete of its key in the next.
#[derive(Default)]
struct Footprint {
    puts: BTreeSet<Bytes>,
    deletes: Intervals,
}

impl Footprint {
    fn of(ops: &[RequestOp]) -> Result<Footprint, KvError> {
        let mut all = Footprint::default();
        for op in ops {
            let one = Footprint::of_one(op)?;
            if all.conflicts_with(&one) {
                return Err(KvError::DuplicateKey);
            }
            all.add(one);
        }
        Ok(all)
    }

    fn of_one(op: &RequestOp) -> Result<Footprint, KvError> {
        let mut footprint = Footprint::default();
        match op {
            RequestOp::Range(_) => {}
            RequestOp::Put(put) => drop(footprint.puts.insert(put.key.clone())),
            RequestOp::DeleteRange(delete) => {
                footprint.deletes.add_range(&KeyRange::new(&delete.key, &delete.range_end));
            }
            RequestOp::Txn(txn) => {
                footprint = Footprint::of(&txn.success)?;
                footprint.add(Footprint::of(&txn.failure)?);
            }
        }
        Ok(footprint)
    }

    fn conflicts_with(&self, later: &Footprint) -> bool {
        later.puts.iter().any(|key| self.puts.contains(key) || self.deletes.contain(key))
            || later
                .deletes
                .iter()
                .any(|(low, high)| self.puts.range::<Bytes, _>((Bound::Included(low), high)).next().is_some())
    }

    fn add(&mut self, other: Footprint) {
        self.puts.extend(other.puts);
        for (low, high) in other.deletes.disjoint {
            self.deletes.add(low, high);
        }
    }
}

/// A set of keys as disjoint intervals: first key to exclusive end, or to infinity.
#[derive(Default)]
struct Intervals {
    disjoint: BTreeMap<Bytes, Option<Bytes>>,
}

impl Intervals {
    fn add_range(&mut self, range: &KeyRange) {
        match range {
            KeyRange::Empty => {}
            KeyRange::Point(key) => self.add(key.clone(), Some(Bytes::from([&key[..], b"\0"].concat()))),
            KeyRange::Between(from, to) => self.add(from.clone(), Some(to.clone())),
            KeyRange::From(from) => self.add(from.clone(), None),
        }
    }

    fn add(&mut self, mut low: Bytes, mut high: Option<Bytes>) {
        // Swallow every interval that overlaps or touches, from the right.
        while let Some((first, end)) = self.disjoint.range(..=self.upto(&high)).next_back() {
            if end.as_ref().is_some_and(|end| *end < low) {
                break;
            }
            let (first, end) = (first.clone(), end.clone());
            self.disjoint.remove(&first);
            low = low.min(first);
            high = end.zip(high).map(|(a, b)| a.max(b));
        }
        self.disjoint.insert(low, high);
    }

    /// The highest first key that an interval touching one that ends at `high` can have.
    fn upto(&self, high: &Option<Bytes>) -> Bytes {
        let last = || self.disjoint.last_key_value().map(|(first, _)| first.clone());
        high.clone().or_else(last).unwrap_or_default()
    }

    fn contain(&self, key: &Bytes) -> bool {
        let before = self.disjoint.range::<Bytes, _>(..=key).next_back();
        before.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }

    fn iter(&self) -> impl Iterator<Item = (&Bytes, Bound<&Bytes>)> {
        self.disjoint.iter().map(|(low, high)| (low, high.as_ref().map_or(Bound::Unbounded, Bound::Excluded)))
    }
}

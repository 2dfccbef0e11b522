//! Transactions: compare, check, then do.
//!
//! ```text
//!   resolve: all compares, nested ones included, against the state before      ──▶ which operations
//!   check:   leases, ignore_value, ignore_lease, revisions of those operations ──▶ a refusal changes nothing
//!   run:     in order; ranges see what earlier operations wrote
//! ```
//!
//! Because a key is written at most once (`validate.rs`), what `check` saw of it is what `run` finds.

use storage::{EngineError, View};

use crate::range::{Lazy, latest, range_unchecked, visit_latest};
use crate::record::Pair;
use crate::store::Store;
use crate::write::{Fallible, Writer, lease_exists};
use crate::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyRange, KvError, PutRequest, RangeRequest,
    RequestOp, ResponseOp, Revision, TxnRequest, TxnResponse,
};

/// A transaction whose branches are chosen.
struct Resolved<'t> {
    succeeded: bool,
    steps: Vec<Step<'t>>,
}

enum Step<'t> {
    Range(&'t RangeRequest),
    Put(&'t PutRequest),
    DeleteRange(&'t DeleteRangeRequest),
    Txn(Resolved<'t>),
}

/// Runs a transaction that has been validated.
pub(crate) fn run_txn<V: View>(
    writer: &mut Writer<'_, V>,
    compacted: Revision,
    request: &TxnRequest,
) -> Fallible<TxnResponse> {
    let resolved = resolve(writer.store, request)?;
    let checked = match check_puts(writer.store, &resolved)? {
        Ok(()) if planted!(writer.store.bugs, ReadsCompactedInTxn) => Ok(()),
        Ok(()) => check_ranges(writer.begin, compacted, &resolved),
        refused => refused,
    };
    match checked {
        Ok(()) => Ok(Ok(run(writer, resolved)?)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn resolve<'t, V: View>(store: &Store<V>, request: &'t TxnRequest) -> Result<Resolved<'t>, EngineError> {
    let mut succeeded = true;
    for compare in &request.compare {
        succeeded = succeeded && holds(store, compare)?;
    }
    let branch = if succeeded { &request.success } else { &request.failure };
    let steps = branch.iter().map(|op| {
        Ok(match op {
            RequestOp::Range(range) => Step::Range(range),
            RequestOp::Put(put) => Step::Put(put),
            RequestOp::DeleteRange(delete) => Step::DeleteRange(delete),
            RequestOp::Txn(txn) => Step::Txn(resolve(store, txn)?),
        })
    });
    Ok(Resolved { succeeded, steps: steps.collect::<Result<_, EngineError>>()? })
}

/// Whether a compare holds: for every key of its range, or for a pair of zeros if there is none.
fn holds<V: View>(store: &Store<V>, compare: &Compare) -> Result<bool, EngineError> {
    let mut found = false;
    let mut all = true;
    let keys = KeyRange::new(&compare.key, &compare.range_end);
    visit_latest(store, &keys, |_, pair: Lazy| {
        found = true;
        all = pair_holds(compare, Some(&pair.decode()?));
        Ok(all)
    })?;
    Ok(if found { all } else { pair_holds(compare, None) })
}

fn pair_holds(compare: &Compare, pair: Option<&Pair>) -> bool {
    let of = |property: fn(&Pair) -> i64| pair.map_or(0, property);
    let order = match &compare.target {
        CompareTarget::Version(operand) => of(|pair| pair.version).cmp(operand),
        CompareTarget::Create(operand) => of(|pair| pair.create_revision).cmp(operand),
        CompareTarget::Mod(operand) => of(|pair| pair.mod_revision).cmp(operand),
        CompareTarget::Lease(operand) => of(|pair| pair.lease).cmp(operand),
        CompareTarget::Value(operand) => match pair {
            Some(pair) => pair.value.cmp(operand),
            // There is no way to name a missing value, so no comparison with it holds, not even NOT_EQUAL.
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => order.is_eq(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
        CompareResult::NotEqual => order.is_ne(),
    }
}

/// etcd checks the puts of the whole chosen path before any range of it.
fn check_puts<V: View>(store: &Store<V>, resolved: &Resolved<'_>) -> Fallible<()> {
    for step in &resolved.steps {
        let checked = match step {
            Step::Put(put) => check_put(store, put)?,
            Step::Txn(nested) => check_puts(store, nested)?,
            Step::Range(_) | Step::DeleteRange(_) => Ok(()),
        };
        if checked.is_err() {
            return Ok(checked);
        }
    }
    Ok(Ok(()))
}

fn check_put<V: View>(store: &Store<V>, put: &PutRequest) -> Fallible<()> {
    if (put.ignore_value || put.ignore_lease) && latest(store, &put.key)?.is_none() {
        return Ok(Err(KvError::KeyNotFound));
    }
    Ok(if lease_exists(store, put.lease)? { Ok(()) } else { Err(KvError::LeaseNotFound) })
}

/// Unlike a range of its own, a range in a transaction is refused if its revision is negative and below the
/// compacted one (which is -1 at first).
fn check_ranges(begin: Revision, compacted: Revision, resolved: &Resolved<'_>) -> Result<(), KvError> {
    for step in &resolved.steps {
        match step {
            Step::Range(range) if range.revision > begin => return Err(KvError::FutureRevision),
            Step::Range(range) if range.revision != 0 && range.revision < compacted => {
                return Err(KvError::Compacted);
            }
            Step::Txn(nested) => check_ranges(begin, compacted, nested)?,
            Step::Range(_) | Step::Put(_) | Step::DeleteRange(_) => {}
        }
    }
    Ok(())
}

fn run<V: View>(writer: &mut Writer<'_, V>, resolved: Resolved<'_>) -> Result<TxnResponse, EngineError> {
    let mut responses = Vec::with_capacity(resolved.steps.len());
    for step in resolved.steps {
        responses.push(match step {
            Step::Range(range) => {
                let response = range_unchecked(writer.store, writer.revision(), range)?;
                ResponseOp::Range(writer.revision(), response)
            }
            Step::Put(put) => {
                let response = writer.put(put)?;
                ResponseOp::Put(writer.revision(), response)
            }
            Step::DeleteRange(delete) => {
                let response = writer.delete_range(delete)?;
                ResponseOp::DeleteRange(writer.revision(), response)
            }
            Step::Txn(nested) => ResponseOp::Txn(run(writer, nested)?),
        });
    }
    Ok(TxnResponse { succeeded: resolved.succeeded, responses })
}

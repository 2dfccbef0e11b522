//! What etcd checks of a request before it is proposed, and what `apply` checks again.

use crate::{Command, KvError, RangeRequest, RequestOp, TxnRequest};

/// The longest key, in bytes: an escaped key with a revision behind it must fit the 65,535 bytes that embedded
/// engines take. (etcd's only bound is the size of the request.)
pub const KEY_LEN_MAX: usize = 32_000;

/// Checks a command before it is proposed. `ops_max` bounds a transaction's operations (etcd's
/// `--max-txn-ops`).
///
/// # Errors
/// The [`KvError`] to answer.
pub fn validate(_command: &Command, _ops_max: usize) -> Result<(), KvError> {
    Ok(())
}

/// Checks a range request.
///
/// # Errors
/// The [`KvError`] to answer.
pub fn validate_range(_request: &RangeRequest) -> Result<(), KvError> {
    Ok(())
}

/// Checks a transaction, nested ones included.
///
/// # Errors
/// The [`KvError`] to answer.
pub fn validate_txn(_request: &TxnRequest, _ops_max: usize) -> Result<(), KvError> {
    Ok(())
}

/// Whether a transaction needs no consensus: every operation of both branches is a range (a nested
/// transaction counts as a write).
pub fn is_read_only(request: &TxnRequest) -> bool {
    request.success.iter().chain(&request.failure).all(|op| matches!(op, RequestOp::Range(_)))
}

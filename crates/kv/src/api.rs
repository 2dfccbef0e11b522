//! What clients can ask and what they get: etcd's requests and responses without their wire form.
//!
//! Field meanings and defaults are those of etcd's `rpc.proto` (v3.5/3.6). Byte strings share the memory of
//! the message they came in.

use bytes::Bytes;

/// A lease's id; 0 means "no lease".
pub type LeaseId = i64;

/// A store revision. A fresh store is at 1; every writing transaction adds one.
pub type Revision = i64;

/// A key-value pair as of some revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyValue {
    /// The key.
    pub key: Bytes,
    /// Revision of the first put since the key was last deleted.
    pub create_revision: Revision,
    /// Revision of the latest put.
    pub mod_revision: Revision,
    /// Puts since the key was created, from 1.
    pub version: i64,
    /// The value.
    pub value: Bytes,
    /// The lease that the key is attached to, or 0.
    pub lease: LeaseId,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventKind {
    /// It was written.
    Put,
    /// It was deleted: `kv` then holds only the key and `mod_revision`.
    Delete,
}

/// One change, as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The pair after the change.
    pub kv: KeyValue,
    /// The pair before the change; `None` if the key did not exist, or that revision is compacted.
    pub prev_kv: Option<KeyValue>,
}

/// Order of a range's results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// Unsorted: key order, unless a target is named (etcd's quirk, see `etcd-api.md` §4.4).
    #[default]
    None,
    /// Ascending.
    Ascend,
    /// Descending.
    Descend,
}

/// What a range's results are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// `version`.
    Version,
    /// `create_revision`.
    Create,
    /// `mod_revision`.
    Mod,
    /// The value's bytes.
    Value,
}

/// Read a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeRequest {
    /// First key. `range_end` empty: just this key; `"\0"`: every key from here on; else up to there, exclusive.
    pub key: Bytes,
    /// See `key`.
    pub range_end: Bytes,
    /// At most this many pairs; 0 or less: no limit.
    pub limit: i64,
    /// The revision to read at; 0 or less: the latest.
    pub revision: Revision,
    /// Order of the result.
    pub sort_order: SortOrder,
    /// What it is ordered by.
    pub sort_target: SortTarget,
    /// Leave values out.
    pub keys_only: bool,
    /// Return only the count.
    pub count_only: bool,
    /// Lowest `mod_revision` to return; 0: any. Likewise below.
    pub min_mod_revision: Revision,
    /// Highest `mod_revision`.
    pub max_mod_revision: Revision,
    /// Lowest `create_revision`.
    pub min_create_revision: Revision,
    /// Highest `create_revision`.
    pub max_create_revision: Revision,
}

/// What a range found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeResponse {
    /// The pairs, in the order asked for.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit left something out.
    pub more: bool,
    /// How many keys lie in the range at that revision, whatever the limit and the filters.
    pub count: i64,
}

/// Write one key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutRequest {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
    /// The lease to attach the key to; 0 detaches it.
    pub lease: LeaseId,
    /// Return the pair as it was before.
    pub prev_kv: bool,
    /// Keep the current value; the key must exist.
    pub ignore_value: bool,
    /// Keep the current lease; the key must exist.
    pub ignore_lease: bool,
}

/// What a put did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutResponse {
    /// The pair before, if asked for and there was one.
    pub prev_kv: Option<KeyValue>,
}

/// Delete a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteRangeRequest {
    /// As in [`RangeRequest`].
    pub key: Bytes,
    /// As in [`RangeRequest`].
    pub range_end: Bytes,
    /// Return the pairs as they were.
    pub prev_kv: bool,
}

/// What a delete did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteRangeResponse {
    /// How many keys were deleted.
    pub deleted: i64,
    /// The pairs before, if asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// How a compare's operand must stand to the key's property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareResult {
    /// Equal.
    Equal,
    /// The key's property is greater.
    Greater,
    /// The key's property is less.
    Less,
    /// Not equal.
    NotEqual,
}

/// Which property is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompareTarget {
    /// `version`; 0 for a missing key.
    Version(i64),
    /// `create_revision`; 0 for a missing key.
    Create(Revision),
    /// `mod_revision`; 0 for a missing key.
    Mod(Revision),
    /// The value; a missing key compares false, whatever the operator.
    Value(Bytes),
    /// The lease; 0 for a missing key.
    Lease(LeaseId),
}

/// One condition of a transaction. With a range it must hold for every key in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    /// The key, or first key.
    pub key: Bytes,
    /// As in [`RangeRequest`].
    pub range_end: Bytes,
    /// The operator.
    pub result: CompareResult,
    /// The property and operand.
    pub target: CompareTarget,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestOp {
    /// Read.
    Range(RangeRequest),
    /// Write.
    Put(PutRequest),
    /// Delete.
    DeleteRange(DeleteRangeRequest),
    /// A transaction inside the transaction.
    Txn(TxnRequest),
}

/// If every compare holds do `success`, else `failure`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TxnRequest {
    /// The conditions; all are evaluated against the state before the transaction.
    pub compare: Vec<Compare>,
    /// Done if they hold.
    pub success: Vec<RequestOp>,
    /// Done otherwise.
    pub failure: Vec<RequestOp>,
}

/// What one operation of a transaction did, and the store revision after it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResponseOp {
    /// A read.
    Range(Revision, RangeResponse),
    /// A write.
    Put(Revision, PutResponse),
    /// A delete.
    DeleteRange(Revision, DeleteRangeResponse),
    /// A nested transaction; its header is empty in etcd's API.
    Txn(TxnResponse),
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TxnResponse {
    /// Whether the compares held.
    pub succeeded: bool,
    /// One response an operation of the chosen branch.
    pub responses: Vec<ResponseOp>,
}

/// A member of the cluster, as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
}

/// What is replicated: everything that changes the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Write one key.
    Put(PutRequest),
    /// Delete a range.
    DeleteRange(DeleteRangeRequest),
    /// A transaction.
    Txn(TxnRequest),
    /// Forget history below a revision.
    Compact {
        /// The lowest revision that stays readable.
        revision: Revision,
    },
    /// Create a lease. The proposer has chosen the id.
    LeaseGrant {
        /// The id, not 0.
        id: LeaseId,
        /// Seconds to live, already raised to the minimum.
        ttl_seconds: i64,
    },
    /// Delete a lease and its keys.
    LeaseRevoke {
        /// The id.
        id: LeaseId,
    },
    /// A member tells its name and client URLs.
    PublishMember(Member),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// Of `Put`.
    Put(PutResponse),
    /// Of `DeleteRange`.
    DeleteRange(DeleteRangeResponse),
    /// Of `Txn`.
    Txn(TxnResponse),
    /// Of `Compact`.
    Compact,
    /// Of `LeaseGrant`.
    LeaseGrant {
        /// The id.
        id: LeaseId,
        /// The granted time to live.
        ttl_seconds: i64,
    },
    /// Of `LeaseRevoke`.
    LeaseRevoke,
    /// Of `PublishMember`.
    PublishMember,
}

/// A refusal of the state machine or of the checks before it. The texts and codes that etcd's clients match on
/// belong to the front-end; these are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum KvError {
    /// A key is empty.
    #[error("key is not provided")]
    EmptyKey,
    /// A key is longer than [`crate::KEY_LEN_MAX`]. Answer as for a request that is too large.
    #[error("key is longer than {} bytes", crate::KEY_LEN_MAX)]
    KeyTooLong,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation without a member.
    #[error("key not found")]
    KeyNotFound,
    /// `ignore_value` together with a value.
    #[error("value is provided")]
    ValueProvided,
    /// `ignore_lease` together with a lease.
    #[error("lease is provided")]
    LeaseProvided,
    /// More operations than allowed.
    #[error("too many operations in txn request")]
    TooManyOps,
    /// A transaction writes a key twice.
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    /// A sort order or target that does not exist.
    #[error("invalid sort option")]
    InvalidSortOption,
    /// The revision has been compacted away.
    #[error("required revision has been compacted")]
    Compacted,
    /// The revision does not exist yet.
    #[error("required revision is a future revision")]
    FutureRevision,
    /// No such lease.
    #[error("requested lease not found")]
    LeaseNotFound,
    /// The lease id is taken.
    #[error("lease already exists")]
    LeaseExists,
    /// The time to live is above the maximum.
    #[error("too large lease TTL")]
    LeaseTtlTooLarge,
    /// The command's bytes are not a command: a proposer of another version, or damage.
    #[error("the command cannot be decoded")]
    Undecodable,
}

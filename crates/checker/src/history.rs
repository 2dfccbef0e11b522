//! What clients asked, when, and what they were told: the evidence that every checker judges.
//!
//! ```text
//!   client a   ├─put k 1──────┤ ok, revision 2
//!   client b        ├─get k──────────┤ 1 (mod 2), revision 2
//!   client c           ├─put k 2 ─ ─ ─ ─ ─ ─ ─  unknown: may still happen, or never
//! ```
//!
//! The operations are those of etcd's KV service, as far as a model of a few lines can follow them. Every value
//! that is written must be written once only (a counter is enough), so that a read tells whose write it saw.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use trace::OpId;
use types::Time;

mod apart;
mod json;
mod record;
mod show;

pub use json::ReadHistoryError;
pub(crate) use show::Text;

/// A store revision, as in etcd: a fresh store is at 1, and every writing request adds one.
pub type Revision = i64;

/// Who asked. A client waits for one answer before it asks again, unless the answer stays unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClientId(pub u64);

/// One condition of a transaction. A key that does not exist has version and revisions 0, and no value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The key exists and its value equals this.
    Value(#[serde(with = "json::text")] Bytes, #[serde(with = "json::text")] Bytes),
    /// Its version equals this.
    Version(#[serde(with = "json::text")] Bytes, i64),
    /// Its last change was at this revision.
    ModRevision(#[serde(with = "json::text")] Bytes, Revision),
    /// Its creation was at this revision.
    CreateRevision(#[serde(with = "json::text")] Bytes, Revision),
}

/// One thing to do to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Read a key.
    Get(#[serde(with = "json::text")] Bytes),
    /// Read every key from the first, inclusive, to the second, exclusive.
    Range(#[serde(with = "json::text")] Bytes, #[serde(with = "json::text")] Bytes),
    /// Write a key.
    Put(#[serde(with = "json::text")] Bytes, #[serde(with = "json::text")] Bytes),
    /// Delete a key.
    Delete(#[serde(with = "json::text")] Bytes),
}

/// If every compare holds do `then`, else `otherwise`; all at one revision. No key is written twice in a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Txn {
    /// The conditions, evaluated before anything is done.
    pub compare: Vec<Compare>,
    /// Done, in order, if all hold. A read sees the writes before it.
    pub then: Vec<Step>,
    /// Done, in order, otherwise.
    pub otherwise: Vec<Step>,
}

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// One step.
    One(Step),
    /// A transaction.
    Txn(Txn),
}

/// A key's value, with as much of its metadata as the reader was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// The value.
    #[serde(with = "json::text")]
    pub value: Bytes,
    /// Revision of the last put.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mod_revision: Option<Revision>,
    /// Revision of the first put since the key was last deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_revision: Option<Revision>,
    /// Puts since the key was created, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
}

/// What one step answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Of `Get`: the item, if the key existed.
    Get(Option<Item>),
    /// Of `Range`: the keys that existed, ascending.
    Range(#[serde(with = "json::pairs")] Vec<(Bytes, Item)>),
    /// Of `Put`.
    Put,
    /// Of `Delete`: how many keys it deleted.
    Delete(i64),
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Of one step.
    One(Found),
    /// Of a transaction.
    Txn {
        /// Whether the compares held.
        succeeded: bool,
        /// The answers of the branch that was done.
        found: Vec<Found>,
    },
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// The store revision that the answer names (etcd's `header.revision`): of the write itself, or of the
        /// state that was read. `None` if the client cannot know.
        revision: Option<Revision>,
        /// The answer.
        answer: Answer,
    },
    /// It certainly had no effect, nor ever will have.
    Refused,
    /// It may have happened, may still happen at any time, or never: timed out, disconnected, or not yet
    /// answered when the history ended.
    Unknown,
}

/// What a read promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It sees everything that was acknowledged before it was asked.
    #[default]
    Linearizable,
    /// It sees the exact state at some revision that may be old (etcd's `serializable`).
    Serializable,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Who.
    pub client: ClientId,
    /// When it was asked, on the one clock of the history.
    #[serde(with = "json::time")]
    pub invoked: Time,
    /// When the outcome was known; `None` only if it is [`Outcome::Unknown`].
    #[serde(default, with = "json::optional_time", skip_serializing_if = "Option::is_none")]
    pub returned: Option<Time>,
    /// What was asked.
    pub call: Call,
    /// What a read promises; calls that may write are always linearizable.
    #[serde(default, skip_serializing_if = "Level::is_linearizable")]
    pub level: Level,
    /// What came of it.
    pub outcome: Outcome,
}

/// One change, as a watcher from the first revision on or a replica's own history tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// When, in the store's order. The changes of one transaction share a revision.
    pub revision: Revision,
    /// Which key.
    #[serde(with = "json::text")]
    pub key: Bytes,
    /// What it became; `None` if it was deleted.
    #[serde(with = "json::optional_text")]
    pub value: Option<Bytes>,
}

/// Everything that is known about a run: what clients saw and, optionally, what a watcher saw.
///
/// Checkers assume that nobody but these operations wrote to the keys or moved the store's revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    operations: Vec<Operation>,
    /// Changes in the store's order, if somebody watched: helps to tell which unknown writes happened, and is
    /// itself judged. May end before the last write, but has no gaps.
    pub changes: Vec<Change>,
    /// The revision at which the history starts, with none of its keys present.
    pub start_revision: Revision,
    clock: Time,
}

impl Call {
    /// Reads `key`.
    pub fn get(key: impl Into<Bytes>) -> Call {
        Call::One(Step::Get(key.into()))
    }
    /// Reads the keys from `from`, inclusive, to `to`, exclusive.
    pub fn range(from: impl Into<Bytes>, to: impl Into<Bytes>) -> Call {
        Call::One(Step::Range(from.into(), to.into()))
    }
    /// Writes `value` to `key`.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Call {
        Call::One(Step::Put(key.into(), value.into()))
    }
    /// Deletes `key`.
    pub fn delete(key: impl Into<Bytes>) -> Call {
        Call::One(Step::Delete(key.into()))
    }
    /// A transaction.
    pub fn txn(compare: Vec<Compare>, then: Vec<Step>, otherwise: Vec<Step>) -> Call {
        Call::Txn(Txn { compare, then, otherwise })
    }

    /// Whether it might change the store.
    pub fn may_write(&self) -> bool {
        match self {
            Call::One(step) => step.writes(),
            Call::Txn(txn) => txn.then.iter().chain(&txn.otherwise).any(Step::writes),
        }
    }
}

impl Level {
    fn is_linearizable(&self) -> bool {
        *self == Level::Linearizable
    }
}

impl Step {
    /// Whether it is a put or a delete.
    pub fn writes(&self) -> bool {
        matches!(self, Step::Put(..) | Step::Delete(_))
    }
}

impl Compare {
    /// The key that is looked at.
    pub fn key(&self) -> &Bytes {
        match self {
            Compare::Value(key, _)
            | Compare::Version(key, _)
            | Compare::ModRevision(key, _)
            | Compare::CreateRevision(key, _) => key,
        }
    }
}

impl Item {
    /// Whether somebody who was told `told` of this item was told the truth, if not all of it.
    pub(crate) fn may_be_told_as(&self, told: &Item) -> bool {
        let equal = |known: Option<i64>, told: Option<i64>| told.is_none() || known == told;
        self.value == told.value
            && equal(self.mod_revision, told.mod_revision)
            && equal(self.create_revision, told.create_revision)
            && equal(self.version, told.version)
    }
}

impl Outcome {
    /// An answer of one step at a known revision.
    pub fn ok(revision: Revision, found: Found) -> Outcome {
        Outcome::Answered { revision: Some(revision), answer: Answer::One(found) }
    }

    /// The revision that the answer names, if there is an answer that names one.
    pub fn revision(&self) -> Option<Revision> {
        match self {
            Outcome::Answered { revision, .. } => *revision,
            Outcome::Refused | Outcome::Unknown => None,
        }
    }

    /// The answer, if there is one.
    pub fn answer(&self) -> Option<&Answer> {
        match self {
            Outcome::Answered { answer, .. } => Some(answer),
            Outcome::Refused | Outcome::Unknown => None,
        }
    }
}

impl History {
    /// The operations, in the order in which they were invoked.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The operations with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (OpId, &Operation)> {
        self.operations.iter().enumerate().map(|(index, operation)| (OpId(index as u64), operation))
    }

    /// The operation `op`, if there is one.
    pub fn get(&self, op: OpId) -> Option<&Operation> {
        self.operations.get(usize::try_from(op.0).ok()?)
    }
}

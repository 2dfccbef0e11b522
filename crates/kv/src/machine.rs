//! The state machine: committed entries in, one atomic engine write out.

use bytes::Bytes;
use storage::{Engine, EngineError};
use types::{Epoch, SessionId, Slot};

use crate::{CheckpointWriter, Event, InstallError, KvError, LeaseId, Reader, Response, Revision};

/// The replicated store on an engine.
#[derive(Debug)]
pub struct Kv<E: Engine> {
    engine: E,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenKvError {
    /// The engine failed.
    #[error("cannot read the state")]
    Engine(#[from] EngineError),
    /// A record cannot be decoded: damage below the engine's own checks, or a newer format.
    #[error("the {what} record of the state cannot be decoded")]
    Undecodable {
        /// Which record.
        what: &'static str,
    },
}

/// What became of one group of entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplyOutput {
    /// Every command of the group, in order.
    pub executed: Vec<Executed>,
    /// One item a new revision, ascending: what watchers see. `prev_kv` is filled in wherever there was one.
    pub events: Vec<RevisionEvents>,
    /// Leases that came and went, in order: for the leader's [`crate::Lessor`].
    pub leases: Vec<LeaseChange>,
    /// Whether a member was published.
    pub members_changed: bool,
    /// The new compacted revision, if it changed.
    pub compacted: Option<Revision>,
    /// Slots whose payload was not a batch at all; they changed nothing.
    pub undecodable: Vec<Slot>,
}

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    /// The slot of its entry.
    pub slot: Slot,
    /// Whose it was.
    pub session: SessionId,
    /// Which of the session's it was.
    pub number: u64,
    /// What happened.
    pub outcome: Outcome,
}

/// See [`Executed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Executed now, for the first and only time.
    Done {
        /// The answer.
        result: Result<Response, KvError>,
        /// The store revision after the command.
        revision: Revision,
    },
    /// Executed before, or given up by its session: nothing happened now.
    Duplicate,
    /// The session is not open: never executed, and a retry under this session never will be.
    SessionMissing,
    /// Number 0: the session is open now.
    SessionOpened,
}

/// All changes of one revision, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevisionEvents {
    /// The revision.
    pub revision: Revision,
    /// Its events, at least one.
    pub events: Vec<Event>,
}

/// A lease came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// Granted.
    Granted {
        /// Its id.
        id: LeaseId,
        /// Its time to live in seconds.
        ttl_seconds: i64,
    },
    /// Revoked.
    Revoked {
        /// Its id.
        id: LeaseId,
    },
}

// Signatures first, so that drivers can be written against them.
#[allow(unused_variables, clippy::todo, dead_code)]
impl<E: Engine> Kv<E> {
    /// Opens the store that `engine` holds; an empty engine is a fresh store at revision 1.
    ///
    /// # Errors
    /// [`OpenKvError`] if the state cannot be read.
    pub fn open(engine: E) -> Result<Kv<E>, OpenKvError> {
        todo!()
    }

    /// The last applied slot and its entry's epoch; zero if the store is fresh or incomplete.
    pub fn applied(&self) -> (Slot, Epoch) {
        todo!()
    }

    /// Whether a crash interrupted [`install`](Kv::install): the state is empty, is not served, and waits for
    /// a checkpoint (or for the whole log from slot 1).
    pub fn is_incomplete(&self) -> bool {
        todo!()
    }

    /// The store revision.
    pub fn revision(&self) -> Revision {
        todo!()
    }

    /// Applies consecutive committed entries, the first at slot `first`, which must be the slot after
    /// [`applied`](Kv::applied). An entry is its epoch and its payload, an encoded [`types::Batch`]; `None` is a
    /// no-op. All changes are one atomic engine write.
    ///
    /// # Errors
    /// [`EngineError`] if the engine failed: the caller must crash, nothing of this group may be answered.
    pub fn apply(
        &mut self,
        first: Slot,
        entries: &[(Epoch, Option<Bytes>)],
    ) -> Result<ApplyOutput, EngineError> {
        todo!()
    }

    /// A handle for reading, clonable and usable from any thread.
    pub fn reader(&self) -> Reader<E> {
        todo!()
    }

    /// A digest of the whole state, the same on every replica at the same slot. Reads everything.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn digest(&self) -> Result<u128, EngineError> {
        todo!()
    }

    /// A checkpoint of the state as it is now, to be sent in chunks while writes go on.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn checkpoint(&self) -> Result<CheckpointWriter<E::View>, EngineError> {
        todo!()
    }

    /// Puts a staged checkpoint in the place of the state, durably. `read` returns the staged chunk of an index,
    /// or `None` if there is none (or it cannot be read); it is asked for every chunk twice. The checkpoint
    /// must stand at `expected`.
    ///
    /// # Errors
    /// [`InstallError::Refused`] if the chunks are not a whole, intact checkpoint: the old state is untouched.
    /// On any other error the caller must crash; the store then opens as [`is_incomplete`](Kv::is_incomplete).
    pub fn install(
        &mut self,
        expected: (Slot, Epoch),
        read: impl FnMut(u64) -> Option<Bytes>,
    ) -> Result<(), InstallError> {
        todo!()
    }
}

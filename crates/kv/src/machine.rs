//! The state machine: committed entries in, one atomic engine write out.
//!
//! ```text
//!   open ──▶ applied slot ──▶ apply ──▶ apply ──▶ …          install: another state takes the place of this one
//!              │                                               │ a crash in the middle
//!              └── 0 if fresh, or incomplete ◀─────────────────┘
//! ```
//!
//! Promises:
//! - K1  A group of entries is visible and kept wholly or not at all, together with its slot.
//! - K2  Same entries, same bytes: neither the grouping nor a restart changes the state or an answer.
//! - K3  No committed bytes make `apply` panic or fail; only the engine can make it fail.
//! - K4  A state that is being replaced is never served half.

use bytes::Bytes;
use storage::{Engine, EngineError, View};
use types::{Buggify, Epoch, SessionId, Slot, buggify};

use crate::checkpoint::install;
use crate::group::Group;
use crate::layout::{LATEST, MEMBERSHIP_KEY, META, SPACES};
use crate::meta::Meta;
use crate::planted::Bugs;
use crate::record::Pair;
use crate::session::Sessions;
use crate::store::Store;
use crate::{CheckpointWriter, Event, InstallError, KvError, LeaseId, Reader, Response, Revision};

/// The replicated store on an engine.
#[derive(Debug)]
pub struct Kv<E: Engine> {
    engine: E,
    reader: Reader<E>,
    meta: Meta,
    sessions: Sessions,
    bugs: Bugs,
    buggify: Buggify,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenKvError {
    /// The engine cannot be read, or what it holds cannot be decoded.
    #[error("cannot read the state")]
    Engine(#[from] EngineError),
}

/// What an entry holds, as far as the state machine is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// An encoded [`types::Batch`] to be executed.
    Commands(Bytes),
    /// Who takes part from this slot on, encoded by whoever knows what that means. Kept, and given back by
    /// [`Kv::membership`].
    Membership(Bytes),
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
    /// Whether a member was published, came, went or changed.
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

impl<E: Engine> Kv<E> {
    /// Opens the store that `engine` holds; an empty engine is a fresh store at revision 1.
    ///
    /// # Errors
    /// [`OpenKvError`] if the state cannot be read or decoded.
    pub fn open(engine: E) -> Result<Kv<E>, OpenKvError> {
        Kv::open_with(engine, Bugs::default())
    }

    /// The same, with a bug.
    ///
    /// # Errors
    /// As [`open`](Kv::open).
    #[cfg(feature = "planted")]
    pub fn open_planted(engine: E, planted: Option<crate::Planted>) -> Result<Kv<E>, OpenKvError> {
        Kv::open_with(engine, Bugs(planted))
    }

    fn open_with(engine: E, bugs: Bugs) -> Result<Kv<E>, OpenKvError> {
        let view = engine.view();
        let mut meta = match Meta::load(&view)? {
            Some(meta) => meta,
            None if is_empty(&view)? => Meta::fresh(),
            // Nothing here writes rows without the record that says where they stand.
            None => Meta::incomplete(),
        };
        if !meta.complete {
            install::start_over(&engine)?;
        }
        let store = Store::new(engine.view());
        if planted!(bugs, RevisionFromKeys) {
            meta.revision = highest_revision(&store)?;
        }
        let sessions = Sessions::load(&store)?;
        let buggify = Buggify::default();
        let reader = Reader::new(engine.clone(), buggify.clone());
        Ok(Kv { engine, reader, meta, sessions, bugs, buggify })
    }

    /// The same, with some things done more often than usual, for the simulator.
    pub fn with_buggify(self, buggify: Buggify) -> Kv<E> {
        let reader = Reader::new(self.engine.clone(), buggify.clone());
        Kv { reader, buggify, ..self }
    }

    /// The last applied slot and its entry's epoch; zero if the store is fresh or incomplete.
    pub fn applied(&self) -> (Slot, Epoch) {
        (self.meta.applied, self.meta.epoch)
    }

    /// Who takes part, as the latest applied entry that said so put it; `None` if none ever did.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn membership(&self) -> Result<Option<Bytes>, EngineError> {
        self.engine.view().get(META, MEMBERSHIP_KEY)
    }

    /// Whether a crash interrupted [`install`](Kv::install): the state is empty, is not served, and waits for
    /// a checkpoint (or for the whole log from slot 1).
    pub fn is_incomplete(&self) -> bool {
        !self.meta.complete
    }

    /// The store revision.
    pub fn revision(&self) -> Revision {
        self.meta.revision
    }

    /// Applies consecutive committed entries, the first at slot `first`, which must be the slot after
    /// [`applied`](Kv::applied). An entry is its epoch and its content. All changes are one atomic engine write.
    ///
    /// # Errors
    /// [`EngineError`] if the engine failed: the caller must crash, nothing of this group may be answered.
    pub fn apply(&mut self, first: Slot, entries: &[(Epoch, Content)]) -> Result<ApplyOutput, EngineError> {
        assert_eq!(first, self.meta.applied.next(), "entries are applied in slot order, without gaps");
        if entries.is_empty() {
            return Ok(ApplyOutput::default());
        }
        if entries.len() > 1 && buggify!(self.buggify, "kv.apply.in_halves") {
            let (left, right) = entries.split_at(entries.len() / 2);
            let mut output = self.apply(first, left)?;
            output.append(self.apply(first.plus(left.len() as u64), right)?);
            return Ok(output);
        }
        let store = Store::with_bugs(self.engine.view(), self.bugs).with_buggify(&self.buggify);
        if buggify!(self.buggify, "kv.apply.reloads_sessions") {
            self.sessions = Sessions::load(&store)?;
        }
        if buggify!(self.buggify, "kv.apply.reloads_meta") {
            self.meta = Meta::load(store.view())?.unwrap_or(self.meta.clone());
        }
        let mut group = Group::new(store, self.meta.clone(), &mut self.sessions);
        for (epoch, content) in entries {
            group.entry(*epoch, content.clone())?;
        }
        let (meta, batch, output) = group.finish();
        self.reader.publish(|| self.engine.write(batch))?;
        self.meta = meta;
        Ok(output)
    }

    /// A handle for reading, clonable and usable from any thread.
    pub fn reader(&self) -> Reader<E> {
        self.reader.clone()
    }

    /// A digest of the whole state, the same on every replica at the same slot. Reads everything.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn digest(&self) -> Result<u128, EngineError> {
        crate::checkpoint::digest(&self.engine.view())
    }

    /// A checkpoint of the state as it is now, to be sent in chunks while writes go on.
    ///
    /// # Errors
    /// [`EngineError`] if the state cannot be read.
    pub fn checkpoint(&self) -> Result<CheckpointWriter<E::View>, EngineError> {
        CheckpointWriter::new(self.engine.view(), self.bugs, &self.buggify)
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
        mut read: impl FnMut(u64) -> Option<Bytes>,
    ) -> Result<(), InstallError> {
        install::verify(expected, &mut read)?;
        if buggify!(self.buggify, "kv.install.verifies_twice") {
            install::verify(expected, &mut read)?;
        }
        self.reader.publish(|| install::replace(&self.engine, self.bugs, &self.buggify, &mut read))?;
        let store = Store::new(self.engine.view());
        self.meta = Meta::load(&self.engine.view())?.unwrap_or_else(Meta::fresh);
        self.sessions = Sessions::load(&store)?;
        Ok(())
    }
}

/// The highest revision that a living key bears (`RevisionFromKeys`).
fn highest_revision<V: View>(store: &Store<V>) -> Result<Revision, EngineError> {
    let mut highest = 1;
    for row in store.scan_all(LATEST) {
        highest = highest.max(Pair::decode(row?.1)?.mod_revision);
    }
    Ok(highest)
}

impl ApplyOutput {
    /// Adds what the entries after these did.
    fn append(&mut self, later: ApplyOutput) {
        self.executed.extend(later.executed);
        self.events.extend(later.events);
        self.leases.extend(later.leases);
        self.members_changed |= later.members_changed;
        self.compacted = later.compacted.or(self.compacted);
        self.undecodable.extend(later.undecodable);
    }
}

/// Whether nothing was ever written.
fn is_empty(view: &impl View) -> Result<bool, EngineError> {
    let store = Store::new(view.clone());
    for space in SPACES {
        if store.scan_all(space).next().transpose()?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

//! One group of entries being applied: every command in order, on top of the changes of those before it.

use bytes::Bytes;
use storage::{EngineError, View, WriteBatch};
use types::{Batch, Epoch, Slot, Wire, buggify};

use crate::layout::{MEMBERS, MEMBERSHIP_KEY, META, META_KEY, member_key};
use crate::lease;
use crate::machine::{ApplyOutput, Content, Executed, LeaseChange, Outcome, RevisionEvents};
use crate::meta::Meta;
use crate::session::{Admission, Sessions};
use crate::store::Store;
use crate::sweep::sweep;
use crate::txn::run_txn;
use crate::write::{Fallible, Writer};
use crate::{Command, KvError, Response, Revision, validate};

pub(crate) struct Group<'k, V> {
    store: Store<V>,
    meta: Meta,
    sessions: &'k mut Sessions,
    output: ApplyOutput,
}

impl<'k, V: View> Group<'k, V> {
    pub(crate) fn new(store: Store<V>, meta: Meta, sessions: &'k mut Sessions) -> Group<'k, V> {
        Group { store, meta: Meta { complete: true, ..meta }, sessions, output: ApplyOutput::default() }
    }

    /// Executes the entry of the next slot.
    pub(crate) fn entry(&mut self, epoch: Epoch, content: Content) -> Result<(), EngineError> {
        self.meta.applied = self.meta.applied.next();
        self.meta.epoch = epoch;
        let commands = match content {
            Content::Nothing => 0,
            Content::Commands(batch) => self.commands(batch)?,
            Content::Membership(membership) => {
                self.store.put(META, Bytes::from_static(MEMBERSHIP_KEY), membership);
                self.output.members_changed = true;
                0
            }
        };
        sweep(&mut self.store, &mut self.meta, commands)
    }

    fn commands(&mut self, batch: Bytes) -> Result<usize, EngineError> {
        match Batch::from_bytes(batch) {
            Ok(batch) => self.batch(batch),
            Err(_) => {
                self.output.undecodable.push(self.meta.applied);
                Ok(0)
            }
        }
    }

    /// What the group comes to.
    pub(crate) fn finish(mut self) -> (Meta, WriteBatch, ApplyOutput) {
        if buggify!(self.store.buggify, "kv.sessions.writes_all") {
            self.sessions.touch_all();
        }
        self.sessions.write(&mut self.store);
        let record = Meta { applied: self.recorded_slot(), ..self.meta.clone() };
        self.store.put(META, Bytes::from_static(META_KEY), record.to_bytes());
        (self.meta, self.store.into_batch(), self.output)
    }

    /// K1: the slot that the changes of this group belong to.
    fn recorded_slot(&self) -> Slot {
        let is_ahead = planted!(self.store.bugs, AppliedAhead);
        let is_behind = planted!(self.store.bugs, AppliedBehind);
        match (is_ahead, is_behind) {
            (true, _) => self.meta.applied.next(),
            (_, true) => self.meta.applied.prev(),
            _ => self.meta.applied,
        }
    }

    fn batch(&mut self, batch: Batch) -> Result<usize, EngineError> {
        self.meta.wall = self.meta.wall.max(batch.wall);
        if self.output.executed.is_empty() || !planted!(self.store.bugs, ExpiresPerGroup) {
            self.sessions.expire(self.meta.wall);
        }
        let commands = batch.commands.len();
        for command in batch.commands {
            let (session, number) = (command.session, command.number);
            let outcome = self.command(command)?;
            self.output.executed.push(Executed { slot: self.meta.applied, session, number, outcome });
        }
        Ok(commands)
    }

    fn command(&mut self, command: types::Command) -> Result<Outcome, EngineError> {
        let types::Command { session, number, acked_below, body } = command;
        if number == 0 {
            self.sessions.open(session, self.meta.wall);
            return Ok(Outcome::SessionOpened);
        }
        Ok(match self.sessions.admit(session, number, acked_below, self.meta.wall) {
            Admission::Duplicate => Outcome::Duplicate,
            Admission::SessionMissing => Outcome::SessionMissing,
            Admission::Execute => Outcome::Done { result: self.execute(body)?, revision: self.meta.revision },
        })
    }

    fn execute(&mut self, body: Bytes) -> Fallible<Response> {
        let Ok(command) = Command::from_bytes(body) else { return Ok(Err(KvError::Undecodable)) };
        if let Err(refusal) = validate(&command, usize::MAX) {
            return Ok(Err(refusal));
        }
        let compacted = self.meta.compacted;
        match command {
            Command::Put(put) => self.write(|writer| Ok(writer.checked_put(&put)?.map(Response::Put))),
            Command::DeleteRange(delete) => {
                self.write(|writer| Ok(Ok(Response::DeleteRange(writer.delete_range(&delete)?))))
            }
            Command::Txn(txn) => {
                self.write(|writer| Ok(run_txn(writer, compacted, &txn)?.map(Response::Txn)))
            }
            Command::Compact { revision } => Ok(self.compact(revision)),
            Command::LeaseGrant { id, ttl_seconds } => self.grant(id, ttl_seconds),
            Command::LeaseRevoke { id } => self.revoke(id),
            Command::PublishMember(member) => {
                self.store.put(MEMBERS, member_key(member.id), member.to_bytes());
                self.output.members_changed = true;
                Ok(Ok(Response::PublishMember))
            }
        }
    }

    /// Runs what may write keys; if it did, that was a revision.
    fn write<T>(&mut self, run: impl FnOnce(&mut Writer<'_, V>) -> Fallible<T>) -> Fallible<T> {
        let mut writer = Writer::new(&mut self.store, self.meta.revision);
        let result = run(&mut writer)?;
        let (revision, events) = (writer.revision(), writer.events);
        if !events.is_empty() {
            self.meta.revision = revision;
            if planted!(self.store.bugs, EventsTwice) && events.len() > 1 {
                self.output.events.push(RevisionEvents { revision, events: events.clone() });
            }
            self.output.events.push(RevisionEvents { revision, events });
        }
        Ok(result)
    }

    fn compact(&mut self, revision: Revision) -> Result<Response, KvError> {
        if revision <= self.meta.compacted {
            return Err(KvError::Compacted);
        }
        if revision > self.meta.revision {
            return Err(KvError::FutureRevision);
        }
        // Rows of the last floor were kept even where the sweep has passed them: they go now.
        self.meta.sweep_at = self.meta.sweep_at.min((self.meta.compacted.max(0), 0));
        self.meta.compacted = revision;
        self.output.compacted = Some(revision);
        Ok(Response::Compact)
    }

    fn grant(&mut self, id: i64, ttl_seconds: i64) -> Fallible<Response> {
        let granted = lease::grant(&mut self.store, id, ttl_seconds)?;
        Ok(granted.map(|()| {
            self.output.leases.push(LeaseChange::Granted { id, ttl_seconds });
            Response::LeaseGrant { id, ttl_seconds }
        }))
    }

    fn revoke(&mut self, id: i64) -> Fallible<Response> {
        let revoked = self.write(|writer| lease::revoke(writer, id))?;
        Ok(revoked.map(|()| {
            self.output.leases.push(LeaseChange::Revoked { id });
            Response::LeaseRevoke
        }))
    }
}

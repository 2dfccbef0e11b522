//! Repair after the loss of a quorum: one survivor goes on alone, by a person's decision.
//!
//! ```text
//!   log:  … │ slot 41 │ slot 42 │ ◀── last that is readable
//!                                └── written here: a new term, and a membership of this member alone, slot 43
//! ```
//!
//! What the survivor holds counts as decided from then on, and what it does not hold is lost, acknowledged or not: a
//! majority without this member may have decided more. That is why no server ever does this by itself. Members that are
//! left out and reach the survivor are told that they have been removed.
//!
//! # Source
//! etcd's `--force-new-cluster`; Ongaro's dissertation §4.2 on why a quorum cannot be given up without a person.

use std::path::Path;

use consensus::{Entry, EntryKind, Membership, Standing};
use kv::Kv;
use raft::{Integrity, Meta, Record};
use storage::{Log, LogOp, LogOptions, Recovery};
use types::{NodeId, Slot, SlotState, Wire};

use crate::config::StartError;
use crate::disk_thread::with_sources;
use crate::member::{MemberInfo, infos};
use crate::member_file::MemberIdentity;
use crate::stores;
use crate::{RealDisk, StateEngine};

/// What a stopped member's data holds.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The cluster's id.
    pub cluster: u64,
    /// The member's id.
    pub member: NodeId,
    /// Who takes part, as far as this member knows.
    pub members: Vec<MemberInfo>,
    /// The term of the last slot that is readable.
    pub last_term: u64,
    /// The last slot that is readable.
    pub last: Slot,
    /// The last slot that the state holds.
    pub applied: Slot,
    /// Slots above `last` that are damaged, and would be given up.
    pub damaged: u64,
}

/// Why a member's data cannot be repaired.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] StartError),
    /// It was never used.
    #[error("{path} holds no member")]
    NoMember {
        /// The data directory.
        path: String,
    },
    /// The state is not whole.
    #[error("the state of this member waits for a checkpoint; repair another survivor")]
    NoState,
    /// Entries between the state and the log are missing.
    #[error("the state ends at slot {applied} and the log begins at slot {first}; repair another survivor")]
    Gap {
        /// The state's last slot.
        applied: Slot,
        /// The log's first slot.
        first: Slot,
    },
    /// It is not one of the members that it knows.
    #[error("member {member} does not take part in the cluster that it knows; repair another survivor")]
    NotMember {
        /// The member.
        member: NodeId,
    },
    /// The log cannot be written.
    #[error("the log cannot be written: {reason}")]
    Write {
        /// What the disk said.
        reason: String,
    },
}

/// A stopped member's data, opened for nobody else.
pub struct Patient {
    identity: MemberIdentity,
    log: Log<RealDisk>,
    membership: Membership,
    survey: Survey,
    /// What makes room for the new entry.
    clearing: Option<LogOp>,
    meta: Meta,
}

/// The part of a log that can be kept.
struct Kept {
    last: Slot,
    last_term: u64,
    /// The latest membership in it.
    membership: Option<Membership>,
    damaged: u64,
    clearing: Option<LogOp>,
}

impl Patient {
    /// Opens the data of a stopped member, and changes nothing that matters.
    ///
    /// # Errors
    /// [`RepairError`] if there is none, or it cannot go on from what it holds.
    pub fn open(directory: &Path) -> Result<Patient, RepairError> {
        let path = directory.display().to_string();
        let member = directory.join("member");
        let no_member = || RepairError::NoMember { path: path.clone() };
        let identity = MemberIdentity::read(&member)?.ok_or_else(no_member)?;
        if identity.is_removed {
            return Err(StartError::Removed { path }.into());
        }
        let disk = RealDisk::open(&member.join("log")).map_err(StartError::from)?;
        let owner = storage::Identity { cluster: identity.cluster, node: identity.member };
        let (log, recovery) = Log::open(disk, owner, LogOptions::default())
            .map_err(|source| StartError::Log { path: path.clone(), source })?;
        let unreadable = |source| StartError::State { path: path.clone(), source };
        let engine = StateEngine::open(&member.join("state")).map_err(|error| unreadable(error.into()))?;
        let kv = Kv::open(engine.clone()).map_err(unreadable)?;
        let patient = Patient::examine(identity, log, recovery, &kv)?;
        // Nothing was written to it, and it is no longer in use when it is dropped.
        drop((kv, engine));
        Ok(patient)
    }

    fn examine(
        identity: MemberIdentity,
        log: Log<RealDisk>,
        recovery: Recovery,
        kv: &Kv<StateEngine>,
    ) -> Result<Patient, RepairError> {
        let failed = |error: &dyn std::error::Error| RepairError::Write { reason: with_sources(error) };
        if kv.is_incomplete() {
            return Err(RepairError::NoState);
        }
        let (applied, epoch) = kv.applied();
        let (in_state, published) = stores::members(kv).map_err(|error| failed(&error))?;
        let meta = match &recovery.meta {
            SlotState::Ok(bytes) => Meta::from_bytes(bytes.clone()).unwrap_or_default(),
            SlotState::Missing | SlotState::Damaged => Meta::default(),
        };
        let kept = keep(recovery, applied, epoch.number)?;
        let known = Some(in_state).filter(|membership| !membership.members.is_empty());
        let membership = kept.membership.or(known).unwrap_or_else(|| identity.known.clone());
        if !membership.members.contains_key(&identity.member) {
            return Err(RepairError::NotMember { member: identity.member });
        }
        let survey = Survey {
            cluster: identity.cluster,
            member: identity.member,
            members: infos(&membership, &published),
            last_term: kept.last_term,
            last: kept.last,
            applied,
            damaged: kept.damaged,
        };
        Ok(Patient { identity, log, membership, survey, clearing: kept.clearing, meta })
    }

    /// What the data holds.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// Makes this member the only one, durably and in one write. The member can then be started as ever.
    ///
    /// # Errors
    /// [`RepairError::Write`]; nothing is changed then, or all.
    pub fn go_on_alone(mut self) -> Result<(), RepairError> {
        let me = self.identity.member;
        let term = self.meta.term.max(self.survey.last_term) + 1;
        let incarnation =
            if self.meta.incarnation == 0 { rand::random::<u64>() | 1 } else { self.meta.incarnation };
        self.membership.members.retain(|node, _| *node == me);
        self.membership.outgoing.clear();
        if let Some(member) = self.membership.members.get_mut(&me) {
            member.standing = Standing::Voter;
            // Whatever disk this is, from now on it is the member's.
            member.incarnation = incarnation;
        }
        let (vote, integrity, founded) = (None, Integrity::Intact, true);
        let meta = Meta { term, vote, integrity, incarnation, founded, ..self.meta };
        let entry = Entry { kind: EntryKind::Membership, payload: self.membership.to_bytes() };
        let record = Record { term, entry };
        let mut ops: Vec<LogOp> = self.clearing.into_iter().collect();
        ops.push(LogOp::SetMeta(meta.to_bytes()));
        ops.push(LogOp::Put(self.survey.last.next(), record.to_bytes()));
        let written = self.log.append(&ops).and_then(|()| self.log.sync());
        written.map_err(|error| RepairError::Write { reason: with_sources(&error) })
    }
}

/// Finds the part of the log that can be kept: up to the first slot that is not readable, or contradicts the one before.
fn keep(recovery: Recovery, applied: Slot, applied_term: u64) -> Result<Kept, RepairError> {
    let first = recovery.first;
    if first > applied.next() {
        return Err(RepairError::Gap { applied, first });
    }
    let ended = first.plus(recovery.records.len() as u64).prev();
    let above: Vec<_> = recovery.records.into_iter().skip(applied.next().above(first) as usize).collect();
    let mut kept =
        Kept { last: applied, last_term: applied_term, membership: None, damaged: 0, clearing: None };
    for record in above.iter().cloned().map_while(SlotState::ok) {
        match Record::from_bytes(record) {
            Ok(record) if record.term >= kept.last_term => {
                kept.membership = record.entry.membership().or(kept.membership);
                kept.last_term = record.term;
                kept.last = kept.last.next();
            }
            Ok(_) | Err(_) => break,
        }
    }
    kept.damaged = ended.above(kept.last);
    kept.clearing = match ended {
        // The state came from a checkpoint that the log has not followed yet.
        ended if ended < applied => Some(LogOp::ResetTo { at: applied }),
        ended if ended > kept.last => Some(LogOp::TruncateFrom(kept.last.next())),
        _ => None,
    };
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use types::Epoch;

    fn recovery(first: u64, records: Vec<SlotState<Bytes>>) -> Recovery {
        Recovery {
            meta: SlotState::Missing,
            first: Slot(first),
            records,
            tail_damaged: false,
            created: false,
            report: Vec::new(),
        }
    }

    fn noop(term: u64) -> SlotState<Bytes> {
        SlotState::Ok(
            Record { term, entry: Entry { kind: EntryKind::Noop, payload: Bytes::new() } }.to_bytes(),
        )
    }

    fn of(recovery: Recovery, applied: u64, term: u64) -> (u64, u64, u64, Option<LogOp>) {
        let kept = keep(recovery, Slot(applied), Epoch::of(term).number).unwrap();
        (kept.last.0, kept.last_term, kept.damaged, kept.clearing)
    }

    #[test]
    fn a_log_is_kept_up_to_its_first_damage() {
        assert_eq!(of(recovery(1, vec![noop(1), noop(1), noop(2)]), 1, 1), (3, 2, 0, None));
        let damaged = vec![noop(1), noop(2), SlotState::Damaged, noop(2)];
        assert_eq!(of(recovery(1, damaged), 1, 1), (2, 2, 2, Some(LogOp::TruncateFrom(Slot(3)))));
        // What is below the state's slot is in the state.
        assert_eq!(of(recovery(1, vec![SlotState::Damaged, noop(2)]), 2, 2), (2, 2, 0, None));
    }

    #[test]
    fn a_state_that_is_ahead_of_its_log_is_gone_on_from() {
        let ahead = of(recovery(1, vec![noop(1)]), 7, 3);
        assert_eq!(ahead, (7, 3, 0, Some(LogOp::ResetTo { at: Slot(7) })));
        assert_eq!(of(recovery(8, Vec::new()), 7, 3), (7, 3, 0, None));
        let gap = keep(recovery(9, vec![noop(3)]), Slot(7), 3);
        assert!(matches!(gap, Err(RepairError::Gap { applied: Slot(7), first: Slot(9) })));
    }
}

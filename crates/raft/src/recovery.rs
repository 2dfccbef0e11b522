//! Restart: what the disk still holds, and what a replica may do that lost something.
//!
//! ```text
//!   disk ──▶ intact ──▶ Follower
//!        └─▶ log records lost ──▶ Recovering ──Repair──▶ leader: forgets its acknowledgements
//!                                    ▲ entries overwrite       │
//!                                    └── RepairGoal{upto} ─────┘   log whole up to there ──▶ Follower
//!        └─▶ term and vote lost ──▶ Recovering for good: it is sent entries, but counts nowhere
//! ```
//!
//! Why a replica whose log is whole up to the goal may vote again is argued in `docs/protocols/raft.md`.
//!
//! # Source
//! Alagappan et al., "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18.

use consensus::{Out, Recovered};
use types::{NodeId, Now, Rng, Slot, SlotState, Time, buggify};

use crate::append::Following;
use crate::configurations::Configurations;
use crate::election::Election;
use crate::log::Log;
use crate::raft::State;
use crate::read::Asking;
use crate::writes::Writes;
use crate::{Config, Integrity, Message, Meta, Raft, Record, Stamp};

/// How far the repair of a damaged replica is.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Repair {
    /// The log must be whole up to here; the leader of this term said so.
    goal: Option<Slot>,
    /// The disk still holds records above the log's end that must be cut off before anything is appended.
    cut_due: bool,
}

impl Repair {
    /// Another leader: it has to be told, and to set its own goal.
    pub fn enter_term(&mut self) {
        self.goal = None;
    }

    /// The log on disk has just been emptied.
    pub fn nothing_to_cut(&mut self) {
        self.cut_due = false;
    }
}

/// The log as far as it can be trusted.
struct Salvage {
    log: Log,
    /// Whether something that may have been acknowledged is missing.
    lost: bool,
    fix: Fix,
}

/// What the disk's log needs before anything can be appended to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fix {
    None,
    /// Records at or below the state machine's slot are unreadable, and nobody's loss.
    Compact,
    /// It must restart at the state machine's slot.
    Reset,
}

impl Raft {
    /// Builds a replica from its disk.
    pub(crate) fn restored(config: Config, seed: u64, disk: Recovered<Raft>, now: Now) -> Raft {
        let (applied, epoch) = disk.applied;
        let settled = Some(disk.membership.clone()).filter(|it| !it.members.is_empty());
        let is_fresh = disk.log.is_empty() && !disk.tail_damaged && applied == Slot::ZERO;
        let meta = trusted_meta(disk.meta.clone(), is_fresh);
        let Salvage { log, lost, fix } = salvage(disk);
        #[cfg(feature = "planted")]
        let log = match config.planted {
            Some(crate::Planted::DamageFallsBack) if lost => Log::new(applied, epoch.number),
            _ => log,
        };
        #[cfg(feature = "planted")]
        let lost = lost
            && !matches!(
                config.planted,
                Some(crate::Planted::DamageIsTruncation | crate::Planted::DamageFallsBack)
            );
        let (meta, integrity) = judge(meta, log.last_term().max(epoch.number), lost);
        let identity = [config.id.0, meta.term, log.last().0, applied.0, now.mono.0, now.wall.0 as u64];
        let mut rng = Rng::keyed(seed, &identity);
        let is_new_disk = meta.incarnation == 0;
        let incarnation = if is_new_disk { rng.next_u64() | 1 } else { meta.incarnation };
        let stamp = Stamp { incarnation, session: rng.next_u64() };
        let asking = Asking::new(rng.next_u64());
        let settled = match settled {
            Some(membership) => Configurations::new(applied, membership),
            None => Configurations::new(Slot::ZERO, config.membership.clone()),
        };
        let configurations = with_log(settled, applied, &log);
        let wall = log.latest_wall().max(Some(meta.wall)).unwrap_or_default();
        let mut raft = Raft {
            term: meta.term,
            vote: meta.vote,
            integrity,
            founded: meta.founded || configurations.is_pinned(),
            stamp,
            writes: Writes::new(log.last()),
            log,
            configurations,
            commit: applied,
            emitted: applied,
            applied,
            checkpoint: applied,
            checkpoint_asked: None,
            emitted_gate: consensus::WriteSeq::NONE,
            wall,
            state: State::Follower,
            leader: None,
            election: Election {
                deadline: now.mono,
                wait: config.election_timeout,
                contact: None,
                promise: None,
            },
            following: Following::new(applied, asking),
            resting: false,
            repair: Repair { goal: None, cut_due: lost },
            announced: None,
            announced_membership: 0,
            proposals: Vec::new(),
            proposals_bytes: 0,
            rng,
            config,
        };
        raft.settle(fix, now);
        if is_new_disk && !raft.repair.cut_due {
            raft.save_meta();
        }
        raft
    }

    /// Brings the disk in line, and sets the first time-out: none for a replica that has nobody to wait for.
    fn settle(&mut self, fix: Fix, now: Now) {
        match fix {
            // After a loss the disk stays as it is until something better can be written: `cut_lost_tail`.
            _ if self.repair.cut_due => {}
            Fix::None => {}
            Fix::Compact => self.writes.compact_to(self.log.base()),
            Fix::Reset => self.writes.reset_to(self.log.base()),
        }
        self.log.evict(self.applied, self.config.cache_bytes_max);
        let me = self.config.id;
        if !self.is_quorum(|node| node == me) {
            self.draw_deadline(now);
            self.promise_after_start(now);
        } else if planted!(self, LoneNeverStands) && self.log.last() > self.applied {
            self.election.deadline = types::Time(u64::MAX);
        }
        if planted!(self, NeverReplays) {
            (self.commit, self.emitted) = (self.log.last(), self.log.last());
            self.following.verified = self.commit;
        }
    }

    /// Before the first append after a loss: the flag that says so and the cut are one write, so that a
    /// crash in between never leaves a log that looks whole.
    pub(crate) fn cut_lost_tail(&mut self) {
        if !std::mem::take(&mut self.repair.cut_due) {
            return;
        }
        self.save_meta();
        if self.log.last() == self.log.base() {
            self.writes.reset_to(self.log.base());
        } else {
            self.writes.truncate_from(self.log.last().next());
        }
    }

    /// R9: whoever forgot its term and vote may have promised anything.
    pub(crate) fn counts_in_quorums(&self) -> bool {
        self.integrity != Integrity::MetaLost
    }

    /// Tells the leader of this term what this replica lost, until it answers. In the place of a heartbeat's
    /// answer if that may not count.
    pub(crate) fn ask_for_repair(&self, leader: NodeId, sent: Time, out: &mut Out<Raft>) {
        let meta_lost = self.integrity == Integrity::MetaLost;
        let is_known = self.repair.goal.is_some() && !meta_lost;
        if is_known || self.integrity == Integrity::Intact {
            return;
        }
        let message = Message::Repair { term: self.term, by: self.stamp, sent, meta_lost };
        self.send_control(leader, message, self.gate_meta(), out);
    }

    /// A peer lost memory. What it acknowledged before it started is forgotten by now (`note_stamp`).
    pub(crate) fn on_repair(&mut self, from: NodeId, session: u64, meta_lost: bool, out: &mut Out<Raft>) {
        let (term, upto) = (self.term, self.log.last());
        let Some(progress) = self.progress(from) else { return };
        progress.remembers = !meta_lost;
        self.on_answer(from, Slot(u64::MAX), out);
        self.send_control(from, Message::RepairGoal { term, session, upto }, consensus::WriteSeq::NONE, out);
    }

    pub(crate) fn on_repair_goal(&mut self, session: u64, upto: Slot) {
        if session == self.stamp.session && self.repair.goal.is_none() {
            self.repair.goal = Some(upto);
            self.following.ack_due = true;
        }
    }

    /// Ends the repair once the log is whole up to the goal, durably.
    pub(crate) fn try_finish_repair(&mut self, now: Now) {
        let whole = self.following.verified.min(self.writes.durable_slot());
        let is_enough = planted!(self, RepairEndsEarly);
        let is_whole = self.repair.goal.is_some_and(|goal| whole >= goal || is_enough);
        if self.integrity == Integrity::LogLost
            && is_whole
            && !buggify!(self.config.buggify, "raft.repair.finished_later")
        {
            self.cut_lost_tail();
            self.integrity = Integrity::Intact;
            self.save_meta();
            self.draw_deadline(now);
        }
    }
}

/// Adds the configurations that the log holds above the state machine's slot.
fn with_log(mut configurations: Configurations, applied: Slot, log: &Log) -> Configurations {
    let records = log.read(applied.next(), log.last(), u64::MAX).unwrap_or_default();
    for (slot, record) in (applied.next().0..).map(Slot).zip(records) {
        if let Some(membership) = record.entry.membership() {
            configurations.append(slot, membership);
        }
    }
    configurations
}

/// The meta record, or `None` if it is lost.
fn trusted_meta(meta: SlotState<Meta>, is_fresh: bool) -> Option<Meta> {
    match meta {
        SlotState::Ok(meta) => Some(meta),
        // A replica writes its term before anything else.
        SlotState::Missing if is_fresh => Some(Meta::default()),
        SlotState::Missing | SlotState::Damaged => None,
    }
}

/// Decides what is lost. `term_seen` is the latest term of anything else on the disk: a meta record older
/// than that is not the last one that was written.
fn judge(meta: Option<Meta>, term_seen: u64, lost: bool) -> (Meta, Integrity) {
    let Some(meta) = meta.filter(|meta| meta.term >= term_seen) else {
        return (Meta { term: term_seen, ..Meta::default() }, Integrity::MetaLost);
    };
    let found = if lost { Integrity::LogLost } else { Integrity::Intact };
    let integrity = meta.integrity.max(found);
    (meta, integrity)
}

/// Keeps what is whole and goes on from where the state machine stands.
fn salvage(disk: Recovered<Raft>) -> Salvage {
    let (applied, term) = (disk.applied.0, disk.applied.1.number);
    let base = disk.first.prev();
    let mut records = disk.log;
    while matches!(records.last(), Some(SlotState::Missing)) {
        records.pop(); // nothing was ever durably written here
    }
    let empty = Log::new(applied, term);
    if applied < base {
        // What lies between the state machine and the log is gone.
        return Salvage { log: empty, lost: true, fix: Fix::Reset };
    }
    if applied > base.plus(records.len() as u64) {
        // A checkpoint was installed and the crash came before the log followed it.
        return Salvage { log: empty, lost: disk.tail_damaged, fix: Fix::Reset };
    }
    let above = records.split_off(applied.above(base) as usize);
    let (log, fix) = keep_below(base, records, empty);
    match fix {
        // What follows a record that contradicts a committed one was never committed.
        Fix::Reset => Salvage { log, lost: disk.tail_damaged, fix },
        _ => keep_above(log, fix, above, disk.tail_damaged),
    }
}

/// Keeps the slots up to the state machine's, which the `empty` log begins at, if they are all readable. They are
/// committed and applied, so that nobody but a lagging peer misses them.
fn keep_below(base: Slot, records: Vec<SlotState<Record>>, empty: Log) -> (Log, Fix) {
    let count = records.len();
    let records: Vec<Record> = records.into_iter().map_while(SlotState::ok).collect();
    let Some(last) = records.last() else {
        return (empty, if count == 0 { Fix::None } else { Fix::Compact });
    };
    if records.len() < count || !records.is_sorted_by_key(|record| record.term) {
        return (empty, Fix::Compact);
    }
    if last.term != empty.last_term() {
        return (empty, Fix::Reset);
    }
    // The term below the first record is not known, so the log begins above it.
    let mut log = Log::new(base.next(), records[0].term);
    for record in records.into_iter().skip(1) {
        log.append(record);
    }
    (log, Fix::None)
}

/// Adds the slots above the state machine's, up to the first that is not readable.
fn keep_above(mut log: Log, fix: Fix, records: Vec<SlotState<Record>>, tail_damaged: bool) -> Salvage {
    let count = records.len();
    let before = log.last();
    for record in records.into_iter().map_while(SlotState::ok) {
        if record.term < log.last_term() {
            break; // no honest log holds this
        }
        log.append(record);
    }
    let kept = log.last().above(before);
    let is_bare = fix == Fix::Compact && kept == 0;
    let fix = if is_bare { Fix::Reset } else { fix };
    Salvage { lost: tail_damaged || kept < count as u64, log, fix }
}

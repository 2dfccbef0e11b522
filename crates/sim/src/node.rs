//! A node: what survives its crashes, and its current life if it has one.

use std::time::Duration;

use consensus::{Membership, Recovered, Submitter, SubmitterConfig};
use kv::{Kv, OpenKvError};
use storage::{Engine, Identity, Log, LogOptions, MemEngine, OpenLogError, Plan, Recovery, SimDisk};
use trace::{Details, Kind, Stamp};
use types::{Buggify, NodeId, Rng, SessionId, Slot, SlotState, Time, Wire, buggify};

use crate::keys::{self, Purpose};
use crate::life::{Birth, Life};
use crate::options::Options;
use crate::schedule::CrashPoint;
use crate::shadow::Harm;
use crate::shared::{Coming, Shared, Stop, Work};
use crate::subject::Subject;

/// A machine with a disk, on which a process runs now and then.
pub(crate) struct Node<P: Subject> {
    pub(crate) id: NodeId,
    pub(crate) life: Option<Life<P>>,
    pub(crate) disk: SimDisk,
    pub(crate) buggify: Buggify,
    engine: MemEngine,
    lives: u64,
    /// Which planned start is the valid one; a later plan replaces an earlier one.
    restart: u64,
    /// How long it stays down after the next crash.
    pub(crate) down_for: Duration,
    /// Until when it stands still.
    pub(crate) paused_until: Option<Time>,
    /// Bits to flip before the next start.
    pub(crate) rot: u32,
    /// An empty disk takes the place of its own before the next start.
    pub(crate) disk_is_lost: bool,
    /// Bits have flipped at some time, so recovery may find damage; or the disk is another than it was.
    rotten: bool,
    /// Its disk may have done harm that nobody has met yet.
    pub(crate) at_risk: bool,
    /// It cannot start any more, and a person would have to replace it.
    pub(crate) lost: bool,
    /// Its next crash takes the system's memory with it, not only the process.
    pub(crate) power_fails: bool,
    /// All other crashes take the process only.
    pub(crate) machine_survives: bool,
    /// It crashes again in its next recovery.
    pub(crate) dies_in_recovery: bool,
    pub(crate) wall_skew_ms: i64,
    /// How much its monotonic clock gains when nothing disturbs it,
    drift_usual_ppm: i64,
    /// and now.
    drift_ppm: i64,
    pub(crate) extra_sync: Duration,
    pub(crate) extra_apply: Duration,
    pub(crate) extra_step: Duration,
}

/// The id of every simulated cluster.
const CLUSTER: u64 = 0xa17;
/// Whether a disk may confirm its very last write before a power cut, and forget it without a trace. No protocol survives
/// that in every case: what is forgotten may be the vote, or the copy, that a majority rested on. The sweep does it (`forgot`).
const LAST_WRITES_MAY_VANISH: bool = false;
/// An armed crash that finds no occasion happens anyway after this long.
const PATIENCE: Duration = Duration::from_millis(200);
/// A supervisor starts a process again after this long if it ended because its disk failed.
const RETRY: Duration = Duration::from_millis(5);

impl<P: Subject> Node<P> {
    pub(crate) fn new(id: NodeId, shared: &Shared) -> Node<P> {
        let drift_usual_ppm = shared.setup.pace.drift_of(shared.seed, id);
        let mut rng = keys::rng(shared.seed, Purpose::Node, [id.0, 0, 0]);
        let skew = shared.setup.pace.skew.as_millis() as u64;
        Node {
            id,
            life: None,
            disk: disk_of(id, shared.seed),
            buggify: shared.buggify_of(id.0),
            engine: MemEngine::default(),
            lives: 0,
            restart: 0,
            down_for: Duration::ZERO,
            paused_until: None,
            rot: 0,
            disk_is_lost: false,
            rotten: false,
            at_risk: false,
            lost: false,
            power_fails: false,
            machine_survives: false,
            dies_in_recovery: false,
            drift_usual_ppm,
            drift_ppm: drift_usual_ppm,
            wall_skew_ms: rng.between(0, 2 * skew) as i64 - skew as i64,
            extra_sync: Duration::ZERO,
            extra_apply: Duration::ZERO,
            extra_step: Duration::ZERO,
        }
    }

    /// Plans a start; an earlier plan is void.
    pub(crate) fn plan_start(&mut self, after: Duration, shared: &mut Shared) {
        self.restart += 1;
        let at = shared.now() + after;
        shared.queue.at(at, Coming::Start { node: self.id, restart: self.restart });
    }

    /// Its monotonic clock runs at another speed; `None` for its usual one.
    pub(crate) fn set_drift(&mut self, drift_ppm: Option<i64>, shared: &mut Shared) {
        self.drift_ppm = drift_ppm.unwrap_or(self.drift_usual_ppm);
        if let Some(life) = &mut self.life {
            life.drift(self.drift_ppm, shared);
        }
    }

    /// No planned start happens any more.
    pub(crate) fn stays_down(&mut self) {
        self.restart += 1;
    }

    /// Starts, if this is the latest plan: opens the disk and recovers a replica.
    pub(crate) fn start(&mut self, restart: u64, options: &Options, shared: &mut Shared) -> Result<(), Stop> {
        if restart != self.restart || self.life.is_some() || self.lost {
            return Ok(());
        }
        self.lives += 1;
        let kind = if self.lives == 1 { Kind::Spawn } else { Kind::Restart };
        shared.note(6, self.id, self.lives);
        shared.record(self.id, Stamp::NONE, kind, Details::none);
        self.lose_disk(shared);
        self.flip_bits(shared);
        let identity = Identity { cluster: CLUSTER, node: self.id };
        let log_options = self.log_options(options, shared);
        let open = || Log::open(self.disk.clone(), identity, log_options.clone());
        let mut opened = open();
        if opened.is_ok() && buggify!(self.buggify, "driver.open.twice") {
            opened = open();
        }
        let (log, recovery) = match opened {
            Ok(opened) => opened,
            // Without power nothing can be read; what that looks like to the log does not count.
            Err(error) if matches!(error, OpenLogError::Disk(_)) || self.disk.is_off() => {
                shared.record(self.id, Stamp::NONE, Kind::DiskFault, || Details::named(error.to_string()));
                self.lose_unsynced(shared);
                self.plan_start(RETRY, shared);
                return Ok(());
            }
            Err(error) if self.is_harmed() => {
                shared.record(self.id, Stamp::NONE, Kind::DiskFault, || Details::named(error.to_string()));
                self.lost = true;
                return Ok(());
            }
            Err(error) => return Err(Stop::broken("the log opens", format!("{:?}: {error}", self.id))),
        };
        let kv = open_state(self.engine.clone(), options)
            .map_err(|error| Stop::broken("the state opens", format!("{:?}: {error}", self.id)))?
            .with_buggify(self.buggify.clone());
        for fact in &recovery.report {
            shared.record(self.id, Stamp::NONE, Kind::DiskFault, || Details::named(fact.clone()));
        }
        shared.oracle.recovered(self.id, &recovery, kv.applied().0, self.harm())?;
        // What a killed process left in the system's cache is shown as well; recovery goes by it.
        if self.engine.persist().is_ok() {
            shared.oracle.persisted(self.id, kv.applied().0);
        }
        self.begin(log, recovery, kv, options, shared)
    }

    fn begin(
        &mut self,
        log: Log<SimDisk>,
        recovery: Recovery,
        kv: Kv<MemEngine>,
        options: &Options,
        shared: &mut Shared,
    ) -> Result<(), Stop> {
        let voters = shared.setup.voters();
        let founders = if voters.contains(&self.id) { Membership::of(voters) } else { Membership::default() };
        let config = P::config(self.id, founders, &shared.setup.tuning, options, &self.buggify);
        let dies = std::mem::take(&mut self.dies_in_recovery);
        let birth = Birth {
            id: self.id,
            number: self.lives,
            config,
            log,
            disk: self.disk.clone(),
            engine: self.engine.clone(),
            recovered: recovered(recovery, kv.applied(), state_membership(&kv)?),
            kv,
            submitter: self.submitter(options, shared),
            wall_skew_ms: self.wall_skew_ms,
            drift_ppm: self.drift_ppm,
            mutation: options.mutation(),
            buggify: self.buggify.clone(),
            armed: dies.then_some(CrashPoint::Recovery),
        };
        let (mut life, began) = Life::begin(birth, shared);
        life.extra_sync = self.extra_sync;
        life.extra_apply = self.extra_apply;
        life.extra_step = self.extra_step;
        self.life = Some(life);
        began
    }

    fn submitter(&self, options: &Options, shared: &Shared) -> Submitter {
        let life = if options.mutation().draws_sessions() { self.lives } else { 1 };
        let mut rng = keys::rng(shared.seed, Purpose::Node, [self.id.0, life, 1]);
        let session = SessionId(u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64()));
        let config = SubmitterConfig {
            retry_after: shared.setup.tuning.election,
            hold_max: shared.setup.tuning.hold,
            batch_bytes_max: shared.setup.tuning.batch_bytes,
            buggify: self.buggify.clone(),
            #[cfg(feature = "planted")]
            planted: options.planted.and_then(crate::bugbank::Bug::in_submitter),
        };
        Submitter::new(session, config)
    }

    /// Dies: what was not synced may be lost, in part or whole.
    pub(crate) fn crash(&mut self, why: &'static str, shared: &mut Shared) {
        let Some(mut life) = self.life.take() else { return };
        shared.counters.crashes += 1;
        shared.note(7, self.id, life.number);
        shared.record(self.id, Stamp::NONE, Kind::Crash, || Details::named(why));
        life.abandon(shared);
        shared.watchers.left(self.id);
        drop(life);
        self.paused_until = None;
        self.lose_unsynced(shared);
        let mut down_for = std::mem::take(&mut self.down_for);
        if buggify!(self.buggify, "driver.restart.at_once") {
            down_for = Duration::ZERO;
        }
        self.plan_start(down_for.max(Duration::from_millis(1)), shared);
    }

    /// The power fails, or only the process dies and the system keeps what was written.
    fn lose_unsynced(&mut self, shared: &Shared) {
        let mut rng = keys::rng(shared.seed, Purpose::Disk, [self.id.0, self.lives, 0]);
        let power_fails = std::mem::take(&mut self.power_fails);
        let process_only = rng.below(3) == 0 || self.machine_survives;
        if process_only && !self.disk.is_off() && !power_fails {
            self.disk.kill();
        } else {
            self.disk.crash(&mut rng);
            self.engine.crash();
        }
    }

    /// Lets the current life end at `point`, or after some patience.
    pub(crate) fn arm(&mut self, point: CrashPoint, fault: u64, shared: &mut Shared) -> Result<(), Stop> {
        let Some(life) = &mut self.life else { return Ok(()) };
        match point {
            CrashPoint::Now => return Err(Stop::Crash("fault")),
            CrashPoint::Recovery => {
                self.dies_in_recovery = true;
                return Err(Stop::Crash("fault"));
            }
            _ => life.armed = Some(point),
        }
        let work = Work::Die { fault };
        let at = shared.now() + PATIENCE;
        shared.queue.at(at, Coming::Work { node: self.id, life: life.number, work });
        Ok(())
    }

    /// Whether bits of its disk have ever flipped. Damage may lie there unseen for a long time, so such a node
    /// is never counted on again.
    pub(crate) fn was_rotten(&self) -> bool {
        self.at_risk || self.rot > 0 || self.disk_is_lost || self.is_harmed()
    }

    /// Whether its disk has done harm to what was durable.
    fn is_harmed(&self) -> bool {
        self.rotten || self.disk.is_damaged()
    }

    /// What the disk has done to what was durable.
    fn harm(&self) -> Harm {
        match self.disk.may_forget() {
            true => Harm::LostWrite,
            false if self.is_harmed() => Harm::Rot,
            false => Harm::None,
        }
    }

    fn lose_disk(&mut self, shared: &mut Shared) {
        if !std::mem::take(&mut self.disk_is_lost) {
            return;
        }
        self.rotten = true;
        self.disk = disk_of(self.id, shared.seed ^ self.lives);
        self.engine = MemEngine::default();
        shared.oracle.lost_disk(self.id);
        shared.record(self.id, Stamp::NONE, Kind::DiskFault, || Details::named("lost"));
    }

    fn log_options(&self, options: &Options, shared: &Shared) -> LogOptions {
        #[cfg(not(feature = "planted"))]
        let _ = options;
        LogOptions {
            buggify: self.buggify.clone(),
            #[cfg(feature = "planted")]
            planted: options.planted.and_then(crate::bugbank::Bug::in_log),
            ..LogOptions::with_segment_bytes(shared.setup.pace.segment_bytes)
        }
    }

    fn flip_bits(&mut self, shared: &mut Shared) {
        let rot = std::mem::take(&mut self.rot);
        if rot == 0 {
            return;
        }
        self.rotten = true;
        let mut rng = keys::rng(shared.seed, Purpose::Disk, [self.id.0, self.lives, 1]);
        for _ in 0..rot {
            flip_bit(&self.disk, &mut rng);
        }
        shared.record(self.id, Stamp::NONE, Kind::DiskFault, || {
            Details::named("rot").field("bits", u64::from(rot))
        });
    }
}

fn open_state(engine: MemEngine, options: &Options) -> Result<Kv<MemEngine>, OpenKvError> {
    #[cfg(feature = "planted")]
    return Kv::open_planted(engine, options.planted.and_then(crate::bugbank::Bug::in_state));
    #[cfg(not(feature = "planted"))]
    {
        let _ = options;
        Kv::open(engine)
    }
}

/// A disk whose particulars are its own.
fn disk_of(id: NodeId, seed: u64) -> SimDisk {
    let disk = SimDisk::default();
    disk.set_plan(Plan::random(keys::rng(seed, Purpose::Disk, [id.0, 0, 2]).next_u64(), []));
    disk.keep_last_write(!LAST_WRITES_MAY_VANISH);
    disk
}

fn flip_bit(disk: &SimDisk, rng: &mut Rng) {
    let names = disk.names();
    let Some(name) = rng.pick(&names) else { return };
    let size = disk.content(name).map_or(0, |content| content.len() as u64);
    disk.flip_bit(name, rng.below(size), rng.below(8) as u32);
}

/// What recovery found, decoded. A record that is intact but cannot be decoded counts as damaged.
fn recovered<P: Subject>(
    recovery: Recovery,
    applied: (Slot, types::Epoch),
    membership: Membership,
) -> Recovered<P> {
    Recovered {
        meta: decoded(recovery.meta),
        first: recovery.first,
        log: recovery.records.into_iter().map(decoded).collect(),
        tail_damaged: recovery.tail_damaged,
        applied,
        membership,
    }
}

fn state_membership(kv: &Kv<MemEngine>) -> Result<Membership, Stop> {
    let stored = kv.membership().map_err(|error| Stop::broken("the state opens", error.to_string()))?;
    Ok(membership(stored))
}

/// What a state machine keeps about who takes part; nobody if no entry ever said it.
pub(crate) fn membership(stored: Option<bytes::Bytes>) -> Membership {
    stored.and_then(|bytes| Membership::from_bytes(bytes).ok()).unwrap_or_default()
}

fn decoded<T: Wire>(state: SlotState<bytes::Bytes>) -> SlotState<T> {
    match state {
        SlotState::Ok(bytes) => T::from_bytes(bytes).map_or(SlotState::Damaged, SlotState::Ok),
        SlotState::Missing => SlotState::Missing,
        SlotState::Damaged => SlotState::Damaged,
    }
}

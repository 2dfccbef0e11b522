//! What a seed decides before anything happens: the cluster, its speeds, its clients and its climate.
//!
//! Swarm testing: each run switches whole classes of faults and operations off, and draws the intensity of the
//! rest, because a run that does a little of everything seldom does enough of one thing.
//!
//! # Source
//! Groce, Zhang, Eide, Chen, Regehr, "Swarm Testing", ISSTA 2012.

use std::time::Duration;

use storage::{Act, DiskFault};
use types::{NodeId, Rng};

use crate::keys::{self, Purpose};
use crate::schedule::Weather;

/// Everything about a run that is fixed before it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Replicas that the group begins with, `n1` and up.
    pub nodes: u64,
    /// Nodes after these that are no members yet.
    pub spares: u64,
    /// How long clients and faults go on before the cluster is healed.
    pub storm: Duration,
    /// Speeds of the machines.
    pub pace: Pace,
    /// Sizes and time-outs that the protocol is configured with.
    pub tuning: Tuning,
    /// What clients do.
    pub workload: Workload,
    /// What goes wrong, and how often.
    pub climate: Climate,
}

/// How long things take on a machine. Pairs are least and most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// From an input's arrival to the batch that takes it.
    pub step: (Duration, Duration),
    /// From a write to the end of its sync.
    pub sync: (Duration, Duration),
    /// From committed entries to their effect.
    pub apply: (Duration, Duration),
    /// How far wall clocks stand apart, at most.
    pub skew: Duration,
    /// How much monotonic clocks gain or lose, at most, in parts per million.
    pub drift_ppm: u64,
    /// One node whose clock is ten times as wrong as that.
    pub worst_clock: Option<NodeId>,
    /// How often the state engine makes itself durable behind everybody's back, a batch, in parts per million.
    pub engine_persist_ppm: u32,
    /// Replicas are compared after every slot that is a multiple of this.
    pub compare_every: u64,
    /// Bytes of a log segment.
    pub segment_bytes: u64,
}

/// Sizes and time-outs of a replica, in terms that every protocol knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// How often a leader says that it lives.
    pub heartbeat: Duration,
    /// A follower campaigns after between once and twice this long without a leader.
    pub election: Duration,
    /// Entries are sent in messages of at most this many bytes (or one entry).
    pub message_bytes: u64,
    /// Messages under way to one peer.
    pub window_messages: u64,
    /// A checkpoint is taken after this many entries.
    pub checkpoint_entries: u64,
    /// Entries that stay in the log below a checkpoint, for slow followers.
    pub keep_entries: u64,
    /// Bytes of a checkpoint's chunk.
    pub chunk_bytes: u64,
    /// Bytes of one proposal of a submitter.
    pub batch_bytes: u64,
    /// How long a submitter lets commands gather behind the proposal before them.
    pub hold: Duration,
    /// Committed entries that the state machine takes at once.
    pub apply_entries: u64,
    /// Bytes of old entries that a replica keeps in memory.
    pub cache_bytes: u64,
    /// Without work until a group falls silent.
    pub quiesce_after: Option<Duration>,
    /// Who shall lead rather than others.
    pub preferred: Option<NodeId>,
    /// Lease reads, and how far clocks may be from true, in parts per million.
    pub lease_drift_ppm: Option<u64>,
}

/// What clients do. Weights are relative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// How many clients; each waits for an answer before it asks again.
    pub clients: u64,
    /// How many keys they share.
    pub keys: u64,
    /// How long a client waits between an answer and its next question, at most.
    pub think: Duration,
    /// How long a client waits for an answer.
    pub patience: Duration,
    /// How often a client moves to another node after an answer, in parts per million.
    pub roam_ppm: u32,
    /// Weights of the operations.
    pub mix: OpMix,
}

/// Relative frequencies of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpMix {
    /// Put a unique value.
    pub put: u32,
    /// Linearizable get.
    pub get: u32,
    /// Serializable get: possibly stale, never invented.
    pub stale_get: u32,
    /// Delete a key.
    pub delete: u32,
    /// Put if the key still holds what this client saw last.
    pub swap: u32,
    /// Write two keys at once.
    pub pair: u32,
}

/// What goes wrong. Weights are relative, 0 switches a class off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Climate {
    /// What every message meets.
    pub net: Weather,
    /// Mean time between faults.
    pub gap: Duration,
    /// How long a fault lasts, at most.
    pub fault_max: Duration,
    /// One node crashes.
    pub crash: u32,
    /// All nodes crash at once.
    pub blackout: u32,
    /// A node crashes, and bits of its disk flip.
    pub rot: u32,
    /// A node loses its disk.
    pub wipe: u32,
    /// Disks refuse, lie and lose power at the effects that `disk_acts` and `disk_faults` leave.
    pub disk: u32,
    /// What goes wrong with disks in this world,
    pub disk_faults: Vec<DiskFault>,
    /// and with which of their effects.
    pub disk_acts: Vec<Act>,
    /// A node stands still.
    pub pause: u32,
    /// Links are cut.
    pub cut: u32,
    /// Links are clogged.
    pub clog: u32,
    /// Weather gets worse for a while.
    pub storm: u32,
    /// Slow disks and slow state machines.
    pub slow: u32,
    /// Wall clocks jump, and monotonic ones change their speed.
    pub clock: u32,
    /// A row of short-lived leaders, each reaching only a few others: what unfinished replication needs.
    pub churn: u32,
    /// A row of elections whose voters die as soon as they have voted.
    pub split_vote: u32,
    /// The operator changes the membership.
    pub member: u32,
    /// The operator moves leadership.
    pub transfer: u32,
    /// Connections break.
    pub reset: u32,
    /// Somebody proposes what is no command.
    pub poison: u32,
}

impl Weather {
    /// A quiet local network.
    pub const FAIR: Weather = Weather {
        loss_ppm: 0,
        dup_ppm: 0,
        delay_min: Duration::from_micros(100),
        delay_max: Duration::from_micros(500),
    };
}

impl Setup {
    /// Draws a setup. `nodes` fixes the size of the cluster.
    pub fn draw(seed: u64, nodes: Option<u64>) -> Setup {
        let mut rng = keys::rng(seed, Purpose::Setup, [0; 3]);
        let drawn = *rng.pick(&[3, 3, 3, 3, 3, 5, 5, 5, 5, 1, 2, 4]).unwrap_or(&3);
        let storm = ms(&mut rng, 4_000, 9_000);
        let mut tuning = Tuning::draw(&mut rng);
        let mut clocks = keys::rng(seed, Purpose::Clock, [0; 3]);
        let bound_ppm = *clocks.pick(&[1_000, 10_000, 50_000]).unwrap_or(&1_000);
        tuning.lease_drift_ppm = (clocks.below(2) == 0).then_some(bound_ppm);
        let mut habits = keys::rng(seed, Purpose::Setup, [1, 0, 0]);
        tuning.quiesce_after = (habits.below(3) == 0).then(|| tuning.heartbeat * 3);
        tuning.preferred = (habits.below(4) == 0).then(|| NodeId(habits.between(1, 3)));
        let drift_ppm = if clocks.below(3) == 0 { 0 } else { bound_ppm * 9 / 10 };
        let worst_clock = (clocks.below(4) == 0).then(|| NodeId(clocks.between(1, 5)));
        let setup = Setup {
            nodes: nodes.unwrap_or(drawn),
            spares: Climate::spares(seed),
            storm,
            pace: Pace { drift_ppm, worst_clock, ..Pace::draw(&mut rng) },
            workload: Workload::draw(&mut rng, storm),
            climate: Climate::draw(&mut rng, tuning.election, seed),
            tuning,
        };
        setup.slowed(*habits.pick(&[1, 1, 1, 1, 1, 1, 1, 1, 10, 100]).unwrap_or(&1))
    }

    /// The same in slow motion: clients, time-outs and faults take `times` as long, machines and links do not. What only
    /// shows after minutes is met so: sessions that expire, clocks that drift far apart.
    fn slowed(mut self, times: u32) -> Setup {
        self.storm *= times;
        self.tuning.heartbeat *= times;
        self.tuning.election *= times;
        self.tuning.quiesce_after = self.tuning.quiesce_after.map(|after| after * times);
        self.workload.think *= times;
        self.workload.patience *= times;
        self.climate.gap *= times;
        self.climate.fault_max *= times;
        self
    }

    /// Who takes part in the beginning.
    pub fn voters(&self) -> Vec<NodeId> {
        (1..=self.nodes).map(NodeId).collect()
    }

    /// The ids of all nodes.
    pub fn ids(&self) -> Vec<NodeId> {
        (1..=self.nodes + self.spares).map(NodeId).collect()
    }
}

impl Pace {
    /// How much the clock of one node usually gains.
    pub(crate) fn drift_of(&self, seed: u64, id: NodeId) -> i64 {
        let mut rng = keys::rng(seed, Purpose::Clock, [id.0, 1, 0]);
        let most = i64::try_from(self.drift_ppm).unwrap_or(0);
        match self.worst_clock == Some(id) {
            true => *rng.pick(&[-10 * most, 10 * most]).unwrap_or(&0),
            false => rng.between(0, 2 * self.drift_ppm) as i64 - most,
        }
    }

    fn draw(rng: &mut Rng) -> Pace {
        let sync_most = us_of(rng, &[200, 1_000, 5_000, 20_000]);
        let apply_most = us_of(rng, &[50, 500, 5_000, 20_000]);
        Pace {
            step: (Duration::ZERO, us_of(rng, &[0, 20, 100, 1_000])),
            sync: (sync_most / 4, sync_most),
            apply: (apply_most / 4, apply_most),
            skew: ms(rng, 0, 500),
            drift_ppm: 0,
            worst_clock: None,
            engine_persist_ppm: *rng.pick(&[0, 10_000, 200_000]).unwrap_or(&0),
            segment_bytes: *rng.pick(&[4 << 10, 8 << 10, 32 << 10]).unwrap_or(&(8 << 10)),
            compare_every: *rng.pick(&[4, 64, 64, 64]).unwrap_or(&64),
        }
    }
}

impl Tuning {
    fn draw(rng: &mut Rng) -> Tuning {
        let heartbeat = ms(rng, 20, 60);
        let checkpoint_entries = *rng.pick(&[8, 30, 100, 100_000]).unwrap_or(&100);
        Tuning {
            heartbeat,
            election: heartbeat * u32::try_from(rng.between(4, 8)).unwrap_or(4),
            message_bytes: *rng.pick(&[1, 300, 2_000, 64 << 10]).unwrap_or(&2_000),
            window_messages: *rng.pick(&[1, 4, 16, 64]).unwrap_or(&16),
            checkpoint_entries,
            keep_entries: *rng.pick(&[0, 5, 50]).unwrap_or(&5),
            chunk_bytes: *rng.pick(&[200, 1_000, 16 << 10]).unwrap_or(&1_000),
            batch_bytes: *rng.pick(&[1, 500, 1 << 20]).unwrap_or(&500),
            hold: us_of(rng, &[0, 1_000, 5_000]),
            apply_entries: *rng.pick(&[1, 7, 64]).unwrap_or(&7),
            quiesce_after: None,
            preferred: None,
            lease_drift_ppm: None,
            cache_bytes: *rng.pick(&[0, 500, 1 << 20]).unwrap_or(&500),
        }
    }
}

impl Workload {
    fn draw(rng: &mut Rng, storm: Duration) -> Workload {
        let clients = rng.between(3, 12);
        let operations = rng.between(200, 500);
        let each = storm.as_micros() as u64 * clients / operations;
        let mut switch = |most: u64| if rng.below(3) == 0 { 0 } else { rng.between(1, most) as u32 };
        let mix = OpMix {
            put: 1 + switch(10),
            get: 1 + switch(10),
            stale_get: switch(3),
            delete: switch(3),
            swap: switch(6),
            pair: switch(4),
        };
        Workload {
            clients,
            keys: rng.between(1, 5),
            think: Duration::from_micros(each * 2),
            patience: ms(rng, 300, 2_000),
            roam_ppm: *rng.pick(&[0, 20_000, 200_000]).unwrap_or(&0),
            mix,
        }
    }
}

impl Climate {
    /// Half of the worlds have nodes to spare, and somebody who puts them to use.
    fn spares(seed: u64) -> u64 {
        let mut rng = keys::rng(seed, Purpose::Operator, [u64::MAX, 0, 0]);
        if rng.below(2) == 0 { 0 } else { rng.between(1, 3) }
    }

    fn draw(rng: &mut Rng, election: Duration, seed: u64) -> Climate {
        let mut operator = keys::rng(seed, Purpose::Operator, [u64::MAX, 1, 0]);
        let member = if Climate::spares(seed) > 0 { operator.between(3, 15) as u32 } else { 0 };
        let transfer = if operator.below(2) == 0 { operator.between(1, 4) as u32 } else { 0 };
        let wipe = if operator.below(3) == 0 { 1 } else { 0 };
        let mut links = keys::rng(seed, Purpose::Link, [u64::MAX, 0, 0]);
        let reset = if links.below(2) == 0 { links.between(1, 5) as u32 } else { 0 };
        let mut clients = keys::rng(seed, Purpose::Client, [u64::MAX, 0, 0]);
        let poison = if clients.below(2) == 0 { clients.between(1, 4) as u32 } else { 0 };
        let mut disks = keys::rng(seed, Purpose::Disk, [u64::MAX, 0, 0]);
        let mut switch = |most: u64| if rng.below(2) == 0 { 0 } else { rng.between(1, most) as u32 };
        let mut climate = Climate {
            net: Weather::FAIR,
            gap: Duration::ZERO,
            fault_max: Duration::ZERO,
            crash: switch(10),
            blackout: switch(4),
            rot: switch(3),
            wipe,
            disk: if disks.below(2) == 0 { 0 } else { disks.between(1, 10) as u32 },
            disk_faults: some_of(&DiskFault::ALL, &mut disks),
            disk_acts: some_of(&Act::ALL, &mut disks),
            pause: switch(5),
            cut: switch(10),
            clog: switch(5),
            storm: switch(6),
            slow: switch(4),
            clock: switch(2),
            churn: switch(8),
            split_vote: switch(4),
            member,
            transfer,
            reset,
            poison,
        };
        climate.gap = ms(rng, 60, 500);
        climate.fault_max = election * u32::try_from(rng.between(1, 8)).unwrap_or(4);
        climate.net = Weather {
            loss_ppm: *rng.pick(&[0, 0, 1_000, 10_000, 50_000]).unwrap_or(&0),
            dup_ppm: *rng.pick(&[0, 0, 1_000, 20_000, 100_000]).unwrap_or(&0),
            delay_min: us_of(rng, &[20, 100, 1_000]),
            delay_max: us_of(rng, &[1_000, 1_000, 5_000, 20_000]),
        };
        climate
    }
}

/// Each with an even chance.
fn some_of<T: Copy>(all: &[T], rng: &mut Rng) -> Vec<T> {
    all.iter().copied().filter(|_| rng.below(2) == 0).collect()
}

fn ms(rng: &mut Rng, low: u64, high: u64) -> Duration {
    Duration::from_millis(rng.between(low, high))
}

fn us_of(rng: &mut Rng, choices: &[u64]) -> Duration {
    Duration::from_micros(*rng.pick(choices).unwrap_or(&0))
}

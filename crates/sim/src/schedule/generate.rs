//! Draws a schedule from a seed, after the climate of its setup.

use std::collections::BTreeSet;
use std::time::Duration;

use storage::Armed;
use types::{NodeId, Rng, Time};

use super::{CrashPoint, Fault, MemberChange, Schedule, Shape, Target, Timed, Weather};
use crate::keys::{self, Purpose};
use crate::setup::{Climate, Setup};

/// Clients and a first leader get this long before the first fault.
const QUIET_START: Duration = Duration::from_millis(300);

/// Draws the faults of a run: none begins after the storm ends.
pub(crate) fn generate(seed: u64, setup: &Setup) -> Schedule {
    let mut faults = Vec::new();
    let end = Time(0) + setup.storm;
    let mut at = Time(0) + QUIET_START;
    for number in 0.. {
        // Keyed by its number, so that another way of drawing one fault leaves the others alone.
        let mut rng = keys::rng(seed, Purpose::Faults, [number, 0, 0]);
        at = at + micros(&mut rng, Duration::from_millis(1), setup.climate.gap * 2);
        if at >= end {
            break;
        }
        let mut draw = Draw { rng, setup, at };
        faults.extend(draw.next());
    }
    faults.sort_by_key(|timed: &Timed| timed.at);
    Schedule { net: setup.climate.net, faults }
}

struct Draw<'a> {
    rng: Rng,
    setup: &'a Setup,
    at: Time,
}

impl Draw<'_> {
    /// One fault, or a row of faults that belong together.
    fn next(&mut self) -> Vec<Timed> {
        let Climate { crash, blackout, rot, pause, cut, clog, storm, slow, clock, churn, .. } =
            self.setup.climate;
        let Climate { split_vote, member, transfer, wipe, reset, poison, disk, .. } = self.setup.climate;
        let weights = [
            crash, blackout, rot, pause, cut, clog, storm, slow, clock, churn, split_vote, member, transfer,
            wipe, reset, poison, disk,
        ];
        let fault = match self.weighted(&weights) {
            Some(0) => self.crash(),
            Some(1) => self.blackout(),
            Some(2) => self.rot(),
            Some(3) => Fault::Pause { who: self.target() },
            Some(4) => Fault::Cut { shape: self.shape() },
            Some(5) => Fault::Clog { shape: self.shape() },
            Some(6) => Fault::Storm { shape: self.shape_or_all(), net: self.bad_weather() },
            Some(7) => self.slow(),
            Some(8) => return self.clock(),
            Some(9) => return self.churn(),
            Some(10) => return self.split_vote(),
            Some(11) => return self.members(),
            Some(12) => self.transfer(),
            Some(13) => Fault::Wipe { who: self.target() },
            Some(14) => Fault::Reset { shape: self.shape_or_all() },
            Some(15) => Fault::Poison { who: self.target() },
            Some(16) => return self.disk(),
            _ => return Vec::new(),
        };
        let lasts = self.lasts();
        vec![Timed { at: self.at, lasts, fault }]
    }

    fn crash(&mut self) -> Fault {
        let points = [
            CrashPoint::Now,
            CrashPoint::Now,
            CrashPoint::Write,
            CrashPoint::Disk,
            CrashPoint::Sync,
            CrashPoint::SyncFails,
            CrashPoint::Synced,
            CrashPoint::Promised,
            CrashPoint::Send,
            CrashPoint::Apply,
            CrashPoint::Checkpoint,
            CrashPoint::Recovery,
        ];
        let point = *self.rng.pick(&points).unwrap_or(&CrashPoint::Now);
        Fault::Crash { who: self.target(), point, rot: 0 }
    }

    fn blackout(&mut self) -> Fault {
        let points =
            [CrashPoint::Now, CrashPoint::Now, CrashPoint::Sync, CrashPoint::Synced, CrashPoint::Send];
        let point = *self.rng.pick(&points).unwrap_or(&CrashPoint::Now);
        Fault::Crash { who: Target::All, point, rot: 0 }
    }

    fn rot(&mut self) -> Fault {
        let rot = self.rng.between(1, 3) as u32;
        Fault::Crash { who: self.target(), point: CrashPoint::Now, rot }
    }

    /// A disk that goes wrong, and where that takes a restart to be met, a crash.
    fn disk(&mut self) -> Vec<Timed> {
        let Climate { disk_faults, disk_acts, .. } = &self.setup.climate;
        let pairs = disk_faults.iter().flat_map(|fault| disk_acts.iter().map(|act| (*fault, *act)));
        let choices: Vec<_> = pairs.filter(|(fault, act)| fault.fits(*act)).collect();
        let Some((fault, act)) = self.rng.pick(&choices).copied() else { return Vec::new() };
        let skip = *self.rng.pick(&[0, 0, 1, 2, 5, 20]).unwrap_or(&0);
        // One lie at a time: who is told the same wrong thing twice cannot know.
        let times = if fault.is_damage(act) { 1 } else { *self.rng.pick(&[1, 1, 2, 5, 50]).unwrap_or(&1) };
        let who = Target::Node(NodeId(self.rng.between(1, self.setup.nodes + self.setup.spares)));
        let armed = Armed { act, fault, skip, times };
        let lasts = self.lasts() * 4;
        let mut row = vec![Timed { at: self.at, lasts, fault: Fault::Disk { who, armed } }];
        if !act.is_change() {
            let at = self.at + micros(&mut self.rng, Duration::ZERO, lasts / 2);
            row.push(Timed { at, lasts: self.lasts(), fault: self.crash_of(who) });
        }
        row
    }

    fn slow(&mut self) -> Fault {
        let who = self.target();
        let extra = micros(&mut self.rng, Duration::from_millis(5), Duration::from_millis(300));
        match self.rng.below(3) {
            0 => Fault::SlowDisk { who, extra },
            1 => Fault::SlowApply { who, extra },
            _ => Fault::SlowCpu { who, extra },
        }
    }

    /// One wish, or a spare node that comes and takes somebody's place.
    fn members(&mut self) -> Vec<Timed> {
        let Setup { nodes, spares, .. } = *self.setup;
        let anybody = |rng: &mut Rng| NodeId(rng.between(1, nodes + spares));
        let lasts = Duration::from_millis(1);
        let (spare, other) = (NodeId(self.rng.between(nodes + 1, nodes + spares)), anybody(&mut self.rng));
        let member = |who: NodeId, change| Fault::Member { who: Target::Node(who), change };
        if self.rng.below(3) == 0 {
            let later = micros(&mut self.rng, self.setup.tuning.election, self.setup.tuning.election * 8);
            let (first, second) = match self.rng.below(2) {
                0 => (member(spare, MemberChange::Add), member(other, MemberChange::Remove)),
                _ => (member(spare, MemberChange::AddLearner), member(spare, MemberChange::Replace(other))),
            };
            let row = [(self.at, first), (self.at + later, second)];
            return row.map(|(at, fault)| Timed { at, lasts, fault }).into();
        }
        let changes = [
            MemberChange::Add,
            MemberChange::Add,
            MemberChange::AddLearner,
            MemberChange::Promote,
            MemberChange::Remove,
            MemberChange::Remove,
            MemberChange::Describe,
        ];
        let change = *self.rng.pick(&changes).unwrap_or(&MemberChange::Add);
        let who = match self.rng.below(4) {
            0 => self.target(),
            1 => Target::Node(other),
            _ => Target::Node(spare),
        };
        vec![Timed { at: self.at, lasts, fault: Fault::Member { who, change } }]
    }

    fn transfer(&mut self) -> Fault {
        let to = if self.rng.below(3) == 0 { Target::All } else { self.target() };
        Fault::Transfer { to }
    }

    /// A clock that runs wrong, jumps, or jumps to and fro.
    fn clock(&mut self) -> Vec<Timed> {
        let (lasts, who) = (self.lasts(), self.target());
        let drift_ppm = self.setup.pace.drift_ppm;
        if drift_ppm > 0 && self.rng.below(2) == 0 {
            let ppm = self.rng.between(0, 2 * drift_ppm) as i64 - drift_ppm as i64;
            return vec![Timed { at: self.at, lasts, fault: Fault::Drift { who, ppm } }];
        }
        let step_ms = self.rng.between(0, 4_000) as i64 - 2_000;
        let fault = match self.rng.below(4) {
            0 => Fault::Suspend { who },
            1 => {
                let every = micros(&mut self.rng, Duration::from_millis(1), Duration::from_millis(50));
                // Some hundred times, in slow motion too.
                let every = every.max(Duration::from_millis(lasts.as_millis() as u64 / 200));
                Fault::Strobe { who, step_ms, every }
            }
            2 => return self.jumps(who, step_ms, lasts),
            _ => Fault::Clock { who, step_ms },
        };
        vec![Timed { at: self.at, lasts, fault }]
    }

    /// To and fro, each jump on its own: the clock may end elsewhere than it began.
    fn jumps(&mut self, who: Target, step_ms: i64, lasts: Duration) -> Vec<Timed> {
        let times = self.rng.between(4, 20);
        let period = micros(&mut self.rng, Duration::from_millis(1), self.setup.tuning.heartbeat * 2);
        let jump = |number| if number % 2 == 0 { step_ms } else { -step_ms };
        let row = (0..times).map(|number| Timed {
            at: self.at + period * number as u32,
            lasts,
            fault: Fault::Clock { who, step_ms: jump(number) },
        });
        row.collect()
    }

    /// Leaders that come and go while each is heard by a few only, so that logs part and meet again.
    fn churn(&mut self) -> Vec<Timed> {
        let election = self.setup.tuning.election;
        let mut row = Vec::new();
        let mut at = self.at;
        for _ in 0..self.rng.between(2, 6) {
            let lasts = micros(&mut self.rng, election / 2, election * 3);
            row.push(Timed { at, lasts, fault: self.leader_is_hardly_heard() });
            let later = at + micros(&mut self.rng, Duration::ZERO, election);
            let fault = match self.rng.below(4) {
                0 => Fault::Cut { shape: around(Target::Leader) },
                1 => Fault::Pause { who: Target::Leader },
                _ => self.crash_of(Target::Leader),
            };
            let lasts = micros(&mut self.rng, election / 4, election * 4);
            row.push(Timed { at: later, lasts, fault });
            at = later + micros(&mut self.rng, election / 2, election * 3);
        }
        row
    }

    /// Leaders vanish, and while candidates stand against each other, voters die as soon as they have voted and are back
    /// at once: a vote has to outlive its voter.
    fn split_vote(&mut self) -> Vec<Timed> {
        let election = self.setup.tuning.election;
        let mut row = Vec::new();
        let mut at = self.at;
        for _ in 0..self.rng.between(2, 5) {
            let lasts = micros(&mut self.rng, election * 2, election * 4);
            row.push(Timed { at, lasts, fault: Fault::Cut { shape: around(Target::Leader) } });
            let delay_max = micros(&mut self.rng, election / 64, election / 4);
            let net = Weather { loss_ppm: 0, dup_ppm: 0, delay_min: Duration::from_micros(10), delay_max };
            row.push(Timed { at, lasts, fault: Fault::Storm { shape: Shape::All, net } });
            for voter in self.setup.ids() {
                if self.rng.below(2) == 0 {
                    let lasts = micros(&mut self.rng, Duration::from_micros(10), election / 64);
                    let who = Target::Node(voter);
                    row.push(Timed {
                        at,
                        lasts,
                        fault: Fault::Crash { who, point: CrashPoint::Promised, rot: 0 },
                    });
                }
            }
            at = at + micros(&mut self.rng, election * 3, election * 6);
        }
        row
    }

    fn leader_is_hardly_heard(&mut self) -> Fault {
        let shape = Shape::Around { who: Target::Leader, says: true, hears: false };
        match self.rng.below(3) {
            0 => Fault::Clog { shape },
            1 => Fault::Cut { shape: self.shape() },
            _ => {
                let loss_ppm = self.rng.between(300_000, 900_000) as u32;
                Fault::Storm { shape, net: Weather { loss_ppm, ..self.setup.climate.net } }
            }
        }
    }

    fn crash_of(&mut self, who: Target) -> Fault {
        match self.crash() {
            Fault::Crash { point, rot, .. } => Fault::Crash { who, point, rot },
            other => other,
        }
    }

    fn target(&mut self) -> Target {
        match self.rng.below(10) {
            0..4 => Target::Leader,
            4..6 => Target::Follower,
            _ => Target::Node(NodeId(self.rng.between(1, self.setup.nodes + self.setup.spares))),
        }
    }

    fn shape_or_all(&mut self) -> Shape {
        if self.rng.below(2) == 0 { Shape::All } else { self.shape() }
    }

    fn shape(&mut self) -> Shape {
        let mut ids = self.setup.ids();
        for last in (1..ids.len()).rev() {
            ids.swap(last, self.rng.below(last as u64 + 1) as usize);
        }
        if ids.len() < 2 {
            return Shape::All;
        }
        let cut = self.rng.between(1, ids.len() as u64 - 1) as usize;
        let (left, right) = ids.split_at(cut);
        let group = |nodes: &[NodeId]| nodes.iter().copied().collect::<BTreeSet<_>>();
        match self.rng.below(8) {
            0 => Shape::Around { who: self.target(), says: true, hears: false },
            1 => Shape::Around { who: self.target(), says: false, hears: true },
            2 => around(self.target()),
            3 => Shape::OneWay { from: group(left), to: group(right) },
            4 => Shape::Groups(vec![group(&ids[..=cut]), group(right)]),
            5 => Shape::Groups(ids.windows(2).map(group).chain([BTreeSet::from([ids[0]])]).collect()),
            6 => Shape::Groups(vec![group(&ids[..1]), group(&ids[1..])]),
            _ => Shape::Groups(vec![group(left), group(right)]),
        }
    }

    fn bad_weather(&mut self) -> Weather {
        let net = self.setup.climate.net;
        let worst = micros(&mut self.rng, net.delay_max, Duration::from_millis(100));
        Weather {
            loss_ppm: *self.rng.pick(&[0, 50_000, 300_000, 800_000]).unwrap_or(&0),
            dup_ppm: *self.rng.pick(&[0, 50_000, 300_000]).unwrap_or(&0),
            delay_min: net.delay_min,
            delay_max: worst.max(net.delay_min),
        }
    }

    fn lasts(&mut self) -> Duration {
        micros(&mut self.rng, Duration::from_millis(5), self.setup.climate.fault_max)
    }

    fn weighted(&mut self, weights: &[u32]) -> Option<usize> {
        let mut rest = self.rng.below(weights.iter().map(|weight| u64::from(*weight)).sum());
        weights.iter().position(|weight| {
            let hit = rest < u64::from(*weight);
            rest = rest.saturating_sub(u64::from(*weight));
            hit
        })
    }
}

fn around(who: Target) -> Shape {
    Shape::Around { who, says: true, hears: true }
}

/// A duration of whole microseconds, which is what the text form can say.
fn micros(rng: &mut Rng, least: Duration, most: Duration) -> Duration {
    Duration::from_micros(rng.between(least.as_micros() as u64, most.as_micros() as u64))
}

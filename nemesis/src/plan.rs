//! The plan: which fault begins when, on whom, how hard, for how long. A document, drawn from a seed.
//!
//! ```text
//!   # 3 nodes, 120 s, seed 7
//!      4.0 s  kill       one from leader       for 2.1 s
//!     12.5 s  loss       one from n2           for 8.0 s  percent=30
//! ```
//!
//! Who leads is not known beforehand, so victims are named by their place in the ring of nodes: so many, beginning
//! with the leader of that moment or with a given node.

use std::fmt;
use std::time::Duration;

use types::Rng;

use crate::faults::{Kind, Lane};

/// What will be done to a cluster.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it was drawn from.
    pub seed: u64,
    /// How many nodes it is for.
    pub nodes: usize,
    /// How long clients work.
    pub length: Duration,
    /// Whether faults may overlap; if not, the cluster recovers from each before the next.
    pub mixed: bool,
    /// In the order in which they begin.
    pub faults: Vec<Fault>,
}

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// When it begins, from the start of the load.
    pub at: Duration,
    /// How long it lasts.
    pub hold: Duration,
    /// What it is.
    pub kind: &'static Kind,
    /// On whom.
    pub victims: Victims,
    /// How hard, in the kind's unit; 0 for kinds that know no degrees.
    pub amount: u64,
}

/// Nodes of the ring, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Victims {
    /// How many.
    pub count: Count,
    /// Beginning with whom; `None` is the leader.
    pub first: Option<usize>,
}

/// How many nodes a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// One.
    One,
    /// As many as must not be missing: half of them, rounded up.
    Majority,
    /// All.
    All,
}

/// Faults begin after clients have had this long to begin.
const CALM_START: Duration = Duration::from_secs(3);

/// Between two faults: long enough to see that the cluster works, short enough for many.
const PAUSE_MS: (u64, u64) = (1_000, 3_000);

/// In a lane of a mixture: with all lanes at work, the cluster must get somewhere in between, members above all.
const PAUSE_MIXED_MS: (u64, u64) = (1_000, 14_000);

impl Plan {
    /// Draws a plan of these kinds.
    pub fn draw(seed: u64, nodes: usize, length: Duration, mixed: bool, kinds: &[&'static Kind]) -> Plan {
        let kinds: Vec<&'static Kind> =
            kinds.iter().copied().filter(|kind| kind.nodes_min <= nodes).collect();
        let lanes: &[Lane] = if mixed { &Lane::ALL } else { &[Lane::Process] };
        let mut faults = Vec::new();
        let damaged = kinds.iter().any(|kind| kind.damages).then(|| damaged_node(seed, nodes));
        for (number, lane) in lanes.iter().enumerate() {
            let of_lane: Vec<&'static Kind> =
                kinds.iter().copied().filter(|kind| !mixed || kind.lane == *lane).collect();
            let mut rng = Rng::keyed(seed, &[number as u64]);
            let pause_ms = if mixed { PAUSE_MIXED_MS } else { PAUSE_MS };
            draw_lane(&mut rng, &of_lane, pause_ms, damaged, nodes, length, &mut faults);
        }
        faults.sort_by_key(|fault| fault.at);
        Plan { seed, nodes, length, mixed, faults }
    }
}

/// One fault after the other, each kind as often as any other.
fn draw_lane(
    rng: &mut Rng,
    kinds: &[&'static Kind],
    pause_ms: (u64, u64),
    damaged: Option<usize>,
    nodes: usize,
    length: Duration,
    faults: &mut Vec<Fault>,
) {
    let mut at = CALM_START + millis(rng, (0, pause_ms.1));
    let mut bag: Vec<&'static Kind> = Vec::new();
    while !kinds.is_empty() {
        if bag.is_empty() {
            bag = kinds.to_vec();
        }
        let kind = bag.swap_remove(usize::try_from(rng.below(bag.len() as u64)).unwrap_or_default());
        let fault = draw(rng, kind, damaged, nodes, at);
        let end = at + fault.hold;
        if end > length {
            return;
        }
        faults.push(fault);
        at = end + millis(rng, pause_ms);
    }
}

fn draw(rng: &mut Rng, kind: &'static Kind, damaged: Option<usize>, nodes: usize, at: Duration) -> Fault {
    let count = rng.pick(kind.counts).copied().unwrap_or(Count::One);
    let node = Some(usize::try_from(rng.below(nodes as u64)).unwrap_or_default());
    let victims = Victims {
        count,
        first: match () {
            // What a correct cluster must survive is damage to one disk, so one node has all of it, and only that
            // one is ever missed as a member.
            () if kind.damages || (kind.changes_members && damaged.is_some()) => damaged,
            () if rng.below(2) == 0 => None,
            () => node,
        },
    };
    let amount = kind.amount.map_or(0, |amount| rng.between(amount.low, amount.high));
    Fault { at, hold: millis(rng, kind.hold_ms), kind, victims, amount }
}

/// The one node whose disk a plan may damage.
fn damaged_node(seed: u64, nodes: usize) -> usize {
    usize::try_from(Rng::keyed(seed, &[0xd15c]).below(nodes as u64)).unwrap_or_default()
}

fn millis(rng: &mut Rng, (low, high): (u64, u64)) -> Duration {
    Duration::from_millis(rng.between(low, high))
}

impl Victims {
    /// Their places, given the leader's (of any node if there is none).
    pub fn resolve(self, leader: Option<usize>, nodes: usize) -> Vec<usize> {
        let first = self.first.or(leader).unwrap_or_default();
        let count = match self.count {
            Count::One => 1,
            Count::Majority => nodes.div_ceil(2),
            Count::All => nodes,
        };
        (0..count).map(|step| (first + step) % nodes).collect()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (nodes, length, seed) = (self.nodes, self.length.as_secs(), self.seed);
        let order = if self.mixed { "overlapping" } else { "one after the other" };
        writeln!(f, "# {nodes} nodes, {length} s, seed {seed}, {} faults {order}", self.faults.len())?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "{fault}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, hold) = (self.at.as_secs_f64(), self.hold.as_secs_f64());
        let (name, victims) = (self.kind.name, self.victims.to_string());
        write!(f, "{at:7.1} s  {name:<16} {victims:<22} for {hold:4.1} s")?;
        match self.kind.amount {
            Some(amount) => write!(f, "  {}={}", amount.unit, self.amount),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Victims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = match self.count {
            Count::One => "one",
            Count::Majority => "majority",
            Count::All => return f.write_str("all"),
        };
        match self.first {
            None => write!(f, "{count} from leader"),
            Some(first) => write!(f, "{count} from n{}", first + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults;

    fn plan(seed: u64, mixed: bool) -> Plan {
        let kinds: Vec<&'static Kind> = faults::all().collect();
        Plan::draw(seed, 3, Duration::from_secs(600), mixed, &kinds)
    }

    #[test]
    fn a_seed_always_draws_the_same_plan() {
        assert_eq!(plan(7, false).to_string(), plan(7, false).to_string());
        assert_ne!(plan(7, false).to_string(), plan(8, false).to_string());
    }

    #[test]
    fn faults_do_not_overlap_unless_mixed() {
        let overlaps =
            |plan: &Plan| plan.faults.windows(2).any(|pair| pair[0].at + pair[0].hold > pair[1].at);
        assert!(!overlaps(&plan(1, false)));
        assert!(overlaps(&plan(1, true)));
    }

    #[test]
    fn all_damage_is_on_one_node_and_only_that_one_is_replaced() {
        let plan = plan(3, true);
        let strikes = |fault: &&Fault| fault.kind.damages || fault.kind.changes_members;
        let damaged: Vec<_> = plan.faults.iter().filter(strikes).collect();
        assert!(damaged.iter().all(|fault| fault.victims.first == damaged[0].victims.first));
    }

    #[test]
    fn victims_follow_the_leader_around_the_ring() {
        let of = |count, first| Victims { count, first }.resolve(Some(2), 3);
        assert_eq!(of(Count::One, None), [2]);
        assert_eq!(of(Count::Majority, None), [2, 0]);
        assert_eq!(of(Count::All, Some(1)), [1, 2, 0]);
    }
}

//! What becomes of one message: lost, late, doubled, held back, or simply delivered.
//!
//! A message's fate is drawn with a key of (link, moment, which message of that moment), so it does not depend
//! on anything that happens elsewhere. Delays differ from message to message, which is also what reorders them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use types::{NodeId, Rng, Time};

use crate::keys::{self, Purpose};
use crate::schedule::Weather;

/// From one node to another.
pub(crate) type Link = (NodeId, NodeId);

/// All links, and the faults that stand on them.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    base: Weather,
    effects: BTreeMap<u64, Effect>,
    /// Messages that each link has taken in the current bucket of time.
    bucket: BTreeMap<Link, (u64, u64)>,
}

#[derive(Debug)]
struct Effect {
    links: BTreeSet<Link>,
    what: Disturbance,
}

/// What a fault does to the links it stands on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Disturbance {
    /// Everything is lost.
    Cut,
    /// Everything is held back until then.
    Clog(Time),
    /// Worse weather.
    Storm(Weather),
}

/// When a message arrives: never, once or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) arrives: Option<Time>,
    pub(crate) again: Option<Time>,
}

/// Messages of one link within one bucket are told apart by their count.
const BUCKET: Duration = Duration::from_millis(1);

impl Network {
    pub(crate) fn new(seed: u64, base: Weather) -> Network {
        Network { seed, base, effects: BTreeMap::new(), bucket: BTreeMap::new() }
    }

    /// Puts a disturbance on some links, under the number of its fault.
    pub(crate) fn disturb(&mut self, fault: u64, links: BTreeSet<Link>, what: Disturbance) {
        self.effects.insert(fault, Effect { links, what });
    }

    /// Ends a disturbance.
    pub(crate) fn calm(&mut self, fault: u64) {
        self.effects.remove(&fault);
    }

    /// Ends every disturbance among `core`, and makes all others on other links permanent.
    pub(crate) fn heal(&mut self, core: &BTreeSet<NodeId>) {
        self.base = Weather::FAIR;
        for effect in self.effects.values_mut() {
            effect.links.retain(|(from, to)| !(core.contains(from) && core.contains(to)));
            if let Disturbance::Clog(until) = &mut effect.what {
                *until = Time(u64::MAX);
            }
        }
    }

    /// Whether a message on its way over this link is lost now.
    pub(crate) fn is_cut(&self, link: Link) -> bool {
        self.effects
            .values()
            .any(|effect| matches!(effect.what, Disturbance::Cut) && effect.links.contains(&link))
    }

    /// Decides about a message that leaves now.
    pub(crate) fn send(&mut self, now: Time, link: Link) -> Fate {
        let mut weather = self.base;
        let mut held_until = now;
        for effect in self.effects.values().filter(|effect| effect.links.contains(&link)) {
            match effect.what {
                Disturbance::Cut => return Fate::default(),
                Disturbance::Clog(until) => held_until = held_until.max(until),
                Disturbance::Storm(storm) => weather = storm,
            }
        }
        let mut rng = self.draw(now, link);
        if rng.chance_ppm(weather.loss_ppm) || held_until == Time(u64::MAX) {
            return Fate::default();
        }
        let arrives = Some(held_until + weather.delay(&mut rng));
        let again = rng.chance_ppm(weather.dup_ppm).then(|| held_until + weather.delay(&mut rng) * 4);
        Fate { arrives, again }
    }

    fn draw(&mut self, now: Time, (from, to): Link) -> Rng {
        let bucket = now.0 / BUCKET.as_nanos() as u64;
        let (last, count) = self.bucket.entry((from, to)).or_default();
        if *last != bucket {
            (*last, *count) = (bucket, 0);
        }
        *count += 1;
        keys::rng(self.seed, Purpose::Link, [from.0 << 32 | to.0, bucket, *count])
    }
}

impl Weather {
    /// Most messages take little longer than the shortest way; some take up to the longest.
    fn delay(&self, rng: &mut Rng) -> Duration {
        let spread = self.delay_max.saturating_sub(self.delay_min).as_micros() as u64;
        let spread = if rng.below(8) == 0 { spread } else { spread / 8 };
        self.delay_min + Duration::from_micros(rng.below(spread + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link = (NodeId(1), NodeId(2));
    const BACK: Link = (NodeId(2), NodeId(1));

    fn rough() -> Network {
        let delay = Duration::from_millis(1);
        Network::new(
            7,
            Weather { loss_ppm: 200_000, dup_ppm: 200_000, delay_min: delay, delay_max: delay * 9 },
        )
    }

    #[test]
    fn a_message_meets_the_same_fate_whatever_other_links_carry() {
        let mut quiet = rough();
        let mut busy = rough();
        let mut outcomes = BTreeSet::new();
        for ms in 0..200 {
            let now = Time(ms * 1_000_000);
            busy.send(now, BACK);
            let fate = quiet.send(now, LINK);
            assert_eq!(busy.send(now, LINK), fate);
            outcomes.insert((fate.arrives.is_some(), fate.again.is_some()));
        }
        assert_eq!(outcomes.len(), 3, "lost, delivered, delivered twice");
    }

    #[test]
    fn disturbances_stand_on_their_links_until_they_end() {
        let mut net = Network::new(7, Weather::FAIR);
        net.disturb(1, BTreeSet::from([LINK]), Disturbance::Cut);
        net.disturb(2, BTreeSet::from([BACK]), Disturbance::Clog(Time(5_000_000_000)));
        assert_eq!(net.send(Time(0), LINK), Fate::default());
        assert!(net.is_cut(LINK) && !net.is_cut(BACK));
        assert!(net.send(Time(0), BACK).arrives.unwrap() > Time(5_000_000_000));
        net.calm(1);
        assert!(net.send(Time(0), LINK).arrives.unwrap() < Time(1_000_000));
    }

    #[test]
    fn healing_a_core_leaves_the_rest_as_it_is() {
        let mut net = rough();
        let outside = (NodeId(1), NodeId(3));
        net.disturb(1, BTreeSet::from([LINK, outside]), Disturbance::Cut);
        net.heal(&BTreeSet::from([NodeId(1), NodeId(2)]));
        assert!(net.send(Time(0), LINK).arrives.is_some());
        assert!(net.is_cut(outside));
    }
}

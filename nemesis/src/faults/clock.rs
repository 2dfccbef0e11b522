//! Clocks that jump, or run at another rate, by libfaketime; and a machine that sleeps.

use rustix::process::Signal;

use super::{Amount, Kind, Lane, Need, USUAL};
use crate::arena::{Arena, Clock};
use crate::plan::Count;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "clock-ahead",
        what: "the wall clock jumps ahead, and later back",
        amount: Some(Amount { unit: "s", low: 1, high: 7_200 }),
        inject: |arena, victims, seconds| jump(arena, victims, seconds as i64),
        ..CLOCK
    },
    Kind {
        name: "clock-behind",
        what: "the wall clock jumps back, and later ahead",
        amount: Some(Amount { unit: "s", low: 1, high: 7_200 }),
        inject: |arena, victims, seconds| jump(arena, victims, -(seconds as i64)),
        ..CLOCK
    },
    Kind {
        name: "clock-rate",
        what: "restarted with all clocks, the monotonic one too, at so many percent of their rate",
        amount: Some(Amount { unit: "percent", low: 50, high: 150 }),
        inject: |arena, victims, percent| restart(arena, victims, Clock::Rate { percent }),
        heal: |arena, victims, _| restart(arena, victims, Clock::Offset { seconds: 0 }),
        ..CLOCK
    },
];

const CLOCK: Kind = Kind {
    lane: Lane::Clock,
    counts: &[Count::One, Count::Majority, Count::All],
    need: Need::Clocks,
    hold_ms: (3_000, 10_000),
    heal: |arena, victims, _| jump(arena, victims, 0),
    ..USUAL
};

fn jump(arena: &mut Arena, victims: &[usize], seconds: i64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.nodes[node].set_clock(Clock::Offset { seconds }))
}

fn restart(arena: &mut Arena, victims: &[usize], clock: Clock) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::TERM)?;
        arena.nodes[node].set_clock(clock)?;
        arena.revive(node)
    })
}

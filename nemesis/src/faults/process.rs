//! Processes end, stand still, or are restarted as in an upgrade.

use rustix::process::Signal;

use super::{Kind, USUAL, Usual};
use crate::arena::Arena;
use crate::plan::Count;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "kill",
        what: "kill -9, of one node, a majority, or all at once",
        counts: &[Count::One, Count::Majority, Count::All],
        hold_ms: (0, 5_000),
        inject: kill,
        ..USUAL
    },
    Kind {
        name: "pause",
        what: "SIGSTOP, later SIGCONT: the process stands still and the clocks go on",
        counts: &[Count::One, Count::Majority],
        hold_ms: (500, 12_000),
        inject: pause,
        heal: resume,
        ..USUAL
    },
    Kind {
        name: "restart",
        what: "SIGTERM, then started again",
        counts: &[Count::One, Count::Majority],
        hold_ms: (0, 1_000),
        inject: terminate,
        ..USUAL
    },
    Kind {
        name: "rolling-restart",
        what: "one node after the other gets SIGTERM and is started again once the one before serves",
        counts: &[Count::All],
        hold_ms: (0, 0),
        usual: Usual::Alone,
        inject: rolling_restart,
        ..USUAL
    },
];

fn kill(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.end(node, Signal::KILL))
}

fn terminate(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.end(node, Signal::TERM))
}

fn pause(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.signal(node, Signal::STOP))
}

fn resume(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.signal(node, Signal::CONT))
}

fn rolling_restart(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::TERM)?;
        arena.revive(node)?;
        arena.wait_until_serving(node)
    })
}

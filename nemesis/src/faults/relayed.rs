//! What passes between peers is late, repeated, out of order, cut, swallowed or wrong.

use std::time::Duration;

use super::{Act, Amount, Kind, Lane, Need, USUAL};
use crate::arena::Arena;
use crate::plan::Count;
use crate::relay::Tamper;

pub(super) const KINDS: &[Kind] = &[
    kind(
        "delay",
        "frames to and from the victims are late by the amount to twice that",
        amount("ms", 5, 400),
        |arena, victims, ms| arena.tamper(victims, Tamper::Delay(Duration::from_millis(ms))),
    ),
    kind("duplicate", "frames arrive twice", amount("percent", 5, 100), |arena, victims, percent| {
        arena.tamper(victims, Tamper::Duplicate(percent))
    }),
    kind(
        "reorder",
        "frames arrive after the next one",
        amount("percent", 5, 60),
        |arena, victims, percent| arena.tamper(victims, Tamper::Reorder(percent)),
    ),
    kind(
        "reset",
        "frames are cut in the middle and the connection reset",
        amount("permille", 1, 100),
        |arena, victims, permille| arena.tamper(victims, Tamper::Reset(permille)),
    ),
    kind("half-open", "what is sent arrives nowhere, and nobody is told", None, |arena, victims, _| {
        arena.tamper(victims, Tamper::HalfOpen)
    }),
    kind("trickle", "bytes arrive one at a time", amount("us", 20, 2_000), |arena, victims, us| {
        arena.tamper(victims, Tamper::Trickle(Duration::from_micros(us)))
    }),
    kind("corrupt", "one bit of a frame is wrong", amount("percent", 1, 30), |arena, victims, percent| {
        arena.tamper(victims, Tamper::Corrupt(percent))
    }),
];

const fn kind(name: &'static str, what: &'static str, amount: Option<Amount>, inject: Act) -> Kind {
    Kind {
        name,
        what,
        lane: Lane::Relay,
        counts: &[Count::One, Count::All],
        hold_ms: (2_000, 10_000),
        amount,
        nodes_min: 2,
        need: Need::Relay,
        inject,
        heal: calm,
        ..USUAL
    }
}

const fn amount(unit: &'static str, low: u64, high: u64) -> Option<Amount> {
    Some(Amount { unit, low, high })
}

fn calm(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    arena.tamper(&[], Tamper::Nothing)
}

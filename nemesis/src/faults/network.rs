//! Packets between nodes are lost: all or some, in both directions or one, between all or some.
//!
//! Every node has a filter of its own on what comes in. Clients reach every node throughout.

use super::{Amount, Kind, Lane, USUAL};
use crate::arena::{Arena, Cut};
use crate::plan::Count;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "partition",
        what: "the victims, and the others, reach each other only among themselves",
        counts: &[Count::One, Count::Majority],
        inject: partition,
        ..NETWORK
    },
    Kind { name: "mute", what: "nothing that the victims send to others arrives", inject: mute, ..NETWORK },
    Kind {
        name: "deaf",
        what: "nothing that others send to the victims arrives",
        counts: &[Count::One, Count::Majority],
        inject: deaf,
        ..NETWORK
    },
    Kind {
        name: "bridge",
        what: "two halves that cannot reach each other, and one node that reaches both",
        inject: bridge,
        ..NETWORK
    },
    Kind {
        name: "ring",
        what: "each node reaches only its two neighbours: a majority, but everyone another one",
        nodes_min: 4,
        counts: &[Count::All],
        inject: ring,
        ..NETWORK
    },
    Kind {
        name: "loss",
        what: "packets between the victims and all others are lost at random",
        counts: &[Count::One, Count::All],
        amount: Some(Amount { unit: "percent", low: 5, high: 50 }),
        inject: loss,
        ..NETWORK
    },
];

const NETWORK: Kind =
    Kind { lane: Lane::Network, nodes_min: 3, hold_ms: (2_000, 12_000), heal: heal_all, ..USUAL };

fn partition(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    arena.cut(&between(arena.nodes.len(), |from, to| victims.contains(&from) != victims.contains(&to)))
}

fn mute(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    arena.cut(&between(arena.nodes.len(), |from, to| victims.contains(&from) && !victims.contains(&to)))
}

fn deaf(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    arena.cut(&between(arena.nodes.len(), |from, to| !victims.contains(&from) && victims.contains(&to)))
}

/// The victim is the bridge; the others are split by which side of it they are on.
fn bridge(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    let nodes = arena.founders;
    let left = |node: usize| (node + nodes - victims[0]) % nodes <= nodes / 2;
    let apart =
        |from: usize, to: usize| !victims.contains(&from) && !victims.contains(&to) && left(from) != left(to);
    arena.cut(&between(nodes, apart))
}

fn ring(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    let nodes = arena.founders;
    arena.cut(&between(
        nodes,
        |from, to| !matches!((from + nodes - to) % nodes, step if step == 1 || step == nodes - 1),
    ))
}

fn loss(arena: &mut Arena, victims: &[usize], percent: u64) -> anyhow::Result<()> {
    let mut cuts = between(arena.nodes.len(), |from, to| victims.contains(&from) || victims.contains(&to));
    cuts.iter_mut().for_each(|cut| cut.percent = percent);
    arena.cut(&cuts)
}

fn heal_all(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    arena.cut(&[])
}

/// Complete cuts from each node to each other for which `cut` says so.
fn between(nodes: usize, cut: impl Fn(usize, usize) -> bool) -> Vec<Cut> {
    let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    pairs
        .filter(|&(from, to)| from != to && cut(from, to))
        .map(|(from, to)| Cut { from, to, percent: 100 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_a_direction() {
        let cuts = between(3, |from, to| from == 0 && to != 0);
        assert_eq!(cuts.iter().map(|cut| (cut.from, cut.to)).collect::<Vec<_>>(), [(0, 1), (0, 2)]);
    }
}

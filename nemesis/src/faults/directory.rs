//! What is kept in a data directory is gone, or of yesterday.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use e2e::tools::run;
use rustix::process::Signal;

use super::{Kind, Lane, USUAL, Usual};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "wipe",
        what: "kill -9, and the data directory is empty when the node starts again",
        // A node that votes without its memory can lose what was acknowledged: a run of its own shows it.
        usual: Usual::Never,
        inject: wipe,
        ..DIRECTORY
    },
    Kind {
        name: "amnesia",
        what: "wipe, while the only others that run have missed what was acknowledged: what it forgot is gone",
        usual: Usual::Never,
        nodes_min: 3,
        hold_ms: (5_000, 8_000),
        inject: forget,
        heal: revive_all,
        ..DIRECTORY
    },
    Kind {
        name: "old-backup",
        what: "a copy of the data directory takes its place when the fault ends",
        usual: Usual::Never,
        hold_ms: (4_000, 10_000),
        inject: back_up,
        heal: restore,
        ..DIRECTORY
    },
];

const DIRECTORY: Kind = Kind { lane: Lane::Disk, damages: true, hold_ms: (0, 2_000), ..USUAL };

/// Long enough for an election and writes.
const ACKNOWLEDGE: Duration = Duration::from_secs(4);

fn wipe(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::KILL)?;
        arena.empty(node)
    })
}

/// Writes are acknowledged by the victim and by nodes that are down afterwards. A quorum of the rest can know of
/// them only through the victim.
fn forget(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    let (nodes, victim) = (arena.founders, victims[0]);
    let others: Vec<usize> = (1..nodes).map(|step| (victim + step) % nodes).collect();
    let (behind, ahead) = others.split_at(nodes / 2);
    behind.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    std::thread::sleep(ACKNOWLEDGE);
    ahead.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    wipe(arena, victims, 0)?;
    behind.iter().chain(victims).try_for_each(|&node| arena.revive(node))
}

fn revive_all(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    (0..arena.founders).try_for_each(|node| arena.revive(node))
}

fn back_up(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::TERM)?;
        let (data, backup) = (&arena.nodes[node].data, backup(arena, node));
        run(Command::new("rm").arg("-rf").arg(&backup))?;
        run(Command::new("cp").arg("-a").arg(data).arg(&backup))?;
        arena.revive(node)
    })
}

fn restore(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::KILL)?;
        arena.empty(node)?;
        let data = &arena.nodes[node].data;
        run(Command::new("cp").arg("-a").arg(backup(arena, node).join(".")).arg(data)).map(drop)
    })
}

fn backup(arena: &Arena, node: usize) -> PathBuf {
    arena.nodes[node].log.with_extension("backup")
}

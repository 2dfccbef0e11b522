//! What is kept in a data directory is damaged, gone, or of yesterday.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use e2e::tools::run;
use rustix::process::Signal;
use types::Rng;

use super::{Amount, Kind, Lane, USUAL, Usual};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "log-rot",
        what: "kill -9, then bits of the log on disk flip",
        amount: Some(Amount { unit: "bits", low: 1, high: 64 }),
        inject: flip_bits_of_log,
        ..DIRECTORY
    },
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

const SECTOR: usize = 512;

/// Long enough for an election and writes.
const ACKNOWLEDGE: Duration = Duration::from_secs(4);

fn flip_bits_of_log(arena: &mut Arena, victims: &[usize], bits: u64) -> anyhow::Result<()> {
    for &node in victims {
        arena.end(node, Signal::KILL)?;
        let log = arena.nodes[node].data.join("member").join("log");
        let mut segments: Vec<PathBuf> = fs::read_dir(&log)
            .with_context(|| format!("cannot list {}", log.display()))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-")))
            .collect();
        segments.sort();
        let newest = segments.last().with_context(|| format!("no log segment in {}", log.display()))?;
        flip_bits(newest, bits)?;
    }
    Ok(())
}

/// Flips bits in sectors of a file that hold something, spread over all of them.
fn flip_bits(path: &Path, bits: u64) -> anyhow::Result<()> {
    let mut content = fs::read(path)?;
    let used: Vec<usize> = (0..content.len() / SECTOR)
        .filter(|sector| content[sector * SECTOR..(sector + 1) * SECTOR].iter().any(|byte| *byte != 0))
        .collect();
    let mut rng = Rng::keyed(content.len() as u64, &[used.len() as u64, bits]);
    let file = File::options().write(true).open(path)?;
    for _ in 0..bits {
        let Some(sector) = rng.pick(&used) else { break };
        let at = sector * SECTOR + rng.below(SECTOR as u64) as usize;
        content[at] ^= 1 << rng.below(8);
        file.write_all_at(&content[at..=at], at as u64)?;
    }
    Ok(file.sync_all()?)
}

fn wipe(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::KILL)?;
        empty(&arena.nodes[node].data)
    })
}

/// Writes are acknowledged by the victim and by nodes that are down afterwards. A quorum of the rest can know of
/// them only through the victim.
fn forget(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    let (nodes, victim) = (arena.nodes.len(), victims[0]);
    let others: Vec<usize> = (1..nodes).map(|step| (victim + step) % nodes).collect();
    let (behind, ahead) = others.split_at(nodes / 2);
    behind.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    std::thread::sleep(ACKNOWLEDGE);
    ahead.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    wipe(arena, victims, 0)?;
    behind.iter().chain(victims).try_for_each(|&node| arena.revive(node))
}

fn revive_all(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    (0..arena.nodes.len()).try_for_each(|node| arena.revive(node))
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
        let data = &arena.nodes[node].data;
        empty(data)?;
        run(Command::new("cp").arg("-a").arg(backup(arena, node).join(".")).arg(data)).map(drop)
    })
}

fn backup(arena: &Arena, node: usize) -> PathBuf {
    arena.nodes[node].log.with_extension("backup")
}

fn empty(directory: &Path) -> anyhow::Result<()> {
    run(Command::new("find").arg(directory).args(["-mindepth", "1", "-delete"])).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_flip_only_where_something_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log-1");
        let before = [vec![0; SECTOR], vec![7; SECTOR], vec![0; SECTOR]].concat();
        fs::write(&path, &before).unwrap();
        flip_bits(&path, 5).unwrap();
        let after = fs::read(&path).unwrap();
        let changed = |range: std::ops::Range<usize>| before[range.clone()] != after[range];
        assert!(changed(SECTOR..2 * SECTOR));
        assert!(!changed(0..SECTOR) && !changed(2 * SECTOR..3 * SECTOR));
    }
}

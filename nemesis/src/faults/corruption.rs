//! Files are damaged, of a node that is down or under one that runs: bits flip, sectors change places or hold noise,
//! files are cut short.
//!
//! The node may repair itself, end, or refuse to start, but not serve what is wrong. Afterwards it is started again; if
//! it does not come to serve, it is replaced as a member.
//!
//! Nothing is harmed such that nobody could tell: in the log no written sector becomes zeros, and its files are cut
//! only while nothing else is wrong (`docs/storage-format.md`, "What cannot be told").

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use types::Rng;

use super::{Act, Amount, Kind, Lane, USUAL, Usual};
use crate::arena::{Arena, Change, Step};

pub(super) const KINDS: &[Kind] = &[
    kind("log-rot", "kill -9, then sectors of the log go bad", |arena, victims, harms| {
        down(arena, victims, harms, LOG)
    }),
    kind("log-rot-live", "sectors of the log go bad under a running node", |arena, victims, harms| {
        damage(arena, victims, harms, LOG)
    }),
    kind("state-rot", "kill -9, then blocks of the state engine's files go bad", |arena, victims, harms| {
        down(arena, victims, harms, STATE)
    }),
    kind(
        "state-rot-live",
        "blocks of the engine's files go bad under a running node",
        |arena, victims, harms| damage(arena, victims, harms, STATE),
    ),
    cut(
        "state-cut",
        "kill -9, then a file of the engine is cut short",
        Usual::Always,
        |arena, victims, _| cut_down(arena, victims, STATE),
    ),
    cut("state-cut-live", "a file of the engine is cut short under a running node", Usual::Always, cut_state),
    cut("log-cut", "kill -9, then a file of the log is cut short", Usual::Alone, |arena, victims, _| {
        cut_down(arena, victims, LOG)
    }),
    kind(
        "identity-rot",
        "kill -9, then the file that says whose data this is goes bad",
        |arena, victims, harms| down(arena, victims, harms, IDENTITY),
    ),
];

const fn kind(name: &'static str, what: &'static str, inject: Act) -> Kind {
    Kind {
        name,
        what,
        lane: Lane::Disk,
        amount: Some(Amount { unit: "harms", low: 1, high: 64 }),
        damages: true,
        changes_members: true,
        ends_process: true,
        nodes_min: 3,
        hold_ms: (1_000, 5_000),
        inject,
        heal: mend,
        ..USUAL
    }
}

const fn cut(name: &'static str, what: &'static str, usual: Usual, inject: Act) -> Kind {
    Kind { amount: None, usual, ..kind(name, what, inject) }
}

/// Below `member` in the data directory.
const LOG: &str = "log";
const STATE: &str = "state";
const IDENTITY: &str = "identity";

/// What is written at once, and has a checksum, in the log.
const SECTOR: usize = 512;

fn down(arena: &mut Arena, victims: &[usize], harms: u64, part: &str) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    damage(arena, victims, harms, part)
}

fn damage(arena: &mut Arena, victims: &[usize], harms: u64, part: &str) -> anyhow::Result<()> {
    for &node in victims {
        let member = arena.nodes[node].data.join("member");
        arena.tally.nodes += 1;
        arena.tally.harms += harm(&member.join(part), harms)?;
    }
    Ok(())
}

fn cut_down(arena: &mut Arena, victims: &[usize], part: &str) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    cut_files(arena, victims, part)
}

fn cut_state(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    cut_files(arena, victims, STATE)
}

fn cut_files(arena: &mut Arena, victims: &[usize], part: &str) -> anyhow::Result<()> {
    for &node in victims {
        let files = files(&arena.nodes[node].data.join("member").join(part));
        arena.tally.nodes += 1;
        let mut rng = Rng::keyed(files.len() as u64, &[arena.tally.nodes]);
        if let Some((path, length)) = rng.pick(&files) {
            let file = File::options().write(true).open(path)?;
            file.set_len(rng.below(*length))?;
            arena.tally.harms += 1;
        }
    }
    Ok(())
}

/// A restart reads everything anew, damage too.
fn mend(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    for &node in victims {
        arena.end(node, Signal::KILL)?;
        arena.begin(Change::new(node, &[Step::Mend]));
        arena.release(node);
    }
    Ok(())
}

/// All files that hold something, below a directory or the file itself, with their lengths.
fn files(path: &Path) -> Vec<(PathBuf, u64)> {
    let Ok(metadata) = fs::metadata(path) else { return Vec::new() };
    if metadata.is_file() {
        return if metadata.len() > 0 { vec![(path.to_owned(), metadata.len())] } else { Vec::new() };
    }
    // Files may vanish meanwhile: somebody may be at work in there.
    let entries = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<(PathBuf, u64)> = entries.flat_map(|path| files(&path)).collect();
    found.sort();
    found
}

/// Does so many harms to files, each to any written sector of any file; returns how many were done.
fn harm(path: &Path, harms: u64) -> anyhow::Result<u64> {
    let files = files(path);
    let mut rng = Rng::keyed(files.iter().map(|(_, length)| length).sum(), &[files.len() as u64, harms]);
    let Some((path, _)) = rng.pick(&files) else { return Ok(0) };
    let mut content = fs::read(path)?;
    let file = File::options().write(true).open(path)?;
    let written: Vec<usize> = (0..content.len().div_ceil(SECTOR))
        .filter(|&sector| sector_of(&mut content, sector).iter().any(|byte| *byte != 0))
        .collect();
    let mut done = 0;
    for _ in 0..harms {
        let (Some(&sector), Some(&other)) = (rng.pick(&written), rng.pick(&written)) else { break };
        match rng.below(4) {
            0 => sector_of(&mut content, sector).fill_with(|| rng.next_u64() as u8 | 1),
            1 if sector_of(&mut content, sector).len() == sector_of(&mut content, other).len() => {
                let held = sector_of(&mut content, sector).to_vec();
                let displaced = sector_of(&mut content, other).to_vec();
                sector_of(&mut content, sector).copy_from_slice(&displaced);
                sector_of(&mut content, other).copy_from_slice(&held);
            }
            _ => {
                let sector = sector_of(&mut content, sector);
                let at = rng.below(sector.len() as u64) as usize;
                sector[at] ^= 1 << rng.below(8);
            }
        }
        for sector in [sector, other] {
            file.write_all_at(sector_of(&mut content, sector), (sector * SECTOR) as u64)?;
        }
        done += 1;
    }
    file.sync_all()?;
    Ok(done)
}

fn sector_of(content: &mut [u8], sector: usize) -> &mut [u8] {
    let end = content.len().min((sector + 1) * SECTOR);
    &mut content[sector * SECTOR..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harm_strikes_only_where_something_is_written_and_leaves_no_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log-1");
        let before =
            [vec![0; SECTOR], vec![7; SECTOR], vec![9; SECTOR], vec![0; SECTOR], vec![3; 40]].concat();
        fs::write(&path, &before).unwrap();
        assert_eq!(harm(directory.path(), 20).unwrap(), 20);
        let mut after = fs::read(&path).unwrap();
        assert_eq!(after.len(), before.len());
        assert_ne!(after, before);
        for sector in [0, 3] {
            assert!(sector_of(&mut after, sector).iter().all(|byte| *byte == 0));
        }
        for sector in [1, 2, 4] {
            assert!(sector_of(&mut after, sector).iter().any(|byte| *byte != 0));
        }
    }

    #[test]
    fn where_there_are_no_files_nothing_is_harmed() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(harm(&directory.path().join("gone"), 5).unwrap(), 0);
        fs::write(directory.path().join("empty"), []).unwrap();
        assert_eq!(harm(directory.path(), 5).unwrap(), 0);
    }
}

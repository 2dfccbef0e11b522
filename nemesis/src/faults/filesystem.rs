//! Real file systems that are full, or turn read-only.

use rustix::process::Signal;

use super::{Act, Kind, Lane, Need, USUAL, Usual};
use crate::arena::{Arena, DiskKind};

pub(super) const KINDS: &[Kind] = &[
    kind("full-tmpfs", "the tmpfs with the data has no room left", DiskKind::Tmpfs, fill, free),
    kind("full-ext4", "the ext4 with the data has no room left", DiskKind::Ext4, fill, free),
    kind(
        "read-only",
        "the ext4 with the data finds an error and turns read-only",
        DiskKind::Ext4,
        fail,
        mend,
    ),
];

const fn kind(name: &'static str, what: &'static str, disk: DiskKind, inject: Act, heal: Act) -> Kind {
    Kind {
        name,
        what,
        lane: Lane::Disk,
        need: Need::Disks(disk),
        hold_ms: (3_000, 8_000),
        ends_process: true,
        // A node has one disk, and the mixture's is the FUSE file system.
        usual: Usual::Never,
        inject,
        heal,
        ..USUAL
    }
}

fn fill(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.disks[node].small()?.fill())
}

fn free(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.disks[node].small()?.free())
}

fn fail(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.disks[node].small()?.turn_read_only())
}

fn mend(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::KILL)?;
        arena.disks[node].small()?.repair()
    })
}

//! Disks that lose what was not synced, fail, rot, are slow or full: all on the FUSE file system.

use std::time::Duration;

use rustix::process::Signal;

use super::{Amount, Kind, Lane, Need, USUAL};
use crate::arena::{Arena, DiskKind};
use crate::disk::Faults;
use crate::plan::Count;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "power-loss",
        what: "kill -9, and what was not synced is lost: all of it or any part, torn at 512 bytes",
        counts: &[Count::One, Count::Majority, Count::All],
        hold_ms: (0, 3_000),
        ends_process: false,
        inject: lose_power,
        ..DISK
    },
    Kind {
        name: "sync-lost",
        what: "syncs fail with EIO, and what they were to make durable is gone while the pages count as clean",
        inject: |arena, victims, _| {
            misbehave(arena, victims, Faults { sync_fails: true, ..Faults::default() })
        },
        ..DISK
    },
    Kind {
        name: "disk-slow",
        what: "every write and sync takes longer",
        amount: Some(Amount { unit: "ms", low: 1, high: 300 }),
        ends_process: false,
        inject: |arena, victims, ms| {
            misbehave(arena, victims, Faults { slow: Duration::from_millis(ms), ..Faults::default() })
        },
        ..DISK
    },
    Kind {
        name: "disk-full",
        what: "files may grow by so much and no more",
        amount: Some(Amount { unit: "KiB", low: 0, high: 4_096 }),
        inject: |arena, victims, kib| {
            misbehave(arena, victims, Faults { room: Some(kib << 10), ..Faults::default() })
        },
        ..DISK
    },
    Kind {
        name: "read-rot",
        what: "restarted with a disk that flips a bit in so many of a million reads",
        amount: Some(Amount { unit: "ppm", low: 200, high: 20_000 }),
        damages: true,
        inject: |arena, victims, ppm| {
            let rot_ppm = u32::try_from(ppm)?;
            misbehave(arena, victims, Faults { rot_ppm, ..Faults::default() })?;
            restart(arena, victims)
        },
        ..DISK
    },
];

const DISK: Kind = Kind {
    lane: Lane::Disk,
    need: Need::Disks(DiskKind::Faulty),
    hold_ms: (1_000, 6_000),
    ends_process: true,
    heal: behave,
    ..USUAL
};

fn lose_power(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| arena.end(node, Signal::KILL))?;
    victims.iter().try_for_each(|&node| arena.disks[node].faulty()?.lose_power())
}

fn misbehave(arena: &mut Arena, victims: &[usize], faults: Faults) -> anyhow::Result<()> {
    for &node in victims {
        arena.disks[node].faulty()?.misbehave(faults);
    }
    Ok(())
}

fn restart(arena: &mut Arena, victims: &[usize]) -> anyhow::Result<()> {
    victims.iter().try_for_each(|&node| {
        arena.end(node, Signal::KILL)?;
        arena.revive(node)
    })
}

fn behave(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    misbehave(arena, victims, Faults::default())
}

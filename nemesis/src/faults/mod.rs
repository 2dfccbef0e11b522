//! The kinds of faults: one table a family, one line a kind.
//!
//! To add a family, write its file, with a `KINDS` table and the functions it names, and add it to [`FAMILIES`].

use anyhow::ensure;

use crate::arena::{Arena, DiskKind};
use crate::plan::Count;

mod clock;
mod directory;
mod filesystem;
mod network;
mod power;
mod process;
mod relayed;
mod syscalls;

/// All families.
const FAMILIES: &[&[Kind]] = &[
    process::KINDS,
    network::KINDS,
    relayed::KINDS,
    syscalls::KINDS,
    power::KINDS,
    filesystem::KINDS,
    clock::KINDS,
    directory::KINDS,
];

/// One kind of fault.
#[derive(Debug)]
pub struct Kind {
    /// As `--faults` and plans spell it.
    pub name: &'static str,
    /// What it does to its victims.
    pub what: &'static str,
    /// What it must not overlap with.
    pub lane: Lane,
    /// How many nodes it may strike at once.
    pub counts: &'static [Count],
    /// How long it lasts: at least and at most, in milliseconds.
    pub hold_ms: (u64, u64),
    /// How hard it may be.
    pub amount: Option<Amount>,
    /// The smallest cluster to which it is something else than to do nothing.
    pub nodes_min: usize,
    /// What the arena must be built with.
    pub need: Need,
    /// Whether it may destroy what a disk had promised to keep: only a minority of nodes can bear that.
    pub damages: bool,
    /// Whether the server may end its process over it.
    pub ends_process: bool,
    /// When it is brought about without having been asked for.
    pub usual: Usual,
    /// Brings it about.
    pub inject: Act,
    /// Ends it, as far as starting processes that do not run does not.
    pub heal: Act,
}

/// What a kind does: in the arena, to these nodes, this hard.
pub type Act = fn(&mut Arena, &[usize], u64) -> anyhow::Result<()>;

/// The range of a kind's degrees.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// What is counted.
    pub unit: &'static str,
    /// The least.
    pub low: u64,
    /// The most.
    pub high: u64,
}

/// Faults of one lane do not overlap, even in a mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Processes end or stand still.
    Process,
    /// Packets are lost.
    Network,
    /// Bytes between peers are tampered with.
    Relay,
    /// Disks fail.
    Disk,
    /// Clocks are wrong.
    Clock,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 5] = [Lane::Process, Lane::Network, Lane::Relay, Lane::Disk, Lane::Clock];
}

/// When a kind is brought about without being named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usual {
    /// Always: a cluster must survive it beside all others.
    Always,
    /// While nothing else is wrong: it is made of steps that wait for the cluster.
    Alone,
    /// Never.
    Never,
}

/// What has to be there from the start for a kind to be brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Only what is always there.
    Nothing,
    /// The relay, on every connection between peers.
    Relay,
    /// Clocks that can be set, by libfaketime.
    Clocks,
    /// Disks of this kind under every node.
    Disks(DiskKind),
}

/// A kind like most others, to be completed: `Kind { name, what, inject, ..USUAL }`.
const USUAL: Kind = Kind {
    name: "",
    what: "",
    lane: Lane::Process,
    counts: &[Count::One],
    hold_ms: (1_000, 8_000),
    amount: None,
    nodes_min: 1,
    need: Need::Nothing,
    damages: false,
    ends_process: false,
    usual: Usual::Always,
    inject: nothing,
    heal: nothing,
};

fn nothing(_: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    Ok(())
}

/// Every kind, family by family.
pub fn all() -> impl Iterator<Item = &'static Kind> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The kinds of a run that names none.
pub fn usual(mixed: bool) -> impl Iterator<Item = &'static Kind> {
    all().filter(move |kind| kind.usual == Usual::Always || (kind.usual == Usual::Alone && !mixed))
}

/// The kinds that `--faults` names, separated by commas.
///
/// # Errors
/// A name that no kind has.
pub fn named(names: &str) -> anyhow::Result<Vec<&'static Kind>> {
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let known: Vec<&str> = all().map(|kind| kind.name).collect();
            let kind = all().find(|kind| kind.name == name);
            ensure!(kind.is_some(), "{name:?} is not a kind of fault; there are: {}", known.join(", "));
            Ok(kind)
        })
        .filter_map(Result::transpose)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_kinds_have_one_name() {
        let mut names: Vec<&str> = all().map(|kind| kind.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }

    #[test]
    fn an_unknown_kind_is_named_with_those_there_are() {
        let error = named("kill,earthquake").unwrap_err().to_string();
        assert!(error.contains("\"earthquake\"") && error.contains("partition"), "{error}");
        assert_eq!(named("kill, pause").unwrap().len(), 2);
    }

    #[test]
    fn damage_strikes_single_nodes_only() {
        assert!(all().filter(|kind| kind.damages).all(|kind| kind.counts == [Count::One]));
    }
}

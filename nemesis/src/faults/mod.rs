//! The kinds of faults: one table a family, one line a kind.
//!
//! To add a family, write its file, with a `KINDS` table and the functions it names, and add it to [`FAMILIES`].

use anyhow::Context;

use crate::arena::{Arena, DiskKind};
use crate::plan::Count;

mod clock;
mod corruption;
mod directory;
mod filesystem;
mod members;
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
    corruption::KINDS,
    members::KINDS,
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
    /// Whether there is a voter less meanwhile, or the change of members that it begins goes on after it. One at a
    /// time, and in a plan that damages a disk always that node: the others have to be whole.
    pub changes_members: bool,
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
    /// Members come and go.
    Members,
}

impl Lane {
    /// All of them.
    pub const ALL: [Lane; 6] =
        [Lane::Process, Lane::Network, Lane::Relay, Lane::Disk, Lane::Clock, Lane::Members];
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
    /// A node that is no member at first.
    Spare,
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
    changes_members: false,
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

/// The kinds that `--faults` names, separated by commas; `all` are all, or if mixed those that one cluster can have,
/// `usual` those of a run that names none, and `-kind` takes one out.
///
/// # Errors
/// A name that no kind has.
pub fn named(names: &str, mixed: bool) -> anyhow::Result<Vec<&'static Kind>> {
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match name.strip_prefix('-') {
            _ if name == ALL => kinds.extend(all().filter(|kind| !mixed || kind.fits_mixture())),
            _ if name == "usual" => kinds.extend(usual(mixed)),
            Some(name) => {
                let name = find(name)?.name;
                kinds.retain(|kind| kind.name != name);
            }
            None => kinds.push(find(name)?),
        }
    }
    Ok(kinds)
}

/// Means every kind.
pub const ALL: &str = "all";

/// The kinds apart by what disks they need: those that any disk does for are with our own.
pub fn by_disk(kinds: &[&'static Kind]) -> Vec<Vec<&'static Kind>> {
    let disk = |kind: &Kind| match kind.need {
        Need::Disks(disk) if !kind.fits_any_disk() => Some(disk),
        _ => None,
    };
    let mut parts: Vec<Vec<&'static Kind>> = Vec::new();
    for &kind in kinds {
        match parts.iter_mut().find(|part| disk(part[0]) == disk(kind)) {
            Some(part) => part.push(kind),
            None => parts.push(vec![kind]),
        }
    }
    parts
}

fn find(name: &str) -> anyhow::Result<&'static Kind> {
    let known = || all().map(|kind| kind.name).collect::<Vec<_>>().join(", ");
    let kind = all().find(|kind| kind.name == name);
    kind.with_context(|| format!("{name:?} is not a kind of fault; there are: {}", known()))
}

impl Kind {
    /// Whether it can be brought about beside all others.
    fn fits_mixture(&self) -> bool {
        self.fits_any_disk() && self.usual != Usual::Alone
    }

    fn fits_any_disk(&self) -> bool {
        !matches!(self.need, Need::Disks(disks) if disks != DiskKind::Faulty)
    }
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
        let error = named("kill,earthquake", false).unwrap_err().to_string();
        assert!(error.contains("\"earthquake\"") && error.contains("partition"), "{error}");
        assert_eq!(named("kill, pause", false).unwrap().len(), 2);
    }

    #[test]
    fn a_kind_can_be_taken_out_of_all() {
        let names =
            |list: &str| -> Vec<&str> { named(list, true).unwrap().iter().map(|kind| kind.name).collect() };
        assert!(names("all").contains(&"amnesia"));
        assert!(!names("all").contains(&"full-tmpfs") && !names("all").contains(&"rolling-restart"));
        assert!(!names("all,-amnesia,-wipe").contains(&"amnesia"));
        assert_eq!(names("all,-amnesia").len() + 1, names("all").len());
    }

    #[test]
    fn kinds_with_different_disks_are_kept_apart() {
        let parts = by_disk(&all().collect::<Vec<_>>());
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.iter().map(Vec::len).sum::<usize>(), all().count());
        for part in parts {
            assert!(crate::arena::Needs::of(part).is_ok());
        }
    }

    #[test]
    fn damage_strikes_single_nodes_only() {
        assert!(all().filter(|kind| kind.damages).all(|kind| kind.counts == [Count::One]));
    }
}

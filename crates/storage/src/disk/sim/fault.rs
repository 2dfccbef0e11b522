//! What is asked of a simulated disk, numbered, and what may go wrong at each number.
//!
//! A fault is never drawn by the disk itself: a [`Plan`] decides it, from the effect's number alone, so that the
//! same plan hurts the same effects again and taking one fault out leaves the others as they were.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::str::FromStr;

use types::Rng;

/// What a caller asks of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// The names of all files.
    List,
    /// Open a file.
    Open,
    /// Create a file.
    Create,
    /// Remove a file's name.
    Remove,
    /// Make creations and removals durable.
    SyncDir,
    /// Read a part of a file.
    Read,
    /// Write a part of a file.
    Write,
    /// Grow a file by zeros.
    Allocate,
    /// Make a file's content durable.
    Sync,
}

/// One request to a disk: the unit at which it can fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// Counts all effects of the disk from 1.
    pub number: u64,
    /// What was asked.
    pub act: Act,
    /// Of which file; `"directory"` if of none.
    pub file: String,
    /// From this byte on; 0 if the act has no place.
    pub offset: u64,
    /// So many bytes; 0 if the act has no length.
    pub len: u64,
}

/// What can go wrong at one effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DiskFault {
    /// The power fails before it happens.
    CrashBefore,
    /// It happens, and the power fails before its caller hears of it.
    CrashAfter,
    /// The power fails in the middle of a write: some of its sectors are on the medium, some are not.
    Torn,
    /// EIO. A write has written some of its first sectors; a sync has marked the pages clean without writing them;
    /// a read has met a sector that stays unreadable until it is written again.
    Error,
    /// ENOSPC, in the same ways.
    Full,
    /// EROFS: the file system was remounted read-only. Every change fails until the next restart.
    ReadOnly,
    /// The device confirms a write that never reaches its medium: the old content stays. The system's cache shows
    /// the new one until a restart of the machine.
    Lost,
    /// As `Lost`, but of one sector; at a read, one sector comes as it was before it was last written.
    Stale,
    /// A write lands elsewhere on the medium, and its own place keeps the old content; at a read, one sector is
    /// another one's.
    Misdirected,
    /// One bit is flipped on its way: to the medium at a write, to the caller at a read.
    Flip,
}

impl Act {
    /// All of them.
    pub const ALL: [Act; 9] = [
        Act::List,
        Act::Open,
        Act::Create,
        Act::Remove,
        Act::SyncDir,
        Act::Read,
        Act::Write,
        Act::Allocate,
        Act::Sync,
    ];

    /// Its name in schedules.
    pub fn name(self) -> &'static str {
        match self {
            Act::List => "list",
            Act::Open => "open",
            Act::Create => "create",
            Act::Remove => "remove",
            Act::SyncDir => "syncdir",
            Act::Read => "read",
            Act::Write => "write",
            Act::Allocate => "allocate",
            Act::Sync => "sync",
        }
    }

    /// Whether it changes what is on the disk.
    pub fn is_change(self) -> bool {
        !matches!(self, Act::List | Act::Open | Act::Read)
    }
}

impl DiskFault {
    /// All of them.
    pub const ALL: [DiskFault; 10] = [
        DiskFault::CrashBefore,
        DiskFault::CrashAfter,
        DiskFault::Torn,
        DiskFault::Error,
        DiskFault::Full,
        DiskFault::ReadOnly,
        DiskFault::Lost,
        DiskFault::Stale,
        DiskFault::Misdirected,
        DiskFault::Flip,
    ];

    /// Whether this can go wrong with that.
    pub fn fits(self, act: Act) -> bool {
        match self {
            DiskFault::CrashBefore | DiskFault::CrashAfter | DiskFault::Error => true,
            DiskFault::ReadOnly => act.is_change(),
            DiskFault::Full => act.is_change() && act != Act::Remove,
            DiskFault::Torn | DiskFault::Lost => act == Act::Write,
            DiskFault::Stale | DiskFault::Misdirected | DiskFault::Flip => {
                matches!(act, Act::Write | Act::Read)
            }
        }
    }

    /// Whether it harms what was promised to be durable, which no single disk can make good.
    pub fn is_damage(self, act: Act) -> bool {
        match self {
            DiskFault::Lost | DiskFault::Stale | DiskFault::Misdirected | DiskFault::Flip => true,
            DiskFault::Error => act == Act::Read,
            _ => false,
        }
    }

    /// Its name in command lines and tables.
    pub fn name(self) -> &'static str {
        match self {
            DiskFault::CrashBefore => "crash-before",
            DiskFault::CrashAfter => "crash-after",
            DiskFault::Torn => "torn",
            DiskFault::Error => "eio",
            DiskFault::Full => "enospc",
            DiskFault::ReadOnly => "erofs",
            DiskFault::Lost => "lost",
            DiskFault::Stale => "stale",
            DiskFault::Misdirected => "misdirected",
            DiskFault::Flip => "flip",
        }
    }

    /// What the caller of the effect is told, if anything.
    pub(super) fn refusal(self) -> Option<io::Error> {
        match self {
            DiskFault::Error => Some(io::Error::other("simulated input/output error")),
            DiskFault::Full => Some(io::ErrorKind::StorageFull.into()),
            DiskFault::ReadOnly => Some(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => None,
        }
    }

    /// Whether the power is off afterwards.
    pub(super) fn ends_power(self) -> bool {
        matches!(self, DiskFault::CrashBefore | DiskFault::CrashAfter | DiskFault::Torn)
    }
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no fault is called `{name}`; there are: {}", DiskFault::ALL.map(DiskFault::name).join(", "))]
pub struct UnknownFault {
    /// What was asked for.
    pub name: String,
}

impl FromStr for DiskFault {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<DiskFault, UnknownFault> {
        let named = DiskFault::ALL.into_iter().find(|fault| fault.name() == name);
        named.ok_or_else(|| UnknownFault { name: name.to_owned() })
    }
}

/// Decides what goes wrong: at chosen effects, or now and then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    seed: u64,
    at: BTreeMap<u64, DiskFault>,
    rates_ppm: BTreeMap<DiskFault, u32>,
}

impl Plan {
    /// One fault at one effect. `seed` chooses its particulars: which sector, which bit.
    pub fn once(seed: u64, effect: u64, fault: DiskFault) -> Plan {
        Plan { seed, at: BTreeMap::from([(effect, fault)]), ..Plan::default() }
    }

    /// Each fault at so many of a million effects that it fits.
    pub fn random(seed: u64, rates_ppm: impl IntoIterator<Item = (DiskFault, u32)>) -> Plan {
        Plan { seed, rates_ppm: rates_ppm.into_iter().collect(), ..Plan::default() }
    }

    /// What goes wrong at this effect.
    pub(super) fn decide(&self, number: u64, act: Act) -> Option<DiskFault> {
        let drawn = |fault: DiskFault, ppm: u32| {
            fault.fits(act) && Rng::keyed(self.seed, &[number, fault as u64]).chance_ppm(ppm)
        };
        let planned = self.at.get(&number).copied().filter(|fault| fault.fits(act));
        planned
            .or_else(|| self.rates_ppm.iter().find_map(|(fault, ppm)| drawn(*fault, *ppm).then_some(*fault)))
    }

    /// The generator of a fault's particulars.
    pub(super) fn particulars(&self, number: u64) -> Rng {
        Rng::keyed(self.seed, &[number])
    }
}

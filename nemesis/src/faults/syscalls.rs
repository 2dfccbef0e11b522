//! Single system calls fail, take long, or are the last that a node makes.
//!
//! A failed sync here loses nothing by itself: the data stays in the page cache. What must not happen is that the
//! node goes on as if it had succeeded.

use super::{Amount, Kind, Lane, USUAL};
use crate::arena::Arena;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "sync-eio",
        what: "from the n-th sync on, a sync fails with EIO",
        amount: Some(Amount { unit: "n", low: 1, high: 200 }),
        inject: |arena, victims, n| arena.trace(victims, &format!("fdatasync,fsync:error=EIO:when={n}+")),
        ..SYSCALLS
    },
    Kind {
        name: "write-eio",
        what: "from the n-th write at an offset on, such a write fails with EIO",
        amount: Some(Amount { unit: "n", low: 1, high: 200 }),
        inject: |arena, victims, n| arena.trace(victims, &format!("pwrite64,pwritev:error=EIO:when={n}+")),
        ..SYSCALLS
    },
    Kind {
        name: "write-enospc",
        what: "from the n-th write at an offset on, such a write fails with ENOSPC",
        amount: Some(Amount { unit: "n", low: 1, high: 200 }),
        inject: |arena, victims, n| arena.trace(victims, &format!("pwrite64,pwritev:error=ENOSPC:when={n}+")),
        ..SYSCALLS
    },
    Kind {
        name: "sync-slow",
        what: "every sync takes longer",
        amount: Some(Amount { unit: "ms", low: 5, high: 1_500 }),
        inject: |arena, victims, ms| {
            arena.trace(victims, &format!("fdatasync,fsync:delay_enter={}", ms * 1_000))
        },
        ends_process: false,
        ..SYSCALLS
    },
    Kind {
        name: "syscall-kill",
        what: "kill -9 at the n-th of a thread's calls that write, sync, send, rename or remove",
        amount: Some(Amount { unit: "n", low: 1, high: 500 }),
        inject: |arena, victims, n| arena.trace(victims, &format!("{CHANGING}:signal=KILL:when={n}")),
        ..SYSCALLS
    },
];

const CHANGING: &str = "write,writev,pwrite64,fdatasync,fsync,sendto,rename,unlink,ftruncate,openat";

const SYSCALLS: Kind =
    Kind { lane: Lane::Disk, hold_ms: (2_000, 6_000), ends_process: true, heal: let_go, ..USUAL };

/// A node on which a call failed is replaced by one that has seen no failure.
fn let_go(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    arena.untrace(victims);
    Ok(())
}

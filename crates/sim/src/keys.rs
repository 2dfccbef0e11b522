//! Which purpose a random draw serves: the first part of every key.
//!
//! Randomness is keyed by (seed, purpose, link or node, time), never drawn from one shared stream. So two
//! protocols under one seed meet the same weather, and an edited fault changes nothing but its consequences.

use types::Rng;

/// What a draw decides.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Purpose {
    /// Cluster size, latencies, workload mix.
    Setup = 1,
    /// The list of faults.
    Faults = 2,
    /// What happens to one message.
    Link = 3,
    /// What a crash leaves of unsynced sectors, and where bits rot.
    Disk = 4,
    /// A replica's own seed, session and clocks.
    Node = 5,
    /// What a client asks next, and when.
    Client = 6,
    /// How long a disk or the state machine takes.
    Latency = 7,
    /// Which replicas the liveness phase heals.
    Liveness = 8,
    /// Whether the state engine made itself durable in the background.
    Engine = 9,
    /// What the operator does, and whom it asks.
    Operator = 10,
    /// How fast clocks run.
    Clock = 11,
    /// Who watches what, and through which node.
    Watch = 12,
}

/// The generator of one keyed draw.
pub(crate) fn rng(seed: u64, purpose: Purpose, key: [u64; 3]) -> Rng {
    Rng::keyed(seed, &[purpose as u64, key[0], key[1], key[2]])
}

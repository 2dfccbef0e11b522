//! What the simulator needs to know of a protocol besides its traits: a name, and how to configure a replica.

use consensus::{Consensus, Membership};
use types::{Buggify, NodeId};

use crate::options::Options;
use crate::setup::Tuning;

/// A protocol that can be simulated.
pub trait Subject: Consensus {
    /// What `--protocol` calls it.
    const NAME: &'static str;

    /// The configuration of one replica. `founders` are the voters that the group begins with; nobody for a node
    /// that joins it later.
    fn config(
        id: NodeId,
        founders: Membership,
        tuning: &Tuning,
        options: &Options,
        buggify: &Buggify,
    ) -> Self::Config;

    /// What a disk holds on which nothing stands yet but its number.
    fn numbered(incarnation: u64) -> Self::Meta;

    /// The number of the replica's disk, as configurations name it.
    fn disk(&self) -> u64;

    /// Whether the replica knows durably that the disks of the voters are settled, so that a majority is enough.
    fn is_founded(&self) -> bool;
}

//! What the simulator needs to know of a protocol besides its traits: a name, and how to configure a replica.

use consensus::Consensus;
use types::NodeId;

use crate::options::Options;
use crate::setup::Tuning;

/// A protocol that can be simulated.
pub trait Subject: Consensus {
    /// What `--protocol` calls it.
    const NAME: &'static str;

    /// The configuration of one replica. `founders` are the voters that the group begins with; nobody for a node
    /// that joins it later.
    fn config(id: NodeId, founders: &[NodeId], tuning: &Tuning, options: &Options) -> Self::Config;
}

//! What the simulator needs to know of a protocol besides its traits: a name, and how to configure a replica.

use consensus::Consensus;
use types::NodeId;

use crate::setup::Tuning;

/// A protocol that can be simulated.
pub trait Subject: Consensus {
    /// What `--protocol` calls it.
    const NAME: &'static str;

    /// The configuration of one replica. `planted` names a bug that the replica shall suffer from; names that
    /// the protocol does not know are somebody else's.
    fn config(id: NodeId, nodes: &[NodeId], tuning: &Tuning, planted: Option<&str>) -> Self::Config;
}

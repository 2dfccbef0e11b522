//! Raft as the simulator configures it.

use consensus::Membership;
use raft::{Config, Meta, Raft};
use types::{Buggify, NodeId};

use crate::options::Options;
use crate::setup::Tuning;
use crate::subject::Subject;

impl Subject for Raft {
    const NAME: &'static str = "raft";

    fn config(
        id: NodeId,
        founders: Membership,
        tuning: &Tuning,
        options: &Options,
        buggify: &Buggify,
    ) -> Config {
        #[cfg(not(feature = "planted"))]
        let _ = options;
        Config {
            heartbeat_interval: tuning.heartbeat,
            election_timeout: tuning.election,
            entry_bytes_max: tuning.batch_bytes,
            append_bytes_max: tuning.message_bytes,
            inflight_messages_max: tuning.window_messages,
            cache_bytes_max: tuning.cache_bytes,
            checkpoint_entries: tuning.checkpoint_entries,
            retained_entries: tuning.keep_entries,
            quiesce_after: tuning.quiesce_after,
            priority: if tuning.preferred == Some(id) { 2 } else { 1 },
            lease_drift_ppm: tuning.lease_drift_ppm,
            buggify: buggify.clone(),
            #[cfg(feature = "planted")]
            planted: options.planted.and_then(crate::bugbank::Bug::in_raft),
            membership: founders,
            ..Config::new(id, [])
        }
    }

    fn numbered(incarnation: u64) -> Meta {
        Meta { incarnation, ..Meta::default() }
    }

    fn disk(&self) -> u64 {
        self.incarnation()
    }

    fn is_founded(&self) -> bool {
        Raft::is_founded(self)
    }
}

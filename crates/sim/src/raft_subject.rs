//! Raft as the simulator configures it.

use raft::{Config, Raft};
use types::NodeId;

use crate::setup::Tuning;
use crate::subject::Subject;

impl Subject for Raft {
    const NAME: &'static str = "raft";

    fn config(id: NodeId, nodes: &[NodeId], tuning: &Tuning, planted: Option<&str>) -> Config {
        let config = Config {
            heartbeat_interval: tuning.heartbeat,
            election_timeout: tuning.election,
            entry_bytes_max: tuning.batch_bytes,
            append_bytes_max: tuning.message_bytes,
            inflight_messages_max: tuning.window_messages,
            cache_bytes_max: tuning.cache_bytes,
            checkpoint_entries: tuning.checkpoint_entries,
            retained_entries: tuning.keep_entries,
            ..Config::new(id, nodes.iter().copied())
        };
        #[cfg(feature = "planted")]
        let config = crate::bugbank::plant_in_raft(planted, config);
        #[cfg(not(feature = "planted"))]
        let _ = planted;
        config
    }
}

//! Known historical bugs, planted on purpose, to prove that the checks notice them.

/// Plants a bug of the log.
pub(crate) fn plant_in_log(_name: Option<&str>, options: storage::LogOptions) -> storage::LogOptions {
    options
}

/// Plants a bug of Raft.
pub(crate) fn plant_in_raft(_name: Option<&str>, config: raft::Config) -> raft::Config {
    config
}

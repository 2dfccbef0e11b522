//! Known historical bugs of a [`Submitter`](crate::Submitter) that a test can plant, to prove that its checker notices
//! them.

/// Whether this submitter suffers from a bug: the constant `false` unless the feature is on.
macro_rules! planted {
    ($submitter:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $submitter.config.planted == Some(crate::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

#[cfg(feature = "planted")]
types::bank! {
    /// A command that is sent again is another command (Jepsen on Redis-Raft: retries applied again).
    "R22" RetriesAreNew,
    /// A command is called refused although an earlier attempt is on its way (Jepsen on Redis-Raft: aborted reads).
    "R22" RefusesTooEarly,
    /// Every question for a read point has the same number, so that a late answer serves a later read (etcd #20418).
    "R14" ReusesReadTokens,
}

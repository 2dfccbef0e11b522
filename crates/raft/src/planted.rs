//! Known historical bugs that a test can plant, to prove that its checker notices them.

/// Whether this replica suffers from a bug: the constant `false` unless the feature is on.
macro_rules! planted {
    ($raft:expr, $bug:ident) => {{
        #[cfg(feature = "planted")]
        let planted = $raft.config.planted == Some(crate::Planted::$bug);
        #[cfg(not(feature = "planted"))]
        let planted = false;
        planted
    }};
}

/// A bug of the bank in `docs/protocols/raft.md`.
#[cfg(feature = "planted")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Planted {
    /// R1: entries of earlier terms are committed by counting copies (LogCabin #44, 2013).
    CommitsOldTerms,
}

//! What a submitter is asked, what it says, and what it goes by.

use std::time::Duration;

use bytes::Bytes;
use types::{Buggify, Slot};

use crate::errands::Errand;
use crate::{ReadLevel, Refusal};

/// Time-outs and sizes of a [`Submitter`].
#[derive(Clone, Debug)]
pub struct SubmitterConfig {
    /// An attempt without an answer is repeated after this long.
    pub retry_after: Duration,
    /// New commands wait at most this long for the proposal before them, so that they gather into one.
    pub hold_max: Duration,
    /// Commands of one [`Request::Propose`] add up to at most this many bytes (or are a single command).
    pub batch_bytes_max: u64,
    /// What is done more often than usual, for the simulator.
    pub buggify: Buggify,
    /// The bug that the submitter suffers from.
    #[cfg(feature = "planted")]
    pub planted: Option<crate::Planted>,
}

impl Default for SubmitterConfig {
    fn default() -> Self {
        SubmitterConfig {
            retry_after: Duration::from_millis(500),
            hold_max: Duration::from_millis(5),
            batch_bytes_max: 1 << 20,
            buggify: Buggify::default(),
            #[cfg(feature = "planted")]
            planted: None,
        }
    }
}

/// What a client asks for; see [`Submitter::submit`].
#[derive(Clone, Debug)]
pub enum SubmitRequest {
    /// Execute a command, encoded for the state machine.
    Write(Bytes),
    /// Find a point in the log at which a read may be served.
    Read(ReadLevel),
    /// Ask once, and never again.
    Once(Errand),
}

/// What became of a request, by the ticket that [`Submitter::submit`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The read may be served once `at` is applied.
    ReadAt {
        /// The request.
        ticket: u64,
        /// The slot to wait for.
        at: Slot,
    },
    /// The errand is done.
    Done {
        /// The request.
        ticket: u64,
        /// The slot whose entry tells of it, if one does.
        at: Option<Slot>,
    },
    /// The request had no effect and never will.
    Refused {
        /// The request.
        ticket: u64,
        /// Why the last attempt went nowhere.
        refusal: Refusal,
    },
    /// The time is up, and the command may or may not be executed (contract C8).
    Unknown {
        /// The request.
        ticket: u64,
    },
}

//! Ids, slots, epochs, times, commands and their wire form: plain data that every crate shares.
//!
//! Nothing here decides anything, and nothing here is tied to a protocol or a front-end.
//! **Invariant:** no clock, no ambient randomness, no `usize` in anything that is encoded or hashed.

mod bank;
pub mod buggify;
mod command;
mod fingerprint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ids;
mod rng;
mod time;
mod wire;

pub use buggify::Buggify;
pub use command::{Batch, Command, SessionId};
pub use fingerprint::Fingerprinter;
pub use ids::{Epoch, NodeId, Slot};
pub use rng::Rng;
pub use time::{Now, Time, WallTime};
pub use wire::{Reader, Wire, WireError};

/// What recovery found at one place that should hold a `T`.
///
/// `Damaged` is not `Missing`: a damaged record may have been acknowledged before it was damaged, so its
/// owner may neither vote nor answer as if it had never been written ("Protocol-Aware Recovery",
/// FAST'18).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SlotState<T> {
    /// The record, checksum verified.
    Ok(T),
    /// Nothing was ever durably written here.
    Missing,
    /// Something was durably written here and cannot be read back.
    Damaged,
}

impl<T> SlotState<T> {
    /// Returns the record if it is intact.
    pub fn ok(self) -> Option<T> {
        match self {
            SlotState::Ok(record) => Some(record),
            SlotState::Missing | SlotState::Damaged => None,
        }
    }
}

//! The event schema that tests print, the simulator records and tools draw.
//!
//! ```text
//!   driver ──record──▶ Recorder ──▶ off │ ring of the last N │ JSON lines
//!                                                              │
//!   person ◀── Printer ◀─┬─ filter ◀── Reader ◀────────────────┘
//!   Perfetto, ShiViz ◀───┘ export
//! ```
//!
//! A trace is one header line and then one line an event (`docs` of [`Header`] and [`Event`] are the format).
//! Promises, quoted by number elsewhere:
//!
//! - T1  **Same run, same bytes**: fields are written in one fixed order, numbers are integers, and nothing here
//!   reads a clock or draws a random number.
//! - T2  **Cheap when off**: [`Recorder::record`] on a recorder that is off builds nothing and allocates nothing.
//! - T3  **Causes come before effects**: an event's id and Lamport time are greater than those of its cause, and of
//!   every earlier event of its node.
//! - T4  **Reading is total**: any bytes give events or an error that names the line; memory does not grow with
//!   the length of a trace.
//!
//! Not here: files and terminals (the caller hands in an [`std::io::Write`] or [`std::io::BufRead`]), and what
//! events mean for correctness (`checker`).

mod event;
mod export;
mod kind;
mod printer;
mod reader;
mod recorder;
mod value;

pub use event::{Details, Event, EventId, Header, MessageId, OpId, SCHEMA};
pub use export::{Format, export};
pub use kind::{Kind, UnknownKind};
pub use printer::{Filter, Printer, ShowError, show};
pub use reader::{ReadError, Reader};
pub use recorder::{Recorder, Stamp};
pub use value::Value;

#[cfg(test)]
mod tests;

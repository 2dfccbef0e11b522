//! Real clusters under every fault that one machine can bring about, and a verdict on what clients saw.
//!
//! ```text
//!   seed ──▶ plan ──▶ run: cluster in network namespaces, clients, faults, recovery ──▶ history ──▶ verdict
//!                      │                                                                  │
//!                    arena: namespaces, processes, relay, disks                         judge: the checkers
//! ```
//!
//! `plan` decides what happens and can be read before anything does; `faults` knows how each kind is brought
//! about and healed; `arena` owns everything that has to be cleaned up; `clients` see what the load does not;
//! `judge` is where checkers are plugged in.

pub mod arena;
pub mod clients;
pub mod disk;
pub mod faults;
pub mod judge;
pub mod ledger;
pub mod plan;
pub mod relay;
pub mod report;
pub mod run;

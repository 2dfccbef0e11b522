//! Hostile bytes for every decoder: claims that hold for any input.
//!
//! ```text
//!   bytes ──▶ target: decode, encode, use what came out ──▶ returns, or panics: a claim does not hold
//!               ▲                        ▲
//!   libFuzzer (fuzz/libfuzzer)     tests/bounded.rs: the corpus and mutations of it
//! ```
//!
//! A target is a function of bytes. What all of them claim: no panic, no endless work, and no more memory than
//! [`Target::memory`] allows. What each claims besides stands in [`TARGETS`]. Formats that checksums protect are
//! also tried with checksums made true, because who writes hostile bytes can compute them; see `docs/fuzzing.md`.
//!
//! Not here: private decoders are reached through the `fuzzing` module of the crate that has them.

mod api;
mod input;
mod log;
mod raft;
mod store;
mod text;
mod wire;

pub use api::{grpc_body, grpc_request, proc_files};
pub use input::Input;
pub use log::{log_batches, log_files, log_mutations};
pub use raft::{raft_recovery, raft_steps};
pub use store::{kv_apply, kv_checkpoint, kv_queries};
pub use text::{
    config_file, history, initial_cluster, option_values, schedule, serve_flags, trace, txn_syntax, urls,
};
pub use wire::{
    kv_command, kv_keys, kv_values, lease_talk, log_description, log_sector, peer_frames, peer_greeting,
    raft_message, raft_record, wire_batch,
};

/// A decoder under hostile bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The function's name, and that of its corpus and of its libFuzzer program.
    pub name: &'static str,
    /// Feeds it bytes.
    pub run: fn(&[u8]),
    /// What holds for any bytes, besides what holds for all targets.
    pub claim: &'static str,
    /// Bytes of memory that it may take at once: so many, and so many for each byte of input. What the target itself
    /// sets up and compares is included.
    pub memory: (u64, u64),
}

macro_rules! targets {
    ($($name:ident $fixed:literal + $each:literal: $claim:literal,)*) => {
        /// Every target, by the layer of what it decodes.
        pub const TARGETS: &[Target] = &[$(Target {
            name: stringify!($name),
            run: $name,
            claim: $claim,
            memory: ($fixed << 10, $each),
        },)*];
    };
}

// Memory in KiB, and in bytes for each byte of input.
targets! {
    wire_batch 4 + 64: "integers, strings, options, lists and batches of commands have one form",
    trace 64 + 64: "a trace that is read and written again is the same trace; it can be printed",
    history 256 + 400: "a history that is read and written again is the same; the checkers judge it or give up",
    schedule 16 + 200: "weather that is read and written again is the same weather",
    peer_frames 4 + 64: "frames come out the same however the stream is cut",
    peer_greeting 4 + 8: "a greeting has one form",
    lease_talk 4 + 8: "a question about a lease and its answer have one form",
    raft_message 4 + 64: "a message has one form",
    raft_record 4 + 64: "meta and record have one form",
    raft_steps 512 + 600: "no sequence of messages breaks a replica's promises or its driver's contract",
    raft_recovery 64 + 200: "whatever a disk holds, a replica starts, and keeps its promises",
    log_description 4 + 64: "a batch's description has one form",
    log_sector 4 + 8: "a sector is valid only as it was sealed, where it was sealed",
    log_files 256 + 64: "any files open as a log or are refused; what opens takes writes and opens again",
    log_mutations 512 + 600: "a damaged log never gives back what was not written, and takes writes",
    log_batches 98304 + 600: "absurd numbers under true checksums open or are refused; what opens takes writes",
    kv_command 4 + 256: "a command has one form",
    kv_keys 4 + 8: "a key of the engine has one form",
    kv_values 4 + 64: "a value of the engine has one form; a session admits a number once",
    kv_apply 64 + 1200: "any entries are applied, with the same state in groups or one by one",
    kv_queries 128 + 1200: "any query of a store with history is answered or refused",
    kv_checkpoint 128 + 600: "a checkpoint is refused, or installed whole; the store then answers",
    grpc_body 8 + 64: "a message is what stands behind its prefix, however the body is cut",
    grpc_request 128 + 1200: "a request decodes as it encodes; what it comes to can be replicated and applied",
    proc_files 4 + 8: "what the kernel says about the process is read or not",
    config_file 512 + 2000: "a configuration file makes a configuration without contradictions or is refused",
    serve_flags 1024 + 2000: "flags and variables make a configuration without contradictions or are refused",
    initial_cluster 16 + 200: "an initial cluster is read the same in any order of its members",
    urls 16 + 200: "URLs that are read and written again are the same",
    txn_syntax 64 + 600: "a transaction is read, or refused with the place of the mistake",
    option_values 4 + 32: "nodes, leases and endpoints that are read and written again are the same",
}

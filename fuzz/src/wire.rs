//! Forms that bytes either have or have not: what is read is written as it was.

use bytes::Bytes;
use types::fuzzing::one_form;
use types::{Batch, Epoch};

/// [`types::Wire`] of plain data. The first byte of `data` says which type is read.
pub fn wire_batch(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 6 {
        0 => drop(one_form::<Batch>(rest)),
        1 => drop(one_form::<Vec<Option<Bytes>>>(rest)),
        2 => drop(one_form::<Vec<String>>(rest)),
        3 => drop(one_form::<Vec<Vec<bool>>>(rest)),
        4 => drop(one_form::<Option<Epoch>>(rest)),
        _ => drop(one_form::<Vec<i64>>(rest)),
    }
}

/// A peer's message.
pub fn raft_message(data: &[u8]) {
    one_form::<raft::Message>(data);
}

/// What a log keeps for Raft. The first byte of `data` says which of the two is read.
pub fn raft_record(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    if kind & 1 == 1 {
        one_form::<raft::Meta>(rest);
    } else {
        one_form::<raft::Record>(rest);
    }
}

/// A command of the store, as it stands in the log.
pub fn kv_command(data: &[u8]) {
    one_form::<kv::Command>(data);
}

/// Keys in the engine.
pub fn kv_keys(data: &[u8]) {
    kv::fuzzing::key(data);
}

/// Values in the engine.
pub fn kv_values(data: &[u8]) {
    kv::fuzzing::value(data);
}

/// What a batch in the log says about itself.
pub fn log_description(data: &[u8]) {
    storage::fuzzing::description(data);
}

/// A sector of the log.
pub fn log_sector(data: &[u8]) {
    storage::fuzzing::sector(data);
}

/// A peer's connection.
pub fn peer_frames(data: &[u8]) {
    node::fuzzing::frames(data);
}

/// The first bytes of a peer's connection.
pub fn peer_greeting(data: &[u8]) {
    node::fuzzing::greeting(data);
}

/// What nodes ask each other about leases.
pub fn lease_talk(data: &[u8]) {
    node::fuzzing::lease_talk(data);
}

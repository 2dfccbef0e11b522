//! What clients send: bodies, messages, and what they come to.

use std::collections::VecDeque;

use etcd::fuzzing::Asked;
use kv::KvError;
use types::fuzzing::one_form;

use crate::Input;
use crate::store::{Shop, command};

/// The body of a unary request, in pieces. Until the input ends, a byte says how long the next piece is.
pub fn grpc_body(data: &[u8]) {
    let mut input = Input::new(data);
    if input.flag() {
        if let Ok(text) = std::str::from_utf8(input.rest()) {
            etcd::fuzzing::timeout(text);
        }
        return;
    }
    let mut pieces = Vec::new();
    while !input.is_empty() {
        pieces.push(input.bytes(usize::MAX));
    }
    etcd::fuzzing::body(&pieces);
}

/// A request of the API: decoded, converted, and if it is one that changes the store, replicated and applied.
pub fn grpc_request(data: &[u8]) {
    let Some(asked) = etcd::fuzzing::request(data) else { return };
    let mut shop = Shop::stocked();
    match asked {
        Asked::Range(range) => {
            let answer = shop.kv.reader().range(&range);
            assert!(
                !matches!(answer, Err(kv::ReadError::Engine(_) | kv::ReadError::Incomplete)),
                "{answer:?}"
            );
        }
        Asked::Command(asked) => {
            let bytes = types::Wire::to_bytes(&asked);
            if let Some(kept) = one_form::<kv::Command>(&bytes) {
                assert_eq!(kept, asked);
            } else {
                // Deeper than any transaction that is let in.
                assert_eq!(kv::validate(&asked, usize::MAX), Err(KvError::TooManyOps));
            }
            shop.apply(VecDeque::from([command(9, bytes)]));
        }
    }
}

/// Files of `/proc`.
pub fn proc_files(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        etcd::fuzzing::process(text);
    }
}

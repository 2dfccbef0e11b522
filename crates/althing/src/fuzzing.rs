//! What the fuzz targets reach of what people write: each function panics if a claim does not hold.

use prost::Message;

use crate::client::{authority, show, txn_syntax};
use crate::sim::show::{parse_node, parse_op, parse_time};

pub use crate::serve::fuzzing::{config_file, flags, urls};

/// A transaction is read or refused with the place of the mistake; returns it as it goes over the wire.
///
/// # Panics
/// As said.
pub fn txn(text: &str) -> Option<Vec<u8>> {
    match txn_syntax::parse(text) {
        Ok(request) => Some(request.encode_to_vec()),
        Err(reason) => {
            assert!(reason.starts_with("line "), "{reason}");
            None
        }
    }
}

/// What is written behind options is read or refused: nodes, operations, times, leases, endpoints.
///
/// # Panics
/// As said.
pub fn option_values(text: &str) {
    if let Ok(node) = parse_node(text) {
        assert_eq!(parse_node(&node.to_string()), Ok(node));
    }
    if let Ok(id) = show::parse_lease_id(text) {
        assert_eq!(
            show::parse_lease_id(&show::lease_id(id)),
            Ok(id),
            "{id} is written as {}",
            show::lease_id(id)
        );
    }
    if let Ok(address) = authority(text) {
        assert_eq!(authority(&address).ok(), Some(address));
    }
    drop((parse_op(text), parse_time(text)));
}

//! The etcd v3 gRPC front-end: bytes to commands and back, with etcd's codes and texts.

pub mod proto;

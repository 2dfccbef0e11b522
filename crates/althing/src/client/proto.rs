//! The generated messages and clients that the commands use, under short names.

pub use etcd::proto::etcdserverpb as pb;
pub use etcd::proto::{mvccpb, v3electionpb, v3lockpb};

//! etcd's messages and clients, generated from `proto/`: what goes over the wire, and nothing else.
//!
//! `bytes` fields share the memory of the message that they came in.
#![allow(missing_docs, clippy::all, clippy::unwrap_used)]

/// The store's pairs and events.
pub mod mvccpb {
    tonic::include_proto!("mvccpb");
}

/// Permissions.
pub mod authpb {
    tonic::include_proto!("authpb");
}

/// KV, Watch, Lease, Cluster, Maintenance, Auth.
pub mod etcdserverpb {
    tonic::include_proto!("etcdserverpb");
}

/// Lock.
pub mod v3lockpb {
    tonic::include_proto!("v3lockpb");
}

/// Election.
pub mod v3electionpb {
    tonic::include_proto!("v3electionpb");
}

/// gRPC's health-checking protocol.
pub mod health {
    tonic::include_proto!("grpc.health.v1");
}

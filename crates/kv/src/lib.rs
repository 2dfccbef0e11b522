//! The etcd data model as a deterministic state machine: revisions, transactions, leases, watch history.

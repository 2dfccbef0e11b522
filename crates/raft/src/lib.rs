//! Raft: leader election, pipelined log replication, linearizable reads and checkpoint transfer, with no I/O.

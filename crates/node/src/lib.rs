//! The real world around the same cores: threads, disks and sockets that drive one replica.

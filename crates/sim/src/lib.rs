//! The seeded world: clock, network, disks, faults and clients around the real cores.

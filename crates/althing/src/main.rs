//! The binary: serve, dev, sim, bench and the client commands.

fn main() {}

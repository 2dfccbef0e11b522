//! Developer commands: ci, sim, replay, e2e, bench.

fn main() {}

//! Compiles `proto/` without a system `protoc`.

use std::error::Error;

const FILES: [&str; 6] =
    ["auth.proto", "mvcc.proto", "rpc.proto", "lock.proto", "election.proto", "health.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // Servers are dispatched by hand (`rpc.rs`): the generated ones box every call twice.
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(false)
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}

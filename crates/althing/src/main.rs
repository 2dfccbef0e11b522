//! The binary. All that it does stands in the library beside it, where fuzz targets reach it too.

use std::process::ExitCode;

/// A server allocates small things all the time, on one thread for another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    althing::main()
}

//! bench
use crate::client::ClientArgs;
use crate::failure::Outcome;
use clap::Args;
/// `althing bench`.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {}
/// x
pub fn run(_: &ClientArgs, _: &BenchArgs) -> Outcome {
    Ok(std::process::ExitCode::SUCCESS)
}

//! sim
use crate::failure::Outcome;
use clap::Args;
/// `althing sim`.
#[derive(Clone, Debug, Args)]
pub struct SimArgs {}
/// x
pub fn run(_: &SimArgs) -> Outcome {
    Ok(std::process::ExitCode::SUCCESS)
}

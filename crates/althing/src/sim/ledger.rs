//! `--ledger FILE`: a line about this campaign, for `cargo xtask ledger` to count.

use std::path::PathBuf;

use campaign::Campaign;
use clap::Args;

use crate::failure::{Failure, chain};

/// Where campaigns are written down.
#[derive(Clone, Debug, Default, Args)]
pub struct LedgerArgs {
    /// Append a line about what was run and found to this file
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

impl LedgerArgs {
    /// Appends the campaign, if that was asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&self, campaign: &Campaign) -> Result<(), Failure> {
        let Some(path) = &self.ledger else { return Ok(()) };
        campaign.append(path).map_err(|error| Failure::new(chain(&error)))
    }
}

//! `althing del KEY`

use clap::Args;
use serde_json::json;

use super::connect::Client;
use super::proto::pb;
use super::range::RangeArgs;
use super::show;
use crate::failure::Outcome;
use crate::output;

/// `althing del`.
#[derive(Clone, Debug, Args)]
pub struct DelArgs {
    /// Which keys.
    #[command(flatten)]
    range: RangeArgs,
    /// Print what was deleted
    #[arg(long)]
    prev: bool,
}

/// Deletes a range.
///
/// # Errors
/// The cluster's refusal, or no answer.
pub async fn run(client: &Client, args: &DelArgs) -> Outcome {
    let (key, range_end) = args.range.bounds();
    let request = pb::DeleteRangeRequest { key, range_end, prev_kv: args.prev };
    let response = client.write(async |channel| Client::kv(channel).delete_range(request).await).await?;
    let revision = show::revision(response.header.as_ref());
    if client.json {
        let prev: Vec<_> = response.prev_kvs.iter().map(show::pair).collect();
        return output::json(&json!({ "revision": revision, "deleted": response.deleted, "prev_kvs": prev }));
    }
    let keys = if response.deleted == 1 { "key" } else { "keys" };
    output::line(format_args!("deleted {} {keys}, revision {revision}", response.deleted))?;
    if response.prev_kvs.is_empty() {
        return Ok(std::process::ExitCode::SUCCESS);
    }
    output::line(show::pairs(&response.prev_kvs, false))
}

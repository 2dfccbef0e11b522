//! `althing get KEY`: one key prints its bare value, so that scripts can use it; a range prints a table.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::connect::Client;
use super::proto::pb;
use super::range::RangeArgs;
use super::show;
use crate::failure::{Failure, Outcome};
use crate::output;

/// `althing get`.
#[derive(Clone, Debug, Args)]
pub struct GetArgs {
    /// Which keys.
    #[command(flatten)]
    range: RangeArgs,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    limit: i64,
    /// As of this revision
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// Leave the values out
    #[arg(long)]
    keys_only: bool,
    /// Print only how many there are
    #[arg(long, conflicts_with = "keys_only")]
    count_only: bool,
    /// Order of the result
    #[arg(long, value_enum, value_name = "BY")]
    sort: Option<SortBy>,
    /// Highest first
    #[arg(long)]
    descending: bool,
    /// Ask only the member that answers: faster, and possibly stale
    #[arg(long)]
    serializable: bool,
}

/// What a result is ordered by.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SortBy {
    /// The key.
    Key,
    /// How often it was written.
    Version,
    /// When it was created.
    Create,
    /// When it was last written.
    Modify,
    /// Its value.
    Value,
}

/// Reads a range.
///
/// # Errors
/// The cluster's refusal, no answer, or a single key that does not exist.
pub async fn run(client: &Client, args: &GetArgs) -> Outcome {
    let request = request(args);
    let response = client.read(async |channel| Client::kv(channel).range(request.clone()).await).await?;
    if client.json {
        return output::json(&show::range(&response));
    }
    if args.count_only {
        return output::line(response.count);
    }
    if !args.range.is_single() {
        return print_range(args, &response);
    }
    match response.kvs.first() {
        Some(kv) if args.keys_only => output::line(output::readable(&kv.key)),
        Some(kv) => {
            output::bytes(&kv.value)?;
            output::line("")
        }
        None => Err(Failure::new(format_args!("there is no key {:?}", args.range.key))
            .next("althing get --prefix with a part of it")),
    }
}

fn print_range(args: &GetArgs, response: &pb::RangeResponse) -> Outcome {
    if response.kvs.is_empty() {
        eprintln!("no keys");
        return Ok(ExitCode::SUCCESS);
    }
    output::line(show::pairs(&response.kvs, args.keys_only))?;
    match show::remainder(response) {
        Some(remainder) => output::line(remainder),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn request(args: &GetArgs) -> pb::RangeRequest {
    let (key, range_end) = args.range.bounds();
    let target = match args.sort.unwrap_or(SortBy::Key) {
        SortBy::Key => pb::range_request::SortTarget::Key,
        SortBy::Version => pb::range_request::SortTarget::Version,
        SortBy::Create => pb::range_request::SortTarget::Create,
        SortBy::Modify => pb::range_request::SortTarget::Mod,
        SortBy::Value => pb::range_request::SortTarget::Value,
    };
    let order = match (args.descending, args.sort) {
        (true, _) => pb::range_request::SortOrder::Descend,
        (false, Some(_)) => pb::range_request::SortOrder::Ascend,
        (false, None) => pb::range_request::SortOrder::None,
    };
    pb::RangeRequest {
        key,
        range_end,
        limit: args.limit,
        revision: args.rev,
        sort_order: order.into(),
        sort_target: target.into(),
        serializable: args.serializable,
        keys_only: args.keys_only,
        count_only: args.count_only,
        ..Default::default()
    }
}

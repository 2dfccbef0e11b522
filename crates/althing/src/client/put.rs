//! `althing put KEY VALUE`

use std::io::Read;

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::connect::Client;
use super::proto::pb;
use super::show;
use crate::failure::{Failure, Outcome};
use crate::output;

/// `althing put`.
#[derive(Clone, Debug, Args)]
pub struct PutArgs {
    /// The key
    #[arg(allow_hyphen_values = true)]
    key: String,
    /// The value [default: read from standard input, as it is]
    #[arg(allow_hyphen_values = true)]
    value: Option<String>,
    /// Attach the key to this lease
    #[arg(long, value_name = "ID", value_parser = show::parse_lease_id)]
    lease: Option<i64>,
    /// Print the value that was there before
    #[arg(long)]
    prev: bool,
}

/// Writes a key.
///
/// # Errors
/// The cluster's refusal, or no answer.
pub async fn run(client: &Client, args: &PutArgs) -> Outcome {
    let request = pb::PutRequest {
        key: Bytes::copy_from_slice(args.key.as_bytes()),
        value: match &args.value {
            Some(value) => Bytes::copy_from_slice(value.as_bytes()),
            None => standard_input()?,
        },
        lease: args.lease.unwrap_or_default(),
        prev_kv: args.prev,
        ..Default::default()
    };
    let response = client.write(async |channel| Client::kv(channel).put(request).await).await?;
    let revision = show::revision(response.header.as_ref());
    if client.json {
        let prev = response.prev_kv.as_ref().map(show::pair);
        return output::json(&json!({ "revision": revision, "prev_kv": prev }));
    }
    match (args.prev, response.prev_kv) {
        (true, Some(prev)) => {
            output::line(format_args!("ok, revision {revision}; was {}", output::readable(&prev.value)))
        }
        (true, None) => output::line(format_args!("ok, revision {revision}; was not there")),
        (false, _) => output::line(format_args!("ok, revision {revision}")),
    }
}

/// All of standard input.
///
/// # Errors
/// It cannot be read.
pub fn standard_input() -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    match std::io::stdin().read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes.into()),
        Err(error) => Err(Failure::new(format_args!("cannot read standard input: {error}"))),
    }
}

//! `althing watch KEY`: prints changes as they happen. When an endpoint fails the watch goes on at the next, from
//! the revision after the last one printed: nothing is missed and nothing printed twice.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tonic::Status;
use tonic::transport::Channel;

use super::connect::{Client, refused};
use super::proto::pb::watch_client::WatchClient;
use super::proto::{mvccpb, pb};
use super::range::RangeArgs;
use super::show;
use crate::failure::{Failure, Outcome};
use crate::output::{self, bad, faint, good, readable};

/// Between attempts to resume.
const RESUME_DELAY: Duration = Duration::from_millis(500);

/// `althing watch`.
#[derive(Clone, Debug, Args)]
pub struct WatchArgs {
    /// Which keys.
    #[command(flatten)]
    range: RangeArgs,
    /// Begin with the changes of this revision [default: those after now]
    #[arg(long, value_name = "REVISION", default_value_t = 0, hide_default_value = true)]
    rev: i64,
    /// Print what was there before each change, too
    #[arg(long)]
    prev: bool,
}

enum End {
    /// The connection failed; the watch can go on elsewhere.
    Outage(Status),
    /// The watch cannot go on.
    Failed(Failure),
}

/// Prints changes until it is interrupted.
///
/// # Errors
/// The cluster cancels the watch, or nobody answers the first attempt.
pub async fn run(client: &Client, args: &WatchArgs) -> Outcome {
    let mut next_revision = args.rev;
    let mut channel = client.channel().await?;
    loop {
        let Err(end) = follow(client, args, channel.clone(), &mut next_revision).await else {
            return Ok(ExitCode::SUCCESS);
        };
        match end {
            End::Failed(failure) => return Err(failure),
            End::Outage(status) => eprintln!("{}", faint(format_args!("resuming: {}", status.message()))),
        }
        channel = loop {
            tokio::time::sleep(RESUME_DELAY).await;
            // A connection that is up again, or another member's.
            if let Ok(Ok(channel)) = tokio::time::timeout(RESUME_DELAY * 4, fresh(client)).await {
                break channel;
            }
        };
    }
}

/// A connection to the first endpoint that can be connected to now.
async fn fresh(client: &Client) -> Result<Channel, Failure> {
    for (_, alone) in client.each() {
        if let Ok(channel) = alone.channel().await {
            return Ok(channel);
        }
    }
    client.channel().await
}

async fn follow(
    client: &Client,
    args: &WatchArgs,
    channel: Channel,
    next_revision: &mut i64,
) -> Result<(), End> {
    let (key, range_end) = args.range.bounds();
    let create = pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: *next_revision,
        prev_kv: args.prev,
        ..Default::default()
    };
    let request =
        pb::WatchRequest { request_union: Some(pb::watch_request::RequestUnion::CreateRequest(create)) };
    // The stream of requests stays open, or the server would end the watch.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut watch = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
    let mut answers = watch.watch(requests).await.map_err(End::Outage)?.into_inner();
    while let Some(answer) = answers.message().await.map_err(End::Outage)? {
        if answer.canceled {
            return Err(End::Failed(cancelled(&answer)));
        }
        if answer.created && *next_revision == 0 {
            *next_revision = show::revision(answer.header.as_ref()) + 1;
        }
        for event in &answer.events {
            print(client, event).map_err(End::Failed)?;
            if let Some(kv) = &event.kv {
                *next_revision = (*next_revision).max(kv.mod_revision + 1);
            }
        }
    }
    Err(End::Outage(Status::unavailable("the server ended the stream")))
}

fn cancelled(answer: &pb::WatchResponse) -> Failure {
    if answer.compact_revision > 0 {
        let oldest = answer.compact_revision;
        return Failure::new(format_args!("the changes before revision {oldest} have been compacted"))
            .next(format_args!("althing watch --rev {oldest}"));
    }
    refused(&Status::cancelled(answer.cancel_reason.clone()))
}

fn print(client: &Client, event: &mvccpb::Event) -> Outcome {
    let Some(kv) = &event.kv else { return Ok(ExitCode::SUCCESS) };
    let deleted = event.r#type() == mvccpb::event::EventType::Delete;
    if client.json {
        let kind = if deleted { "delete" } else { "put" };
        let prev = event.prev_kv.as_ref().map(show::pair);
        return output::json(&json!({ "type": kind, "kv": show::pair(kv), "prev_kv": prev }));
    }
    let was = match &event.prev_kv {
        Some(prev) => faint(format_args!("  (was {})", readable(&prev.value))),
        None => String::new(),
    };
    let revision = faint(format_args!("{:>8}", kv.mod_revision));
    let key = readable(&kv.key);
    match deleted {
        true => output::line(format_args!("{revision}  {}  {key}{was}", bad("del"))),
        false => {
            output::line(format_args!("{revision}  {}  {key} = {}{was}", good("put"), readable(&kv.value)))
        }
    }
}

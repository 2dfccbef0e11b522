//! `althing elect NAME VALUE` campaigns and holds office until it is stopped; `althing elect NAME` prints who leads.

use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use tonic::{Code, Status};

use super::connect::{Client, refused};
use super::proto::v3electionpb::{CampaignRequest, LeaderRequest, election_client::ElectionClient};
use super::session::Session;
use super::show;
use crate::failure::{Failure, Outcome};
use crate::output::{self, readable};
use crate::serve::shutdown_requested;

/// Between attempts after an endpoint failed.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// `althing elect`.
#[derive(Clone, Debug, Args)]
pub struct ElectArgs {
    /// The election
    name: String,
    /// What this candidate proclaims, such as its address [default: only watch who leads]
    value: Option<String>,
    /// How long the office survives us if we die, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..))]
    ttl: i64,
}

/// Campaigns, or watches.
///
/// # Errors
/// The cluster's refusal, no answer, or a lease that was lost in office.
pub async fn run(client: &Client, args: &ElectArgs) -> Outcome {
    let name = Bytes::copy_from_slice(args.name.as_bytes());
    let Some(value) = &args.value else { return observe(client, name).await };
    let session = Session::open(client, args.ttl).await?;
    let value = Bytes::copy_from_slice(value.as_bytes());
    let outcome =
        campaign(client, args, CampaignRequest { name, lease: session.lease, value }, &session).await;
    // Resigning is revoking the lease: the candidate's key hangs on it.
    if let Err(failure) = session.close().await {
        eprintln!("warning: the office is left only when its lease expires: {failure}");
    }
    outcome
}

async fn campaign(client: &Client, args: &ElectArgs, request: CampaignRequest, session: &Session) -> Outcome {
    let mut stop = std::pin::pin!(shutdown_requested(false));
    let elected = tokio::select! {
        elected = win(client, &request) => elected?,
        () = session.lost() => return Err(lost(args)),
        why = &mut stop => return Err(Failure::new(format_args!("{why} while campaigning in {}", args.name))),
    };
    match client.json {
        true => output::json(&json!({ "election": args.name, "elected": true, "revision": elected }))?,
        false => {
            output::line(format_args!("elected in {}, fencing number {elected}; Ctrl-C resigns", args.name))?
        }
    };
    tokio::select! {
        _ = &mut stop => Ok(ExitCode::SUCCESS),
        () = session.lost() => Err(lost(args)),
    }
}

async fn win(client: &Client, request: &CampaignRequest) -> Result<i64, Failure> {
    loop {
        let channel = client.channel().await?;
        match ElectionClient::new(channel).campaign(request.clone()).await {
            Ok(answer) => return Ok(answer.into_inner().leader.map_or(0, |leader| leader.rev)),
            // Standing again with the same lease is the same candidacy.
            Err(status) if is_outage(&status) => tokio::time::sleep(RETRY_DELAY).await,
            Err(status) => return Err(refused(&status)),
        }
    }
}

async fn observe(client: &Client, name: Bytes) -> Outcome {
    loop {
        let mut election = ElectionClient::new(client.channel().await?);
        let status = match election.observe(LeaderRequest { name: name.clone() }).await {
            Ok(answers) => print_leaders(client, answers.into_inner()).await?,
            Err(status) => status,
        };
        if !is_outage(&status) {
            return Err(refused(&status));
        }
        tokio::time::sleep(RETRY_DELAY).await;
    }
}

/// Prints leaders until the stream ends, and says why it ended.
async fn print_leaders(
    client: &Client,
    mut answers: tonic::Streaming<super::proto::v3electionpb::LeaderResponse>,
) -> Result<Status, Failure> {
    loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(Status::unavailable("the server ended the stream")),
            Err(status) => return Ok(status),
        };
        let Some(kv) = answer.kv else { continue };
        match client.json {
            true => output::json(&show::pair(&kv))?,
            false => output::line(format_args!(
                "{} leads (since revision {})",
                readable(&kv.value),
                kv.create_revision
            ))?,
        };
    }
}

fn is_outage(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
}

fn lost(args: &ElectArgs) -> Failure {
    Failure::new(format_args!("the lease was lost: somebody else may lead {} now", args.name))
        .next("a longer --ttl, or althing status to see why nobody renewed it")
}

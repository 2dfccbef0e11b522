//! `althing move-leader`: another member leads, without an election time-out.

use clap::Args;
use serde_json::json;

use super::connect::Client;
use super::members;
use super::proto::pb::{self, maintenance_client::MaintenanceClient};
use crate::failure::{Failure, Outcome};
use crate::output;

/// `althing move-leader`.
#[derive(Clone, Debug, Args)]
pub struct MoveLeaderArgs {
    /// The name or id of the member that shall lead
    member: String,
}

/// Asks the leader, which alone can do it, to make way.
///
/// # Errors
/// The leader's refusal, or no leader to ask.
pub async fn run(client: &Client, args: &MoveLeaderArgs) -> Outcome {
    let target = members::find(client, &args.member).await?;
    let request = pb::MoveLeaderRequest { target_id: target.id };
    let (from, leader) = leader(client).await?;
    leader.write(async |channel| MaintenanceClient::new(channel).move_leader(request).await).await?;
    match client.json {
        true => output::json(&json!({ "from": format!("{from:x}"), "to": format!("{:x}", target.id) })),
        false => output::line(format_args!("leadership moved from {from:x} to {:x}", target.id)),
    }
}

/// A client of the leader: the endpoint that leads, else where the leader says that its clients reach it.
async fn leader(client: &Client) -> Result<(u64, Client), Failure> {
    let mut known = 0;
    for (_, alone) in client.each() {
        match alone.status().await {
            Ok(status) if status.leader != 0 && status.leader == status.member => {
                return Ok((status.member, alone));
            }
            Ok(status) if status.leader != 0 => known = status.leader,
            Ok(_) | Err(_) => {}
        }
    }
    let members = members::members(client).await?;
    let urls = members.into_iter().find(|member| member.id == known).map(|member| member.client_urls);
    let endpoints: Vec<String> =
        urls.iter().flatten().map(|url| url.trim_start_matches("http://").to_owned()).collect();
    match endpoints.is_empty() {
        true => Err(Failure::new("no endpoint knows a leader").next("althing status")),
        false => Ok((known, Client::to(&endpoints))),
    }
}

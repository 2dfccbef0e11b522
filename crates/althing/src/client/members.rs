//! `althing members`: who belongs to the cluster.

use serde_json::json;

use super::connect::Client;
use super::proto::pb::{self, cluster_client::ClusterClient};
use crate::failure::Outcome;
use crate::output::{self, table};

/// Prints a row a member.
///
/// # Errors
/// The cluster's refusal, or no answer.
pub async fn run(client: &Client) -> Outcome {
    let answer = client
        .read(async |channel| {
            ClusterClient::new(channel).member_list(pb::MemberListRequest { linearizable: true }).await
        })
        .await?;
    if client.json {
        let one = |member: &pb::Member| {
            json!({
                "id": format!("{:x}", member.id),
                "name": member.name,
                "peer_urls": member.peer_urls,
                "client_urls": member.client_urls,
                "learner": member.is_learner,
            })
        };
        return output::json(&json!({ "members": answer.members.iter().map(one).collect::<Vec<_>>() }));
    }
    let mut rows = table(&["id", "name", "peers", "clients"]);
    for member in &answer.members {
        let name = if member.name.is_empty() { "(not started)" } else { &member.name };
        let (peers, clients) = (member.peer_urls.join(","), member.client_urls.join(","));
        rows.add_row([format!("{:x}", member.id), name.to_owned(), peers, clients]);
    }
    output::line(rows)
}

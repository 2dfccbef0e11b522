//! `althing members [list|add|remove|promote|update]`: who belongs to the cluster, and who shall.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::connect::Client;
use super::proto::pb::{self, cluster_client::ClusterClient};
use crate::failure::{Failure, Outcome};
use crate::output::{self, table};

/// `althing members`.
#[derive(Clone, Debug, Args)]
pub struct MembersArgs {
    /// What to do; lists the members if left out.
    #[command(subcommand)]
    command: Option<MembersCommand>,
}

/// `althing members …`.
#[derive(Clone, Debug, Subcommand)]
enum MembersCommand {
    /// List the members
    List,
    /// Add a member, and print what to start it with
    Add {
        /// The name it will be started with
        name: String,
        /// Where the others will reach it, as in http://10.0.0.4:2380
        #[arg(long, required = true, value_delimiter = ',')]
        peer_urls: Vec<String>,
        /// Without a vote, until it is promoted
        #[arg(long)]
        learner: bool,
    },
    /// Remove a member for good
    Remove {
        /// Its name or id
        member: String,
    },
    /// Give a learner its vote
    Promote {
        /// Its name or id
        member: String,
    },
    /// Tell the others a member's new address, before it moves there
    Update {
        /// Its name or id
        member: String,
        /// Where the others will reach it
        #[arg(long, required = true, value_delimiter = ',')]
        peer_urls: Vec<String>,
    },
}

/// Lists or changes the members.
///
/// # Errors
/// The cluster's refusal, or no answer.
pub async fn run(client: &Client, args: &MembersArgs) -> Outcome {
    match args.command.as_ref().unwrap_or(&MembersCommand::List) {
        MembersCommand::List => list(client).await,
        MembersCommand::Add { name, peer_urls, learner } => add(client, name, peer_urls, *learner).await,
        MembersCommand::Remove { member } => remove(client, member).await,
        MembersCommand::Promote { member } => promote(client, member).await,
        MembersCommand::Update { member, peer_urls } => update(client, member, peer_urls).await,
    }
}

/// Everybody who belongs to the cluster.
///
/// # Errors
/// No answer.
pub async fn members(client: &Client) -> Result<Vec<pb::Member>, Failure> {
    let request = pb::MemberListRequest { linearizable: true };
    let answer = client.read(async |channel| ClusterClient::new(channel).member_list(request).await).await?;
    Ok(answer.members)
}

/// The member of this name or id.
///
/// # Errors
/// There is none, or no answer.
pub async fn find(client: &Client, member: &str) -> Result<pb::Member, Failure> {
    let id = u64::from_str_radix(member, 16).ok();
    let members = members(client).await?;
    let found = members.into_iter().find(|one| one.name == member || Some(one.id) == id);
    found.ok_or_else(|| Failure::new(format_args!("there is no member {member}")).next("althing members"))
}

async fn list(client: &Client) -> Outcome {
    let members = members(client).await?;
    if client.json {
        return output::json(&json!({ "members": members.iter().map(as_json).collect::<Vec<_>>() }));
    }
    let mut rows = table(&["id", "name", "role", "peers", "clients"]);
    for member in &members {
        let name = if member.name.is_empty() { "(not started)" } else { &member.name };
        let role = if member.is_learner { "learner" } else { "voter" };
        let (peers, clients) = (member.peer_urls.join(","), member.client_urls.join(","));
        rows.add_row([&id(member), name, role, &peers, &clients]);
    }
    output::line(rows)
}

async fn add(client: &Client, name: &str, peer_urls: &[String], is_learner: bool) -> Outcome {
    let request = pb::MemberAddRequest { peer_urls: peer_urls.to_vec(), is_learner };
    let answer = client.write(async |channel| ClusterClient::new(channel).member_add(request).await).await?;
    let added = answer.member.unwrap_or_default();
    let cluster: Vec<String> = answer
        .members
        .iter()
        .flat_map(|member| {
            let name = if member.id == added.id { name } else { &member.name };
            member.peer_urls.iter().map(move |url| format!("{name}={url}"))
        })
        .filter(|member| !member.starts_with('=')) // whoever never started cannot be asked
        .collect();
    let cluster = cluster.join(",");
    if client.json {
        return output::json(&json!({ "member": as_json(&added), "initial_cluster": cluster }));
    }
    let urls = added.peer_urls.join(",");
    output::line(format_args!(
        "added {}; start it with an empty data directory:\n  althing serve --name {name} --initial-cluster-state existing \
         --initial-advertise-peer-urls {urls} --listen-peer-urls {urls} --initial-cluster {cluster}",
        id(&added)
    ))
}

async fn remove(client: &Client, member: &str) -> Outcome {
    let request = pb::MemberRemoveRequest { id: find(client, member).await?.id };
    client.write(async |channel| ClusterClient::new(channel).member_remove(request).await).await?;
    done(client, "removed", request.id)
}

async fn promote(client: &Client, member: &str) -> Outcome {
    let request = pb::MemberPromoteRequest { id: find(client, member).await?.id };
    client.write(async |channel| ClusterClient::new(channel).member_promote(request).await).await?;
    done(client, "promoted", request.id)
}

async fn update(client: &Client, member: &str, peer_urls: &[String]) -> Outcome {
    let id = find(client, member).await?.id;
    let request = pb::MemberUpdateRequest { id, peer_urls: peer_urls.to_vec() };
    client.write(async |channel| ClusterClient::new(channel).member_update(request).await).await?;
    done(client, "updated", id)
}

fn done(client: &Client, what: &str, id: u64) -> Outcome {
    match client.json {
        true => output::json(&json!({ what: format!("{id:x}") })),
        false => output::line(format_args!("{what} {id:x}")),
    }
}

fn id(member: &pb::Member) -> String {
    format!("{:x}", member.id)
}

fn as_json(member: &pb::Member) -> Value {
    json!({
        "id": id(member),
        "name": member.name,
        "peer_urls": member.peer_urls,
        "client_urls": member.client_urls,
        "learner": member.is_learner,
    })
}

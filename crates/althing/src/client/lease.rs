//! `althing lease grant|keep-alive|show|list|revoke`

use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::connect::Client;
use super::proto::pb::{self, lease_client::LeaseClient};
use super::session::keep_alive;
use super::show::{lease_id, parse_lease_id};
use crate::failure::{Failure, Outcome};
use crate::output::{self, json_bytes, readable, table};

/// `althing lease`.
#[derive(Clone, Debug, Subcommand)]
pub enum LeaseCommand {
    /// Make a lease: its keys go when it does
    Grant {
        /// How long it lives without a keep-alive, seconds
        #[arg(value_parser = clap::value_parser!(i64).range(1..))]
        ttl: i64,
    },
    /// Keep a lease alive until this command is stopped
    KeepAlive {
        /// The lease
        #[arg(value_parser = parse_lease_id)]
        id: i64,
        /// Only once
        #[arg(long)]
        once: bool,
    },
    /// Show how long a lease has, and its keys
    Show {
        /// The lease
        #[arg(value_parser = parse_lease_id)]
        id: i64,
    },
    /// List all leases
    List,
    /// Delete a lease and its keys
    Revoke {
        /// The lease
        #[arg(value_parser = parse_lease_id)]
        id: i64,
    },
}

/// Does what is asked of a lease.
///
/// # Errors
/// The cluster's refusal, no answer, or a lease that is gone.
pub async fn run(client: &Client, command: &LeaseCommand) -> Outcome {
    match *command {
        LeaseCommand::Grant { ttl } => grant(client, ttl).await,
        LeaseCommand::KeepAlive { id, once } => keep(client, id, once).await,
        LeaseCommand::Show { id } => show(client, id).await,
        LeaseCommand::List => list(client).await,
        LeaseCommand::Revoke { id } => revoke(client, id).await,
    }
}

async fn grant(client: &Client, ttl: i64) -> Outcome {
    let request = pb::LeaseGrantRequest { ttl, id: 0 };
    let granted = client.write(async |channel| LeaseClient::new(channel).lease_grant(request).await).await?;
    let id = lease_id(granted.id);
    match client.json {
        true => output::json(&json!({ "id": id, "ttl_seconds": granted.ttl })),
        false => output::line(format_args!("lease {id} for {} s", granted.ttl)),
    }
}

async fn keep(client: &Client, id: i64, once: bool) -> Outcome {
    loop {
        let ttl_seconds = keep_alive(client, id).await?;
        if ttl_seconds == 0 {
            return Err(gone(id));
        }
        match client.json {
            true => output::json(&json!({ "id": lease_id(id), "ttl_seconds": ttl_seconds }))?,
            false => output::line(format_args!("lease {} has {ttl_seconds} s again", lease_id(id)))?,
        };
        if once {
            return Ok(ExitCode::SUCCESS);
        }
        let pause = Duration::from_secs(u64::try_from(ttl_seconds).unwrap_or_default()) / 3;
        tokio::time::sleep(pause).await;
    }
}

async fn show(client: &Client, id: i64) -> Outcome {
    let request = pb::LeaseTimeToLiveRequest { id, keys: true };
    let found =
        client.read(async |channel| LeaseClient::new(channel).lease_time_to_live(request).await).await?;
    if found.ttl < 0 {
        return Err(gone(id));
    }
    if client.json {
        let keys: Vec<_> = found.keys.iter().map(|key| json_bytes(key)).collect();
        return output::json(&json!({
            "id": lease_id(id), "ttl_seconds": found.ttl, "granted_ttl_seconds": found.granted_ttl, "keys": keys,
        }));
    }
    output::line(format_args!("lease {}: {} s of {} s left", lease_id(id), found.ttl, found.granted_ttl))?;
    for key in &found.keys {
        output::line(format_args!("  {}", readable(key)))?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client) -> Outcome {
    let found = client
        .read(async |channel| LeaseClient::new(channel).lease_leases(pb::LeaseLeasesRequest {}).await)
        .await?;
    let ids = found.leases.iter().map(|lease| lease_id(lease.id));
    if client.json {
        return output::json(&json!({ "leases": ids.collect::<Vec<_>>() }));
    }
    let mut rows = table(&["lease"]);
    ids.for_each(|id| {
        rows.add_row([id]);
    });
    output::line(rows)
}

async fn revoke(client: &Client, id: i64) -> Outcome {
    let request = pb::LeaseRevokeRequest { id };
    client.write(async |channel| LeaseClient::new(channel).lease_revoke(request).await).await?;
    match client.json {
        true => output::json(&json!({ "id": lease_id(id), "revoked": true })),
        false => output::line(format_args!("lease {} revoked", lease_id(id))),
    }
}

fn gone(id: i64) -> Failure {
    Failure::new(format_args!("lease {} does not exist or has expired", lease_id(id)))
        .next("althing lease list, or althing lease grant SECONDS")
}

//! `althing status`: how each endpoint is doing.

use std::process::ExitCode;

use comfy_table::Cell;
use serde_json::json;

use super::connect::Client;
use super::proto::pb::{self, maintenance_client::MaintenanceClient};
use super::show;
use crate::failure::{Failure, Outcome};
use crate::output::{self, size, table, verdict_cell};

/// How one member is doing.
#[derive(Clone, Debug)]
pub struct ServerStatus {
    /// Its id.
    pub member: u64,
    /// The member it believes to lead; 0: none.
    pub leader: u64,
    /// The term it is in.
    pub term: u64,
    /// The store's revision as it has applied it.
    pub revision: i64,
    /// Its version.
    pub version: String,
    /// The last log index it has.
    pub index: u64,
    /// The last log index it has applied.
    pub applied: u64,
    /// Bytes of state.
    pub size_bytes: u64,
    /// What is wrong with it.
    pub errors: Vec<String>,
}

impl Client {
    /// Asks the first endpoint that answers how it is doing.
    ///
    /// # Errors
    /// None answers.
    pub async fn status(&self) -> Result<ServerStatus, Failure> {
        let answer = self
            .read(async |channel| MaintenanceClient::new(channel).status(pb::StatusRequest {}).await)
            .await?;
        Ok(ServerStatus {
            member: answer.header.as_ref().map_or(0, |header| header.member_id),
            leader: answer.leader,
            term: answer.raft_term,
            revision: show::revision(answer.header.as_ref()),
            version: answer.version,
            index: answer.raft_index,
            applied: answer.raft_applied_index,
            size_bytes: u64::try_from(answer.db_size).unwrap_or_default(),
            errors: answer.errors,
        })
    }
}

/// Prints a row an endpoint. Succeeds only if all of them are well.
///
/// # Errors
/// Standard output cannot be written.
pub async fn run(client: &Client) -> Outcome {
    let mut rows =
        table(&["endpoint", "member", "role", "version", "size", "term", "index", "revision", "errors"]);
    let mut all_well = true;
    let mut members = Vec::new();
    for (endpoint, alone) in client.each() {
        let status = alone.status().await;
        all_well &= status.as_ref().is_ok_and(|status| status.leader != 0 && status.errors.is_empty());
        match status {
            Ok(status) => {
                rows.add_row(row(&endpoint, &status));
                members.push(as_json(&endpoint, &status));
            }
            Err(failure) => {
                let why = failure.to_string();
                let why = why.split("; help:").next().unwrap_or_default().to_owned();
                rows.add_row([Cell::new(&endpoint), Cell::new(""), verdict_cell("unreachable", false)]);
                eprintln!("{endpoint}: {why}");
                members.push(json!({ "endpoint": endpoint, "error": why }));
            }
        }
    }
    if client.json {
        members.iter().try_for_each(|member| output::json(member).map(drop))?;
    } else {
        output::line(rows)?;
    }
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn role(status: &ServerStatus) -> &'static str {
    match status.leader {
        0 => "no leader",
        leader if leader == status.member => "leader",
        _ => "follower",
    }
}

fn row(endpoint: &str, status: &ServerStatus) -> Vec<Cell> {
    let role = role(status);
    vec![
        Cell::new(endpoint),
        Cell::new(format_args!("{:x}", status.member)),
        verdict_cell(role, status.leader != 0),
        Cell::new(&status.version),
        Cell::new(size(status.size_bytes)),
        Cell::new(status.term),
        Cell::new(status.index),
        Cell::new(status.revision),
        verdict_cell(status.errors.join(", "), false),
    ]
}

fn as_json(endpoint: &str, status: &ServerStatus) -> serde_json::Value {
    json!({
        "endpoint": endpoint,
        "member": format!("{:x}", status.member),
        "leader": format!("{:x}", status.leader),
        "role": role(status),
        "version": status.version,
        "size_bytes": status.size_bytes,
        "term": status.term,
        "index": status.index,
        "applied": status.applied,
        "revision": status.revision,
        "errors": status.errors,
    })
}

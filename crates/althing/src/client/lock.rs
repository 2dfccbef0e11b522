//! `althing lock NAME -- COMMAND`: runs a command while holding a lock.
//!
//! ```text
//!   lease ─▶ wait for the lock ─▶ command runs, lease kept alive ─▶ lease revoked, exit code passed on
//!                                   │ lease nearly lost: SIGTERM; lost: SIGKILL
//! ```
//!
//! A lock alone does not stop a holder that was paused for longer than its lease: whatever the command writes to
//! should refuse writes with a lower fencing number than it has seen. The command finds its number in
//! `ALTHING_LOCK_REVISION`: it grows with every holder.

use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::process::{Child, Command};
use tonic::{Code, Status};

use super::connect::{Client, refused};
use super::proto::pb;
use super::proto::v3lockpb::{LockRequest, lock_client::LockClient};
use super::session::Session;
use super::show::lease_id;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::serve::shutdown_requested;

/// The share of a lease that is left when its loss is announced to the command.
const NOTICE: u32 = 4;
/// Between attempts to queue up again after an endpoint failed.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// `althing lock`.
#[derive(Clone, Debug, Args)]
pub struct LockArgs {
    /// The lock
    name: String,
    /// How long the lock survives us if we die, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(i64).range(1..))]
    ttl: i64,
    /// What to run while holding it [default: hold it until this command is stopped]
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// A lock that is held.
struct Held {
    /// Its key.
    key: Bytes,
    /// Its fencing number: the revision at which it was queued up for.
    revision: i64,
}

/// Holds a lock.
///
/// # Errors
/// The cluster's refusal, a command that cannot be started, a lease that was lost.
pub async fn run(client: &Client, args: &LockArgs) -> Outcome {
    let session = Session::open(client, args.ttl).await?;
    let outcome = hold(client, args, &session).await;
    // The lock is free as soon as the lease is revoked; if nobody answers it is when the lease expires.
    if let Err(failure) = session.close().await {
        eprintln!("warning: the lock is released only when its lease expires: {failure}");
    }
    outcome
}

async fn hold(client: &Client, args: &LockArgs, session: &Session) -> Outcome {
    let mut stop = std::pin::pin!(shutdown_requested(false));
    let held = tokio::select! {
        held = acquire(client, args, session.lease) => held?,
        () = session.lost() => return Err(lost(&args.name)),
        why = &mut stop => return Err(Failure::new(format_args!("{why} while waiting for {}", args.name))),
    };
    if !args.command.is_empty() {
        return run_command(args, session, &held).await;
    }
    announce(client, args, &held)?;
    tokio::select! {
        _ = &mut stop => Ok(ExitCode::SUCCESS),
        () = session.lost() => Err(lost(&args.name)),
    }
}

async fn acquire(client: &Client, args: &LockArgs, lease: i64) -> Result<Held, Failure> {
    let request = LockRequest { name: Bytes::copy_from_slice(args.name.as_bytes()), lease };
    let key = loop {
        let channel = client.channel().await?;
        match LockClient::new(channel).lock(request.clone()).await {
            Ok(answer) => break answer.into_inner().key,
            // Queueing up again with the same lease finds the same place in the queue.
            Err(status) if may_queue_again(&status) => tokio::time::sleep(RETRY_DELAY).await,
            Err(status) => return Err(refused(&status)),
        }
    };
    let request = pb::RangeRequest { key: key.clone(), ..Default::default() };
    let found = client.read(async |channel| Client::kv(channel).range(request.clone()).await).await?;
    match found.kvs.first() {
        Some(kv) => Ok(Held { key, revision: kv.create_revision }),
        None => Err(lost(&args.name)),
    }
}

fn may_queue_again(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded)
}

fn announce(client: &Client, args: &LockArgs, held: &Held) -> Outcome {
    let (name, revision) = (&args.name, held.revision);
    match client.json {
        true => {
            output::json(&json!({ "lock": name, "key": output::json_bytes(&held.key), "revision": revision }))
        }
        false => output::line(format_args!("holding {name}, fencing number {revision}; Ctrl-C releases it")),
    }
}

async fn run_command(args: &LockArgs, session: &Session, held: &Held) -> Outcome {
    let key = String::from_utf8_lossy(&held.key).into_owned();
    let revision = held.revision.to_string();
    let mut child = Command::new(&args.command[0])
        .args(&args.command[1..])
        .env("ALTHING_LOCK_KEY", &key)
        .env("ALTHING_LOCK_REVISION", &revision)
        .env("ALTHING_LEASE", lease_id(session.lease))
        // What etcdctl's `lock` calls them.
        .env("ETCD_LOCK_KEY", &key)
        .env("ETCD_LOCK_REV", &revision)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            Failure::new(format_args!("cannot start {}: {error}", args.command[0]))
                .next("althing lock NAME -- COMMAND [ARGUMENT…]")
        })?;
    supervise(&mut child, args, session).await
}

async fn supervise(child: &mut Child, args: &LockArgs, session: &Session) -> Outcome {
    let mut told = false;
    loop {
        let status = tokio::select! {
            status = child.wait() => status,
            () = session.lost() => {
                // It may have ended just now.
                drop(child.start_kill());
                drop(child.wait().await);
                return Err(lost(&args.name));
            }
            () = session.nearly_lost(session.ttl / NOTICE), if !told => {
                told = true;
                eprintln!("warning: nobody renews the lease of {}; stopping the command", args.name);
                terminate(child);
                continue;
            }
            // A terminal's Ctrl-C reaches the command by itself; the lock is held until it has ended.
            _ = shutdown_requested(false) => {
                terminate(child);
                continue;
            }
        };
        return status.map(passed_on).map_err(|error| Failure::new(format_args!("cannot wait: {error}")));
    }
}

fn terminate(child: &Child) {
    if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        // It may have ended just now.
        kill_process(pid, Signal::TERM).ok();
    }
}

/// The command's own exit code; 128 + N if signal N ended it, as shells do.
fn passed_on(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default());
    ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}

fn lost(name: &str) -> Failure {
    Failure::new(format_args!("the lease of {name} was lost: somebody else may hold the lock now"))
        .next("a longer --ttl, or althing status to see why nobody renewed it")
}

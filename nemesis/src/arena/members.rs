//! A change of who is a member, step by step, as an operator makes it, while everything else goes on.
//!
//! ```text
//!   remove ─▶ its process ends ─▶ (hold) ─▶ empty its disk ─▶ add ─▶ start ─▶ it votes
//! ```
//!
//! What the cluster has to agree to is asked again until it is so: after an answer that was lost nobody knows.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use e2e::cluster::http_get;
use etcd::proto::etcdserverpb as pb;
use pb::cluster_client::ClusterClient;
use pb::maintenance_client::MaintenanceClient;
use rustix::process::Signal;
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};

use super::{Arena, CLIENT_PORT, Process, address};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

const AGAIN: Duration = Duration::from_millis(100);

/// How long the leader is asked to hand over.
const LEAD_LIMIT: Duration = Duration::from_secs(5);

/// How long a removed member's process may take to end: it has to hear of it.
const END_LIMIT: Duration = Duration::from_secs(10);

/// How long a node with damaged files may take to serve again, before it is replaced.
const MEND_LIMIT: Duration = Duration::from_secs(15);

/// What is done to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It is made the leader, if that can be had soon.
    Lead,
    /// kill -9.
    Kill,
    /// The others remove it.
    Remove,
    /// Its process ends by itself; or is killed, if it does not hear that it was removed.
    End,
    /// Nothing, until the fault is over.
    Hold,
    /// Its disk is emptied, and nobody starts it.
    Empty,
    /// The others add a member with its address.
    Add,
    /// The same, without a vote.
    AddLearner,
    /// It is started.
    Start,
    /// The others give it a vote.
    Promote,
    /// It serves, and has a vote.
    Vote,
    /// It is started with what its disk holds, and serves; or else is replaced.
    Mend,
}

/// The steps to come for one node.
#[derive(Debug)]
pub struct Change {
    node: usize,
    steps: VecDeque<Step>,
    /// When the first of them began.
    since: Option<Instant>,
    /// What the cluster is asked meanwhile.
    asked: Option<JoinHandle<()>>,
    is_released: bool,
}

impl Change {
    /// These steps for `node`.
    pub fn new(node: usize, steps: &[Step]) -> Change {
        Change { node, steps: steps.iter().copied().collect(), since: None, asked: None, is_released: false }
    }

    pub(super) fn node(&self) -> usize {
        self.node
    }

    pub(super) fn release(&mut self) {
        self.is_released = true;
    }

    pub(super) fn is_mending(&self) -> bool {
        self.steps.front() == Some(&Step::Mend)
    }

    pub(super) fn is_done(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes as many steps as can be taken at once.
    pub(super) fn go_on(&mut self, arena: &mut Arena) -> anyhow::Result<()> {
        while let Some(&step) = self.steps.front() {
            let since = *self.since.get_or_insert_with(Instant::now);
            if !self.take(step, since, arena)? {
                return Ok(());
            }
            (self.since, self.asked) = (None, None);
            self.steps.pop_front();
        }
        Ok(())
    }

    /// Returns whether the step is done.
    fn take(&mut self, step: Step, since: Instant, arena: &mut Arena) -> anyhow::Result<bool> {
        let node = self.node;
        match step {
            Step::Kill => arena.end(node, Signal::KILL)?,
            Step::Hold => return Ok(self.is_released),
            Step::Lead => return Ok(self.ask(arena, lead) || since.elapsed() > LEAD_LIMIT),
            Step::Remove => return Ok(self.ask(arena, remove)),
            Step::End if arena.nodes[node].pid().is_some() && since.elapsed() < END_LIMIT => {
                return Ok(false);
            }
            Step::End => {
                arena.end(node, Signal::KILL)?;
                arena.nodes[node].set_member(false);
            }
            Step::Empty => {
                arena.nodes[node].set_member(false);
                arena.end(node, Signal::KILL)?;
                arena.empty(node)?;
            }
            Step::Add => return Ok(self.ask(arena, |place, to| add(place, to, false))),
            Step::AddLearner => return Ok(self.ask(arena, |place, to| add(place, to, true))),
            Step::Start => {
                arena.nodes[node].set_member(true);
                arena.revive(node)?;
            }
            Step::Promote => {
                arena.revive(node)?;
                return Ok(self.ask(arena, promote));
            }
            Step::Vote => {
                // It ends if nobody answers it when it starts.
                arena.revive(node)?;
                return Ok(self.ask(arena, |place, _| votes(place)));
            }
            Step::Mend => return self.mend(since, arena),
        }
        Ok(true)
    }

    fn mend(&mut self, since: Instant, arena: &mut Arena) -> anyhow::Result<bool> {
        let node = self.node;
        if self.asked.is_none() {
            arena.revive(node)?;
        }
        if self.ask(arena, |place, _| votes(place)) {
            arena.tally.mended += 1;
            return Ok(true);
        }
        let has_ended = arena.nodes[node].pid().is_none();
        if !has_ended && since.elapsed() < MEND_LIMIT {
            return Ok(false);
        }
        arena.tally.replaced += 1;
        arena.tally.reports.push(format!("{}: {}", arena.nodes[node].name, last_words(&arena.nodes[node])));
        arena.end(node, Signal::KILL)?;
        self.steps.extend([Step::Remove, Step::Empty, Step::Add, Step::Start, Step::Vote]);
        Ok(true)
    }

    /// Asks the cluster in the background, again and again. Returns whether it is so by now.
    fn ask<F>(&mut self, arena: &Arena, request: impl Fn(usize, Channel) -> F + Send + 'static) -> bool
    where
        F: Future<Output = anyhow::Result<()>> + Send,
    {
        let (node, founders) = (self.node, arena.founders);
        let asking = async move {
            for asked in (0..founders).cycle().skip(node + 1) {
                // Who is being changed cannot be asked about it.
                if asked != node && request(node, channel(asked)).await.is_ok() {
                    return;
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        self.asked.get_or_insert_with(|| arena.runtime.spawn(asking)).is_finished()
    }
}

impl Drop for Change {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.abort();
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}: {:?}", self.node + 1, self.steps)
    }
}

/// The last line of a log that tells of an error.
fn last_words(process: &Process) -> String {
    let tail = process.log_tail();
    let words = tail.lines().rev().find(|line| line.contains("ERROR") || line.starts_with("error"));
    words.or_else(|| tail.lines().last()).unwrap_or_default().to_owned()
}

fn channel(node: usize) -> Channel {
    let endpoint = format!("http://{}:{CLIENT_PORT}", address(node));
    let endpoint = Endpoint::from_shared(endpoint).expect("an address and a port are an endpoint");
    endpoint.connect_timeout(REQUEST_TIMEOUT).timeout(REQUEST_TIMEOUT).connect_lazy()
}

/// The member that lives at `place`, if there is one.
async fn member(place: usize, to: &Channel) -> anyhow::Result<Option<pb::Member>> {
    let request = pb::MemberListRequest { linearizable: true };
    let members = ClusterClient::new(to.clone()).member_list(request).await?.into_inner().members;
    let url = Process::peer_url(place);
    Ok(members.into_iter().find(|member| member.peer_urls.contains(&url)))
}

async fn remove(place: usize, to: Channel) -> anyhow::Result<()> {
    let Some(member) = member(place, &to).await? else { return Ok(()) };
    ClusterClient::new(to).member_remove(pb::MemberRemoveRequest { id: member.id }).await?;
    Ok(())
}

async fn add(place: usize, to: Channel, is_learner: bool) -> anyhow::Result<()> {
    if member(place, &to).await?.is_some() {
        return Ok(());
    }
    let request = pb::MemberAddRequest { peer_urls: vec![Process::peer_url(place)], is_learner };
    ClusterClient::new(to).member_add(request).await?;
    Ok(())
}

async fn promote(place: usize, to: Channel) -> anyhow::Result<()> {
    let member = member(place, &to).await?.context("it is no member")?;
    if member.is_learner {
        ClusterClient::new(to).member_promote(pb::MemberPromoteRequest { id: member.id }).await?;
    }
    Ok(())
}

/// Whoever leads is asked, as soon as it is the one that is asked.
async fn lead(place: usize, to: Channel) -> anyhow::Result<()> {
    let target_id = member(place, &to).await?.context("it is no member")?.id;
    let mut maintenance = MaintenanceClient::new(to);
    let status = maintenance.status(pb::StatusRequest {}).await?.into_inner();
    if status.leader == target_id {
        return Ok(());
    }
    if status.header.is_none_or(|header| header.member_id != status.leader) {
        bail!("this one does not lead");
    }
    maintenance.move_leader(pb::MoveLeaderRequest { target_id }).await?;
    Ok(())
}

/// It says so itself.
async fn votes(place: usize) -> anyhow::Result<()> {
    let asked = tokio::task::spawn_blocking(move || {
        let at = (address(place), CLIENT_PORT);
        anyhow::Ok((http_get(at, "/health")?, http_get(at, "/metrics")?))
    });
    let (health, metrics) = asked.await??;
    let is_voter = metrics.lines().any(|line| line == "etcd_server_is_learner 0");
    anyhow::ensure!(health.contains("\"health\":\"true\"") && is_voter, "it does not serve with a vote");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_what_is_to_come() {
        let change = Change::new(1, &[Step::Remove, Step::End]);
        assert_eq!(change.to_string(), "n2: [Remove, End]");
        assert!(!change.is_done());
    }
}

//! Why a healed cluster stands still: the first link that is missing in the chain from a quorum to an answer.
//!
//! ```text
//!   quorum of intact voters ─▶ leader ─▶ followers ─▶ durable copies ─▶ commit ─▶ applied everywhere ─▶ answer
//! ```
//!
//! Only what every protocol reports of itself ([`Status`]) is looked at. Where no protocol could go on, because the
//! weather took more than a quorum survives, that is said too: then the atlas of faults is wrong, not the protocol.

use std::collections::BTreeSet;

use consensus::{Membership, Role, Status};
use types::{NodeId, Slot};

use crate::oracle::Broken;
use crate::subject::Subject;
use crate::world::World;

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// This node's answer to a write.
    Write(NodeId),
    /// This node's answer to a linearizable read.
    Read(NodeId),
    /// Everything committed is applied by all that are well.
    Applied(Slot),
}

/// One node at the end of its time.
#[derive(Clone, Debug)]
struct Standing {
    id: NodeId,
    /// Whether it was healed for good.
    is_well: bool,
    /// Whether bits of its disk have ever flipped.
    is_rotten: bool,
    process: Process,
}

#[derive(Clone, Debug)]
enum Process {
    /// Its disk cannot be read.
    Lost,
    Down,
    Up(Box<Up>),
}

#[derive(Clone, Debug)]
struct Up {
    status: Status,
    applied: Slot,
    waiting: Waiting,
}

/// What a node has taken and not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Commands of its clients without an outcome.
    pub(crate) writes: u64,
    /// Reads that have a point and wait for the state machine to reach it.
    pub(crate) reads: u64,
    /// Jobs of the state machine.
    pub(crate) jobs: u64,
    /// Writes and reads of the disk.
    pub(crate) disk: u64,
}

/// Explains a world whose `core` has been well for long, and still not reached its `aim`.
pub(crate) fn explain<P: Subject>(world: &World<P>, core: &BTreeSet<NodeId>, aim: &Aim) -> Broken {
    let standing = |node: &crate::node::Node<P>| Standing {
        id: node.id,
        is_well: core.contains(&node.id),
        is_rotten: node.was_rotten(),
        process: match &node.life {
            None if node.lost => Process::Lost,
            None => Process::Down,
            Some(life) => Process::Up(Box::new(Up {
                status: life.core.status(),
                applied: life.kv.applied().0,
                waiting: life.waiting(),
            })),
        },
    };
    Scene::new(world.nodes.values().map(standing).collect()).explain(aim)
}

struct Scene {
    nodes: Vec<Standing>,
    /// Who takes part, as whoever knows most of what is committed sees it.
    membership: Membership,
}

/// A reason, and whether no protocol could have done better.
struct Reason {
    text: String,
    is_impossible: bool,
}

impl Scene {
    fn new(nodes: Vec<Standing>) -> Scene {
        let latest = nodes.iter().filter_map(Standing::up).max_by_key(|up| up.status.committed);
        let membership = match latest {
            Some(up) => up.status.membership.clone(),
            None => Membership::of(nodes.iter().map(|node| node.id)),
        };
        Scene { nodes, membership }
    }

    fn explain(&self, aim: &Aim) -> Broken {
        let reason = self.reason(aim);
        let check = if reason.is_impossible { "the atlas is survivable" } else { "liveness" };
        let mut detail = reason.text;
        for node in &self.nodes {
            detail.push_str("\n  ");
            detail.push_str(&node.whereabouts());
        }
        Broken { check, detail }
    }

    /// The first missing link.
    fn reason(&self, aim: &Aim) -> Reason {
        let missing = [
            self.no_quorum(),
            self.no_leader(),
            self.no_followers(),
            self.no_commit(),
            self.not_applied(),
            Some(self.no_answer(aim)),
        ];
        let first = missing.into_iter().flatten().next();
        first.unwrap_or_else(|| Reason::bug("nothing is missing".to_owned()))
    }

    fn well(&self) -> impl Iterator<Item = &Standing> {
        self.nodes.iter().filter(|node| node.is_well)
    }

    /// Voters that are well and remember all that they promised.
    fn able(&self) -> impl Iterator<Item = (NodeId, &Up)> {
        let intact = |up: &&Up| up.status.role != Role::Recovering;
        let voting = self.well().filter(|node| self.membership.votes(node.id));
        voting.filter_map(move |node| Some((node.id, node.up().filter(intact)?)))
    }

    fn leader(&self) -> Option<(NodeId, &Up)> {
        let leading = self.able().filter(|(_, up)| up.status.role == Role::Leader);
        leading.max_by_key(|(_, up)| up.status.epoch)
    }

    fn no_quorum(&self) -> Option<Reason> {
        let able: BTreeSet<NodeId> = self.able().map(|(id, _)| id).collect();
        if self.membership.is_quorum(|node| able.contains(&node)) {
            return None;
        }
        let disabled =
            self.nodes.iter().filter(|node| self.membership.votes(node.id) && !able.contains(&node.id));
        let why = |node: &Standing| {
            format!(
                "{:?} {}",
                node.id,
                match &node.process {
                    Process::Lost => "cannot read its disk",
                    Process::Down if node.is_well => "is well and does not start",
                    Process::Down => "is down for ever",
                    Process::Up(_) if !node.is_well => "is cut off for ever",
                    Process::Up(_) if node.is_rotten => "is recovering what its disk lost",
                    Process::Up(_) => "is recovering, though its disk lost nothing",
                }
            )
        };
        let text = format!(
            "{able:?} are intact and well, and no quorum of {}: {}",
            in_words(&self.membership),
            disabled.clone().map(why).collect::<Vec<_>>().join(", ")
        );
        // A node that was healed and does not start, or misses what its disk never lost, is somebody's bug.
        let at_fault = |node: &&Standing| match node.process {
            Process::Down => node.is_well,
            Process::Up(_) => node.is_well && !node.is_rotten,
            Process::Lost => false,
        };
        let bugs: BTreeSet<NodeId> = disabled.filter(at_fault).map(|node| node.id).collect();
        let is_enough = self.membership.is_quorum(|node| able.contains(&node) || bugs.contains(&node));
        Some(Reason { text, is_impossible: !is_enough })
    }

    fn no_leader(&self) -> Option<Reason> {
        if self.leader().is_some() {
            return None;
        }
        let lines: Vec<String> = self.able().map(|(id, up)| self.why_not_leading(id, &up.status)).collect();
        Some(Reason::bug(format!("there is a quorum and nobody leads: {}", lines.join("; "))))
    }

    fn why_not_leading(&self, id: NodeId, status: &Status) -> String {
        if let Some(leader) = status.leader {
            let is_leading =
                |it: &Standing| it.id == leader && it.up().is_some_and(|up| up.status.role == Role::Leader);
            return match self.nodes.iter().find(|node| is_leading(node)) {
                Some(node) if !node.is_well => {
                    format!("{id:?} follows {leader:?}, which is cut off for ever")
                }
                _ => format!("{id:?} follows {leader:?}, which does not lead"),
            };
        }
        let stands = matches!(status.role, Role::PreCandidate | Role::Candidate);
        let refusals: Vec<String> = self
            .able()
            .filter(|(other, _)| *other != id)
            .filter_map(|(other, up)| why_refused(status, other, &up.status))
            .collect();
        match (stands, refusals.is_empty()) {
            (false, _) => format!("{id:?} waits for its time-out in {:?}", status.epoch),
            (true, true) => format!("{id:?} stands in {:?}, and nobody has a reason to refuse", status.epoch),
            (true, false) => format!("{id:?} stands in {:?}, but {}", status.epoch, refusals.join(", ")),
        }
    }

    /// A leader needs a quorum in its epoch that knows of it.
    fn no_followers(&self) -> Option<Reason> {
        let (leader, leading) = self.leader()?;
        let epoch = leading.status.epoch;
        let follows = |up: &Up| up.status.epoch == epoch && up.status.leader == Some(leader);
        let astray: Vec<(NodeId, &Up)> = self.able().filter(|(_, up)| !follows(up)).collect();
        let is_following = |node| self.able().any(|(id, up)| id == node && follows(up));
        if self.membership.is_quorum(is_following) {
            return None;
        }
        let why = |(id, up): &(NodeId, &Up)| {
            let Status { epoch, leader, .. } = &up.status;
            let leader = leader.map_or("nobody".to_owned(), |leader| format!("{leader:?}"));
            format!("{id:?} is in {epoch:?} and follows {leader}")
        };
        let lines: Vec<String> = astray.iter().map(why).collect();
        Some(Reason::bug(format!("{leader:?} leads in {epoch:?} without a quorum: {}", lines.join(", "))))
    }

    fn no_commit(&self) -> Option<Reason> {
        let (leader, up) = self.leader()?;
        let next = up.status.committed.next();
        if next > up.status.last {
            return None;
        }
        let holds = |up: &Up| up.status.durable >= next && up.status.epoch == self.epoch();
        let (holders, missing): (Vec<_>, Vec<_>) = self.able().partition(|(_, up)| holds(up));
        let last = up.status.last;
        let text = if self.membership.is_quorum(|node| holders.iter().any(|(id, _)| *id == node)) {
            let ids: Vec<NodeId> = holders.iter().map(|(id, _)| *id).collect();
            format!(
                "{leader:?} leads with a log to {last} and does not commit {next}, which {ids:?} hold durably"
            )
        } else {
            let why = |(id, up): &(NodeId, &Up)| {
                format!("{id:?} has {} durably of a log to {}", up.status.durable, up.status.last)
            };
            let lines: Vec<String> = missing.iter().map(why).collect();
            format!("{leader:?} leads with a log to {last} and lacks copies of {next}: {}", lines.join(", "))
        };
        Some(Reason::bug(text))
    }

    fn epoch(&self) -> types::Epoch {
        self.leader().map(|(_, up)| up.status.epoch).unwrap_or_default()
    }

    fn not_applied(&self) -> Option<Reason> {
        let (leader, leading) = self.leader()?;
        let committed = leading.status.committed;
        let behind = |node: &Standing| {
            let up = node.up()?;
            let Up { status, applied, waiting } = up;
            if *applied >= committed {
                return None;
            }
            Some(format!(
                "{:?} {}",
                node.id,
                match () {
                    () if status.last < committed => format!("has a log to {}", status.last),
                    () if status.committed < committed =>
                        format!("knows of {} as committed", status.committed),
                    () if status.durable < committed => format!("has {} durably", status.durable),
                    () => format!("has applied {applied}, {} jobs to do", waiting.jobs),
                }
            ))
        };
        let members = self.well().filter(|node| self.membership.members.contains_key(&node.id));
        let lines: Vec<String> = members.filter_map(behind).collect();
        if lines.is_empty() {
            return None;
        }
        Some(Reason::bug(format!("{leader:?} has committed {committed}, but {}", lines.join(", "))))
    }

    fn no_answer(&self, aim: &Aim) -> Reason {
        let waiting = |id: &NodeId| {
            let up = self.nodes.iter().find(|node| node.id == *id).and_then(Standing::up);
            up.map(|up| up.waiting).unwrap_or_default()
        };
        let all = "all that is committed is applied wherever it is well";
        Reason::bug(match aim {
            Aim::Write(at) => match waiting(at).writes {
                0 => format!(
                    "{all}, and the session of {at:?} has no write under way: it was refused, or never came in"
                ),
                count => format!(
                    "{all}, and the session of {at:?} waits for {count} writes: they do not reach the leader's log, or \
                     nobody tells it of their outcome"
                ),
            },
            Aim::Read(at) => match waiting(at).reads {
                0 => format!(
                    "{all}, and {at:?} gets no read point: no majority confirms the leader's round, or its answer is lost"
                ),
                count => format!("{all}, and {count} reads of {at:?} wait for a point above it"),
            },
            Aim::Applied(slot) => {
                format!("{all}, and slot {slot} was reported as committed: the leader does not know it")
            }
        })
    }
}

/// A membership in a few words: `voters [n1, n2], outgoing [n3], learners [n4]`.
fn in_words(membership: &Membership) -> String {
    let list = |nodes: Vec<NodeId>| format!("{nodes:?}");
    let mut text = format!("voters {}", list(membership.voters().collect()));
    if membership.is_joint() {
        text.push_str(&format!(", outgoing {}", list(membership.outgoing.iter().copied().collect())));
    }
    let learners: Vec<NodeId> = membership.learners().collect();
    if !learners.is_empty() {
        text.push_str(&format!(", learners {}", list(learners)));
    }
    text
}

/// Why `other` would not vote for the one who stands with `status`.
fn why_refused(status: &Status, other: NodeId, its: &Status) -> Option<String> {
    if its.epoch > status.epoch {
        return Some(format!("{other:?} is in {:?} already", its.epoch));
    }
    if let Some(leader) = its.leader {
        return Some(format!("{other:?} follows {leader:?}"));
    }
    if its.last > status.last {
        return Some(format!("{other:?} has a log to {}, this one ends at {}", its.last, status.last));
    }
    None
}

impl Reason {
    fn bug(text: String) -> Reason {
        Reason { text, is_impossible: false }
    }
}

impl Standing {
    fn up(&self) -> Option<&Up> {
        match &self.process {
            Process::Up(up) => Some(up),
            Process::Lost | Process::Down => None,
        }
    }

    fn whereabouts(&self) -> String {
        let id = self.id;
        let ill = if self.is_well { "" } else { ", cut off for ever" };
        match &self.process {
            Process::Lost => format!("{id:?} cannot read its disk"),
            Process::Down => format!("{id:?} is down"),
            Process::Up(up) => {
                let Up { status, applied, waiting } = &**up;
                let Status { role, epoch, leader, first, last, durable, committed, membership, .. } = status;
                let membership = in_words(membership);
                let leader = leader.map_or("nobody".to_owned(), |leader| format!("{leader:?}"));
                let Waiting { writes, reads, jobs, disk } = waiting;
                format!(
                    "{id:?} is {role:?} in {epoch:?} of {leader}, log {first}..{last}, durable {durable}, committed \
                     {committed}, applied {applied}, sees {membership}; waiting: {writes} writes, {reads} reads, {jobs} jobs, {disk} of \
                     the disk{ill}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::Epoch;

    fn up(id: u64, role: Role, epoch: u64, leader: Option<u64>, slots: [u64; 4]) -> Standing {
        let [last, durable, committed, applied] = slots.map(Slot);
        let status = Status {
            role,
            epoch: Epoch::of(epoch),
            leader: leader.map(NodeId),
            first: Slot(1),
            last,
            durable,
            committed,
            applied,
            checkpoint: Slot::ZERO,
            membership: Membership::of([1, 2, 3].map(NodeId)),
        };
        let up = Up { status, applied, waiting: Waiting::default() };
        Standing { id: NodeId(id), is_well: true, is_rotten: true, process: Process::Up(Box::new(up)) }
    }

    fn down(id: u64, is_well: bool) -> Standing {
        Standing { id: NodeId(id), is_well, is_rotten: false, process: Process::Down }
    }

    /// The check, and the first line of its detail.
    fn said(nodes: Vec<Standing>, aim: Aim) -> (&'static str, String) {
        let broken = Scene::new(nodes).explain(&aim);
        (broken.check, broken.detail.lines().next().unwrap_or_default().to_owned())
    }

    use Role::{Candidate, Follower, Leader, Recovering};
    const WRITE: Aim = Aim::Write(NodeId(1));

    #[test]
    fn without_a_quorum_the_atlas_is_to_blame_unless_somebody_could_start() {
        let recovering = up(2, Recovering, 3, None, [4, 4, 2, 2]);
        let alone = up(1, Follower, 3, None, [4, 4, 2, 2]);
        let (check, text) = said(vec![alone.clone(), recovering, down(3, false)], WRITE);
        assert_eq!(check, "the atlas is survivable");
        assert_eq!(
            text,
            "{n1} are intact and well, and no quorum of voters [n1, n2, n3]: n2 is recovering what its disk lost, n3 is down \
             for ever"
        );
        let (check, text) = said(vec![alone, down(2, true), down(3, false)], WRITE);
        assert_eq!(check, "liveness", "{text}");
        assert!(text.contains("n2 is well and does not start"));
    }

    #[test]
    fn without_a_leader_it_says_who_refuses_whom() {
        let stands = up(1, Candidate, 5, None, [4, 4, 2, 2]);
        let ahead = up(2, Follower, 5, None, [9, 9, 2, 2]);
        let follows = up(3, Follower, 5, Some(2), [4, 4, 2, 2]);
        let (_, text) = said(vec![stands, ahead, follows], WRITE);
        assert_eq!(
            text,
            "there is a quorum and nobody leads: n1 stands in e5, but n2 has a log to 9, this one ends at 4, n3 follows \
             n2; n2 waits for its time-out in e5; n3 follows n2, which does not lead"
        );
    }

    #[test]
    fn with_a_leader_it_says_which_link_is_missing() {
        let leader = |slots| up(1, Leader, 5, Some(1), slots);
        let follower = |id, slots| up(id, Follower, 5, Some(1), slots);
        let astray = |id| up(id, Follower, 6, None, [9, 9, 9, 9]);
        let text = |nodes, aim| said(nodes, aim).1;
        let lonely = text(vec![leader([9, 9, 9, 9]), astray(2), astray(3)], WRITE);
        assert_eq!(
            lonely,
            "n1 leads in e5 without a quorum: n2 is in e6 and follows nobody, n3 is in e6 and follows nobody"
        );
        let uncopied =
            text(vec![leader([9, 9, 5, 5]), follower(2, [9, 5, 5, 5]), follower(3, [5, 5, 5, 5])], WRITE);
        assert_eq!(
            uncopied,
            "n1 leads with a log to 9 and lacks copies of 6: n2 has 5 durably of a log to 9, n3 has 5 durably of a log to 5"
        );
        let uncounted =
            text(vec![leader([9, 9, 5, 5]), follower(2, [9, 9, 5, 5]), follower(3, [5, 5, 5, 5])], WRITE);
        assert!(uncounted.contains("does not commit 6, which [n1, n2] hold durably"), "{uncounted}");
        let unapplied =
            text(vec![leader([9, 9, 9, 9]), follower(2, [9, 9, 9, 7]), follower(3, [9, 9, 8, 8])], WRITE);
        assert_eq!(
            unapplied,
            "n1 has committed 9, but n2 has applied 7, 0 jobs to do, n3 knows of 8 as committed"
        );
        let all = vec![leader([9, 9, 9, 9]), follower(2, [9, 9, 9, 9]), follower(3, [9, 9, 9, 9])];
        assert!(text(all.clone(), WRITE).contains("the session of n1 has no write under way"));
        assert!(text(all.clone(), Aim::Read(NodeId(2))).contains("n2 gets no read point"));
        assert!(text(all, Aim::Applied(Slot(10))).contains("slot 10 was reported"));
    }
}

#[cfg(all(test, feature = "planted"))]
mod planted {
    /// The explanation of a real run that stands still names a missing link, and then where everybody is.
    #[test]
    fn a_cluster_that_a_bug_stops_says_why() {
        use crate::bugbank::{Bug, run};
        let caught = run(Bug::Raft(raft::Planted::LoneNeverStands), 0, 60).expect("the bank catches it");
        let detail = &caught.broken.detail;
        assert_eq!(caught.broken.check, "liveness");
        assert!(detail.contains("there is a quorum and nobody leads"), "{detail}");
    }
}

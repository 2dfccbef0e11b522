//! Who takes part, and what makes a quorum of them.
//!
//! ```text
//!   C_old ──change──▶ C_old,new  (joint: a majority of each)  ──committed──▶ C_new
//! ```
//!
//! Only changes of the voters pass through a joint configuration; whoever does not vote comes and goes in one step.
//!
//! # Source
//! Raft (Ongaro & Ousterhout 2014) §6; learners: Ongaro's dissertation §4.2.1.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use types::{NodeId, Reader, Wire, WireError};

/// Who takes part in a group, at one slot of its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Membership {
    /// Everybody, by id.
    pub members: BTreeMap<NodeId, Member>,
    /// While the configuration is joint, who voted before; a quorum needs a majority of these too. Else empty.
    pub outgoing: BTreeSet<NodeId>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Whether it votes.
    pub standing: Standing,
    /// The number of its disk; 0 while it is not known. Another disk under the same id is not this member.
    pub incarnation: u64,
    /// What the driver knows it by: names, addresses. Opaque to the protocol.
    pub context: Bytes,
}

/// Whether a member votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It votes.
    Voter,
    /// It is sent the log and does not vote.
    Learner,
    /// A learner that is made a voter as soon as it has caught up.
    Joining,
    /// It votes as one of the outgoing configuration, and is no member of the next.
    Leaving,
}

/// One wish about one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// Add a member that does not vote.
    AddLearner {
        /// An id that was never used before in this group.
        node: NodeId,
        /// As [`Member::context`].
        context: Bytes,
    },
    /// Add a member that votes as soon as it has caught up, so that no quorum ever waits for an empty disk.
    AddVoter {
        /// An id that was never used before in this group.
        node: NodeId,
        /// As [`Member::context`].
        context: Bytes,
    },
    /// Make a learner a voter; refused unless it has caught up.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// Remove a member for good.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// Replace what the driver knows a member by.
    Describe {
        /// The member.
        node: NodeId,
        /// As [`Member::context`].
        context: Bytes,
    },
}

/// Why a change of membership cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChangeRefusal {
    /// An earlier change is still under way.
    #[error("another change of membership is under way")]
    Pending,
    /// There is such a member.
    #[error("member {0} exists already")]
    Exists(NodeId),
    /// There is no such member.
    #[error("there is no member {0}")]
    Unknown(NodeId),
    /// Only a learner can be promoted.
    #[error("member {0} is not a learner")]
    NotLearner(NodeId),
    /// It does not hold enough of the log yet.
    #[error("member {0} has not caught up with the leader")]
    NotCaughtUp(NodeId),
    /// Nobody would be left to vote.
    #[error("the last voter cannot be removed")]
    LastVoter,
    /// A quorum of the new configuration has not been heard from of late.
    #[error("too few of the remaining voters can be reached")]
    Unhealthy,
}

impl Membership {
    /// A group of voters of which nothing else is known.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Membership {
        let member = |node| (node, Member::new(Standing::Voter, Bytes::new()));
        Membership { members: voters.into_iter().map(member).collect(), outgoing: BTreeSet::new() }
    }

    /// A group of voters whose disks are known, each with its [`Member::incarnation`].
    pub fn of_disks(voters: impl IntoIterator<Item = (NodeId, u64)>) -> Membership {
        let voter = |incarnation| Member { incarnation, ..Member::new(Standing::Voter, Bytes::new()) };
        let members = voters.into_iter().map(|(node, incarnation)| (node, voter(incarnation))).collect();
        Membership { members, outgoing: BTreeSet::new() }
    }

    /// By which disk a member is known, if that is settled.
    pub fn disk(&self, node: NodeId) -> Option<u64> {
        self.members.get(&node).map(|member| member.incarnation).filter(|incarnation| *incarnation != 0)
    }

    /// Whether the disk of everybody who votes is known.
    pub fn is_pinned(&self) -> bool {
        self.voters().chain(self.outgoing.iter().copied()).all(|node| self.disk(node).is_some())
    }

    /// Who votes in the configuration that is coming, or the only one.
    pub fn voters(&self) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.with(Standing::Voter)
    }

    /// Who is sent the log and does not vote.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        let is_learner = |member: &Member| matches!(member.standing, Standing::Learner | Standing::Joining);
        self.members.iter().filter(move |(_, member)| is_learner(member)).map(|(node, _)| *node)
    }

    /// The members of one standing.
    pub fn with(&self, standing: Standing) -> impl Iterator<Item = NodeId> + Clone + '_ {
        self.members.iter().filter(move |(_, member)| member.standing == standing).map(|(node, _)| *node)
    }

    /// Whether this node votes in either configuration.
    pub fn votes(&self, node: NodeId) -> bool {
        self.standing(node) == Some(Standing::Voter) || self.outgoing.contains(&node)
    }

    /// How a node stands; `None` if it is no member.
    pub fn standing(&self, node: NodeId) -> Option<Standing> {
        self.members.get(&node).map(|member| member.standing)
    }

    /// Whether two configurations decide together.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether those of whom `has` is true are a quorum: a majority, of both configurations if it is joint.
    pub fn is_quorum(&self, has: impl Fn(NodeId) -> bool) -> bool {
        self.quorum_value(has).unwrap_or(false)
    }

    /// The greatest value that a quorum has reached; `None` if there are no voters.
    ///
    /// The order of the voters does not matter.
    ///
    /// # Source
    /// Raft §5.3 and Figure 2, "Rules for Servers: Leaders"; §6 for joint configurations.
    pub fn quorum_value<T: Ord + Copy>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        let new = majority_value(self.voters().map(&value).collect())?;
        match self.is_joint() {
            true => Some(new.min(majority_value(self.outgoing.iter().copied().map(&value).collect())?)),
            false => Some(new),
        }
    }

    /// This configuration with `changes` made to it; joint if the voters change.
    ///
    /// # Errors
    /// [`ChangeRefusal`], and nothing is changed. Whether a learner has caught up, and whether enough voters can be
    /// reached, is the caller's to judge.
    pub fn changed(&self, changes: &[Change]) -> Result<Membership, ChangeRefusal> {
        if self.is_joint() {
            return Err(ChangeRefusal::Pending);
        }
        let mut next = self.clone();
        changes.iter().try_for_each(|change| next.change(change))?;
        if next.voters().next().is_none() {
            return Err(ChangeRefusal::LastVoter);
        }
        if !next.voters().eq(self.voters()) {
            next.outgoing = self.voters().collect();
        } else {
            next.members.retain(|_, member| member.standing != Standing::Leaving);
        }
        Ok(next)
    }

    /// What follows a joint configuration: the new one alone.
    #[must_use]
    pub fn settled(&self) -> Membership {
        let mut next = self.clone();
        next.outgoing.clear();
        next.members.retain(|_, member| member.standing != Standing::Leaving);
        next
    }

    fn change(&mut self, change: &Change) -> Result<(), ChangeRefusal> {
        match change {
            Change::AddLearner { node, context } => self.add(*node, Standing::Learner, context),
            Change::AddVoter { node, context } => self.add(*node, Standing::Joining, context),
            Change::Promote { node } => match &mut self.member(*node)?.standing {
                standing @ (Standing::Learner | Standing::Joining) => {
                    *standing = Standing::Voter;
                    Ok(())
                }
                Standing::Voter | Standing::Leaving => Err(ChangeRefusal::NotLearner(*node)),
            },
            Change::Remove { node } => {
                let member = self.member(*node)?;
                match member.standing {
                    Standing::Voter => member.standing = Standing::Leaving,
                    _ => drop(self.members.remove(node)),
                }
                Ok(())
            }
            Change::Describe { node, context } => {
                self.member(*node)?.context = context.clone();
                Ok(())
            }
        }
    }

    fn add(&mut self, node: NodeId, standing: Standing, context: &Bytes) -> Result<(), ChangeRefusal> {
        if self.members.contains_key(&node) {
            return Err(ChangeRefusal::Exists(node));
        }
        self.members.insert(node, Member::new(standing, context.clone()));
        Ok(())
    }

    fn member(&mut self, node: NodeId) -> Result<&mut Member, ChangeRefusal> {
        self.members.get_mut(&node).ok_or(ChangeRefusal::Unknown(node))
    }
}

impl Member {
    /// A member whose disk is not known yet.
    pub fn new(standing: Standing, context: Bytes) -> Member {
        Member { standing, incarnation: 0, context }
    }
}

/// The greatest value that a majority has reached.
fn majority_value<T: Ord>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable_by(|a, b| b.cmp(a));
    let majority = values.len() / 2;
    (majority < values.len()).then(|| values.swap_remove(majority))
}

/// The count of members, and of each its id, standing, incarnation and context; then the outgoing voters.
impl Wire for Membership {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.members.len() as u32).encode(out);
        for (node, member) in &self.members {
            node.encode(out);
            member.encode(out);
        }
        self.outgoing.iter().copied().collect::<Vec<_>>().encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let mut members: Vec<(NodeId, Member)> = Vec::new();
        for _ in 0..u32::decode(input)? {
            members.push((NodeId::decode(input)?, Member::decode(input)?));
        }
        let outgoing = Vec::<NodeId>::decode(input)?;
        // One form only: replicas compare their states byte by byte.
        let ascends = |ids: &mut dyn Iterator<Item = NodeId>| ids.is_sorted_by(|a, b| a < b);
        if !ascends(&mut members.iter().map(|(node, _)| *node)) || !ascends(&mut outgoing.iter().copied()) {
            return Err(WireError::Range { what: "order of members" });
        }
        Ok(Membership { members: members.into_iter().collect(), outgoing: outgoing.into_iter().collect() })
    }
}

impl Wire for Member {
    fn encode(&self, out: &mut Vec<u8>) {
        self.standing.encode(out);
        self.incarnation.encode(out);
        self.context.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(Member {
            standing: Standing::decode(input)?,
            incarnation: u64::decode(input)?,
            context: Bytes::decode(input)?,
        })
    }
}

impl Wire for Standing {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Standing::Voter => 0,
            Standing::Learner => 1,
            Standing::Joining => 2,
            Standing::Leaving => 3,
        });
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            0 => Ok(Standing::Voter),
            1 => Ok(Standing::Learner),
            2 => Ok(Standing::Joining),
            3 => Ok(Standing::Leaving),
            tag => Err(WireError::Tag { what: "standing", tag }),
        }
    }
}

impl Wire for Change {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, node, context) = match self {
            Change::AddLearner { node, context } => (0, node, Some(context)),
            Change::AddVoter { node, context } => (1, node, Some(context)),
            Change::Promote { node } => (2, node, None),
            Change::Remove { node } => (3, node, None),
            Change::Describe { node, context } => (4, node, Some(context)),
        };
        out.push(tag);
        node.encode(out);
        if let Some(context) = context {
            context.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        let tag = u8::decode(input)?;
        let node = NodeId::decode(input)?;
        Ok(match tag {
            0 => Change::AddLearner { node, context: Bytes::decode(input)? },
            1 => Change::AddVoter { node, context: Bytes::decode(input)? },
            2 => Change::Promote { node },
            3 => Change::Remove { node },
            4 => Change::Describe { node, context: Bytes::decode(input)? },
            tag => return Err(WireError::Tag { what: "change of membership", tag }),
        })
    }
}

/// A tag, then the member's id where there is one.
impl Wire for ChangeRefusal {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, node) = match self {
            ChangeRefusal::Pending => (0, None),
            ChangeRefusal::Exists(node) => (1, Some(node)),
            ChangeRefusal::Unknown(node) => (2, Some(node)),
            ChangeRefusal::NotLearner(node) => (3, Some(node)),
            ChangeRefusal::NotCaughtUp(node) => (4, Some(node)),
            ChangeRefusal::LastVoter => (5, None),
            ChangeRefusal::Unhealthy => (6, None),
        };
        out.push(tag);
        if let Some(node) = node {
            node.encode(out);
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::decode(input)? {
            0 => ChangeRefusal::Pending,
            1 => ChangeRefusal::Exists(NodeId::decode(input)?),
            2 => ChangeRefusal::Unknown(NodeId::decode(input)?),
            3 => ChangeRefusal::NotLearner(NodeId::decode(input)?),
            4 => ChangeRefusal::NotCaughtUp(NodeId::decode(input)?),
            5 => ChangeRefusal::LastVoter,
            6 => ChangeRefusal::Unhealthy,
            tag => return Err(WireError::Tag { what: "refused change", tag }),
        })
    }
}

#[cfg(test)]
mod tests;

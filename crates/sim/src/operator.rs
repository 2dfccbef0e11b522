//! The operator: changes of membership and of leadership while everything else goes on, and what they mean for the
//! faults that a correct cluster can be asked to survive.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use consensus::{Change, Errand, Membership, Standing};
use types::{NodeId, Slot, Time};

use crate::keys::{self, Purpose};
use crate::life::Incoming;
use crate::oracle::Broken;
use crate::schedule::{MemberChange, Target};
use crate::subject::Subject;
use crate::world::World;

/// The configurations that anybody has ever put in force, and when somebody last asked for another.
#[derive(Debug, Default)]
pub(crate) struct Register {
    /// Those at or above the latest committed one, with their slots.
    announced: Vec<(Slot, Membership)>,
    /// The latest committed one.
    committed: Option<(Slot, Membership)>,
    /// When the operator last asked for something.
    asked_at: Option<Time>,
    /// Founders that do not know yet, durably, that the group is founded.
    founding: BTreeSet<NodeId>,
    /// Configurations that were committed.
    pub(crate) changes: u64,
}

impl Register {
    /// A group that begins with these voters.
    pub(crate) fn new(voters: &[NodeId]) -> Register {
        let first = (Slot::ZERO, Membership::of(voters.iter().copied()));
        let founding = voters.iter().copied().collect();
        Register { announced: vec![first.clone()], committed: Some(first), founding, ..Register::default() }
    }

    /// A node knows durably that the group is founded.
    pub(crate) fn knows_founded(&mut self, node: NodeId) {
        self.founding.remove(&node);
    }

    /// Whether anybody can be done without: not as long as some do not know whose disks count.
    pub(crate) fn is_founded(&self) -> bool {
        self.founding.is_empty()
    }

    /// A node put a configuration in force.
    pub(crate) fn announce(&mut self, slot: Slot, membership: &Membership) {
        let is_known = self.announced.iter().any(|(at, known)| *at == slot && known == membership);
        let is_old = self.committed.as_ref().is_some_and(|(at, _)| slot < *at);
        if !is_known && !is_old && !membership.members.is_empty() {
            self.announced.push((slot, membership.clone()));
        }
    }

    /// A configuration is committed: those before it do not matter any more.
    pub(crate) fn commit(&mut self, slot: Slot, membership: Membership) {
        self.changes += 1;
        self.announced.retain(|(at, _)| *at >= slot);
        self.announce(slot, &membership);
        self.committed = Some((slot, membership));
    }

    /// Who takes part by the latest committed configuration.
    pub(crate) fn members(&self) -> BTreeSet<NodeId> {
        let members = self.committed.iter().flat_map(|(_, membership)| membership.members.keys().copied());
        members.collect()
    }

    /// Whether `has` is true of a quorum of some configuration, asked for that configuration, that may have been in force
    /// when a slot at or above the latest committed configuration was committed.
    pub(crate) fn is_some_quorum(&self, has: impl Fn(&Membership, NodeId) -> bool) -> bool {
        self.announced.iter().any(|(_, membership)| membership.is_quorum(|node| has(membership, node)))
    }

    /// Whether those of whom `has` is true can go on without anybody else, whichever of the configurations that are
    /// on their way prevails.
    pub(crate) fn can_do_with(&self, has: impl Fn(NodeId) -> bool + Copy) -> bool {
        self.announced.iter().all(|(_, membership)| {
            let joined = with_joining(membership);
            [membership.settled(), joined].iter().all(|it| it.is_quorum(has)) && membership.is_quorum(has)
        })
    }

    /// Whether something that was asked for may still be on its way.
    pub(crate) fn is_busy(&self, now: Time, patience: Duration) -> bool {
        self.asked_at.is_some_and(|at| now.since(at) < patience)
    }
}

/// As it will be when those who are joining vote.
fn with_joining(membership: &Membership) -> Membership {
    let mut next = membership.settled();
    for member in next.members.values_mut().filter(|member| member.standing == Standing::Joining) {
        member.standing = Standing::Voter;
    }
    next
}

impl<P: Subject> World<P> {
    /// Asks for a change of membership. Not once a disk has rotted: whoever removes the healthy then, removes the
    /// last copy.
    pub(crate) fn change_members(
        &mut self,
        key: u64,
        who: Target,
        change: MemberChange,
    ) -> Result<(), Broken> {
        let Some(node) = self.resolve(who).first().copied() else { return Ok(()) };
        if self.nodes.values().any(|node| node.was_rotten()) {
            return Ok(());
        }
        let context = Bytes::from(format!("n{}", node.0));
        let changes = match change {
            MemberChange::Add => vec![Change::AddVoter { node, context }],
            MemberChange::AddLearner => vec![Change::AddLearner { node, context }],
            MemberChange::Promote => vec![Change::Promote { node }],
            MemberChange::Remove => vec![Change::Remove { node }],
            MemberChange::Describe => vec![Change::Describe { node, context }],
            MemberChange::Replace(old) => vec![Change::Promote { node }, Change::Remove { node: old }],
        };
        self.errand(key, Errand::Reconfigure(changes))
    }

    /// Asks for another leader.
    pub(crate) fn transfer_leadership(&mut self, key: u64, to: Target) -> Result<(), Broken> {
        let to = match to {
            Target::All => None,
            _ => self.resolve(to).first().copied(),
        };
        self.errand(key, Errand::TransferLeadership(to))
    }

    /// The operator asks the leader, or now and then anybody.
    fn errand(&mut self, key: u64, errand: Errand) -> Result<(), Broken> {
        let mut rng = keys::rng(self.shared.seed, Purpose::Operator, [key, 0, 0]);
        let all: Vec<NodeId> = self.nodes.keys().copied().collect();
        let anybody = rng.pick(&all).copied();
        let asked = if rng.below(4) == 0 { anybody } else { self.leader().or(anybody) };
        let Some(asked) = asked else { return Ok(()) };
        self.shared.oracle.register.asked_at = Some(self.shared.now());
        self.with_life(asked, |life, shared| {
            life.take(Incoming::Errand(errand), shared);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(voters: &[u64]) -> Membership {
        Membership::of(voters.iter().map(|number| NodeId(*number)))
    }

    fn register() -> Register {
        Register::new(&[NodeId(1), NodeId(2), NodeId(3)])
    }

    #[test]
    fn who_may_fail_is_decided_by_every_configuration_on_its_way() {
        let mut register = register();
        let without = |node: u64| move |other: NodeId| other.0 != node;
        assert!(register.can_do_with(without(3)));
        let smaller = group(&[1, 2, 3]).changed(&[Change::Remove { node: NodeId(2) }]).expect("a change");
        register.announce(Slot(9), &smaller);
        assert!(!register.can_do_with(without(3)), "1 and 3 may be all that is left");
        register.commit(Slot(12), group(&[1, 2, 3]));
        assert!(register.can_do_with(without(3)), "it came to nothing");
    }

    #[test]
    fn whoever_joins_counts_as_if_it_voted_already() {
        let mut register = register();
        let add = Change::AddVoter { node: NodeId(4), context: Bytes::new() };
        register.commit(Slot(5), group(&[1, 2, 3]).changed(&[add]).expect("a change"));
        assert!(!register.can_do_with(|node| node.0 <= 2), "two of four");
        assert!(register.can_do_with(|node| node.0 <= 3));
    }
}

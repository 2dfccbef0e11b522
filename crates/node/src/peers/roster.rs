//! Whom to dial and whom to let in, from what the log, the state machine and strangers say.
//!
//! ```text
//!   in force (log) ∪ applied (state) ∪ introduced (strangers)  −  removed (state)  =  peers
//! ```
//!
//! - M1  Whoever is removed has been applied as removed: it was a member, or had published its name, and is none now.
//!   Ids are never used twice, so that this stays true.
//! - M2  A stranger is let in, and answered where it says that it lives. This node's log may be older than the stranger's
//!   membership: a node that was down while members were replaced would else never hear of its new leader.

use std::collections::{BTreeMap, BTreeSet};

use consensus::Membership;
use types::NodeId;

use crate::config::authority;
use crate::member::peer_urls;

/// See the module's description.
#[derive(Debug)]
pub(crate) struct Roster {
    me: NodeId,
    in_force: Membership,
    applied: Membership,
    /// Where those say that they live who have connected, or were known when this node was added.
    introduced: BTreeMap<NodeId, Vec<String>>,
    /// Whoever has published its name, as far as it is applied.
    started: BTreeSet<NodeId>,
    removed: BTreeSet<NodeId>,
}

/// Strangers that are remembered; more than any cluster has members.
const INTRODUCED_MAX: usize = 64;

impl Roster {
    /// Nothing is known but whom to tell that this node is here.
    pub(crate) fn new(me: NodeId, contacts: &Membership) -> Roster {
        let introduced = contacts.members.keys().map(|node| (*node, peer_urls(contacts, *node)));
        Roster {
            me,
            in_force: Membership::default(),
            applied: Membership::default(),
            introduced: introduced.filter(|(node, _)| *node != me).collect(),
            started: BTreeSet::new(),
            removed: BTreeSet::new(),
        }
    }

    /// Another configuration is in force here.
    pub(crate) fn put_in_force(&mut self, membership: &Membership) {
        self.in_force = membership.clone();
    }

    /// This much is applied here; M1.
    pub(crate) fn apply(&mut self, membership: &Membership, started: BTreeSet<NodeId>) {
        if membership.members.is_empty() {
            return;
        }
        let is_gone = |node: &&NodeId| !membership.members.contains_key(*node);
        self.removed.extend(self.applied.members.keys().chain(&started).filter(is_gone));
        self.applied = membership.clone();
        self.started = started;
    }

    /// Somebody says where it lives.
    pub(crate) fn introduce(&mut self, node: NodeId, urls: Vec<String>) {
        let is_known = self.introduced.contains_key(&node);
        if node != self.me && (is_known || self.introduced.len() < INTRODUCED_MAX) {
            self.introduced.insert(node, urls);
        }
    }

    /// Whether a member was removed, possibly this one.
    pub(crate) fn is_removed(&self, node: NodeId) -> bool {
        self.removed.contains(&node)
    }

    /// Whom to dial, at which `host:port`s.
    pub(crate) fn peers(&self) -> BTreeMap<NodeId, Vec<String>> {
        let members = self.in_force.members.keys().chain(self.applied.members.keys());
        let wanted: BTreeSet<NodeId> = members.chain(self.introduced.keys()).copied().collect();
        let others = wanted.into_iter().filter(|node| *node != self.me && !self.is_removed(*node));
        others.map(|node| (node, self.addresses(node))).collect()
    }

    /// What the log says comes first. What the member itself says may be newer than the log here.
    fn addresses(&self, node: NodeId) -> Vec<String> {
        let told = [peer_urls(&self.in_force, node), peer_urls(&self.applied, node)];
        let introduced = self.introduced.get(&node).into_iter().flatten();
        let mut addresses = Vec::new();
        for address in told.iter().flatten().chain(introduced).filter_map(|url| authority(url).ok()) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    /// Who takes part as far as this node has applied it, and who of them has ever started.
    pub(crate) fn applied(&self) -> (&Membership, &BTreeSet<NodeId>) {
        (&self.applied, &self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::MemberContext;
    use consensus::{Member, Standing};
    use types::Wire;

    fn urls(port: u64) -> Vec<String> {
        vec![format!("http://h:{port}")]
    }

    /// Members at ports of their own numbers.
    fn membership(nodes: &[u64]) -> Membership {
        let member = |node: &u64| {
            let context = MemberContext { peer_urls: urls(*node) };
            (NodeId(*node), Member::new(Standing::Voter, context.to_bytes()))
        };
        Membership { members: nodes.iter().map(member).collect(), ..Membership::default() }
    }

    fn peers(roster: &Roster) -> Vec<u64> {
        roster.peers().keys().map(|node| node.0).collect()
    }

    #[test]
    fn whoever_joins_knows_its_contacts_until_it_is_told_more() {
        let mut roster = Roster::new(NodeId(9), &membership(&[1, 2, 9]));
        assert_eq!(peers(&roster), [1, 2]);
        // It replays the log from the beginning, when 3 was alone; its leader is still 1.
        roster.put_in_force(&membership(&[3]));
        assert_eq!(peers(&roster), [1, 2, 3]);
        roster.apply(&membership(&[3]), BTreeSet::new());
        roster.apply(&membership(&[1, 3]), BTreeSet::new());
        roster.apply(&membership(&[1, 2, 9]), BTreeSet::new());
        roster.put_in_force(&membership(&[1, 2, 9]));
        assert_eq!(peers(&roster), [1, 2], "3 is gone");
        assert!(roster.is_removed(NodeId(3)) && !roster.is_removed(NodeId(9)));
    }

    #[test]
    fn a_member_that_leaves_is_talked_to_until_its_removal_is_applied() {
        let mut roster = Roster::new(NodeId(1), &Membership::default());
        roster.apply(&membership(&[1, 2, 3]), BTreeSet::new());
        roster.put_in_force(&membership(&[1, 2]));
        assert_eq!(peers(&roster), [2, 3]);
        roster.apply(&membership(&[1, 2]), BTreeSet::new());
        assert_eq!(peers(&roster), [2]);
        roster.introduce(NodeId(3), urls(3));
        assert_eq!(peers(&roster), [2], "and never again");
    }

    /// After a restart the state only tells who is a member and who once started.
    #[test]
    fn who_had_started_and_is_no_member_was_removed() {
        let mut roster = Roster::new(NodeId(1), &Membership::default());
        roster.apply(&membership(&[1, 2]), [NodeId(1), NodeId(3)].into());
        assert!(roster.is_removed(NodeId(3)) && !roster.is_removed(NodeId(2)));
        assert!(!roster.is_removed(NodeId(4)), "it may have been added since");
    }

    #[test]
    fn a_member_is_looked_for_where_the_log_says_and_where_it_says_itself() {
        let mut roster = Roster::new(NodeId(1), &Membership::default());
        roster.put_in_force(&membership(&[1, 2]));
        roster.introduce(NodeId(2), urls(22));
        assert_eq!(roster.peers()[&NodeId(2)], ["h:2", "h:22"]);
        roster.introduce(NodeId(2), urls(2));
        assert_eq!(roster.peers()[&NodeId(2)], ["h:2"]);
        roster.introduce(NodeId(7), urls(7));
        assert_eq!(peers(&roster), [2, 7], "a stranger may know more than we do");
    }
}

//! What the log says about a member besides its id and standing, and what clients are told about it.

use consensus::{Membership, Standing};
use types::{NodeId, Reader, Wire, WireError};

/// What [`consensus::Member::context`] holds: where the other members reach this one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberContext {
    /// Sorted.
    pub peer_urls: Vec<String>,
}

/// One member, as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Its id.
    pub id: NodeId,
    /// Its name; empty until it has started once.
    pub name: String,
    /// Where the other members reach it.
    pub peer_urls: Vec<String>,
    /// Where clients reach it; empty until it has started once.
    pub client_urls: Vec<String>,
    /// Whether it votes.
    pub standing: Standing,
}

impl MemberInfo {
    /// Whether clients are told that it is a learner. One that is about to vote is not: they asked for a voter.
    pub fn is_learner(&self) -> bool {
        self.standing == Standing::Learner
    }

    /// Whether it has ever told its name.
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// Changes when an older program would misread the rest.
const FORMAT: u8 = 1;

impl Wire for MemberContext {
    fn encode(&self, out: &mut Vec<u8>) {
        FORMAT.encode(out);
        self.peer_urls.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match u8::decode(input)? {
            FORMAT => Ok(MemberContext { peer_urls: Vec::decode(input)? }),
            tag => Err(WireError::Tag { what: "member context", tag }),
        }
    }
}

/// The peer URLs of a member; none if it is not one, or its context is not ours.
pub(crate) fn peer_urls(membership: &Membership, node: NodeId) -> Vec<String> {
    let context = membership.members.get(&node).map(|member| member.context.clone());
    context.and_then(|bytes| MemberContext::from_bytes(bytes).ok()).unwrap_or_default().peer_urls
}

/// Joins what the log says about the members with what they have published about themselves.
pub(crate) fn infos(membership: &Membership, published: &[kv::Member]) -> Vec<MemberInfo> {
    let info = |(id, member): (&NodeId, &consensus::Member)| {
        let own = published.iter().find(|own| own.id == id.0).cloned().unwrap_or_default();
        MemberInfo {
            id: *id,
            name: own.name,
            peer_urls: peer_urls(membership, *id),
            client_urls: own.client_urls,
            standing: member.standing,
        }
    };
    membership.members.iter().map(info).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn a_context_survives_the_trip_and_garbage_is_no_address() {
        let context = MemberContext { peer_urls: vec!["http://h:1".to_owned(), "http://h:2".to_owned()] };
        assert_eq!(MemberContext::from_bytes(context.to_bytes()), Ok(context.clone()));
        let mut membership = Membership::of([NodeId(1), NodeId(2)]);
        membership.members.get_mut(&NodeId(1)).unwrap().context = context.to_bytes();
        membership.members.get_mut(&NodeId(2)).unwrap().context = Bytes::from_static(b"\xff\xff");
        assert_eq!(peer_urls(&membership, NodeId(1)), context.peer_urls);
        assert!(peer_urls(&membership, NodeId(2)).is_empty() && peer_urls(&membership, NodeId(3)).is_empty());
    }

    #[test]
    fn who_was_added_as_a_voter_is_no_learner_and_has_no_name_before_it_starts() {
        let mut membership = Membership::of([NodeId(1), NodeId(2)]);
        membership.members.get_mut(&NodeId(2)).unwrap().standing = Standing::Joining;
        let published = [kv::Member { id: 1, name: "one".to_owned(), ..kv::Member::default() }];
        let told = infos(&membership, &published);
        assert!(told.iter().all(|member| !member.is_learner()));
        assert_eq!(told.iter().map(MemberInfo::is_started).collect::<Vec<_>>(), [true, false]);
    }
}

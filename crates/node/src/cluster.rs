//! Who the members are: ids as etcd computes them, and the initial cluster as its flags spell it.
//!
//! ```text
//!   token + sorted peer URLs ──SHA-1──▶ member id        member ids, sorted ──SHA-1──▶ cluster id
//! ```
//!
//! Every member computes the same ids from the same flags, so nobody has to hand them out.

use consensus::{Member, Membership, Standing};
use sha1::{Digest, Sha1};
use types::{NodeId, Wire};

use crate::member::MemberContext;

/// One member of the initial cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialMember {
    /// A digest of its peer URLs and the cluster's token.
    pub id: NodeId,
    /// Its name in `--initial-cluster`.
    pub name: String,
    /// Where its peers reach it, sorted.
    pub peer_urls: Vec<String>,
}

/// The members that a cluster starts with, and the id that follows from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// A digest of the members' ids.
    pub id: u64,
    /// Tells this cluster from others with the same members.
    pub token: String,
    /// Sorted by id.
    pub members: Vec<InitialMember>,
}

/// Why an initial cluster cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    /// Nobody is in it.
    #[error("the initial cluster has no members; name at least this one, as NAME=http://HOST:2380")]
    Empty,
    /// An element is not `name=url`.
    #[error("{element:?} in the initial cluster is not NAME=URL, as in node1=http://10.0.0.1:2380")]
    NotNameAndUrl {
        /// What was found.
        element: String,
    },
    /// Two members with the same peer URLs.
    #[error("members {first:?} and {second:?} of the initial cluster have the same peer URLs")]
    SameUrls {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// No member has this name.
    #[error("{name:?} is not in the initial cluster, which has {known}; --name must be one of them")]
    UnknownName {
        /// The name that was asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

impl Cluster {
    /// Builds the cluster of these members: `(name, peer URLs)`.
    ///
    /// # Errors
    /// [`ClusterError`] if there are none, or two of them cannot be told apart.
    pub fn new(members: Vec<(String, Vec<String>)>, token: &str) -> Result<Cluster, ClusterError> {
        let mut members: Vec<InitialMember> = members
            .into_iter()
            .map(|(name, mut peer_urls)| {
                peer_urls.sort();
                InitialMember { id: member_id(&peer_urls, token), name, peer_urls }
            })
            .collect();
        members.sort_by_key(|member| member.id);
        if members.is_empty() {
            return Err(ClusterError::Empty);
        }
        if let Some([first, second]) = members.windows(2).find_map(|pair| match pair {
            [first, second] if first.id == second.id => Some([first, second]),
            _ => None,
        }) {
            return Err(ClusterError::SameUrls { first: first.name.clone(), second: second.name.clone() });
        }
        let ids: Vec<NodeId> = members.iter().map(|member| member.id).collect();
        Ok(Cluster { id: cluster_id(&ids), token: token.to_owned(), members })
    }

    /// Reads `--initial-cluster`: `name=url` elements between commas; a name may stand before several URLs.
    ///
    /// # Errors
    /// [`ClusterError`], naming the element that cannot be read.
    pub fn parse(initial_cluster: &str, token: &str) -> Result<Cluster, ClusterError> {
        let mut members: Vec<(String, Vec<String>)> = Vec::new();
        for element in initial_cluster.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            let (name, url) = element
                .split_once('=')
                .filter(|(name, url)| !name.is_empty() && !url.is_empty())
                .ok_or_else(|| ClusterError::NotNameAndUrl { element: element.to_owned() })?;
            match members.iter_mut().find(|(known, _)| known == name) {
                Some((_, urls)) => urls.push(url.to_owned()),
                None => members.push((name.to_owned(), vec![url.to_owned()])),
            }
        }
        Cluster::new(members, token)
    }

    /// Who takes part when the cluster is founded.
    pub(crate) fn membership(&self) -> Membership {
        let voter = |member: &InitialMember| {
            let context = MemberContext { peer_urls: member.peer_urls.clone() };
            (member.id, Member::new(Standing::Voter, context.to_bytes()))
        };
        Membership { members: self.members.iter().map(voter).collect(), ..Membership::default() }
    }

    /// Returns the member called `name`.
    ///
    /// # Errors
    /// [`ClusterError::UnknownName`], with the names there are.
    pub fn member(&self, name: &str) -> Result<&InitialMember, ClusterError> {
        self.members.iter().find(|member| member.name == name).ok_or_else(|| {
            let mut known: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
            known.sort_unstable();
            ClusterError::UnknownName { name: name.to_owned(), known: known.join(", ") }
        })
    }
}

/// Returns a member's id: the first eight bytes of the SHA-1 of its sorted peer URLs and the token.
///
/// # Source
/// etcd, `server/etcdserver/api/membership/member.go`, `computeMemberID`.
pub fn member_id(peer_urls: &[String], token: &str) -> NodeId {
    let mut sorted: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url.as_bytes());
    }
    hash.update(token.as_bytes());
    NodeId(first_eight(&hash.finalize()))
}

/// Returns the id of a member that is added to a running cluster. Drawn from when it is added as well, so that a member
/// which is removed and added again is another one.
///
/// # Source
/// As `member_id`; etcd takes the second in the place of the token, in which two members may be added.
pub fn added_member_id(peer_urls: &[String], cluster: u64, nanos_since_epoch: u128) -> NodeId {
    member_id(peer_urls, &format!("{cluster:x}{nanos_since_epoch}"))
}

/// Returns a cluster's id: the first eight bytes of the SHA-1 of its members' ids in ascending order.
///
/// # Source
/// etcd, `server/etcdserver/api/membership/cluster.go`, `genID`.
pub fn cluster_id(members: &[NodeId]) -> u64 {
    let mut sorted = members.to_vec();
    sorted.sort_unstable();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.0.to_be_bytes());
    }
    first_eight(&hash.finalize())
}

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids that every etcd started without flags has.
    #[test]
    fn ids_are_those_of_etcd() {
        let cluster = Cluster::parse("default=http://localhost:2380", "etcd-cluster").unwrap();
        assert_eq!(cluster.members[0].id, NodeId(0x8e9e_05c5_2164_694d));
        assert_eq!(cluster.id, 0xcdf8_1819_4e3a_8c32);
    }

    #[test]
    fn order_of_flags_does_not_matter() {
        let one = Cluster::parse("a=http://h:1,b=http://h:2,a=http://h:0", "t").unwrap();
        let other = Cluster::parse("b=http://h:2, a=http://h:0, a=http://h:1", "t").unwrap();
        assert_eq!(one, other);
        assert_eq!(one.member("a").unwrap().peer_urls, ["http://h:0", "http://h:1"]);
        assert_ne!(one.id, Cluster::parse("a=http://h:1,b=http://h:2", "other").unwrap().id);
    }

    #[test]
    fn a_member_that_is_added_again_is_another_one() {
        let urls = ["http://h:1".to_owned()];
        let added = |nanos| added_member_id(&urls, 7, nanos);
        assert_eq!(added(1), added(1));
        assert!(added(1) != added(2) && added(1) != member_id(&urls, "t"));
    }

    #[test]
    fn bad_clusters_are_named() {
        let error = |text| Cluster::parse(text, "t").unwrap_err();
        assert_eq!(error(" ,"), ClusterError::Empty);
        assert_eq!(error("a=http://h:1,b"), ClusterError::NotNameAndUrl { element: "b".into() });
        assert!(matches!(error("a=http://h:1,b=http://h:1"), ClusterError::SameUrls { .. }));
        let unknown = Cluster::parse("b=http://h:2,a=http://h:1", "t").unwrap().member("c").unwrap_err();
        assert_eq!(unknown, ClusterError::UnknownName { name: "c".into(), known: "a, b".into() });
    }
}

//! The Cluster service (`etcd-api.md` §4.7): who belongs to the cluster, and who shall.
//!
//! What can be judged by looking is judged here, in etcd's order and words, after a read barrier: two members at one
//! address, a second learner. What takes the leader's knowledge, the leader judges.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use consensus::{Change, Standing};
use node::{MemberContext, MemberInfo};
use tonic::Status;
use types::{NodeId, Wire};

use crate::convert;
use crate::errors;
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::etcdserverpb as pb;

/// Learners that a cluster may have (etcd's `--experimental-max-learners`).
const LEARNERS_MAX: usize = 1;

pub(crate) async fn member_list(
    front: &Front,
    call: Call,
    request: pb::MemberListRequest,
) -> Result<pb::MemberListResponse, Status> {
    if request.linearizable {
        front.barrier(&call).await?;
    }
    Ok(pb::MemberListResponse { header: header(front), members: members(front) })
}

pub(crate) async fn member_add(
    front: &Front,
    call: Call,
    request: pb::MemberAddRequest,
) -> Result<pb::MemberAddResponse, Status> {
    let peer_urls = sorted(request.peer_urls);
    if peer_urls.is_empty() || node::check_peer_urls(&peer_urls).is_err() {
        return Err(errors::MEMBER_BAD_URLS.into());
    }
    let present = look(front, &call).await?;
    are_free(&peer_urls, &present)?;
    if request.is_learner && present.iter().filter(|member| member.is_learner()).count() >= LEARNERS_MAX {
        return Err(errors::TOO_MANY_LEARNERS.into());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let node = node::added_member_id(&peer_urls, front.handle.cluster_id(), now.as_nanos());
    let context = MemberContext { peer_urls: peer_urls.clone() }.to_bytes();
    let change = match request.is_learner {
        true => Change::AddLearner { node, context },
        false => Change::AddVoter { node, context },
    };
    reconfigure(front, &call, change).await?;
    let member =
        pb::Member { id: node.0, peer_urls, is_learner: request.is_learner, ..pb::Member::default() };
    Ok(pb::MemberAddResponse { header: header(front), member: Some(member), members: members(front) })
}

pub(crate) async fn member_remove(
    front: &Front,
    call: Call,
    request: pb::MemberRemoveRequest,
) -> Result<pb::MemberRemoveResponse, Status> {
    let node = NodeId(request.id);
    find(&look(front, &call).await?, node)?;
    reconfigure(front, &call, Change::Remove { node }).await?;
    Ok(pb::MemberRemoveResponse { header: header(front), members: members(front) })
}

pub(crate) async fn member_update(
    front: &Front,
    call: Call,
    request: pb::MemberUpdateRequest,
) -> Result<pb::MemberUpdateResponse, Status> {
    let node = NodeId(request.id);
    let peer_urls = sorted(request.peer_urls);
    let mut others = look(front, &call).await?;
    find(&others, node)?;
    if peer_urls.is_empty() || node::check_peer_urls(&peer_urls).is_err() {
        return Err(errors::MEMBER_BAD_URLS.into());
    }
    others.retain(|member| member.id != node);
    are_free(&peer_urls, &others)?;
    let context = MemberContext { peer_urls }.to_bytes();
    reconfigure(front, &call, Change::Describe { node, context }).await?;
    Ok(pb::MemberUpdateResponse { header: header(front), members: members(front) })
}

pub(crate) async fn member_promote(
    front: &Front,
    call: Call,
    request: pb::MemberPromoteRequest,
) -> Result<pb::MemberPromoteResponse, Status> {
    let node = NodeId(request.id);
    match find(&look(front, &call).await?, node)?.standing {
        Standing::Learner => {}
        // It was added as a voter; etcd looks at how far it is before it looks at what it is.
        Standing::Joining => return Err(errors::LEARNER_NOT_READY.into()),
        Standing::Voter | Standing::Leaving => return Err(errors::MEMBER_NOT_LEARNER.into()),
    }
    reconfigure(front, &call, Change::Promote { node }).await?;
    Ok(pb::MemberPromoteResponse { header: header(front), members: members(front) })
}

/// The members, after everything acknowledged before.
async fn look(front: &Front, call: &Call) -> Result<Vec<MemberInfo>, Status> {
    front.barrier(call).await?;
    Ok(front.handle.members())
}

async fn reconfigure(front: &Front, call: &Call, change: Change) -> Result<(), Status> {
    let outcome = front.handle.reconfigure(&[change], front.timeout(call)).await;
    outcome.map_err(|error| match error {
        node::ErrandError::Unknown => call.timed_out(errors::TIMED_OUT),
        other => errors::of_errand(other),
    })
}

fn find(members: &[MemberInfo], node: NodeId) -> Result<&MemberInfo, Status> {
    members.iter().find(|member| member.id == node).ok_or_else(|| errors::MEMBER_NOT_FOUND.into())
}

fn are_free(peer_urls: &[String], members: &[MemberInfo]) -> Result<(), Status> {
    let taken = |url: &String| members.iter().any(|member| member.peer_urls.contains(url));
    if peer_urls.iter().any(taken) { Err(errors::PEER_URL_EXISTS.into()) } else { Ok(()) }
}

/// Sorted, each once, and without the slash that etcd does not want and people write.
fn sorted(urls: Vec<String>) -> Vec<String> {
    let trimmed = urls.iter().map(|url| url.strip_suffix('/').unwrap_or(url).to_owned());
    trimmed.collect::<BTreeSet<_>>().into_iter().collect()
}

/// As in etcd, the header of this service has no revision.
fn header(front: &Front) -> Option<pb::ResponseHeader> {
    Some(front.header(0))
}

fn members(front: &Front) -> Vec<pb::Member> {
    front.handle.members().into_iter().map(convert::member).collect()
}

//! The Maintenance service (`etcd-api.md` §4.7), as far as this version has something to maintain.

use consensus::Standing;
use node::MemberInfo;
use tonic::Status;
use types::NodeId;

use crate::config::{ETCD_API_VERSION, ETCD_CLUSTER_VERSION};
use crate::errors::{self, NO_LEADER};
use crate::front::Front;
use crate::grpc::Call;
use crate::proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;

pub(crate) async fn status(
    front: &Front,
    _call: Call,
    _request: pb::StatusRequest,
) -> Result<pb::StatusResponse, Status> {
    let status = front.handle.status();
    let replication = &status.replication;
    let mut errors = Vec::new();
    if replication.leader.is_none() {
        errors.push(NO_LEADER.1.to_owned());
    }
    if front.quota.is_exceeded() {
        errors.push(format!("memberID:{} alarm:NOSPACE ", front.handle.id().0));
    }
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    Ok(pb::StatusResponse {
        header: Some(front.header_now()),
        version: ETCD_API_VERSION.to_owned(),
        db_size: signed(status.size_bytes),
        leader: replication.leader.map_or(0, |leader| leader.0),
        raft_index: replication.committed.0,
        raft_term: replication.epoch.number,
        raft_applied_index: replication.applied.0,
        errors,
        db_size_in_use: signed(status.size_in_use_bytes),
        is_learner: front.handle.is_learner(),
        storage_version: ETCD_CLUSTER_VERSION.to_owned(),
        db_size_quota: signed(front.config.quota_bytes),
        downgrade_info: None,
    })
}

/// The only alarm is this member's own quota, which comes and goes by itself.
pub(crate) async fn alarm(
    front: &Front,
    _call: Call,
    request: pb::AlarmRequest,
) -> Result<pb::AlarmResponse, Status> {
    if request.action == i32::from(AlarmAction::Activate) {
        return Err(errors::unsupported("raising alarms"));
    }
    let no_space = pb::AlarmMember { member_id: front.handle.id().0, alarm: pb::AlarmType::Nospace.into() };
    let alarms = if front.quota.is_exceeded() { vec![no_space] } else { Vec::new() };
    Ok(pb::AlarmResponse { header: Some(front.header_now()), alarms })
}

/// Only the leader can be asked, as in etcd. The answer is empty, and comes when the other one leads.
pub(crate) async fn move_leader(
    front: &Front,
    call: Call,
    request: pb::MoveLeaderRequest,
) -> Result<pb::MoveLeaderResponse, Status> {
    use consensus::Refusal;
    use node::ErrandError;
    if front.handle.leader() != Some(front.handle.id()) {
        return Err(errors::NOT_LEADER.into());
    }
    let target = NodeId(request.target_id);
    let votes = |member: &MemberInfo| member.id == target && member.standing == Standing::Voter;
    if !front.handle.members().iter().any(votes) {
        return Err(errors::BAD_LEADER_TRANSFEREE.into());
    }
    match front.handle.transfer_leadership(Some(target), front.timeout(&call)).await {
        Ok(()) => Ok(pb::MoveLeaderResponse { header: None }),
        Err(ErrandError::Unknown) => Err(call.timed_out(errors::TRANSFER_TIMED_OUT)),
        // The leader itself answers: it means that the target cannot be reached.
        Err(ErrandError::Refused(Refusal::NoLeader)) => Err(errors::TRANSFER_TIMED_OUT.into()),
        Err(other) => Err(errors::of_errand(other)),
    }
}

/// Space is reclaimed all the time, so there is nothing to do. etcd's answer is an empty message, too.
pub(crate) async fn defragment(
    _front: &Front,
    _call: Call,
    _request: pb::DefragmentRequest,
) -> Result<pb::DefragmentResponse, Status> {
    Ok(pb::DefragmentResponse { header: None })
}

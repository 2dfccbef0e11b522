//! The Maintenance service (`etcd-api.md` §4.7), as far as this version has something to maintain.

use tonic::Status;

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
        is_learner: false,
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

/// Space is reclaimed all the time, so there is nothing to do. etcd's answer is an empty message, too.
pub(crate) async fn defragment(
    _front: &Front,
    _call: Call,
    _request: pb::DefragmentRequest,
) -> Result<pb::DefragmentResponse, Status> {
    Ok(pb::DefragmentResponse { header: None })
}

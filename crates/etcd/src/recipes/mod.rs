//! Locks and elections: waiting in line for a key, on the server (`etcd-api.md` §4.9).
//!
//! ```text
//!   name/                    everybody who wants it puts a key named after their lease;
//!     ├─ name/6f1a  rev 17   who put first (lowest create_revision) has it,
//!     ├─ name/22c0  rev 19   and everybody else waits for the one before them to be deleted.
//!     └─ name/9b3e  rev 23
//! ```
//!
//! A lock does not fence: who was paused may believe to hold what has run out. Guard writes by comparing the
//! key's `create_revision`.

pub(crate) mod election;
pub(crate) mod lock;

use std::sync::Arc;

use bytes::Bytes;
use tonic::Status;

use crate::errors;
use crate::front::{Front, mismatched};
use crate::grpc::Call;
use crate::watch::{Change, Notice, prefix_end};

/// The lease of who brings none, in seconds.
const SESSION_TTL_SECONDS: i64 = 60;

/// A key in line.
#[derive(Clone, Debug)]
struct Place {
    prefix: Bytes,
    key: Bytes,
    lease: i64,
    /// Its key's `create_revision`: the number in the line.
    revision: kv::Revision,
    /// The value that the key had if it was there before.
    found_value: Option<Bytes>,
    /// The store's revision when it entered.
    entered_at: kv::Revision,
}

/// Enters the line of `name`; who is in it already, with the same lease, keeps its place.
async fn enter(front: &Front, call: &Call, name: &[u8], lease: i64, value: Bytes) -> Result<Place, Status> {
    let lease = if lease == 0 { grant_session(front, call).await? } else { lease };
    let prefix = Bytes::from([name, b"/"].concat());
    let key = Bytes::from([&prefix, format!("{lease:x}").as_bytes()].concat());
    let request = kv::TxnRequest {
        compare: vec![created_at(&key, 0)],
        success: vec![kv::RequestOp::Put(kv::PutRequest {
            key: key.clone(),
            value,
            lease,
            ..Default::default()
        })],
        failure: vec![kv::RequestOp::Range(single(&key))],
    };
    let (response, entered_at) = txn(front, call, request).await?;
    let mut place = Place { prefix, key, lease, revision: entered_at, found_value: None, entered_at };
    if let Some(kv::ResponseOp::Range(_, found)) = response.responses.into_iter().next()
        && let Some(pair) = found.kvs.into_iter().next()
    {
        place.revision = pair.create_revision;
        place.found_value = Some(pair.value);
    }
    Ok(place)
}

async fn grant_session(front: &Front, call: &Call) -> Result<i64, Status> {
    let request = crate::proto::etcdserverpb::LeaseGrantRequest { ttl: SESSION_TTL_SECONDS, id: 0 };
    Ok(crate::lease::grant(front, *call, request).await?.id)
}

/// Waits until nobody is before `place`. Returns whether it had to wait.
async fn wait_turn(front: &Arc<Front>, call: &Call, place: &Place) -> Result<bool, Status> {
    let mut waited = false;
    while let Some(before) = predecessor(front, place)? {
        let mut notice = Notice::new(front, before.clone(), Change::Delete);
        // It may have gone before the notice stood.
        if predecessor(front, place)? == Some(before) {
            tokio::select! {
                () = notice.changed() => {}
                status = front.interrupted(false) => return Err(status),
                () = call.expired() => return Err(errors::DEADLINE_EXCEEDED.into()),
            }
        }
        waited = true;
    }
    Ok(waited)
}

/// The key just before `place` in its line. The local state is fresh enough: it holds `place` itself, so all
/// that came before it.
fn predecessor(front: &Front, place: &Place) -> Result<Option<Bytes>, Status> {
    let request = kv::RangeRequest {
        limit: 1,
        keys_only: true,
        max_create_revision: place.revision - 1,
        sort_order: kv::SortOrder::Descend,
        sort_target: kv::SortTarget::Create,
        ..below(&place.prefix)
    };
    Ok(first(front, &request)?.map(|pair| pair.key))
}

/// Who is first in the line of `prefix`.
fn leader(front: &Front, prefix: &Bytes) -> Result<Option<kv::KeyValue>, Status> {
    let request = kv::RangeRequest {
        limit: 1,
        sort_order: kv::SortOrder::Ascend,
        sort_target: kv::SortTarget::Create,
        ..below(prefix)
    };
    first(front, &request)
}

fn first(front: &Front, request: &kv::RangeRequest) -> Result<Option<kv::KeyValue>, Status> {
    let (_, response) = front.reader.range(request).map_err(errors::of_read)?;
    Ok(response.kvs.into_iter().next())
}

fn single(key: &Bytes) -> kv::RangeRequest {
    kv::RangeRequest { key: key.clone(), ..Default::default() }
}

fn below(prefix: &Bytes) -> kv::RangeRequest {
    let range_end = prefix_end(prefix).unwrap_or_else(|| Bytes::from_static(b"\0"));
    kv::RangeRequest { key: prefix.clone(), range_end, ..Default::default() }
}

fn created_at(key: &Bytes, revision: kv::Revision) -> kv::Compare {
    kv::Compare {
        key: key.clone(),
        range_end: Bytes::new(),
        result: kv::CompareResult::Equal,
        target: kv::CompareTarget::Create(revision),
    }
}

async fn txn(
    front: &Front,
    call: &Call,
    request: kv::TxnRequest,
) -> Result<(kv::TxnResponse, kv::Revision), Status> {
    match front.propose(call, kv::Command::Txn(request)).await? {
        (kv::Response::Txn(response), revision) => Ok((response, revision)),
        (other, _) => Err(mismatched(&other)),
    }
}

/// Leaves the line when the client goes away, or fails, while it waits.
struct LeaveOnDrop<'a> {
    front: &'a Arc<Front>,
    place: Option<&'a Place>,
}

impl LeaveOnDrop<'_> {
    fn stay(mut self) {
        self.place = None;
    }
}

impl Drop for LeaveOnDrop<'_> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let (front, place) = (self.front.clone(), place.clone());
        tokio::spawn(async move {
            let request = kv::TxnRequest {
                compare: vec![created_at(&place.key, place.revision)],
                success: vec![delete(&place.key)],
                failure: vec![],
            };
            // If this fails the key goes when its lease runs out.
            if let Err(status) = txn(&front, &Call::internal(), request).await {
                tracing::warn!(%status, "a client left a line, but its key stays until its lease runs out");
            }
        });
    }
}

fn delete(key: &Bytes) -> kv::RequestOp {
    kv::RequestOp::DeleteRange(kv::DeleteRangeRequest { key: key.clone(), ..Default::default() })
}

//! The quota of the store: writes that take space are refused while the state is larger.
//!
//! Deletes and compaction still pass, so that a client can make room. Unlike etcd's, this alarm is each member's
//! own, and goes by itself when there is room again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kv::{Command, RequestOp, TxnRequest};

use crate::front::Front;

/// How often the state's size is looked at: a disk is not filled faster than this matters.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Whether the state was larger than the quota when last looked at.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    exceeded: AtomicBool,
}

impl Quota {
    pub(crate) fn is_exceeded(&self) -> bool {
        self.exceeded.load(Ordering::Relaxed)
    }
}

/// Looks at the state's size until the server stops.
pub(crate) async fn look_after(front: Arc<Front>) {
    let quota_bytes = front.config.quota_bytes;
    if quota_bytes == 0 {
        return;
    }
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! { _ = looks.tick() => {}, () = front.stopped() => return }
        let size_bytes = front.handle.status().size_bytes;
        let exceeded = size_bytes > quota_bytes;
        if front.quota.exceeded.swap(exceeded, Ordering::Relaxed) != exceeded {
            if exceeded {
                tracing::warn!(
                    size_bytes,
                    quota_bytes,
                    "the state exceeds its quota; delete and compact, or raise it"
                );
            } else {
                tracing::info!(size_bytes, quota_bytes, "the state is below its quota again");
            }
        }
    }
}

/// Whether a command may make the state larger.
pub(crate) fn takes_space(command: &Command) -> bool {
    match command {
        Command::Put(_) | Command::LeaseGrant { .. } => true,
        Command::Txn(txn) => has_put(txn),
        Command::DeleteRange(_)
        | Command::Compact { .. }
        | Command::LeaseRevoke { .. }
        | Command::PublishMember(_) => false,
    }
}

fn has_put(txn: &TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match op {
        RequestOp::Put(_) => true,
        RequestOp::Txn(nested) => has_put(nested),
        RequestOp::Range(_) | RequestOp::DeleteRange(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// etcd-api.md §4.7: NOSPACE blocks Put, Txn containing puts, LeaseGrant; deletes and compaction pass.
    #[test]
    fn what_makes_room_passes() {
        let put = || RequestOp::Put(kv::PutRequest::default());
        let txn = |op| Command::Txn(TxnRequest { failure: vec![op], ..TxnRequest::default() });
        let nested = RequestOp::Txn(TxnRequest { success: vec![put()], ..TxnRequest::default() });
        assert!(takes_space(&txn(nested)) && takes_space(&txn(put())));
        assert!(takes_space(&Command::LeaseGrant { id: 1, ttl_seconds: 1 }));
        assert!(!takes_space(&txn(RequestOp::DeleteRange(kv::DeleteRangeRequest::default()))));
        assert!(!takes_space(&Command::Compact { revision: 1 }));
    }
}

//! Every refusal that a client can get: its gRPC code and its text.
//!
//! Client libraries of etcd recognise an error by its *text*, so these strings are part of the API
//! (`rpctypes` in etcd's source). One table, nothing assembled elsewhere.

use tonic::{Code, Status};

/// A refusal with etcd's code and text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal(pub Code, pub &'static str);

pub(crate) const EMPTY_KEY: Refusal = Refusal(Code::InvalidArgument, "etcdserver: key is not provided");
pub(crate) const KEY_NOT_FOUND: Refusal = Refusal(Code::InvalidArgument, "etcdserver: key not found");
pub(crate) const VALUE_PROVIDED: Refusal = Refusal(Code::InvalidArgument, "etcdserver: value is provided");
pub(crate) const LEASE_PROVIDED: Refusal = Refusal(Code::InvalidArgument, "etcdserver: lease is provided");
pub(crate) const TOO_MANY_OPS: Refusal =
    Refusal(Code::InvalidArgument, "etcdserver: too many operations in txn request");
pub(crate) const DUPLICATE_KEY: Refusal =
    Refusal(Code::InvalidArgument, "etcdserver: duplicate key given in txn request");
pub(crate) const INVALID_SORT_OPTION: Refusal =
    Refusal(Code::InvalidArgument, "etcdserver: invalid sort option");
pub(crate) const REQUEST_TOO_LARGE: Refusal =
    Refusal(Code::InvalidArgument, "etcdserver: request is too large");
pub(crate) const COMPACTED: Refusal =
    Refusal(Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
pub(crate) const FUTURE_REVISION: Refusal =
    Refusal(Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
pub(crate) const LEASE_TTL_TOO_LARGE: Refusal = Refusal(Code::OutOfRange, "etcdserver: too large lease TTL");
pub(crate) const LEASE_NOT_FOUND: Refusal = Refusal(Code::NotFound, "etcdserver: requested lease not found");
pub(crate) const LEASE_EXISTS: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: lease already exists");
pub(crate) const NO_SPACE: Refusal =
    Refusal(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
pub(crate) const TOO_MANY_REQUESTS: Refusal =
    Refusal(Code::ResourceExhausted, "etcdserver: too many requests");
pub(crate) const AUTH_NOT_ENABLED: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: authentication is not enabled");
pub(crate) const MEMBER_NOT_FOUND: Refusal = Refusal(Code::NotFound, "etcdserver: member not found");
pub(crate) const MEMBER_EXISTS: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: member ID already exist");
pub(crate) const PEER_URL_EXISTS: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: Peer URLs already exists");
pub(crate) const MEMBER_BAD_URLS: Refusal =
    Refusal(Code::InvalidArgument, "etcdserver: given member URLs are invalid");
pub(crate) const NOT_ENOUGH_STARTED: Refusal = Refusal(
    Code::FailedPrecondition,
    "etcdserver: re-configuration failed due to not enough started members",
);
pub(crate) const MEMBER_NOT_LEARNER: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: can only promote a learner member");
pub(crate) const LEARNER_NOT_READY: Refusal = Refusal(
    Code::FailedPrecondition,
    "etcdserver: can only promote a learner member which is in sync with leader",
);
pub(crate) const TOO_MANY_LEARNERS: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: too many learner members in cluster");
pub(crate) const NOT_FOR_LEARNER: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: rpc not supported for learner");
pub(crate) const UNHEALTHY: Refusal = Refusal(Code::Unavailable, "etcdserver: unhealthy cluster");
pub(crate) const NOT_LEADER: Refusal = Refusal(Code::FailedPrecondition, "etcdserver: not leader");
pub(crate) const BAD_LEADER_TRANSFEREE: Refusal =
    Refusal(Code::FailedPrecondition, "etcdserver: bad leader transferee");
pub(crate) const TRANSFER_TIMED_OUT: Refusal =
    Refusal(Code::Unknown, "etcdserver: request timed out, leader transfer took too long");
pub(crate) const NO_LEADER: Refusal = Refusal(Code::Unavailable, "etcdserver: no leader");
pub(crate) const TIMED_OUT: Refusal = Refusal(Code::Unavailable, "etcdserver: request timed out");
pub(crate) const APPLY_TOO_SLOW: Refusal =
    Refusal(Code::Unavailable, "etcdserver: request timed out, waiting for the applied index took too long");
pub(crate) const STOPPED: Refusal = Refusal(Code::Unavailable, "etcdserver: server stopped");
pub(crate) const DEADLINE_EXCEEDED: Refusal = Refusal(Code::DeadlineExceeded, "context deadline exceeded");

// The Lock and Election services answer with the texts of etcd's client-side recipes, which carry no code.
pub(crate) const SESSION_EXPIRED: Refusal = Refusal(Code::Unknown, "mutex: session is expired");
pub(crate) const ELECTION_NOT_LEADER: Refusal = Refusal(Code::Unknown, "election: not leader");
pub(crate) const ELECTION_NO_LEADER: Refusal = Refusal(Code::Unknown, "election: no leader");
pub(crate) const LEADER_REQUIRED: Refusal = Refusal(Code::Unknown, "\"leader\" field must be provided");

/// Why a watch was not created; `WatchResponse.cancel_reason`.
pub(crate) const WATCH_RANGE_EMPTY: &str = "mvcc: watcher range is empty";
/// Likewise.
pub(crate) const WATCH_ID_TAKEN: &str = "mvcc: duplicate watch ID provided on the WatchStream";

impl From<Refusal> for Status {
    fn from(Refusal(code, text): Refusal) -> Status {
        Status::new(code, text)
    }
}

/// What the state machine, or a check before it, refused.
pub(crate) fn of_kv(error: kv::KvError) -> Status {
    use kv::KvError;
    let refusal = match error {
        KvError::EmptyKey => EMPTY_KEY,
        KvError::KeyTooLong => REQUEST_TOO_LARGE,
        KvError::KeyNotFound => KEY_NOT_FOUND,
        KvError::ValueProvided => VALUE_PROVIDED,
        KvError::LeaseProvided => LEASE_PROVIDED,
        KvError::TooManyOps => TOO_MANY_OPS,
        KvError::DuplicateKey => DUPLICATE_KEY,
        KvError::InvalidSortOption => INVALID_SORT_OPTION,
        KvError::Compacted => COMPACTED,
        KvError::FutureRevision => FUTURE_REVISION,
        KvError::LeaseNotFound => LEASE_NOT_FOUND,
        KvError::LeaseExists => LEASE_EXISTS,
        KvError::LeaseTtlTooLarge => LEASE_TTL_TOO_LARGE,
        KvError::Undecodable => return Status::internal(format!("etcdserver: {error}")),
    };
    refusal.into()
}

/// Why a command has no outcome. A write that may have happened is "request timed out", which no client
/// library retries by itself.
pub(crate) fn of_propose(error: node::ProposeError) -> Status {
    use node::ProposeError;
    let refusal = match error {
        ProposeError::NoLeader => NO_LEADER,
        ProposeError::Busy => TOO_MANY_REQUESTS,
        ProposeError::Unknown => TIMED_OUT,
        ProposeError::Stopped => STOPPED,
    };
    refusal.into()
}

/// Why the members, or who leads, were not changed.
pub(crate) fn of_errand(error: node::ErrandError) -> Status {
    use consensus::{ChangeRefusal, Refusal as Core};
    use node::ErrandError;
    let refusal = match error {
        ErrandError::Unknown => TIMED_OUT,
        ErrandError::Stopped => STOPPED,
        ErrandError::Refused(refusal) => match refusal {
            Core::NoLeader => NO_LEADER,
            Core::NotLeader => NOT_LEADER,
            Core::Busy | Core::Transferring => TOO_MANY_REQUESTS,
            Core::Unsupported => return unsupported(&refusal.to_string()),
            Core::Change(change) => match change {
                ChangeRefusal::Exists(_) => MEMBER_EXISTS,
                ChangeRefusal::Unknown(_) => MEMBER_NOT_FOUND,
                ChangeRefusal::NotLearner(_) => MEMBER_NOT_LEARNER,
                ChangeRefusal::NotCaughtUp(_) => LEARNER_NOT_READY,
                ChangeRefusal::LastVoter => NOT_ENOUGH_STARTED,
                // Another change that cannot be finished in the time of a request lacks a quorum.
                ChangeRefusal::Pending | ChangeRefusal::Unhealthy => UNHEALTHY,
            },
        },
    };
    refusal.into()
}

/// Why a linearizable read could not be served.
pub(crate) fn of_barrier(error: node::ReadError) -> Status {
    use node::ReadError;
    let refusal = match error {
        ReadError::NoLeader => NO_LEADER,
        ReadError::TimedOut => TIMED_OUT,
        ReadError::Stopped => STOPPED,
    };
    refusal.into()
}

/// Why the local state could not be read.
pub(crate) fn of_read(error: kv::ReadError) -> Status {
    match error {
        kv::ReadError::Kv(error) => of_kv(error),
        kv::ReadError::Incomplete => APPLY_TOO_SLOW.into(),
        kv::ReadError::Engine(error) => {
            tracing::error!(%error, "the state cannot be read");
            Status::internal(format!("etcdserver: {error}"))
        }
    }
}

/// An RPC that this version does not carry out.
pub(crate) fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: not supported by this version of Althing: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kv::KvError;

    /// etcd-api.md §4.10: codes and texts as a client sees them.
    #[test]
    fn refusals_carry_the_codes_and_texts_of_etcd() {
        let table = [
            (KvError::EmptyKey, Code::InvalidArgument, "etcdserver: key is not provided"),
            (KvError::KeyNotFound, Code::InvalidArgument, "etcdserver: key not found"),
            (KvError::DuplicateKey, Code::InvalidArgument, "etcdserver: duplicate key given in txn request"),
            (KvError::TooManyOps, Code::InvalidArgument, "etcdserver: too many operations in txn request"),
            (KvError::Compacted, Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted"),
            (
                KvError::FutureRevision,
                Code::OutOfRange,
                "etcdserver: mvcc: required revision is a future revision",
            ),
            (KvError::LeaseNotFound, Code::NotFound, "etcdserver: requested lease not found"),
            (KvError::LeaseExists, Code::FailedPrecondition, "etcdserver: lease already exists"),
            (KvError::LeaseTtlTooLarge, Code::OutOfRange, "etcdserver: too large lease TTL"),
        ];
        for (error, code, text) in table {
            let status = of_kv(error);
            assert_eq!((status.code(), status.message()), (code, text));
        }
    }

    #[test]
    fn a_write_of_unknown_outcome_is_a_timeout() {
        let status = of_propose(node::ProposeError::Unknown);
        assert_eq!((status.code(), status.message()), (Code::Unavailable, "etcdserver: request timed out"));
    }
}

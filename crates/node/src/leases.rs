//! Lease keep-alives and times to live: questions that only the leader can answer, and without a log entry.
//!
//! ```text
//!   any node ──question──▶ leader's core: still leader? (one read round) ──▶ apply thread: lessor ──answer──▶
//! ```
//!
//! The read round makes the answer linearizable: a grant that was acknowledged before is known, and a leader
//! that was replaced without knowing it answers nothing.

use std::time::Duration;

use bytes::Bytes;
use kv::{LeaseId, Lessor};
use types::{Reader, Time, Wire, WireError};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseQuestion {
    /// Give the lease its full time again.
    Renew(LeaseId),
    /// How long does it still have?
    Remaining(LeaseId),
}

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    /// This node does not lead, or cannot be sure that it does: ask again, perhaps elsewhere.
    NotLeader,
    /// There is no such lease, or it has run out.
    Unknown,
    /// Seconds granted, and milliseconds left.
    Lease { ttl_seconds: i64, remaining_ms: u64 },
}

impl LeaseQuestion {
    /// Answers from the lessor of the node that leads.
    pub(crate) fn answer(self, lessor: &mut Lessor, now: Time) -> LeaseAnswer {
        if !lessor.is_leading() {
            return LeaseAnswer::NotLeader;
        }
        let found = match self {
            LeaseQuestion::Renew(id) => lessor.renew(id, now).map(|_| id),
            LeaseQuestion::Remaining(id) => Some(id),
        };
        let lease = found.and_then(|id| Some((lessor.granted_seconds(id)?, lessor.remaining(id, now)?)));
        lease.map_or(LeaseAnswer::Unknown, |(ttl_seconds, remaining)| LeaseAnswer::Lease {
            ttl_seconds,
            remaining_ms: u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX),
        })
    }
}

impl Wire for LeaseQuestion {
    fn encode(&self, out: &mut Vec<u8>) {
        let (tag, id) = match self {
            LeaseQuestion::Renew(id) => (0, id),
            LeaseQuestion::Remaining(id) => (1, id),
        };
        out.push(tag);
        id.encode(out);
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        match (u8::decode(input)?, LeaseId::decode(input)?) {
            (0, id) => Ok(LeaseQuestion::Renew(id)),
            (1, id) => Ok(LeaseQuestion::Remaining(id)),
            (tag, _) => Err(WireError::Tag { what: "lease question", tag }),
        }
    }
}

impl Wire for LeaseAnswer {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            LeaseAnswer::NotLeader => out.push(0),
            LeaseAnswer::Unknown => out.push(1),
            LeaseAnswer::Lease { ttl_seconds, remaining_ms } => {
                out.push(2);
                ttl_seconds.encode(out);
                remaining_ms.encode(out);
            }
        }
    }
    fn decode(input: &mut Reader) -> Result<Self, WireError> {
        Ok(match u8::decode(input)? {
            0 => LeaseAnswer::NotLeader,
            1 => LeaseAnswer::Unknown,
            2 => LeaseAnswer::Lease { ttl_seconds: i64::decode(input)?, remaining_ms: u64::decode(input)? },
            tag => return Err(WireError::Tag { what: "lease answer", tag }),
        })
    }
}

/// A lease's times, as its leader knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTimes {
    /// The time to live that was granted, in seconds.
    pub granted_seconds: i64,
    /// How long it still has; zero once it has run out and waits to be revoked.
    pub remaining: Duration,
}

impl LeaseAnswer {
    /// Reads an answer as far as a front-end is concerned: `Err` if another node must be asked.
    pub(crate) fn times(bytes: Bytes) -> Result<Option<LeaseTimes>, AskElsewhere> {
        match LeaseAnswer::from_bytes(bytes) {
            Ok(LeaseAnswer::Lease { ttl_seconds, remaining_ms }) => Ok(Some(LeaseTimes {
                granted_seconds: ttl_seconds,
                remaining: Duration::from_millis(remaining_ms),
            })),
            Ok(LeaseAnswer::Unknown) => Ok(None),
            // A peer of another version may answer what we cannot read; it is as good as no answer.
            Ok(LeaseAnswer::NotLeader) | Err(_) => Err(AskElsewhere),
        }
    }
}

/// The node that was asked does not lead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskElsewhere;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_and_answers_survive_the_trip() {
        for question in [LeaseQuestion::Renew(7), LeaseQuestion::Remaining(-1)] {
            assert_eq!(LeaseQuestion::from_bytes(question.to_bytes()), Ok(question));
        }
        let lease = LeaseAnswer::Lease { ttl_seconds: 5, remaining_ms: 1 };
        for answer in [LeaseAnswer::NotLeader, LeaseAnswer::Unknown, lease] {
            assert_eq!(LeaseAnswer::from_bytes(answer.to_bytes()), Ok(answer));
        }
    }

    #[test]
    fn only_a_leading_lessor_answers() {
        let mut lessor = Lessor::new();
        assert_eq!(LeaseQuestion::Renew(1).answer(&mut lessor, Time(0)), LeaseAnswer::NotLeader);
        lessor.promote(Time(0), [(1, 10)]);
        let full = LeaseAnswer::Lease { ttl_seconds: 10, remaining_ms: 10_000 };
        let second = Time(1_000_000_000);
        assert_eq!(LeaseQuestion::Renew(1).answer(&mut lessor, second), full);
        assert_eq!(LeaseQuestion::Renew(2).answer(&mut lessor, second), LeaseAnswer::Unknown);
    }
}

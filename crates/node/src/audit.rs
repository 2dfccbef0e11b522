//! Replicas compare their states, each as it was at the same slot.
//!
//! ```text
//!   apply thread: slot is a multiple of `audit_entries` ──view──▶ audit thread: digests all of it, at the scrub's pace
//!                                    peers: "what have you found?" ──▶ the same at the same slot? ──▶ alarm, or end
//! ```
//!
//! Reading everything also finds what the engine's files have lost before somebody needs it.
//!
//! - A1  A replica whose state differs from what a majority of the members have ends: it must not answer, and must not be what
//!   others are repaired from.
//! - A2  If nobody has a majority on its side, all go on and say so: nobody can tell who is right.
//!
//! A slot that comes while the one before is still being digested is left out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kv::CheckpointWriter;
use tokio::sync::oneshot::error::TryRecvError as NoAnswer;
use types::{NodeId, Slot, Wire};

use crate::StateView;
use crate::config::NodeError;
use crate::peers::{Peers, question_frame};
use crate::questions::Questions;
use crate::shared::Shared;

/// The question for [`Digests`]; no question about a lease begins with this.
pub(crate) const QUESTION: &[u8] = &[0xd1];

/// So many of the latest digests are kept.
const KEPT: usize = 16;
/// How long a peer may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// From one comparison to the next, as long as something is left to compare.
const COMPARE_EVERY: Duration = Duration::from_secs(2);
/// Comparisons of one slot: a peer that has nothing to say about it by then has left it out.
const COMPARISONS: u32 = 150;
/// Bytes that are digested between two pauses.
const PIECE_BYTES: u64 = 256 << 10;

/// What this node has found, oldest first: what its state was at some slots.
#[derive(Debug, Default)]
pub(crate) struct Digests(Mutex<VecDeque<(Slot, u128)>>);

impl Digests {
    fn add(&self, slot: Slot, digest: u128) {
        let mut found = self.lock();
        found.push_back((slot, digest));
        if found.len() > KEPT {
            found.pop_front();
        }
    }

    /// The answer to [`QUESTION`].
    pub(crate) fn answer(&self) -> Bytes {
        let mut out = Vec::new();
        for (slot, digest) in self.lock().iter() {
            slot.encode(&mut out);
            digest.encode(&mut out);
        }
        out.into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Slot, u128)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an answer; an answer of another version says nothing.
fn found_by(answer: Bytes) -> BTreeMap<Slot, u128> {
    let mut input = types::Reader::new(answer);
    let mut found = BTreeMap::new();
    while let (Ok(slot), Ok(digest)) = (Slot::decode(&mut input), u128::decode(&mut input)) {
        found.insert(slot, digest);
    }
    found
}

/// The audit thread.
pub(crate) struct Auditor {
    pub(crate) inbox: Receiver<CheckpointWriter<StateView>>,
    pub(crate) bytes_per_second: u64,
    pub(crate) shared: Arc<Shared>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) questions: Arc<Questions>,
    /// Where the state is, for messages.
    pub(crate) path: String,
}

/// What comparing comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Everybody has the same.
    Equal,
    /// Nobody differs, and somebody has not answered for this slot.
    Open,
    /// Somebody differs, and no majority is against this replica.
    Differs,
    /// A majority of the members has something else than this replica.
    Odd,
}

impl Auditor {
    /// Works until nobody is left who could hand it anything.
    pub(crate) fn run(self) {
        let mut open: Option<(Slot, u128, u32)> = None;
        loop {
            match self.inbox.recv_timeout(COMPARE_EVERY) {
                Ok(state) => match self.digest(&state) {
                    Some((slot, digest)) => open = Some((slot, digest, COMPARISONS)),
                    None => return,
                },
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            open = open.and_then(|(slot, digest, left)| self.compare(slot, digest, left));
        }
    }

    /// `None` if the node ends, or has to.
    fn digest(&self, state: &CheckpointWriter<StateView>) -> Option<(Slot, u128)> {
        let (mut piece, mut goes_on) = (0, true);
        let digest = state.digest(|bytes| {
            piece += bytes;
            if piece >= PIECE_BYTES {
                goes_on = self.rest(std::mem::take(&mut piece));
            }
            goes_on
        });
        let (slot, _) = state.at();
        match digest {
            Ok(Some(digest)) => {
                self.shared.digests.add(slot, digest);
                self.shared.metrics.state_audits.add(1);
                Some((slot, digest))
            }
            Ok(None) => None,
            Err(error) => {
                let (path, reason) = (self.path.clone(), error.to_string());
                self.shared.fail(NodeError::State { path, reason });
                None
            }
        }
    }

    /// Waits as long as reading `bytes` should take. Returns whether to go on.
    fn rest(&self, bytes: u64) -> bool {
        let until =
            Instant::now() + Duration::from_micros(bytes.saturating_mul(1_000_000) / self.bytes_per_second);
        while Instant::now() < until {
            if matches!(self.inbox.try_recv(), Err(TryRecvError::Disconnected)) {
                return false;
            }
            std::thread::sleep(
                Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())),
            );
        }
        !self.shared.has_failed()
    }

    /// Compares once. Returns what is left to compare.
    fn compare(&self, slot: Slot, digest: u128, left: u32) -> Option<(Slot, u128, u32)> {
        let members: Vec<NodeId> = self.shared.status().membership.members.keys().copied().collect();
        let others: Vec<Option<u128>> = members
            .iter()
            .filter(|member| **member != self.shared.id)
            .map(|peer| self.ask(*peer).get(&slot).copied())
            .collect();
        match judge(digest, &others) {
            Verdict::Equal => None,
            Verdict::Open => left.checked_sub(1).map(|left| (slot, digest, left)).filter(|_| left > 0),
            Verdict::Differs => {
                self.shared.metrics.state_mismatches.add(1);
                tracing::error!(%slot, "the states of the members differ, and no majority says whose is right");
                left.checked_sub(1).map(|left| (slot, digest, left)).filter(|_| left > 0)
            }
            Verdict::Odd => {
                self.shared.metrics.state_mismatches.add(1);
                self.shared.fail(NodeError::Diverged { path: self.path.clone(), slot });
                None
            }
        }
    }

    fn ask(&self, peer: NodeId) -> BTreeMap<Slot, u128> {
        let (id, mut answer) = self.questions.open();
        self.peers.send_control(peer, question_frame(id, &Bytes::from_static(QUESTION)));
        let until = Instant::now() + ANSWER;
        let answered = loop {
            match answer.try_recv() {
                Ok(answer) => break found_by(answer),
                Err(NoAnswer::Empty) if Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(_) => break BTreeMap::new(),
            }
        };
        self.questions.close(id);
        answered
    }
}

/// Compares one's own digest with what the other members have at that slot, as far as they say.
fn judge(own: u128, others: &[Option<u128>]) -> Verdict {
    let members = others.len() + 1;
    let mut votes: BTreeMap<u128, usize> = BTreeMap::from([(own, 1)]);
    for digest in others.iter().flatten() {
        *votes.entry(*digest).or_default() += 1;
    }
    let is_odd = votes.iter().any(|(digest, count)| *digest != own && count * 2 > members);
    match votes.len() {
        _ if is_odd => Verdict::Odd,
        1 if others.iter().all(Option::is_some) => Verdict::Equal,
        1 => Verdict::Open,
        _ => Verdict::Differs,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_majority_of_all_members_tells_who_is_odd() {
        assert_eq!(judge(1, &[Some(1), Some(1)]), Verdict::Equal);
        assert_eq!(judge(1, &[Some(1), None]), Verdict::Open);
        assert_eq!(judge(1, &[Some(2), Some(2)]), Verdict::Odd);
        assert_eq!(judge(2, &[Some(2), Some(1)]), Verdict::Differs, "the other is odd");
        assert_eq!(judge(1, &[Some(2), None]), Verdict::Differs, "one against one");
        assert_eq!(judge(1, &[Some(2)]), Verdict::Differs);
        assert_eq!(judge(1, &[]), Verdict::Equal);
        assert_eq!(
            judge(1, &[Some(2), Some(2), None, None]),
            Verdict::Differs,
            "two of five are no majority"
        );
    }

    #[test]
    fn answers_survive_the_trip_and_others_say_nothing() {
        let digests = Digests::default();
        for number in 0..20u64 {
            digests.add(Slot(number), u128::from(number) << 70);
        }
        let found = found_by(digests.answer());
        assert_eq!(found.len(), KEPT);
        assert_eq!(found[&Slot(19)], 19 << 70);
        assert!(found_by(Bytes::from_static(b"another version")).is_empty());
    }
}

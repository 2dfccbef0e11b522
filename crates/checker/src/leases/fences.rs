//! C6, second half: is a lock as exclusive as its fence makes it?
//!
//! ```text
//!   client a  ├─lock─┤ token 5 ....pause..................... write with 5 ✗ refused
//!   client b                        ├─lock─┤ token 8   write with 8 ✓
//! ```
//!
//! A client that is paused cannot know that it has lost its lock, so a lock protects nothing by itself. What does is
//! its token (the revision that created the lock's key): whoever is protected refuses tokens older than it has seen.
//!
//! Rules:
//! - F1  no two holds of a lock have the same token, and who was granted it before another asked has the older one;
//! - F2  after a write with a newer token was accepted, none with an older one is: in the order of acceptance, if it
//!   is known, and in real time;
//! - F3  in the store's own order, no two clients hold a lock at once.

use bytes::Bytes;
use trace::OpId;
use types::Time;

use crate::history::Text;
use crate::{ClientId, Revision, Verdict, Violation};

/// One client's time with a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What reports call it.
    pub id: OpId,
    /// Which lock.
    pub lock: Bytes,
    /// Who.
    pub client: ClientId,
    /// What the client shows with its writes.
    pub token: Revision,
    /// When it asked for the lock.
    pub asked: Time,
    /// When it was told that it has it.
    pub granted: Time,
    /// The revisions from which and before which the store says that it holds the lock, if known; without an end it
    /// holds it still.
    pub held: Option<(Revision, Option<Revision>)>,
}

/// What came of a guarded write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// It was done, at this place in the order of what is guarded, if that is known.
    Accepted(Option<Revision>),
    /// Its token was too old.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// A write to what a lock guards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuardedWrite {
    /// What reports call it.
    pub id: OpId,
    /// The lock that guards it.
    pub lock: Bytes,
    /// The token that it showed.
    pub token: Revision,
    /// When it was asked.
    pub asked: Time,
    /// When its outcome was known.
    pub returned: Time,
    /// What that was.
    pub outcome: WriteOutcome,
}

/// Everything that is known about locks and what they guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FenceHistory {
    /// Every hold, in any order.
    pub holds: Vec<Hold>,
    /// Every guarded write, in any order.
    pub writes: Vec<GuardedWrite>,
}

/// Judges whether fencing tokens kept old holders out: see the rules of this module.
pub fn check_fences(history: &FenceHistory) -> Verdict {
    let mut holds: Vec<&Hold> = history.holds.iter().collect();
    holds.sort_by_key(|hold| (&hold.lock, hold.token));
    let mut writes: Vec<&GuardedWrite> = history.writes.iter().collect();
    writes.retain(|write| matches!(write.outcome, WriteOutcome::Accepted(_)));
    writes.sort_by_key(|write| &write.lock);
    let judge = || {
        holds.chunk_by(|a, b| a.lock == b.lock).try_for_each(check_holds)?;
        writes.chunk_by(|a, b| a.lock == b.lock).try_for_each(check_writes)
    };
    match judge() {
        Ok(()) => Verdict::Holds,
        Err(violation) => Verdict::Violated(*violation),
    }
}

/// F1 and F3 for the holds of one lock, by token.
fn check_holds(holds: &[&Hold]) -> Result<(), Box<Violation>> {
    let lock = Text(&holds[0].lock);
    if let Some(pair) = holds.windows(2).find(|pair| pair[0].token == pair[1].token) {
        let expected = format!("one hold of {lock} with token {}", pair[0].token);
        return broken("fencing token used twice", expected, "two".into(), [pair[0].id, pair[1].id]);
    }
    let spans = holds.iter().map(|hold| (hold.asked, hold.granted, hold.token, hold.id));
    if let Some((late, early)) = overtaken(spans.collect()) {
        let expected = format!("a token for {lock} newer than {}, which was granted before", early.2);
        return broken("fencing token not newer", expected, format!("token {}", late.2), [late.3, early.3]);
    }
    let mut held: Vec<(Revision, Option<Revision>, &Hold)> =
        holds.iter().filter_map(|hold| hold.held.map(|(from, until)| (from, until, *hold))).collect();
    held.sort_by_key(|(from, ..)| *from);
    match held.windows(2).find(|pair| pair[0].1.is_none_or(|until| until > pair[1].0)) {
        None => Ok(()),
        Some(pair) => {
            let ((from, until, first), (second_from, _, second)) = (pair[0], pair[1]);
            let until = until.map_or("the end".to_owned(), |until| format!("revision {until}"));
            let expected =
                format!("{lock} held by client {} alone from revision {from} to {until}", first.client.0);
            let found = format!("client {} holds it from revision {second_from}", second.client.0);
            broken("lock held twice", expected, found, [second.id, first.id])
        }
    }
}

/// F2 for the accepted writes under one lock.
fn check_writes(writes: &[&GuardedWrite]) -> Result<(), Box<Violation>> {
    const RULE: &str = "old fencing token accepted";
    let lock = Text(&writes[0].lock);
    let expected =
        |token: Revision| format!("a token for {lock} not older than {token}, which had been accepted");
    let mut ordered: Vec<(Revision, &GuardedWrite)> = Vec::new();
    for write in writes {
        if let WriteOutcome::Accepted(Some(at)) = write.outcome {
            ordered.push((at, write));
        }
    }
    ordered.sort_by_key(|(at, _)| *at);
    if let Some(pair) = ordered.windows(2).find(|pair| pair[0].1.token > pair[1].1.token) {
        let (new, old) = (pair[0].1, pair[1].1);
        return broken(RULE, expected(new.token), format!("token {}", old.token), [old.id, new.id]);
    }
    let spans = writes.iter().map(|write| (write.asked, write.returned, write.token, write.id));
    match overtaken(spans.collect()) {
        None => Ok(()),
        Some((late, early)) => {
            broken(RULE, expected(early.2), format!("token {}", late.2), [late.3, early.3])
        }
    }
}

/// From when to when, with which token, and whose it is.
type Span = (Time, Time, Revision, OpId);

/// One that begins after another ended and has an older token than that; and that other.
fn overtaken(spans: Vec<Span>) -> Option<(Span, Span)> {
    let mut ends = spans.clone();
    ends.sort_by_key(|span| span.1);
    let mut begins = spans;
    begins.sort_by_key(|span| span.0);
    let (mut ends, mut newest) = (ends.into_iter().peekable(), None::<Span>);
    for span in begins {
        while let Some(over) = ends.next_if(|over| over.1 < span.0) {
            newest = newest.filter(|newest| newest.2 >= over.2).or(Some(over));
        }
        if let Some(newest) = newest.filter(|newest| newest.2 > span.2) {
            return Some((span, newest));
        }
    }
    None
}

fn broken(rule: &'static str, expected: String, found: String, ops: [OpId; 2]) -> Result<(), Box<Violation>> {
    Err(Box::new(Violation { rule, expected, found, ops: ops.to_vec() }))
}

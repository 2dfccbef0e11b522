//! The session table: which commands were executed, so that a retry is not executed again.
//!
//! Promises:
//! - S1  A pair `(session, number)` is executed at most once while its session is open.
//! - S2  A command of a session that is not open is never executed.
//! - S3  What expires when depends only on the times stamped on entries.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use storage::EngineError;
use types::{Reader, SessionId, WallTime, Wire, WireError};

use crate::layout::{SESSIONS, parse_session_key, session_key, undecodable};
use crate::store::Store;
use crate::varint::{put_signed, put_unsigned, signed, unsigned};

/// A session that has been silent this long is forgotten, by the entries' time.
const IDLE_MAX_MS: i64 = 24 * 60 * 60 * 1000;

/// Every open session. Held in memory (one an incarnation of a node); changes are written with each group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    /// Open sessions by when they were last heard, longest silent first.
    by_silence: BTreeSet<(WallTime, SessionId)>,
    /// Opened, changed or expired since the last [`Sessions::write`].
    changed: BTreeSet<SessionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Session {
    heard_at: WallTime,
    /// Every number below is executed or will not be sent again.
    done_below: u64,
    /// Executed numbers from `done_below` on, as runs from first to last, neither overlapping nor touching.
    /// Nearly always empty: numbers are executed in order unless an attempt is lost.
    done: BTreeMap<u64, u64>,
}

/// What to do with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Execute,
    Duplicate,
    SessionMissing,
}

/// Whether this is a row's value.
pub(crate) fn is_session(value: Bytes) -> bool {
    Session::from_bytes(value).is_ok()
}

impl Sessions {
    /// Reads the table.
    pub(crate) fn load<V: storage::View>(store: &Store<V>) -> Result<Sessions, EngineError> {
        let mut sessions = Sessions::default();
        for row in store.scan_all(SESSIONS) {
            let (key, value) = row?;
            let id = parse_session_key(&key)?;
            let session = Session::from_bytes(value).map_err(|_| undecodable("session"))?;
            sessions.by_silence.insert((session.heard_at, id));
            sessions.open.insert(id, session);
        }
        Ok(sessions)
    }

    /// Stages every change since the last call.
    /// Has every session written, whether it has changed or not.
    pub(crate) fn touch_all(&mut self) {
        self.changed.extend(self.open.keys());
    }

    pub(crate) fn write<V: storage::View>(&mut self, store: &mut Store<V>) {
        for id in std::mem::take(&mut self.changed) {
            if planted!(store.bugs, SessionsNotKept) {
                continue;
            }
            match self.open.get(&id) {
                Some(session) => store.put(SESSIONS, session_key(id), session.to_bytes()),
                None => store.remove(SESSIONS, session_key(id)),
            }
        }
    }

    /// Forgets sessions that have been silent too long at `wall` (S3).
    pub(crate) fn expire(&mut self, wall: WallTime) {
        while let Some((heard_at, id)) = self.by_silence.first().copied() {
            if wall.0.saturating_sub(heard_at.0) <= IDLE_MAX_MS {
                break;
            }
            self.by_silence.pop_first();
            self.open.remove(&id);
            self.changed.insert(id);
        }
    }

    /// Opens a session; an open one stays as it is.
    pub(crate) fn open(&mut self, id: SessionId, wall: WallTime) {
        if !self.heard(id, wall) {
            self.open.insert(id, Session { heard_at: wall, done_below: 1, done: BTreeMap::new() });
            self.by_silence.insert((wall, id));
            self.changed.insert(id);
        }
    }

    /// Decides on a command, and marks it as executed if it is to be.
    pub(crate) fn admit(
        &mut self,
        id: SessionId,
        number: u64,
        acked_below: u64,
        wall: WallTime,
    ) -> Admission {
        if !self.heard(id, wall) {
            return Admission::SessionMissing;
        }
        let fresh = self.open.get_mut(&id).is_some_and(|session| session.admit(number, acked_below));
        if fresh { Admission::Execute } else { Admission::Duplicate }
    }

    /// Notes that an open session was heard; `false` if it is not open.
    fn heard(&mut self, id: SessionId, wall: WallTime) -> bool {
        let Some(session) = self.open.get_mut(&id) else { return false };
        self.by_silence.remove(&(session.heard_at, id));
        session.heard_at = wall;
        self.by_silence.insert((wall, id));
        self.changed.insert(id);
        true
    }
}

impl Session {
    /// Marks `number` as executed; `false` if it already was, or was given up.
    fn admit(&mut self, number: u64, acked_below: u64) -> bool {
        self.done_below = self.done_below.max(acked_below);
        let fresh = number >= self.done_below && !self.is_done(number);
        if fresh {
            self.mark(number);
        }
        self.trim();
        fresh
    }

    fn is_done(&self, number: u64) -> bool {
        self.done.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    fn mark(&mut self, number: u64) {
        let mut first = number;
        let mut last = number;
        if let Some((before, end)) =
            self.done.range(..number).next_back().map(|(first, last)| (*first, *last))
            && end.checked_add(1) == Some(number)
        {
            first = before;
        }
        if let Some(after) = number.checked_add(1)
            && let Some(end) = self.done.remove(&after)
        {
            last = end;
        }
        self.done.insert(first, last);
    }

    /// Moves `done_below` over the runs that it reaches.
    fn trim(&mut self) {
        while let Some((first, last)) = self.done.first_key_value().map(|(first, last)| (*first, *last)) {
            if first > self.done_below || last == u64::MAX {
                break;
            }
            self.done.pop_first();
            self.done_below = self.done_below.max(last + 1);
        }
    }
}

impl Wire for Session {
    fn encode(&self, out: &mut Vec<u8>) {
        put_signed(out, self.heard_at.0);
        put_unsigned(out, self.done_below);
        for (first, last) in &self.done {
            put_unsigned(out, *first);
            put_unsigned(out, *last);
        }
    }

    fn decode(input: &mut Reader) -> Result<Session, WireError> {
        let heard_at = WallTime(signed(input)?);
        let done_below = unsigned(input)?;
        let mut done = BTreeMap::new();
        let mut free_from = Some(done_below);
        while input.remaining() > 0 {
            let (first, last) = (unsigned(input)?, unsigned(input)?);
            if free_from.is_none_or(|free| first < free) || last < first {
                return Err(WireError::Range { what: "run of executed numbers" });
            }
            done.insert(first, last);
            // The next run does not touch this one.
            free_from = last.checked_add(2);
        }
        Ok(Session { heard_at, done_below, done })
    }

    fn from_bytes(bytes: Bytes) -> Result<Session, WireError> {
        Session::decode(&mut Reader::new(bytes))
    }
}

/// A session has one form, and admits each number once.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzzing(data: &[u8]) {
    let Some(mut session) = types::fuzzing::one_form::<Session>(data) else { return };
    let edges: Vec<u64> = session.done.iter().flat_map(|(first, last)| [*first, *last]).collect();
    for edge in edges.into_iter().chain([0, 1, session.done_below, u64::MAX]) {
        for number in [edge.saturating_sub(1), edge, edge.saturating_add(1)] {
            session.admit(number, 0);
            assert!(!session.admit(number, 0), "{number} was executed twice: {session:?}");
            types::fuzzing::one_form::<Session>(&session.to_bytes()).expect("it is a session still");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: SessionId = SessionId(9);
    const HOUR: i64 = 60 * 60 * 1000;

    fn opened() -> Sessions {
        let mut sessions = Sessions::default();
        sessions.open(ID, WallTime(0));
        sessions
    }

    fn admit(sessions: &mut Sessions, number: u64, acked_below: u64) -> Admission {
        sessions.admit(ID, number, acked_below, WallTime(0))
    }

    #[test]
    fn each_number_is_executed_once_in_whatever_order_it_comes() {
        let mut sessions = opened();
        for number in [3, 1, 5, 2, 4, 9, 7, 8] {
            assert_eq!(admit(&mut sessions, number, 1), Admission::Execute, "{number} first");
            assert_eq!(admit(&mut sessions, number, 1), Admission::Duplicate, "{number} again");
        }
        let session = &sessions.open[&ID];
        assert_eq!((session.done_below, &session.done), (6, &BTreeMap::from([(7, 9)])));
        assert_eq!(Session::from_bytes(session.to_bytes()).as_ref(), Ok(session));
    }

    #[test]
    fn runs_that_overlap_touch_or_go_back_are_no_session() {
        let read = |bytes: &'static [u8]| Session::from_bytes(Bytes::from_static(bytes));
        assert!(read(&[0, 6, 7, 9, 11, 11]).is_ok());
        for runs in [[7, 9, 9, 12], [7, 9, 10, 12], [9, 7, 11, 12], [4, 5, 7, 9], [11, 12, 7, 9]] {
            let bytes = [&[0, 6][..], &runs].concat();
            assert!(Session::from_bytes(Bytes::from(bytes)).is_err(), "{runs:?}");
        }
    }

    #[test]
    fn what_was_given_up_is_never_executed_late() {
        let mut sessions = opened();
        assert_eq!(admit(&mut sessions, 10, 8), Admission::Execute);
        assert_eq!(admit(&mut sessions, 7, 1), Admission::Duplicate);
        assert_eq!(admit(&mut sessions, 8, 8), Admission::Execute);
        assert_eq!(admit(&mut sessions, 3, 20), Admission::Duplicate);
        assert_eq!(sessions.open[&ID].done_below, 20);
    }

    #[test]
    fn numbers_at_the_end_of_their_range_are_harmless() {
        let mut sessions = opened();
        assert_eq!(admit(&mut sessions, u64::MAX, 1), Admission::Execute);
        assert_eq!(admit(&mut sessions, u64::MAX - 1, u64::MAX - 1), Admission::Execute);
        assert_eq!(admit(&mut sessions, u64::MAX, u64::MAX), Admission::Duplicate);
        assert_eq!(admit(&mut sessions, u64::MAX - 1, 0), Admission::Duplicate);
    }

    #[test]
    fn silence_expires_a_session_and_any_word_keeps_it() {
        let mut sessions = opened();
        sessions.expire(WallTime(24 * HOUR));
        assert_eq!(sessions.admit(ID, 1, 1, WallTime(24 * HOUR)), Admission::Execute);
        sessions.expire(WallTime(48 * HOUR));
        assert_eq!(sessions.admit(ID, 1, 1, WallTime(48 * HOUR)), Admission::Duplicate);
        sessions.expire(WallTime(72 * HOUR + 1));
        assert_eq!(sessions.admit(ID, 2, 1, WallTime(72 * HOUR + 1)), Admission::SessionMissing);
    }

    #[test]
    fn opening_again_keeps_what_was_executed() {
        let mut sessions = opened();
        assert_eq!(admit(&mut sessions, 1, 1), Admission::Execute);
        sessions.open(ID, WallTime(5));
        assert_eq!(admit(&mut sessions, 1, 1), Admission::Duplicate);
    }
}

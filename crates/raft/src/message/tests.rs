use super::*;
use consensus::{Entry, EntryKind, Membership};
use types::{Epoch, NodeId, SessionId, Time};

fn record(term: u64) -> Record {
    Record { term, entry: Entry { kind: EntryKind::Commands, payload: Bytes::from_static(b"payload") } }
}

/// One of each kind, every field with a value of its own.
fn one_of_each() -> Vec<Message> {
    let (term, incarnation, session, round) = (7, 11, 8, 9);
    let by = Stamp { incarnation, session };
    let command =
        Command { session: SessionId(1), number: 2, acked_below: 1, body: Bytes::from_static(b"body") };
    let membership = Membership::of([NodeId(1), NodeId(2)]);
    let meta = CheckpointMeta { at: Slot(3), epoch: Epoch::of(2), membership };
    let (transfer, wall, chunk) = (TransferId(4), WallTime(-5), Bytes::from_static(b"chunk"));
    vec![
        Message::RequestVote { term, pre: true, told: false, incarnation, last: Slot(3), last_term: 2 },
        Message::Vote { term, pre: false, incarnation, granted: true },
        Message::Append {
            term,
            incarnation,
            prev: Slot(3),
            prev_term: 2,
            commit: Slot(1),
            entries: vec![record(2), record(7)],
        },
        Message::Appended { term, by, matched: Slot(3) },
        Message::Rejected { term, by, prev: Slot(3), hint: Slot(2), hint_term: 1 },
        Message::Commit { term, commit: Slot(3) },
        Message::Heartbeat { term, incarnation, commit: Slot(3), round, sent: Time(5), rest: true },
        Message::HeartbeatAck {
            term,
            by,
            round,
            verified: Slot(3),
            sent: Time(5),
            clock: Time(6),
            priority: 7,
        },
        Message::Forward { commands: vec![command] },
        Message::ReadAsk { ask: 5 },
        Message::ReadAnswer { ask: 5, at: Slot(3) },
        Message::Chunk { term, incarnation, transfer, meta, wall, index: 6, chunk, last: true },
        Message::ChunkAck { term, transfer, next: 6, failed: true },
        Message::Repair { term, by, sent: Time(5), meta_lost: true },
        Message::RepairGoal { term, session, upto: Slot(3) },
        Message::ReconfigureAsk { ask: 5, changes: vec![Change::Remove { node: NodeId(2) }] },
        Message::Reconfigured { ask: 5, at: Slot(3) },
        Message::ReconfigureRefused { ask: 5, refusal: ChangeRefusal::LastVoter },
        Message::TimeoutNow { term },
    ]
}

#[test]
fn every_message_reads_back_as_it_was_written() {
    for message in one_of_each() {
        assert_eq!(Message::from_bytes(message.to_bytes()), Ok(message.clone()));
        assert!(message.is_sensible(), "{message:?}");
    }
}

#[test]
fn every_truncation_is_an_error() {
    for message in one_of_each() {
        let bytes = message.to_bytes();
        for len in 0..bytes.len() {
            assert!(Message::from_bytes(bytes.slice(..len)).is_err(), "{message:?} cut to {len} bytes");
        }
    }
}

/// The first bytes of each kind are fixed: replicas of different versions talk to each other.
#[test]
fn the_wire_form_is_fixed() {
    let message = Message::Appended { term: 1, by: Stamp { incarnation: 2, session: 3 }, matched: Slot(4) };
    let words = [1u64, 2, 3, 4].into_iter().flat_map(u64::to_le_bytes);
    assert_eq!(message.to_bytes().to_vec(), std::iter::once(4).chain(words).collect::<Vec<u8>>());
    let tags: Vec<u8> = one_of_each().iter().map(|message| message.to_bytes()[0]).collect();
    assert_eq!(tags, (1..=19).collect::<Vec<u8>>());
}

#[test]
fn numbers_that_no_honest_replica_reaches_are_senseless() {
    let append = |term, prev_term, terms: &[u64]| Message::Append {
        term,
        incarnation: 1,
        prev: Slot(3),
        prev_term,
        commit: Slot(1),
        entries: terms.iter().copied().map(record).collect(),
    };
    assert!(append(5, 2, &[2, 3, 5]).is_sensible());
    assert!(!append(5, 2, &[3, 2]).is_sensible(), "terms decrease");
    assert!(!append(5, 2, &[6]).is_sensible(), "an entry from after its leader");
    assert!(!append(5, 6, &[]).is_sensible());
    let chunk = |term, of| Message::Chunk {
        term,
        incarnation: 1,
        transfer: TransferId(1),
        meta: CheckpointMeta { at: Slot(3), epoch: Epoch::of(of), membership: Membership::of([NodeId(1)]) },
        wall: WallTime(1),
        index: 0,
        chunk: Bytes::new(),
        last: true,
    };
    assert!(chunk(5, 5).is_sensible());
    assert!(!chunk(5, 6).is_sensible(), "a checkpoint from after its leader");
    assert!(!Message::Commit { term: u64::MAX, commit: Slot(1) }.is_sensible());
    assert!(!Message::Commit { term: 1, commit: Slot(u64::MAX) }.is_sensible());
}

//! One submitter against answers that are late, lost or refused.

use super::*;
use crate::Role;
use types::{Buggify, Epoch, NodeId, Slot};

const SESSION: SessionId = SessionId(100);
const FAR: Time = Time(60_000_000_000);

fn submitter() -> Submitter {
    Submitter::new(SESSION, SubmitterConfig::default())
}

fn write(body: &'static [u8]) -> SubmitRequest {
    SubmitRequest::Write(Bytes::from_static(body))
}

fn proposal(requests: &[Request]) -> (Token, Vec<(u64, u64)>) {
    match requests {
        [Request::Propose { token, commands }] => {
            (*token, commands.iter().map(|c| (c.number, c.acked_below)).collect())
        }
        other => panic!("one proposal expected, got {other:?}"),
    }
}

fn new_leader() -> Event {
    Event::Leadership { role: Role::Follower, epoch: Epoch::of(2), leader: Some(NodeId(1)) }
}

#[test]
fn the_first_attempt_opens_the_session_and_retries_keep_their_numbers() {
    let mut submitter = submitter();
    submitter.submit(Time(0), write(b"a"), FAR);
    submitter.submit(Time(0), write(b"b"), FAR);
    assert_eq!(proposal(&submitter.poll(Time(0))).1, [(0, 1), (1, 1), (2, 1)]);
    assert!(submitter.poll(Time(1)).is_empty());

    assert_eq!(submitter.executed(SESSION, 0), None);
    assert_eq!(submitter.executed(SESSION, 1), Some(1));
    submitter.event(&new_leader(), &mut Vec::new());
    assert_eq!(proposal(&submitter.poll(Time(2))).1, [(2, 2)]);
    assert_eq!(submitter.executed(SESSION, 2), Some(2));
    assert_eq!(submitter.executed(SESSION, 2), None, "a second execution is nobody's");
}

#[test]
fn commands_gather_while_a_proposal_is_under_way() {
    let mut submitter = submitter();
    submitter.submit(Time(0), write(b"a"), FAR);
    submitter.poll(Time(0));
    submitter.submit(Time(1), write(b"b"), FAR);
    submitter.submit(Time(2), write(b"c"), FAR);
    assert!(submitter.poll(Time(2)).is_empty() && !submitter.has_due());
    assert!(submitter.deadline() <= Some(Time(0) + SubmitterConfig::default().hold_max));
    submitter.executed(SESSION, 0);
    submitter.executed(SESSION, 1);
    assert_eq!(proposal(&submitter.poll(Time(3))).1, [(2, 2), (3, 2)]);
}

#[test]
fn a_command_is_refused_only_if_no_attempt_can_execute() {
    let mut submitter = submitter();
    let mut outcomes = Vec::new();
    let deadline = Time(1_000_000_000);
    let refused = submitter.submit(Time(0), write(b"a"), deadline);
    let (token, _) = proposal(&submitter.poll(Time(0)));
    submitter.event(&Event::Refused { token, refusal: Refusal::NoLeader }, &mut outcomes);
    let unknown = submitter.submit(Time(0), write(b"b"), deadline);
    submitter.poll(Time(0));
    assert!(outcomes.is_empty());

    submitter.timer(deadline, &mut outcomes);
    assert_eq!(
        outcomes,
        [
            Outcome::Refused { ticket: refused, refusal: Refusal::NoLeader },
            Outcome::Unknown { ticket: unknown }
        ]
    );
    assert_eq!(submitter.deadline(), None, "nothing is outstanding");
}

#[test]
fn busy_is_passed_on_at_once_unless_an_earlier_attempt_is_open() {
    let mut submitter = submitter();
    let mut outcomes = Vec::new();
    let ticket = submitter.submit(Time(0), write(b"a"), FAR);
    let (token, _) = proposal(&submitter.poll(Time(0)));
    let busy = |token| Event::Refused { token, refusal: Refusal::Busy };
    submitter.event(&busy(token), &mut outcomes);
    assert_eq!(outcomes, [Outcome::Refused { ticket, refusal: Refusal::Busy }]);

    outcomes.clear();
    submitter.submit(Time(0), write(b"b"), FAR);
    submitter.poll(Time(0));
    submitter.event(&new_leader(), &mut outcomes);
    let (token, _) = proposal(&submitter.poll(Time(1)));
    submitter.event(&busy(token), &mut outcomes);
    assert!(outcomes.is_empty(), "the first attempt may still execute");
}

#[test]
fn a_missing_session_is_replaced_and_never_reused() {
    let mut submitter = submitter();
    submitter.submit(Time(0), write(b"a"), FAR);
    submitter.submit(Time(0), write(b"b"), FAR);
    submitter.poll(Time(0));
    submitter.executed(SESSION, 0);
    submitter.executed(SESSION, 1);
    submitter.session_missing(SESSION);
    submitter.session_missing(SESSION); // a second refusal of the same old session changes nothing
    let requests = submitter.poll(Time(1));
    assert_eq!(proposal(&requests).1, [(0, 1), (1, 1)]);
    assert_eq!(submitter.executed(SESSION, 2), None);
    assert_eq!(submitter.executed(SessionId(101), 1), Some(2));
}

#[test]
fn a_session_that_was_never_seen_open_is_not_given_up() {
    let mut submitter =
        Submitter::new(SESSION, SubmitterConfig { batch_bytes_max: 1, ..SubmitterConfig::default() });
    submitter.submit(Time(0), write(b"a"), FAR);
    submitter.submit(Time(0), write(b"b"), FAR);
    let requests = submitter.poll(Time(0));
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let (_, commands) = proposal(std::slice::from_ref(request));
        assert_eq!(commands[0].0, 0, "whichever arrives first opens the session");
    }
    submitter.session_missing(SESSION);
    assert_eq!(submitter.executed(SESSION, 1), Some(1), "the first attempt still counts");
}

#[test]
fn reads_share_a_round_and_every_retry_has_a_new_token() {
    let mut submitter = submitter();
    let mut outcomes = Vec::new();
    let read = || SubmitRequest::Read(ReadLevel::ReadIndex);
    let first = submitter.submit(Time(0), read(), FAR);
    let second = submitter.submit(Time(0), read(), FAR);
    let requests = submitter.poll(Time(0));
    let [Request::Read { token: old, .. }] = requests[..] else { panic!("one round expected") };

    submitter.timer(Time(0) + SubmitterConfig::default().retry_after, &mut outcomes);
    let requests = submitter.poll(Time(600_000_000));
    let [Request::Read { token: new, .. }] = requests[..] else { panic!("one round expected") };
    assert_ne!(old, new);
    submitter.event(&Event::ReadReady { token: new, at: Slot(9) }, &mut outcomes);
    submitter.event(&Event::ReadReady { token: old, at: Slot(5) }, &mut outcomes);
    assert_eq!(
        outcomes,
        [Outcome::ReadAt { ticket: first, at: Slot(9) }, Outcome::ReadAt { ticket: second, at: Slot(9) }]
    );
}

#[cfg(feature = "planted")]
#[test]
fn a_token_that_is_used_again_lets_a_late_answer_serve_a_later_read() {
    let served = |planted| {
        let mut submitter =
            Submitter::new(SESSION, SubmitterConfig { planted, ..SubmitterConfig::default() });
        let mut outcomes = Vec::new();
        let read = || SubmitRequest::Read(ReadLevel::ReadIndex);
        submitter.submit(Time(0), read(), FAR);
        let requests = submitter.poll(Time(0));
        let [Request::Read { token: early, .. }] = requests[..] else { panic!("one round expected") };
        let later = submitter.submit(Time(9), read(), FAR);
        submitter.poll(Time(9));
        submitter.event(&Event::ReadReady { token: early, at: Slot(5) }, &mut outcomes);
        outcomes.contains(&Outcome::ReadAt { ticket: later, at: Slot(5) })
    };
    assert!(!served(None));
    assert!(served(Some(crate::Planted::ReusesReadTokens)));
}

/// Seed 300407099: in slow motion, a repetition at each look filled the log with one command.
#[test]
fn an_attempt_is_not_repeated_before_an_eighth_of_its_time() {
    let retry_after = Duration::from_secs(4);
    let mut most = 0;
    for seed in 0..100 {
        let config = SubmitterConfig { retry_after, buggify: Buggify::draw(seed, 1), ..Default::default() };
        let mut submitter = Submitter::new(SESSION, config);
        submitter.submit(Time(0), write(b"a"), FAR);
        let mut attempts = 0;
        for ms in 0..8_000 {
            let now = Time(0) + Duration::from_millis(ms);
            submitter.timer(now, &mut Vec::new());
            let proposals = submitter.poll(now).into_iter();
            let carries_it = |request: &Request| match request {
                Request::Propose { commands, .. } => commands.iter().any(|command| command.number == 1),
                _ => false,
            };
            attempts += proposals.filter(carries_it).count();
        }
        most = most.max(attempts);
        assert!((1..=16).contains(&attempts), "seed {seed}: {attempts} attempts in twice the time");
    }
    let has_sites = !Buggify::draw(0, 1).coverage().is_empty();
    assert_eq!(most > 2, has_sites, "the most attempts in twice the time: {most}");
}

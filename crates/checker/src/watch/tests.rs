//! Every promise, in the fewest messages that break it.

use super::*;
use crate::Change;

/// `a` and `b` at revision 2, `a` again at 3, `b` deleted at 4, `a` at 5; `z` at 6.
fn timeline() -> Timeline {
    let change = |revision, key: &'static str, value: &'static str| Change {
        revision,
        key: key.into(),
        value: (!value.is_empty()).then(|| value.into()),
    };
    let changes = [
        change(2, "a", "1"),
        change(2, "b", "2"),
        change(3, "a", "3"),
        change(4, "b", ""),
        change(5, "a", "5"),
        change(6, "z", "6"),
    ];
    Timeline::new(&changes, 6)
}

fn request(start: Revision) -> WatchRequest {
    WatchRequest::new(Keys::Range("a".into(), "c".into()), Some(start))
}

/// What the history says of some revisions, in one message.
fn events(revisions: impl IntoIterator<Item = Revision>) -> Message {
    let request = request(0);
    let revisions: Vec<Revision> = revisions.into_iter().collect();
    let all = timeline().events().to_vec();
    let told = revisions.iter().flat_map(|revision| all.iter().filter(|event| event.revision == *revision));
    let events: Vec<Event> =
        told.filter(|event| request.wants(event)).cloned().map(without_previous).collect();
    Message::Events { revision: 6, events }
}

fn without_previous(event: Event) -> Event {
    Event { previous: None, ..event }
}

fn stream(request: WatchRequest, messages: impl IntoIterator<Item = Message>) -> WatchStream {
    let heard = messages.into_iter().zip(1..).map(|(message, at)| Heard { at: Time(at), message }).collect();
    WatchStream { request, heard, awaited: None }
}

fn judge_all(timeline: &Timeline, streams: Vec<WatchStream>) -> Verdict {
    check_watch(timeline, &Watch { name: "w".into(), streams })
}

fn judge(messages: impl IntoIterator<Item = Message>) -> Verdict {
    judge_all(&timeline(), vec![stream(request(2), messages)])
}

fn broken(messages: impl IntoIterator<Item = Message>) -> &'static str {
    let verdict = judge(messages);
    verdict.violation().unwrap_or_else(|| panic!("{verdict}")).rule
}

#[test]
fn the_slice_of_the_history_holds_however_it_is_cut() {
    assert_eq!(
        judge([Message::Created(6), events([2, 3]), Message::Progress(3), events([4, 5])]),
        Verdict::Holds
    );
    assert_eq!(judge([events([2, 3, 4]), events([5]), Message::Progress(6)]), Verdict::Holds);
    assert_eq!(judge([]), Verdict::Holds);
}

#[test]
fn a_watch_from_now_begins_after_its_creation() {
    let from_now = WatchRequest::new(Keys::One("a".into()), None);
    let from = |revision| vec![stream(from_now.clone(), [Message::Created(3), events([revision])])];
    assert_eq!(judge_all(&timeline(), from(5)), Verdict::Holds);
    assert_eq!(judge_all(&timeline(), from(3)).violation().unwrap().rule, "watch starts too early");
}

#[test]
fn w1_to_w5_order_repetition_omission_and_halves() {
    assert_eq!(broken([events([2]), events([4]), events([3])]), "watch events out of order (ordered)");
    assert_eq!(broken([events([2]), events([2])]), "watch event repeated (unique)");
    assert_eq!(broken([events([2, 4])]), "watch event left out (reliable)");
    assert_eq!(broken([events([3])]), "watch does not begin at its start (resumable)");
    let half = |at: usize| match events([2]) {
        Message::Events { revision, mut events } => {
            Message::Events { revision, events: vec![events.remove(at)] }
        }
        other => other,
    };
    assert_eq!(broken([half(0)]), "watch revision split (atomic)");
    assert_eq!(broken([half(0), half(1)]), "watch revision split (atomic)");
}

#[test]
fn w6_progress_is_a_promise() {
    let verdict = judge([events([2]), Message::Progress(3), events([3])]);
    assert_eq!(
        verdict.to_string(),
        "watch progress before its events (bookmarkable): expected a = 3 (mod 3, create 2, version 2) at revision 3; \
         found nothing, and revision 3 has passed in w"
    );
    assert_eq!(broken([events([2, 3, 4, 5]), Message::Progress(7)]), "watch progress beyond the store");
}

#[test]
fn w7_to_w9_what_was_not_asked_for_or_is_not_true() {
    let edited = |edit: fn(&mut Event)| match events([2]) {
        Message::Events { revision, mut events } => {
            edit(&mut events[0]);
            Message::Events { revision, events }
        }
        other => other,
    };
    assert_eq!(broken([edited(|event| event.key = "z".into())]), "watch event not asked for (filter)");
    assert_eq!(broken([edited(|event| event.key = "aa".into())]), "watch event that never happened");
    let rule = "watch event differs from the history";
    assert_eq!(broken([edited(|event| event.item = None)]), rule);
    assert_eq!(broken([edited(|event| event.item.as_mut().unwrap().version = Some(2))]), rule);
    let rule = "wrong previous value (prev_kv)";
    assert_eq!(broken([edited(|event| event.previous = event.item.clone())]), rule);
}

#[test]
fn previous_values_may_be_missing_only_where_they_are_compacted() {
    let asked = |previous: bool| {
        let told = timeline().events()[2].clone();
        let event = if previous { told } else { without_previous(told) };
        let request = WatchRequest { prev_kv: true, ..request(3) };
        vec![stream(request, [Message::Events { revision: 3, events: vec![event] }])]
    };
    let mut timeline = timeline();
    assert_eq!(judge_all(&timeline, asked(true)), Verdict::Holds);
    assert!(judge_all(&timeline, asked(false)).violated());
    timeline.compactions.push(Compaction { revision: 2, asked: Time(0) });
    assert!(judge_all(&timeline, asked(false)).violated(), "revision 2 can still be read");
    timeline.compactions.push(Compaction { revision: 3, asked: Time(0) });
    assert_eq!(judge_all(&timeline, asked(false)), Verdict::Holds);
}

#[test]
fn w10_who_lost_something_to_a_compaction_is_told() {
    let mut timeline = timeline();
    timeline.compactions.push(Compaction { revision: 4, asked: Time(1) });
    let told = |revision| {
        vec![stream(request(2), [Message::Compacted(revision)]), stream(request(5), [events([5])])]
    };
    assert_eq!(judge_all(&timeline, told(4)), Verdict::Holds);
    assert_eq!(judge_all(&timeline, told(3)).violation().unwrap().rule, "watch compacted by nobody");
    let needless = vec![stream(request(4), [Message::Compacted(4)])];
    assert_eq!(judge_all(&timeline, needless).violation().unwrap().rule, "watch cancelled needlessly");
    let silent = vec![stream(request(2), [events([4, 5])])];
    assert!(judge_all(&timeline, silent).violated());
}

#[test]
fn a_watch_resumes_where_it_broke_off() {
    let resumed = |start| vec![stream(request(2), [events([2])]), stream(request(start), [events(start..6)])];
    assert_eq!(judge_all(&timeline(), resumed(3)), Verdict::Holds);
    assert_eq!(judge_all(&timeline(), resumed(2)), Verdict::Holds, "to hear it twice is no loss");
    assert_eq!(judge_all(&timeline(), resumed(4)).violation().unwrap().rule, "watch resumed after a gap");
}

/// `nemesis --mixed --seed 11` met a stream that broke off before it was told so.
#[test]
fn what_is_lost_to_a_compaction_was_not_passed_over() {
    let mut timeline = timeline();
    timeline.compactions.push(Compaction { revision: 4, asked: Time(1) });
    let told = stream(request(2), [Message::Compacted(4)]);
    let broke_off = stream(request(2), [Message::Created(6)]);
    let resumed = |start| vec![told.clone(), broke_off.clone(), stream(request(start), [events(start..6)])];
    assert_eq!(judge_all(&timeline, resumed(5)), Verdict::Holds);
    let went_on = stream(request(4), [events([4])]);
    let gap = vec![told, broke_off, went_on, stream(request(6), [events([6])])];
    assert_eq!(judge_all(&timeline, gap).violation().unwrap().rule, "watch resumed after a gap");
}

#[test]
fn what_a_watcher_waited_for_must_have_come() {
    let mut streams = vec![stream(request(2), [events([2, 3, 4])])];
    streams[0].awaited = Some(4);
    assert_eq!(judge_all(&timeline(), streams.clone()), Verdict::Holds);
    streams[0].awaited = Some(6);
    assert_eq!(judge_all(&timeline(), streams).violation().unwrap().rule, "watch event never came");
}

#[test]
fn a_prefix_is_the_range_of_what_begins_with_it() {
    assert_eq!(Keys::prefix(b"ab"), Keys::Range("ab".into(), "ac".into()));
    assert_eq!(Keys::prefix(&[b'a', 0xff]), Keys::Range(vec![b'a', 0xff].into(), "b".into()));
    assert_eq!(Keys::prefix(&[0xff]), Keys::From(vec![0xff].into()));
}

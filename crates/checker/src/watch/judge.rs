//! One stream after the other, message after message, revision after revision.

use super::{Event, Heard, Message, Timeline, Watch, WatchRequest, WatchStream};
use crate::history::Text;
use crate::{Item, Revision, Violation};

/// A broken promise, or none.
type Judged = Result<(), Box<Violation>>;

/// Judges all streams of `watch`, and that none begins after the one before broke off.
pub(super) fn judge(timeline: &Timeline, watch: &Watch) -> Judged {
    let (mut open, mut lost): (Option<Revision>, Revision) = (None, 0);
    for stream in &watch.streams {
        let mut judge = Judge::new(timeline, &watch.name, stream);
        judge.check_resumed(open)?;
        stream.heard.iter().try_for_each(|heard| judge.hear(heard))?;
        judge.check_awaited()?;
        // A stream that was never created, or that began further back, leaves its watcher where it was.
        open = judge.next.filter(|next| *next >= lost).max(open);
        if let Some(revision) = judge.compacted {
            (open, lost) = (None, revision);
        }
    }
    Ok(())
}

struct Judge<'a> {
    timeline: &'a Timeline,
    name: &'a str,
    stream: &'a WatchStream,
    /// The first revision that has not been told of; `None` as long as nobody knows where the watch begins.
    next: Option<Revision>,
    /// Where the watch began.
    start: Option<Revision>,
    /// The revision of the last event that came.
    delivered: Option<Revision>,
    /// The highest revision that was said to be complete.
    progress: Option<Revision>,
    /// What was lost to a compaction, which ends the stream.
    compacted: Option<Revision>,
}

impl<'a> Judge<'a> {
    fn new(timeline: &'a Timeline, name: &'a str, stream: &'a WatchStream) -> Judge<'a> {
        let start = stream.request.start;
        Judge { timeline, name, stream, next: start, start, delivered: None, progress: None, compacted: None }
    }

    fn request(&self) -> &'a WatchRequest {
        &self.stream.request
    }

    /// A stream that goes on must not begin after the revision at which the watch is `open`.
    fn check_resumed(&self, open: Option<Revision>) -> Judged {
        let created = self.stream.heard.iter().find_map(|heard| match heard.message {
            Message::Created(revision) => Some(revision + 1),
            _ => None,
        });
        let start = self.start.or(created);
        match (open, start) {
            (Some(open), Some(start)) if self.timeline.next(self.request(), open, start).is_some() => {
                let expected = format!("a stream from revision {open}, where the one before broke off");
                self.broken("watch resumed after a gap", expected, format!("revision {start}"))
            }
            _ => Ok(()),
        }
    }

    fn hear(&mut self, heard: &Heard) -> Judged {
        if self.compacted.is_some() {
            return self.broken(
                "watch goes on after its end",
                "nothing".into(),
                format!("{:?}", heard.message),
            );
        }
        match &heard.message {
            Message::Created(revision) => {
                self.start = self.start.or(Some(revision + 1));
                self.next = self.next.or(self.start);
                Ok(())
            }
            Message::Events { revision, events } => self.hear_events(heard, *revision, events),
            Message::Progress(revision) => self.hear_progress(*revision),
            Message::Compacted(revision) => self.hear_compacted(heard, *revision),
        }
    }

    fn hear_events(&mut self, heard: &Heard, header: Revision, events: &[Event]) -> Judged {
        for group in events.chunk_by(|a, b| a.revision == b.revision) {
            self.check_asked_for(group)?;
            self.check_place(events, group)?;
            self.check_group(heard, group)?;
            self.delivered = Some(group[0].revision);
            self.next = Some(group[0].revision + 1);
        }
        match events.iter().map(|event| event.revision).max() {
            Some(last) if last > header => {
                let expected = format!("a header at revision {last} or later");
                self.broken("watch header behind its events", expected, format!("revision {header}"))
            }
            _ => Ok(()),
        }
    }

    /// W7.
    fn check_asked_for(&self, group: &[Event]) -> Judged {
        let revision = group[0].revision;
        if let Some(start) = self.start.filter(|start| revision < *start) {
            let expected = format!("events from revision {start} on");
            return self.broken("watch starts too early", expected, text(group));
        }
        match group.iter().find(|event| !self.request().wants(event)) {
            None => Ok(()),
            Some(event) => {
                let expected = format!("only what was asked for: {:?}", self.request());
                self.broken("watch event not asked for (filter)", expected, event_text(event))
            }
        }
    }

    /// W1, W2, W4 and W6: where `group` stands among what came before.
    fn check_place(&self, message: &[Event], group: &[Event]) -> Judged {
        let revision = group[0].revision;
        let behind = |known: Option<Revision>| known.filter(|known| revision <= *known);
        if behind(self.delivered).is_some() && group.iter().all(|event| self.came_before(message, event)) {
            return self.broken("watch event repeated (unique)", "every event once".into(), text(group));
        }
        if let Some(progress) = behind(self.progress) {
            let expected = format!("events after revision {progress}, which was said to be complete");
            return self.broken("watch event after its progress (bookmarkable)", expected, text(group));
        }
        let Some(delivered) = behind(self.delivered) else { return Ok(()) };
        let rule = if revision == delivered {
            "watch revision split (atomic)"
        } else {
            "watch events out of order (ordered)"
        };
        self.broken(rule, format!("events after revision {delivered}"), text(group))
    }

    /// Whether `event` came in a message before this one, or twice in this one.
    fn came_before(&self, message: &[Event], event: &Event) -> bool {
        let same = |other: &&Event| (other.revision, &other.key) == (event.revision, &event.key);
        let mut earlier = self.stream.heard.iter().map_while(|heard| match &heard.message {
            Message::Events { events, .. } if std::ptr::eq(&events[..], message) => None,
            Message::Events { events, .. } => Some(&events[..]),
            _ => Some(&[][..]),
        });
        earlier.any(|events| events.iter().any(|other| same(&other)))
            || message.iter().filter(same).count() > 1
    }

    /// W3, W4, W5, W8 and W9: whether `group` is the next revision of the history, and all of it.
    fn check_group(&self, heard: &Heard, group: &[Event]) -> Judged {
        let revision = group[0].revision;
        if let Some(due) = self.due(revision) {
            return self.left_out(due, group);
        }
        let expected: Vec<&Event> = self.timeline.at(self.request(), revision).collect();
        for (index, event) in group.iter().enumerate() {
            if group[..index].iter().any(|other| other.key == event.key) {
                return self.broken("watch event repeated (unique)", "every event once".into(), text(group));
            }
            match expected.iter().find(|expected| expected.key == event.key) {
                Some(expected) => self.check_event(heard, expected, event)?,
                None => {
                    let expected =
                        format!("what happened to {} at revision {revision}: nothing", Text(&event.key));
                    return self.broken("watch event that never happened", expected, event_text(event));
                }
            }
        }
        if group.len() < expected.len() {
            let expected = format!("all {} events of revision {revision}", expected.len());
            return self.broken("watch revision split (atomic)", expected, text(group));
        }
        Ok(())
    }

    /// The first revision before `upto` that should have been told of and was not.
    fn due(&self, upto: Revision) -> Option<Revision> {
        self.timeline.next(self.request(), self.next?, upto)
    }

    /// Revision `due` should have come before `group`.
    fn left_out(&self, due: Revision, group: &[Event]) -> Judged {
        let comes = self.stream.heard.iter().any(|heard| match &heard.message {
            Message::Events { events, .. } => events.iter().any(|event| event.revision == due),
            _ => false,
        });
        let rule = match (comes, self.delivered) {
            (true, _) => "watch events out of order (ordered)",
            (false, None) => "watch does not begin at its start (resumable)",
            (false, Some(_)) => "watch event left out (reliable)",
        };
        let missing: Vec<Event> = self.timeline.at(self.request(), due).cloned().collect();
        self.broken(rule, text(&missing), text(group))
    }

    fn check_event(&self, heard: &Heard, expected: &Event, event: &Event) -> Judged {
        let told = |item: &Option<Item>| {
            item.as_ref().map_or("absent".to_owned(), |item| format!("{} = {item}", Text(&event.key)))
        };
        let right = |expected: &Option<Item>, found: &Option<Item>| match (expected, found) {
            (Some(expected), Some(found)) => expected.may_be_told_as(found),
            (expected, found) => expected.is_none() && found.is_none(),
        };
        if !right(&expected.item, &event.item) {
            return self.broken(
                "watch event differs from the history",
                event_text(expected),
                event_text(event),
            );
        }
        let forgotten = || self.timeline.compacted(heard.at, |compacted| compacted >= event.revision);
        let prev_kv = match (self.request().prev_kv, &event.previous) {
            (false, previous) => previous.is_none(),
            (true, None) => expected.previous.is_none() || forgotten(),
            (true, previous) => right(&expected.previous, previous),
        };
        if prev_kv {
            return Ok(());
        }
        let asked = if self.request().prev_kv { told(&expected.previous) } else { "nothing".into() };
        let expected = format!("{asked} before revision {}", event.revision);
        self.broken("wrong previous value (prev_kv)", expected, told(&event.previous))
    }

    /// W6.
    fn hear_progress(&mut self, revision: Revision) -> Judged {
        if revision > self.timeline.last() {
            let expected = format!("progress up to revision {}, the store's last", self.timeline.last());
            return self.broken("watch progress beyond the store", expected, format!("revision {revision}"));
        }
        self.check_complete("watch progress before its events (bookmarkable)", revision)?;
        self.progress = self.progress.max(Some(revision));
        self.next = self.next.map(|next| next.max(revision + 1));
        Ok(())
    }

    fn check_awaited(&self) -> Judged {
        match self.stream.awaited {
            Some(awaited) if self.compacted.is_none() => {
                self.check_complete("watch event never came", awaited)
            }
            _ => Ok(()),
        }
    }

    /// Nothing up to `revision` is still to come.
    fn check_complete(&self, rule: &'static str, revision: Revision) -> Judged {
        match self.due(revision + 1) {
            None => Ok(()),
            Some(due) => {
                let missing: Vec<Event> = self.timeline.at(self.request(), due).cloned().collect();
                self.broken(rule, text(&missing), format!("nothing, and revision {revision} has passed"))
            }
        }
    }

    /// W10.
    fn hear_compacted(&mut self, heard: &Heard, revision: Revision) -> Judged {
        self.compacted = Some(revision);
        if !self.timeline.compacted(heard.at, |compacted| compacted == revision) {
            let expected = "a revision up to which somebody had compacted".to_owned();
            return self.broken("watch compacted by nobody", expected, format!("revision {revision}"));
        }
        match self.next.filter(|next| *next >= revision) {
            None => Ok(()),
            Some(next) => {
                let expected = format!("the watch to go on at revision {next}, which is still there");
                self.broken("watch cancelled needlessly", expected, format!("compacted up to {revision}"))
            }
        }
    }

    fn broken(&self, rule: &'static str, expected: String, found: String) -> Judged {
        let found = format!("{found} in {}", self.name);
        Err(Box::new(Violation { rule, expected, found, ops: Vec::new() }))
    }
}

fn event_text(event: &Event) -> String {
    match &event.item {
        Some(item) => format!("{} = {item} at revision {}", Text(&event.key), event.revision),
        None => format!("{} deleted at revision {}", Text(&event.key), event.revision),
    }
}

fn text(events: &[Event]) -> String {
    events.iter().map(event_text).collect::<Vec<_>>().join(", ")
}

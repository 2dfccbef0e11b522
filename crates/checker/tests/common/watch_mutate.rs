//! Changes to good watches that no correct server could have caused.

use checker::Revision;
use checker::watch::{Compaction, Event, Heard, Message, WatchStream};
use types::{Rng, Time};

use super::table::{Spoiler, index, one, spoiler};
use super::watching::Watched;

pub const SPOILERS: &[Spoiler<Watched>] = &[
    spoiler("revision left out", skipped),
    spoiler("first revision left out", skipped_first),
    spoiler("last revision never came", dropped_tail),
    spoiler("revision repeated", repeated),
    spoiler("two messages exchanged", exchanged),
    spoiler("revision split over two messages", split),
    spoiler("revision told in part", partial),
    spoiler("progress before its events", early_progress),
    spoiler("progress beyond the store", progress_beyond),
    spoiler("revision repeated after progress", repeated_after_progress),
    spoiler("another value", other_value),
    spoiler("another version", other_version),
    spoiler("change told as a creation", false_creation),
    spoiler("put told as a delete", false_delete),
    spoiler("another previous value", other_previous),
    spoiler("previous value left out", no_previous),
    spoiler("previous value unasked for", unasked_previous),
    spoiler("event at a revision of another key", moved),
    spoiler("event of a key outside the range", outside),
    spoiler("event that the filter excludes", unfiltered),
    spoiler("event before the start", too_early),
    spoiler("header behind its events", old_header),
    spoiler("resumed after a gap", gap),
    spoiler("compacted by nobody", compacted_by_nobody),
    spoiler("compacted before it was asked", compacted_early),
    spoiler("cancelled though all was there", needless_cancel),
    spoiler("silent gap instead of a compaction", silent_gap),
    spoiler("message after the end", after_the_end),
];

/// Places of a message: stream and index in it.
type Place = (usize, usize);

fn places(watched: &Watched, wanted: impl Fn(&WatchStream, &Message) -> bool) -> Vec<Place> {
    let streams = watched.watch.streams.iter().enumerate();
    let all = streams.flat_map(|(at, stream)| (0..stream.heard.len()).map(move |index| (at, index)));
    all.filter(|(stream, index)| {
        let stream = &watched.watch.streams[*stream];
        wanted(stream, &stream.heard[*index].message)
    })
    .collect()
}

fn events(message: &Message) -> &[Event] {
    match message {
        Message::Events { events, .. } => events,
        _ => &[],
    }
}

fn heard(watched: &mut Watched, stream: usize) -> &mut Vec<Heard> {
    &mut watched.watch.streams[stream].heard
}

fn message(watched: &Watched, (stream, index): Place) -> &Message {
    &watched.watch.streams[stream].heard[index].message
}

fn events_mut(watched: &mut Watched, (stream, index): Place) -> &mut Vec<Event> {
    match &mut heard(watched, stream)[index].message {
        Message::Events { events, .. } => events,
        other => panic!("{other:?} has no events"),
    }
}

/// Messages with events of which `fits` holds for one, with its index.
fn event_places(watched: &Watched, fits: impl Fn(&WatchStream, &Event) -> bool) -> Vec<(Place, usize)> {
    let mut found = Vec::new();
    for place in places(watched, |_, message| !events(message).is_empty()) {
        let stream = &watched.watch.streams[place.0];
        let all = events(message(watched, place)).iter().enumerate();
        found.extend(all.filter(|(_, event)| fits(stream, event)).map(|(index, _)| (place, index)));
    }
    found
}

fn edit_event(
    watched: &Watched,
    rng: &mut Rng,
    fits: impl Fn(&WatchStream, &Event) -> bool,
    edit: impl FnOnce(&mut Event),
) -> Option<Watched> {
    let (place, index) = one(rng, event_places(watched, fits))?;
    let mut spoiled = watched.clone();
    edit(&mut events_mut(&mut spoiled, place)[index]);
    Some(spoiled)
}

/// The revisions that a stream tells of.
fn told(stream: &WatchStream) -> Vec<Revision> {
    let mut told: Vec<Revision> =
        stream.heard.iter().flat_map(|heard| events(&heard.message)).map(|event| event.revision).collect();
    told.dedup();
    told
}

/// Without the revision of a stream that `choose` picks.
fn without(
    watched: &Watched,
    rng: &mut Rng,
    choose: impl Fn(usize, usize, &WatchStream) -> bool,
) -> Option<Watched> {
    let mut candidates = Vec::new();
    for (at, stream) in watched.watch.streams.iter().enumerate() {
        let told = told(stream);
        let chosen = (0..told.len()).filter(|index| choose(*index, told.len(), stream));
        candidates.extend(chosen.map(|index| (at, told[index])));
    }
    let (stream, revision) = one(rng, candidates)?;
    let mut spoiled = watched.clone();
    for heard in heard(&mut spoiled, stream) {
        if let Message::Events { events, .. } = &mut heard.message {
            events.retain(|event| event.revision != revision);
        }
    }
    heard(&mut spoiled, stream)
        .retain(|heard| !matches!(&heard.message, Message::Events { events, .. } if events.is_empty()));
    Some(spoiled)
}

fn skipped(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    without(watched, rng, |index, count, _| index > 0 && index + 1 < count)
}

fn skipped_first(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    without(watched, rng, |index, count, _| index == 0 && count > 1)
}

fn dropped_tail(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    without(watched, rng, |index, count, stream| index + 1 == count && stream.awaited.is_some())
}

fn repeated(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (stream, index) = one(rng, places(watched, |_, message| !events(message).is_empty()))?;
    let mut spoiled = watched.clone();
    let again = heard(&mut spoiled, stream)[index].clone();
    heard(&mut spoiled, stream).insert(index + 1, again);
    Some(spoiled)
}

fn exchanged(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (stream, index) = one(rng, places(watched, |_, message| !events(message).is_empty()))?;
    let later = (index + 1..watched.watch.streams[stream].heard.len())
        .filter(|later| !events(message(watched, (stream, *later))).is_empty());
    let later = one(rng, later.collect())?;
    let mut spoiled = watched.clone();
    heard(&mut spoiled, stream).swap(index, later);
    Some(spoiled)
}

/// Two events that come one after the other at one revision.
fn pairs(watched: &Watched) -> Vec<(Place, usize)> {
    let mut found = Vec::new();
    for place in places(watched, |_, message| !events(message).is_empty()) {
        let pairs = events(message(watched, place)).windows(2).enumerate();
        found.extend(
            pairs.filter(|(_, pair)| pair[0].revision == pair[1].revision).map(|(at, _)| (place, at + 1)),
        );
    }
    found
}

fn split(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (place, at) = one(rng, pairs(watched))?;
    let mut spoiled = watched.clone();
    let rest = events_mut(&mut spoiled, place).split_off(at);
    let mut second = heard(&mut spoiled, place.0)[place.1].clone();
    if let Message::Events { events, .. } = &mut second.message {
        *events = rest;
    }
    heard(&mut spoiled, place.0).insert(place.1 + 1, second);
    Some(spoiled)
}

fn partial(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (place, at) = one(rng, pairs(watched))?;
    let mut spoiled = watched.clone();
    let at = at - index(rng, 2);
    events_mut(&mut spoiled, place).remove(at);
    Some(spoiled)
}

fn early_progress(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let place = one(rng, places(watched, |_, message| !events(message).is_empty()))?;
    let revision = events(message(watched, place)).last()?.revision;
    let mut spoiled = watched.clone();
    let at = heard(&mut spoiled, place.0)[place.1].at;
    heard(&mut spoiled, place.0).insert(place.1, Heard { at, message: Message::Progress(revision) });
    Some(spoiled)
}

fn progress_beyond(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let alive = |stream: &WatchStream, _: &Message| stream.awaited.is_some();
    let (stream, _) = one(rng, places(watched, alive))?;
    let mut spoiled = watched.clone();
    let message = Message::Progress(watched.timeline.last() + 1);
    heard(&mut spoiled, stream).push(Heard { at: Time(u64::MAX), message });
    Some(spoiled)
}

fn repeated_after_progress(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (stream, index) = one(rng, places(watched, |_, message| matches!(message, Message::Progress(_))))?;
    let before = watched.watch.streams[stream].heard[..index].iter().rev();
    let again = before.into_iter().find(|heard| !events(&heard.message).is_empty())?.clone();
    let mut spoiled = watched.clone();
    heard(&mut spoiled, stream).insert(index + 1, again);
    Some(spoiled)
}

fn other_value(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    edit_event(
        watched,
        rng,
        |_, event| event.item.is_some(),
        |event| {
            event.item.iter_mut().for_each(|item| item.value = "another".into());
        },
    )
}

fn other_version(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    edit_event(
        watched,
        rng,
        |_, event| event.item.is_some(),
        |event| {
            event.item.iter_mut().for_each(|item| item.version = item.version.map(|version| version + 1));
        },
    )
}

fn false_creation(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let changed =
        |event: &Event| event.item.as_ref().is_some_and(|item| item.create_revision != item.mod_revision);
    edit_event(
        watched,
        rng,
        |_, event| changed(event),
        |event| {
            event.item.iter_mut().for_each(|item| item.create_revision = item.mod_revision);
        },
    )
}

fn false_delete(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    edit_event(watched, rng, |_, event| event.item.is_some(), |event| event.item = None)
}

fn other_previous(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    edit_event(
        watched,
        rng,
        |_, event| event.previous.is_some(),
        |event| {
            event.previous.iter_mut().for_each(|item| item.value = "another".into());
        },
    )
}

fn no_previous(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let kept = |event: &Event| {
        watched.timeline.compactions.iter().all(|compaction| compaction.revision < event.revision)
    };
    edit_event(
        watched,
        rng,
        |_, event| event.previous.is_some() && kept(event),
        |event| event.previous = None,
    )
}

fn unasked_previous(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let unasked = |stream: &WatchStream, event: &Event| !stream.request.prev_kv && event.item.is_some();
    edit_event(watched, rng, unasked, |event| event.previous = event.item.clone())
}

fn moved(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let all = watched.timeline.events();
    let quiet = |event: &Event| {
        !all.iter().any(|other| other.revision == event.revision + 1 && other.key == event.key)
    };
    edit_event(watched, rng, |_, event| quiet(event), |event| event.revision += 1)
}

fn insert_event(watched: &Watched, place: Place, event: Event) -> Watched {
    let mut spoiled = watched.clone();
    let events = events_mut(&mut spoiled, place);
    let at = events.partition_point(|other| other.revision <= event.revision);
    events.insert(at, event);
    spoiled
}

/// A true event of the history that the stream did not ask for, put where it belongs.
fn insert_unwanted(
    watched: &Watched,
    rng: &mut Rng,
    unwanted: impl Fn(&WatchStream, &Event) -> bool,
) -> Option<Watched> {
    let mut candidates = Vec::new();
    for place in places(watched, |_, message| !events(message).is_empty()) {
        let (stream, all) = (&watched.watch.streams[place.0], events(message(watched, place)));
        let span = all[0].revision..=all[all.len() - 1].revision;
        let within = watched.timeline.events().iter().filter(|event| span.contains(&event.revision));
        candidates.extend(within.filter(|event| unwanted(stream, event)).map(|event| (place, event)));
    }
    let (place, event) = one(rng, candidates)?;
    Some(insert_event(watched, place, Event { previous: None, ..event.clone() }))
}

fn outside(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    insert_unwanted(watched, rng, |stream, event| !stream.request.keys.contain(&event.key))
}

fn unfiltered(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    insert_unwanted(watched, rng, |stream, event| {
        stream.request.keys.contain(&event.key) && !stream.request.wants(event)
    })
}

fn too_early(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let first = |stream: usize| {
        watched.watch.streams[stream].heard.iter().position(|heard| !events(&heard.message).is_empty())
    };
    let mut candidates = Vec::new();
    for (at, stream) in watched.watch.streams.iter().enumerate() {
        let (Some(index), Some(start)) = (first(at), stream.request.start) else { continue };
        let early = watched.timeline.events().iter().filter(|event| event.revision < start);
        candidates
            .extend(early.filter(|event| stream.request.wants(event)).map(|event| ((at, index), event)));
    }
    let (place, event) = one(rng, candidates)?;
    Some(insert_event(watched, place, event.clone()))
}

fn old_header(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let (stream, index) = one(rng, places(watched, |_, message| !events(message).is_empty()))?;
    let mut spoiled = watched.clone();
    if let Message::Events { revision, events } = &mut heard(&mut spoiled, stream)[index].message {
        *revision = events.last()?.revision - 1;
    }
    Some(spoiled)
}

/// A later stream begins after an event that the one before had not told of; what it skips it does not tell.
fn gap(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let mut candidates = Vec::new();
    for (at, stream) in watched.watch.streams.iter().enumerate().skip(1) {
        let resumed = watched.watch.streams[at - 1]
            .heard
            .iter()
            .all(|heard| !matches!(heard.message, Message::Compacted(_)));
        if let (true, Some(first)) = (resumed, told(stream).first()) {
            candidates.push((at, *first));
        }
    }
    let (stream, first) = one(rng, candidates)?;
    let mut spoiled = watched.clone();
    spoiled.watch.streams[stream].request.start = Some(first + 1);
    for heard in heard(&mut spoiled, stream) {
        if let Message::Events { events, .. } = &mut heard.message {
            events.retain(|event| event.revision != first);
        }
    }
    Some(spoiled)
}

fn compactions(watched: &Watched) -> Vec<Place> {
    places(watched, |_, message| matches!(message, Message::Compacted(_)))
}

fn compacted_by_nobody(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let place = one(rng, compactions(watched))?;
    let mut spoiled = watched.clone();
    let highest = watched.timeline.compactions.iter().map(|compaction| compaction.revision).max()?;
    heard(&mut spoiled, place.0)[place.1].message = Message::Compacted(highest + 1);
    Some(spoiled)
}

fn compacted_early(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let place = one(rng, compactions(watched))?;
    let told = match message(watched, place) {
        Message::Compacted(revision) => *revision,
        _ => return None,
    };
    let mut spoiled = watched.clone();
    for compaction in spoiled.timeline.compactions.iter_mut().filter(|compaction| compaction.revision == told)
    {
        compaction.asked = Time(u64::MAX);
    }
    Some(spoiled)
}

fn needless_cancel(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let place =
        one(rng, places(watched, |stream, message| !events(message).is_empty() && stream.awaited.is_some()))?;
    let revision = events(message(watched, place))[0].revision;
    let mut spoiled = watched.clone();
    spoiled.timeline.compactions.push(Compaction { revision, asked: Time(0) });
    let stream = heard(&mut spoiled, place.0);
    stream.truncate(place.1 + 1);
    stream.push(Heard { at: Time(u64::MAX), message: Message::Compacted(revision) });
    Some(spoiled)
}

/// The server goes on from what is left, as if nothing had been lost.
fn silent_gap(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let mut candidates = Vec::new();
    for (at, _) in compactions(watched) {
        let (stream, next) = (&watched.watch.streams[at], watched.watch.streams.get(at + 1));
        let Some(next) = next.filter(|next| !told(next).is_empty()) else { continue };
        let lost = |event: &&Event| {
            stream.request.start <= Some(event.revision) && Some(event.revision) < next.request.start
        };
        if watched.timeline.events().iter().filter(lost).any(|event| stream.request.wants(event)) {
            candidates.push(at);
        }
    }
    let at = one(rng, candidates)?;
    let mut spoiled = watched.clone();
    let start = spoiled.watch.streams.remove(at).request.start;
    spoiled.watch.streams[at].request.start = start;
    Some(spoiled)
}

fn after_the_end(watched: &Watched, rng: &mut Rng) -> Option<Watched> {
    let place = one(rng, compactions(watched))?;
    let mut spoiled = watched.clone();
    let heard = heard(&mut spoiled, place.0);
    heard.push(Heard { at: heard[place.1].at, message: Message::Progress(1) });
    Some(spoiled)
}

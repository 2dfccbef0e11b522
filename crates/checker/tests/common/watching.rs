//! Good watches: a store's history, cut into messages by a server that sends late, notifies of progress, compacts
//! and breaks connections, but never errs.

use bytes::Bytes;
use checker::Revision;
use checker::watch::{Compaction, Event, Heard, Keys, Message, Timeline, Watch, WatchRequest, WatchStream};
use types::{Rng, Time};

use super::store::Store;
use super::table::index;
use super::{Recipe, World};

/// A watch and the history that it tells.
#[derive(Clone, Debug)]
pub struct Watched {
    pub timeline: Timeline,
    pub watch: Watch,
}

/// A good watch over a good history.
pub fn watched(seed: u64) -> Watched {
    let recipe = Recipe { watched: true, txn_ppm: 450_000, ..Recipe::drawn(seed) };
    let (history, store) = World::run(seed, recipe, Store::default());
    let mut timeline = Timeline::new(&history.changes, store.revision);
    let mut server = Server::new(seed, &timeline);
    let watch = server.serve();
    timeline.compactions = server.compactions;
    Watched { timeline, watch }
}

struct Server<'t> {
    rng: Rng,
    timeline: &'t Timeline,
    compactions: Vec<Compaction>,
    now: u64,
}

impl<'t> Server<'t> {
    fn new(seed: u64, timeline: &'t Timeline) -> Server<'t> {
        Server { rng: Rng::keyed(seed, &[21]), timeline, compactions: Vec::new(), now: 0 }
    }

    fn serve(&mut self) -> Watch {
        let request = self.request();
        let (mut next, mut streams) = (request.start, Vec::new());
        let count = self.rng.between(1, 4);
        for left in (0..count).rev() {
            let request = WatchRequest { start: next, ..request.clone() };
            let (stream, reached) = self.stream(request, left == 0);
            next = Some(reached);
            streams.push(stream);
            if left > 0 && self.rng.chance_ppm(500_000) {
                self.compact(reached + 12);
            }
        }
        Watch { name: "the watch".into(), streams }
    }

    fn request(&mut self) -> WatchRequest {
        let key = |rng: &mut Rng| Bytes::from(format!("k{:03}", rng.below(6)));
        let keys = match self.rng.below(4) {
            0 => Keys::One(key(&mut self.rng)),
            1 => {
                let (a, b) = (key(&mut self.rng), key(&mut self.rng));
                Keys::Range(a.clone().min(b.clone()), a.max(b))
            }
            2 => Keys::prefix(b"k00"),
            _ => Keys::From(key(&mut self.rng)),
        };
        let start = Some(self.rng.between(1, 8) as Revision).filter(|start| start % 4 > 0);
        let (no_put, no_delete) = (self.rng.chance_ppm(100_000), self.rng.chance_ppm(200_000));
        WatchRequest { keys, start, no_put, no_delete, prev_kv: self.rng.chance_ppm(600_000) }
    }

    /// Compacts up to a revision of the past, not above `upto`.
    fn compact(&mut self, upto: Revision) {
        self.now += 10;
        let last = self.compactions.last().map_or(1, |compaction| compaction.revision);
        let upto = upto.min(self.timeline.last());
        if last < upto {
            let revision = last + 1 + self.rng.below((upto - last) as u64) as Revision;
            self.compactions.push(Compaction { revision, asked: Time(self.now) });
        }
    }

    fn compacted(&self) -> Revision {
        self.compactions.last().map_or(0, |compaction| compaction.revision)
    }

    fn hear(&mut self, heard: &mut Vec<Heard>, message: Message) {
        self.now += 10;
        heard.push(Heard { at: Time(self.now), message });
    }

    /// One stream, and where to go on after it.
    fn stream(&mut self, request: WatchRequest, last: bool) -> (WatchStream, Revision) {
        let mut heard = Vec::new();
        let present = self.rng.between(1, 4) as Revision + request.start.unwrap_or(1);
        let mut next = request.start.unwrap_or(present + 1);
        self.hear(&mut heard, Message::Created(present));
        if next < self.compacted() {
            next = self.compacted();
            self.hear(&mut heard, Message::Compacted(next));
            return (WatchStream { request, heard, awaited: None }, next);
        }
        let groups: Vec<Vec<Event>> = self.groups(&request, next);
        // The last stream hears everything, or as much as the watcher cared to wait for.
        let until = if last { groups.len() } else { index(&mut self.rng, groups.len() + 1) };
        let mut groups = groups[..until].iter().peekable();
        while groups.peek().is_some() {
            let count = index(&mut self.rng, 3) + 1;
            let events: Vec<Event> = groups.by_ref().take(count).flatten().cloned().collect();
            let done = events.last().unwrap().revision;
            let ahead = self.rng.below(3) as Revision;
            self.hear(&mut heard, Message::Events { revision: done + ahead, events });
            next = next.max(done + 1);
            let quiet_until = groups.peek().map_or(done, |group| group[0].revision - 1);
            if self.rng.chance_ppm(300_000) {
                self.hear(&mut heard, Message::Progress(quiet_until));
                next = next.max(quiet_until + 1);
            }
        }
        let awaited = last.then(|| self.timeline.last());
        (WatchStream { request, heard, awaited }, next)
    }

    /// What the request asks for, by revision, as the server tells it.
    fn groups(&self, request: &WatchRequest, from: Revision) -> Vec<Vec<Event>> {
        let wanted =
            self.timeline.events().iter().filter(|event| event.revision >= from && request.wants(event));
        let told = wanted.cloned().map(|mut event| {
            if !request.prev_kv || event.revision <= self.compacted() {
                event.previous = None;
            }
            event
        });
        let told: Vec<Event> = told.collect();
        told.chunk_by(|a, b| a.revision == b.revision).map(<[Event]>::to_vec).collect()
    }
}

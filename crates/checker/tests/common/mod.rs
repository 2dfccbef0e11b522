//! A world that makes good histories: a store that is linearizable by construction, clients with random delays,
//! answers that get lost, writes that happen long after everyone gave up on them.
//!
//! ```text
//!   client   invoke ──delay──▶ the store executes ──delay──▶ return
//!                                                     or: nobody returns (unknown), or: never executed (refused)
//! ```

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a panic here fails the test that made the world")]

pub mod blind;
pub mod lease_mutate;
pub mod leasing;
pub mod list_mutate;
pub mod lists;
pub mod mutate;
pub mod store;
pub mod table;
pub mod view;
pub mod watch_mutate;
pub mod watching;

use std::collections::BTreeMap;

use bytes::Bytes;
use checker::{Call, ClientId, Compare, History, Item, Level, Outcome, Step};
use store::Store;
use trace::OpId;
use types::{Rng, Time};

/// How a history is made.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub clients: u64,
    pub keys: u64,
    pub operations: u64,
    /// Parts per million of all operations.
    pub unknown_ppm: u32,
    pub refused_ppm: u32,
    pub serializable_ppm: u32,
    pub range_ppm: u32,
    pub txn_ppm: u32,
    /// Whether a watcher's changes are part of the history.
    pub watched: bool,
}

impl Recipe {
    /// A recipe drawn from a seed: every mix of features appears.
    pub fn drawn(seed: u64) -> Recipe {
        let mut rng = Rng::keyed(seed, &[1]);
        let mut some = |ppm| if rng.chance_ppm(500_000) { ppm } else { 0 };
        let (unknown_ppm, refused_ppm, serializable_ppm, range_ppm, txn_ppm) =
            (some(80_000), some(60_000), some(60_000), some(100_000), some(350_000));
        Recipe {
            clients: rng.between(2, 8),
            keys: rng.between(1, 6),
            operations: rng.between(30, 120),
            unknown_ppm,
            refused_ppm,
            serializable_ppm,
            range_ppm,
            txn_ppm,
            watched: rng.chance_ppm(300_000),
        }
    }
}

enum Event {
    Invoke(ClientId),
    Execute(OpId),
    Return(OpId),
}

/// The world while it runs.
pub struct World {
    recipe: Recipe,
    rng: Rng,
    history: History,
    store: Store,
    /// Every state that there was, for serializable reads.
    states: Vec<Store>,
    events: BTreeMap<(u64, u64), Event>,
    event_count: u64,
    outcomes: BTreeMap<OpId, Outcome>,
    value_count: u64,
    memory: BTreeMap<Bytes, Item>,
}

impl World {
    /// The history of one run.
    pub fn history(seed: u64, recipe: Recipe) -> History {
        World::run(seed, recipe, Store::default()).0
    }

    /// The history of one run on a store that may have a bug, and the store at its end.
    pub fn run(seed: u64, recipe: Recipe, store: Store) -> (History, Store) {
        let mut world = World {
            rng: Rng::keyed(seed, &[2]),
            history: History::new(),
            states: vec![store.clone()],
            store,
            events: BTreeMap::new(),
            event_count: 0,
            outcomes: BTreeMap::new(),
            value_count: 0,
            memory: BTreeMap::new(),
            recipe,
        };
        for client in 0..world.recipe.clients {
            let start = world.rng.below(1_000);
            world.at(start, Event::Invoke(ClientId(client)));
        }
        while let Some(((now, _), event)) = world.events.pop_first() {
            world.handle(now, event);
        }
        (world.history, world.store)
    }

    fn at(&mut self, time: u64, event: Event) {
        self.event_count += 1;
        self.events.insert((time, self.event_count), event);
    }

    fn handle(&mut self, now: u64, event: Event) {
        match event {
            Event::Invoke(client) => self.invoke(now, client),
            Event::Execute(op) => self.execute(op),
            Event::Return(op) => {
                let client = self.history.get(op).unwrap().client;
                if let Some(outcome) = self.outcomes.remove(&op) {
                    self.history.complete(op, Time(now), outcome);
                }
                let pause = self.rng.below(200);
                self.at(now + pause, Event::Invoke(client));
            }
        }
    }

    fn invoke(&mut self, now: u64, client: ClientId) {
        if self.history.operations().len() as u64 >= self.recipe.operations {
            return;
        }
        let call = self.call();
        let stale = !call.may_write() && self.rng.chance_ppm(self.recipe.serializable_ppm);
        let level = if stale { Level::Serializable } else { Level::Linearizable };
        let op = self.history.invoke_at_level(client, Time(now), call, level);
        let (first, second) = (self.rng.between(1, 300), self.rng.between(1, 300));
        if self.rng.chance_ppm(self.recipe.refused_ppm) {
            self.outcomes.insert(op, Outcome::Refused);
            self.at(now + first, Event::Return(op));
        } else if self.rng.chance_ppm(self.recipe.unknown_ppm) {
            self.outcomes.insert(op, Outcome::Unknown);
            self.at(now + first, Event::Return(op));
            // Executed soon, late, or never.
            match self.rng.below(3) {
                0 => self.at(now + second, Event::Execute(op)),
                1 => self.at(now + second * 40, Event::Execute(op)),
                _ => {}
            }
        } else {
            self.at(now + first, Event::Execute(op));
            self.at(now + first + second, Event::Return(op));
        }
    }

    fn execute(&mut self, op: OpId) {
        let operation = self.history.get(op).unwrap();
        let (call, level) = (operation.call.clone(), operation.level);
        if level == Level::Serializable {
            let state = self.rng.pick(&self.states).unwrap().clone();
            let outcome = state.clone().execute(&call).0;
            self.outcomes.insert(op, outcome);
            return;
        }
        let (outcome, changes) = self.store.execute(&call);
        if !changes.is_empty() && self.recipe.serializable_ppm > 0 {
            self.states.push(self.store.clone());
        }
        if self.recipe.watched {
            self.history.changes.extend(changes);
        }
        if !self.outcomes.contains_key(&op) && self.history.get(op).unwrap().returned.is_none() {
            self.outcomes.insert(op, outcome);
        }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from(format!("k{:03}", self.rng.below(self.recipe.keys)))
    }

    fn value(&mut self) -> Bytes {
        self.value_count += 1;
        Bytes::from(format!("v{}", self.value_count))
    }

    fn call(&mut self) -> Call {
        if self.rng.chance_ppm(self.recipe.txn_ppm) {
            return self.txn();
        }
        if self.rng.chance_ppm(self.recipe.range_ppm) {
            let (from, to) = (self.key(), self.key());
            return Call::range(from.clone().min(to.clone()), from.max(to));
        }
        let key = self.key();
        match self.rng.below(10) {
            0..=3 => Call::put(key, self.value()),
            4 => Call::delete(key),
            _ => Call::get(key),
        }
    }

    /// What a client thinks is there: often the present, sometimes long past.
    fn remembered(&mut self, key: &Bytes) -> Option<Item> {
        if self.rng.chance_ppm(600_000) || !self.memory.contains_key(key) {
            let current = self.store.get(key).cloned()?;
            self.memory.insert(key.clone(), current);
        }
        self.memory.get(key).cloned()
    }

    fn txn(&mut self) -> Call {
        let (key, other, value) = (self.key(), self.key(), self.value());
        let current = self.remembered(&key);
        let (put, get) = (Step::Put(key.clone(), value), Step::Get(key.clone()));
        match (self.rng.below(6), current) {
            (0, Some(item)) => {
                let compare = Compare::ModRevision(key, item.mod_revision.unwrap());
                Call::txn(vec![compare], vec![put, Step::Get(other)], vec![get])
            }
            (1, Some(item)) => {
                Call::txn(vec![Compare::Value(key.clone(), item.value)], vec![Step::Delete(key)], vec![])
            }
            (2, Some(item)) => {
                let compare = Compare::CreateRevision(key, item.create_revision.unwrap());
                Call::txn(vec![compare], vec![get.clone(), put, get], vec![])
            }
            (3, _) if key != other => {
                let (value, reads) = (self.value(), vec![Step::Get(key), Step::Get(other.clone())]);
                let test = Compare::Version(other.clone(), i64::MAX);
                Call::txn(vec![test], reads, vec![put, Step::Put(other, value)])
            }
            (4, _) => Call::txn(vec![], vec![get, Step::Get(other)], vec![]),
            _ => Call::txn(vec![Compare::Version(key, 0)], vec![put], vec![get]),
        }
    }
}

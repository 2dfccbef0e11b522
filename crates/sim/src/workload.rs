//! What clients ask: closed loops of operations with unique values over few keys.

use std::collections::BTreeMap;

use bytes::Bytes;
use checker::{Answer, Call, ClientId, Compare, Found, Item, Level, Step};
use types::{NodeId, Rng};

use crate::keys::{self, Purpose};
use crate::setup::Workload;

/// One client. It remembers what it saw, so that it can ask to swap exactly that.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) id: ClientId,
    /// The node that it talks to.
    pub(crate) at: NodeId,
    asked: u64,
    seen: BTreeMap<Bytes, Option<Item>>,
}

/// A question and what its answer promises.
pub(crate) struct Question {
    pub(crate) call: Call,
    pub(crate) level: Level,
}

impl Client {
    pub(crate) fn new(id: ClientId, at: NodeId) -> Client {
        Client { id, at, asked: 0, seen: BTreeMap::new() }
    }

    /// The generator of the client's next choices.
    pub(crate) fn rng(&self, seed: u64) -> Rng {
        keys::rng(seed, Purpose::Client, [self.id.0, self.asked, 0])
    }

    /// Draws the next question.
    pub(crate) fn ask(&mut self, rng: &mut Rng, workload: &Workload) -> Question {
        self.asked += 1;
        let key = key(rng.below(workload.keys));
        let mix = workload.mix;
        let weights = [mix.put, mix.get, mix.stale_get, mix.delete, mix.swap, mix.pair];
        let mut rest = rng.below(weights.iter().map(|weight| u64::from(*weight)).sum());
        let chosen = weights.iter().position(|weight| {
            let hit = rest < u64::from(*weight);
            rest = rest.saturating_sub(u64::from(*weight));
            hit
        });
        match chosen {
            Some(1) => strict(read(rng, key)),
            Some(2) => Question { call: read(rng, key), level: Level::Serializable },
            Some(3) => strict(Call::delete(key)),
            Some(4) => strict(self.swap(rng, key)),
            Some(5) => strict(self.pair(rng, workload.keys)),
            _ => strict(Call::put(key, self.value())),
        }
    }

    /// Remembers what an answer told about keys.
    pub(crate) fn learn(&mut self, call: &Call, answer: &Answer) {
        let (steps, found) = match (call, answer) {
            (Call::One(step), Answer::One(found)) => {
                (std::slice::from_ref(step), std::slice::from_ref(found))
            }
            (Call::Txn(txn), Answer::Txn { succeeded, found }) => {
                (if *succeeded { &txn.then[..] } else { &txn.otherwise[..] }, &found[..])
            }
            _ => return,
        };
        for (step, found) in steps.iter().zip(found) {
            if let (Step::Get(key), Found::Get(item)) = (step, found) {
                self.seen.insert(key.clone(), item.clone());
            }
        }
    }

    /// Put if the key is as this client saw it last; otherwise look.
    fn swap(&self, rng: &mut Rng, key: Bytes) -> Call {
        let compare = match self.seen.get(&key) {
            Some(Some(item)) => match (rng.below(3), item.mod_revision, item.version) {
                (0, Some(revision), _) => Compare::ModRevision(key.clone(), revision),
                (1, _, Some(version)) => Compare::Version(key.clone(), version),
                _ => Compare::Value(key.clone(), item.value.clone()),
            },
            _ => Compare::CreateRevision(key.clone(), 0),
        };
        let then = vec![Step::Put(key.clone(), self.value()), Step::Get(key.clone())];
        Call::txn(vec![compare], then, vec![Step::Get(key)])
    }

    /// Write two keys at one revision, and read what else is there.
    fn pair(&self, rng: &mut Rng, keys: u64) -> Call {
        let first = rng.below(keys);
        let mut then = vec![Step::Put(key(first), self.value())];
        if keys > 1 {
            let second = key((first + 1 + rng.below(keys - 1)) % keys);
            then.push(if rng.below(3) == 0 {
                Step::Delete(second)
            } else {
                Step::Put(second, Bytes::from([&self.value()[..], b"b"].concat()))
            });
        }
        then.push(Step::Get(key(rng.below(keys))));
        Call::txn(Vec::new(), then, Vec::new())
    }

    /// A value that nobody else ever writes.
    fn value(&self) -> Bytes {
        Bytes::from(format!("c{}.{}", self.id.0, self.asked))
    }
}

/// The name of key number `number`.
pub(crate) fn key(number: u64) -> Bytes {
    Bytes::from(format!("k{number:02}"))
}

fn strict(call: Call) -> Question {
    Question { call, level: Level::Linearizable }
}

fn read(rng: &mut Rng, key: Bytes) -> Call {
    if rng.below(5) == 0 { Call::range("k", "l") } else { Call::get(key) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::Setup;
    use std::collections::BTreeSet;

    #[test]
    fn no_value_is_written_twice() {
        let workload = Setup::draw(1, None).workload;
        let mut values = BTreeSet::new();
        for id in 0..5 {
            let mut client = Client::new(ClientId(id), NodeId(1));
            for _ in 0..200 {
                let mut rng = client.rng(1);
                let steps = match client.ask(&mut rng, &workload).call {
                    Call::One(step) => vec![step],
                    Call::Txn(txn) => txn.then,
                };
                for step in steps {
                    if let Step::Put(_, value) = step {
                        assert!(values.insert(value.clone()), "{value:?} is written twice");
                    }
                }
            }
        }
    }
}

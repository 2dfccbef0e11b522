//! Transactions that read several lists and append to some, each only if nothing it read has changed meanwhile.
//!
//! A list is a key whose value is its elements with commas between. When it is long another takes its place, so that
//! what reads bring stays small.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use checker::cycles::{Action, Ended, Key, Transaction, Value};
use checker::{Answer, Call, Compare, Found, Item, Outcome, Step};
use e2e::load::send;
use etcd::proto::etcdserverpb::kv_client::KvClient;
use trace::OpId;
use types::{Rng, Time};

use super::{Shared, Wanderer, client_id};

/// Lists that are appended to at a time.
const LISTS: u64 = 6;
/// Clients work on lists of one generation for about this long.
const GENERATION: Duration = Duration::from_secs(2);
/// Of one transaction.
const KEYS_MAX: u64 = 3;
const PAUSE_MS: (u64, u64) = (5, 60);

const FIRST_CLIENT: u64 = 3_000_000;

/// What a key held: its elements, and when it changed last (0 if it is absent).
type Read = (Key, Vec<Value>, i64);

pub(super) async fn client(shared: Arc<Shared>, number: u64) -> Vec<Transaction> {
    let mut rng = shared.rng("list", number);
    let mut wanderer = Wanderer::new(shared.clone(), number);
    let mut done = Vec::new();
    while !shared.stopped() {
        let keys = draw_keys(&mut rng, shared.clock.elapsed());
        let read = ask(&wanderer, number, Vec::new(), keys.iter().map(|key| get(*key)).collect());
        let Some(read) = read.await.note(&keys, &mut done) else {
            wanderer.go_on().await;
            continue;
        };
        let appended: Vec<(Key, Value)> =
            keys.iter().filter(|_| rng.below(2) == 0).map(|key| (*key, shared.number())).collect();
        let compares = read.iter().map(|(key, _, at)| Compare::ModRevision(name(*key), *at)).collect();
        let steps = read.iter().map(|(key, values, _)| step(*key, values, &appended)).collect();
        let asked = ask(&wanderer, number, compares, steps).await;
        if !asked.note_append(&read, &appended, &mut done) {
            wanderer.go_on().await;
        }
        shared.sleep(Duration::from_millis(rng.between(PAUSE_MS.0, PAUSE_MS.1))).await;
    }
    done
}

/// Some lists of this moment, none twice.
fn draw_keys(rng: &mut Rng, now: Duration) -> Vec<Key> {
    let generation = now.as_secs() / GENERATION.as_secs();
    let (first, count) = (rng.below(LISTS), rng.between(1, KEYS_MAX));
    (0..count).map(|step| generation * LISTS + (first + step) % LISTS).collect()
}

/// A transaction with its answer.
struct Asked {
    process: u64,
    invoked: Time,
    returned: Time,
    outcome: Outcome,
}

async fn ask(wanderer: &Wanderer, number: u64, compare: Vec<Compare>, then: Vec<Step>) -> Asked {
    let otherwise = then.iter().filter_map(|step| Some(Step::Get(key_of(step)?.clone()))).collect();
    let call = Call::txn(compare, then, otherwise);
    let invoked = wanderer.shared.now();
    let outcome = send(&mut KvClient::new(wanderer.channel.clone()), &call).await;
    Asked { process: number, invoked, returned: wanderer.shared.now(), outcome }
}

impl Asked {
    /// Of reads alone: notes what they saw, and returns it if there was an answer.
    fn note(self, keys: &[Key], done: &mut Vec<Transaction>) -> Option<Vec<Read>> {
        let read = match &self.outcome {
            Outcome::Answered { answer: Answer::Txn { found, .. }, .. } => reads(keys, found),
            _ => return None,
        };
        done.push(self.transaction(Ended::Committed, read.iter().map(read_action).collect(), done.len()));
        Some(read)
    }

    /// Of a transaction that appends if nothing has changed. Returns whether there was an answer.
    fn note_append(self, read: &[Read], appended: &[(Key, Value)], done: &mut Vec<Transaction>) -> bool {
        let keys: Vec<Key> = read.iter().map(|(key, ..)| *key).collect();
        let appends = appended.iter().map(|(key, value)| Action::Append { key: *key, value: *value });
        let (ended, actions) = match &self.outcome {
            Outcome::Answered { answer: Answer::Txn { succeeded: true, .. }, .. } => {
                // The compares held, so that this is what it read.
                (Ended::Committed, read.iter().map(read_action).chain(appends).collect())
            }
            Outcome::Answered { answer: Answer::Txn { found, .. }, .. } => {
                (Ended::Committed, reads(&keys, found).iter().map(read_action).collect())
            }
            Outcome::Refused => (Ended::Aborted, appends.collect()),
            Outcome::Answered { .. } | Outcome::Unknown => (Ended::Unknown, appends.collect()),
        };
        let answered = matches!(ended, Ended::Committed);
        done.push(self.transaction(ended, actions, done.len()));
        answered
    }

    fn transaction(&self, ended: Ended, actions: Vec<Action>, number: usize) -> Transaction {
        Transaction {
            // Each client numbers its own, so that a report names the same ones again.
            id: OpId((self.process + 1) << 32 | number as u64),
            process: client_id(FIRST_CLIENT, self.process),
            invoked: self.invoked,
            returned: (ended != Ended::Unknown).then_some(self.returned),
            ended,
            actions,
        }
    }
}

fn read_action((key, values, _): &Read) -> Action {
    Action::ReadList { key: *key, values: values.clone() }
}

fn reads(keys: &[Key], found: &[Found]) -> Vec<Read> {
    let read = |(key, found): (&Key, &Found)| match found {
        Found::Get(Some(item)) => (*key, elements(item), item.mod_revision.unwrap_or_default()),
        _ => (*key, Vec::new(), 0),
    };
    keys.iter().zip(found).map(read).collect()
}

/// What cannot be read as a number becomes one that nobody wrote.
fn elements(item: &Item) -> Vec<Value> {
    let text = String::from_utf8_lossy(&item.value);
    text.split(',').map(|element| element.parse().unwrap_or(Value::MAX)).collect()
}

fn step(key: Key, values: &[Value], appended: &[(Key, Value)]) -> Step {
    let Some((_, new)) = appended.iter().find(|(other, _)| *other == key) else { return get(key) };
    let values: Vec<String> = values.iter().chain([new]).map(Value::to_string).collect();
    Step::Put(name(key), values.join(",").into())
}

fn get(key: Key) -> Step {
    Step::Get(name(key))
}

fn key_of(step: &Step) -> Option<&Bytes> {
    match step {
        Step::Get(key) | Step::Put(key, _) => Some(key),
        Step::Range(..) | Step::Delete(_) => None,
    }
}

fn name(key: Key) -> Bytes {
    Bytes::from(format!("list/{key:06}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(succeeded: bool, found: Vec<Found>) -> Asked {
        let outcome = Outcome::Answered { revision: Some(3), answer: Answer::Txn { succeeded, found } };
        Asked { process: 1, invoked: Time(1), returned: Time(2), outcome }
    }

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let Step::Put(_, value) = step(7, &[1, 2], &[(7, 3)]) else { panic!("it appends") };
        assert_eq!(elements(&Item { value, ..Item::default() }), [1, 2, 3]);
        assert_eq!(step(8, &[1], &[(7, 3)]), get(8));
    }

    #[test]
    fn what_was_compared_counts_as_read_only_if_it_held() {
        let read = [(7, vec![1], 2)];
        let mut done = Vec::new();
        assert!(asked(true, vec![Found::Put]).note_append(&read, &[(7, 2)], &mut done));
        let actions = &done[0].actions;
        assert_eq!(actions[0], Action::ReadList { key: 7, values: vec![1] });
        assert_eq!(actions[1], Action::Append { key: 7, value: 2 });
        let item = Item { value: "1,9".into(), mod_revision: Some(3), ..Item::default() };
        assert!(asked(false, vec![Found::Get(Some(item))]).note_append(&read, &[(7, 2)], &mut done));
        assert_eq!(done[1].actions, [Action::ReadList { key: 7, values: vec![1, 9] }]);
    }
}

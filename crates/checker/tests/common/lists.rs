//! Transactions on lists and registers, executed one at a time at a moment between their invocation and return.

use std::collections::BTreeMap;

use checker::ClientId;
use checker::cycles::{Action, Ended, Key, Transaction, Transactions, Value};
use trace::OpId;
use types::{Rng, Time};

/// How transactions are made.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub clients: u64,
    pub keys: u64,
    pub transactions: u64,
    pub actions_max: u64,
    /// Parts per million of all transactions.
    pub unknown_ppm: u32,
    pub aborted_ppm: u32,
    /// Parts per million of all actions.
    pub register_ppm: u32,
}

impl Recipe {
    /// A recipe drawn from a seed.
    pub fn drawn(seed: u64) -> Recipe {
        let mut rng = Rng::keyed(seed, &[11]);
        let mut some = |ppm| if rng.chance_ppm(500_000) { ppm } else { 0 };
        let (unknown_ppm, aborted_ppm) = (some(80_000), some(60_000));
        Recipe {
            clients: rng.between(2, 8),
            keys: rng.between(1, 5),
            transactions: rng.between(20, 80),
            actions_max: rng.between(1, 5),
            unknown_ppm,
            aborted_ppm,
            register_ppm: 0,
        }
    }
}

/// Transactions that are good by construction.
pub fn transactions(seed: u64, recipe: &Recipe) -> Transactions {
    let mut rng = Rng::keyed(seed, &[12]);
    let (mut list, mut moments) = (Vec::new(), Vec::new());
    let mut free: Vec<u64> = (0..recipe.clients).map(|_| rng.below(500)).collect();
    let mut values = 0;
    for id in 0..recipe.transactions {
        // Whoever is free first goes on.
        let client = (0..free.len()).min_by_key(|client| free[*client]).unwrap();
        let invoked = free[client] + rng.between(1, 200);
        let executed = invoked + rng.between(1, 300);
        let returned = executed + rng.between(1, 300);
        free[client] = returned;
        let count = rng.between(1, recipe.actions_max);
        let actions = (0..count).map(|_| action(&mut rng, recipe, &mut values)).collect();
        let (ended, moment) = if rng.chance_ppm(recipe.aborted_ppm) {
            (Ended::Aborted, None)
        } else if rng.chance_ppm(recipe.unknown_ppm) {
            let late = executed + rng.below(3_000);
            (Ended::Unknown, rng.chance_ppm(600_000).then_some(late))
        } else {
            (Ended::Committed, Some(executed))
        };
        moments.extend(moment.map(|moment| (moment, list.len())));
        let (id, process) = (OpId(id), ClientId(client as u64));
        let (invoked, returned) = (Time(invoked), Some(Time(returned)));
        list.push(Transaction { id, process, invoked, returned, ended, actions });
    }
    execute(&mut list, moments);
    Transactions { list, ..Transactions::default() }
}

fn action(rng: &mut Rng, recipe: &Recipe, values: &mut Value) -> Action {
    let key = rng.below(recipe.keys);
    *values += 1;
    match (rng.chance_ppm(recipe.register_ppm), rng.chance_ppm(500_000)) {
        (true, true) => Action::Write { key, value: *values, revision: None },
        (true, false) => Action::Read { key, value: None, revision: None },
        (false, true) => Action::Append { key, value: *values },
        (false, false) => Action::ReadList { key, values: Vec::new() },
    }
}

fn execute(list: &mut [Transaction], mut moments: Vec<(u64, usize)>) {
    let mut store = Store::default();
    moments.sort_unstable();
    for (_, index) in moments {
        list[index].actions.iter_mut().for_each(|action| store.execute(action));
    }
}

#[derive(Clone, Default)]
struct Store {
    lists: BTreeMap<Key, Vec<Value>>,
    registers: BTreeMap<Key, Value>,
}

impl Store {
    fn execute(&mut self, action: &mut Action) {
        match action {
            Action::Append { key, value } => self.lists.entry(*key).or_default().push(*value),
            Action::ReadList { key, values } => *values = self.lists.get(key).cloned().unwrap_or_default(),
            Action::Write { key, value, .. } => {
                self.registers.insert(*key, *value);
            }
            Action::Read { key, value, .. } => *value = self.registers.get(key).copied(),
        }
    }
}

/// Whether some order of all committed and some unknown transactions, real time respected, explains every read.
pub fn some_order(txns: &Transactions) -> bool {
    let list: Vec<&Transaction> = txns.list.iter().filter(|txn| txn.ended != Ended::Aborted).collect();
    extend(&list, &mut vec![false; list.len()], &Store::default())
}

fn extend(list: &[&Transaction], placed: &mut Vec<bool>, store: &Store) -> bool {
    let open = |index: &usize| !placed[*index] && list[*index].ended == Ended::Committed;
    let Some(fence) = (0..list.len()).filter(open).map(|index| list[index].returned).min() else {
        return true;
    };
    for index in 0..list.len() {
        if placed[index] || Some(list[index].invoked) > fence {
            continue;
        }
        let (mut next, mut actions) = (store.clone(), list[index].actions.clone());
        actions.iter_mut().for_each(|action| next.execute(action));
        if list[index].ended == Ended::Unknown || actions == list[index].actions {
            placed[index] = true;
            if extend(list, placed, &next) {
                return true;
            }
            placed[index] = false;
        }
    }
    false
}

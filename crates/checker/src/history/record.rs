//! Writing a history down as it happens.

use trace::OpId;
use types::Time;

use super::{Call, ClientId, History, Level, Operation, Outcome};

impl Default for History {
    fn default() -> History {
        History { operations: Vec::new(), changes: Vec::new(), start_revision: 1, clock: Time(0) }
    }
}

impl History {
    /// An empty history of a fresh store.
    pub fn new() -> History {
        History::default()
    }

    /// A history of operations that were collected elsewhere, in any order.
    ///
    /// Equal times count as concurrent here; [`invoke`](History::invoke) and [`complete`](History::complete)
    /// keep the order in which they are called instead.
    pub fn from_operations(mut operations: Vec<Operation>) -> History {
        operations.sort_by_key(|operation| operation.invoked);
        let clock = operations.iter().flat_map(|op| op.returned.into_iter().chain([op.invoked])).max();
        History { operations, clock: clock.unwrap_or_default(), ..History::default() }
    }

    /// Notes that `client` asks `call` at `now`. Until it is completed its outcome is unknown.
    pub fn invoke(&mut self, client: ClientId, now: Time, call: Call) -> OpId {
        self.invoke_at_level(client, now, call, Level::Linearizable)
    }

    /// As [`invoke`](History::invoke), for a read that promises less.
    pub fn invoke_at_level(&mut self, client: ClientId, now: Time, call: Call, level: Level) -> OpId {
        let invoked = self.tick(now);
        self.operations.push(Operation {
            client,
            invoked,
            returned: None,
            call,
            level,
            outcome: Outcome::Unknown,
        });
        OpId(self.operations.len() as u64 - 1)
    }

    /// Notes the outcome of `op`. An unknown outcome may as well never be noted.
    ///
    /// # Panics
    /// If `op` was not invoked, or is already complete: a bug of the recording program.
    pub fn complete(&mut self, op: OpId, now: Time, outcome: Outcome) {
        let now = self.tick(now);
        let operation = usize::try_from(op.0)
            .ok()
            .and_then(|index| self.operations.get_mut(index))
            .expect("op was invoked");
        assert!(operation.returned.is_none(), "operation {} completed twice", op.0);
        operation.returned = Some(now);
        operation.outcome = outcome;
    }

    /// Keeps the order of calls where the clock does not show it, at the price of some nanoseconds.
    fn tick(&mut self, now: Time) -> Time {
        self.clock = now.max(Time(self.clock.0.saturating_add(1)));
        self.clock
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Found;

    #[test]
    fn calls_at_one_instant_keep_their_order() {
        let mut history = History::new();
        let put = history.invoke(ClientId(1), Time(5), Call::put("k", "1"));
        history.complete(put, Time(5), Outcome::ok(2, Found::Put));
        let get = history.invoke(ClientId(1), Time(5), Call::get("k"));
        let put = history.get(put).unwrap();
        assert!(put.returned.unwrap() < history.get(get).unwrap().invoked);
    }
}

//! Virtual time: the events that are still to come, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use types::Time;

/// Future events. Events of the same moment come out in the order in which they were scheduled, so that a run
/// depends on nothing but its seed.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    now: Time,
    scheduled: u64,
    heap: BinaryHeap<Reverse<Slotted<E>>>,
}

#[derive(Debug)]
struct Slotted<E> {
    at: Time,
    order: u64,
    event: E,
}

impl<E> Queue<E> {
    pub(crate) fn new() -> Queue<E> {
        Queue { now: Time(0), scheduled: 0, heap: BinaryHeap::new() }
    }

    /// The moment of the event that came out last: time since the world began.
    pub(crate) fn now(&self) -> Time {
        self.now
    }

    /// Schedules `event`; a moment in the past means now.
    pub(crate) fn at(&mut self, at: Time, event: E) {
        let at = at.max(self.now);
        self.scheduled += 1;
        self.heap.push(Reverse(Slotted { at, order: self.scheduled, event }));
    }

    /// Takes the next event that comes before `limit` and moves time to it; or moves time to `limit`.
    pub(crate) fn next_before(&mut self, limit: Time) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse(next)| next.at >= limit) {
            self.now = self.now.max(limit);
            return None;
        }
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}

impl<E> PartialEq for Slotted<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<E> Eq for Slotted<E> {}
impl<E> PartialOrd for Slotted<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Slotted<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_time_order_and_ties_in_the_order_they_were_scheduled() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (2, 'b'), (9, 'z')] {
            queue.at(Time(at), event);
        }
        let seen: String = std::iter::from_fn(|| queue.next_before(Time(9))).collect();
        assert_eq!(seen, "abcd");
        assert_eq!(queue.now(), Time(9), "time moves to the limit");
        queue.at(Time(3), 'y');
        assert_eq!(queue.next_before(Time(20)), Some('z'));
        assert_eq!(queue.next_before(Time(20)), Some('y'), "the past is now, behind what was there");
    }
}

//! A thread's inbox: many senders, one owner who takes everything at once.
//!
//! ```text
//!   post ──────────────┐
//!   post_when_room ──▶ [ items ] ──take──▶ the owner's own Vec (swapped, not copied)
//!   offer ─────────────┘
//! ```
//!
//! One lock and at most one wake-up per batch, however many items it holds. Who may use which sender keeps
//! the threads free of deadlocks:
//!
//! - M1  The node's own threads `post`, which never blocks. What they post is bounded by what they were given.
//! - M2  Readers of peers' connections `post_when_room`: TCP then slows the peer down. Nobody waits for a reader.
//! - M3  Clients `offer`, and are told at once when there is no room.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use consensus::Lane;

/// The inbox of one thread.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
    room: Condvar,
    /// Bytes that `post_when_room` lets in before it waits for the owner.
    weight_max: u64,
    /// Items beyond which `offer` refuses.
    items_max: usize,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    weight: u64,
    /// While set, bulk waits in `post_when_room`.
    paused: bool,
    closed: bool,
    owner_sleeps: bool,
    senders_sleeping: u32,
}

impl<T> Mailbox<T> {
    /// Creates an inbox that takes `weight_max` bytes from the network, and lets clients fill it up to
    /// `items_max` items.
    pub(crate) fn new(weight_max: u64, items_max: usize) -> Mailbox<T> {
        let inner = Inner {
            items: Vec::new(),
            weight: 0,
            paused: false,
            closed: false,
            owner_sleeps: false,
            senders_sleeping: 0,
        };
        Mailbox {
            inner: Mutex::new(inner),
            ready: Condvar::new(),
            room: Condvar::new(),
            weight_max,
            items_max,
        }
    }

    /// Adds one item. Never blocks; after `close` the item is dropped.
    pub(crate) fn post(&self, item: T) {
        self.post_all(std::iter::once(item));
    }

    /// Adds items in order, with one wake-up.
    pub(crate) fn post_all(&self, items: impl IntoIterator<Item = T>) {
        let mut inner = self.lock();
        if !inner.closed {
            inner.items.extend(items);
            self.wake_owner(inner);
        }
    }

    /// Adds items that came over `lane` and take `weight` bytes, after waiting until there is room, and for
    /// bulk also until the owner is not pausing. Returns `false` if the inbox is closed.
    pub(crate) fn post_when_room(&self, lane: Lane, items: impl IntoIterator<Item = T>, weight: u64) -> bool {
        let mut inner = self.lock();
        let paused = |inner: &Inner<T>| inner.paused && lane == Lane::Bulk;
        while !inner.closed && (paused(&inner) || inner.weight >= self.weight_max) {
            inner.senders_sleeping += 1;
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
            inner.senders_sleeping -= 1;
        }
        if inner.closed {
            return false;
        }
        inner.weight += weight;
        inner.items.extend(items);
        self.wake_owner(inner);
        true
    }

    /// Adds an item if there is room.
    ///
    /// # Errors
    /// The item, if the inbox is full or closed.
    pub(crate) fn offer(&self, item: T) -> Result<(), Rejected<T>> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Rejected::Closed(item));
        }
        if inner.items.len() >= self.items_max {
            return Err(Rejected::Full(item));
        }
        inner.items.push(item);
        self.wake_owner(inner);
        Ok(())
    }

    /// Waits until there is something or `deadline` has passed, then moves everything into `items`, which must
    /// be empty. Returns `false` once the inbox is closed and empty.
    pub(crate) fn take(&self, items: &mut Vec<T>, deadline: Option<Instant>) -> bool {
        let mut inner = self.lock();
        while inner.items.is_empty() && !inner.closed {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return true;
            }
            inner.owner_sleeps = true;
            inner = match left {
                Some(left) => self.ready.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner),
            };
            inner.owner_sleeps = false;
        }
        std::mem::swap(&mut inner.items, items);
        inner.weight = 0;
        if inner.senders_sleeping > 0 {
            self.room.notify_all();
        }
        !(inner.closed && items.is_empty())
    }

    /// Makes bulk wait in `post_when_room`, or go on.
    pub(crate) fn pause(&self, paused: bool) {
        let mut inner = self.lock();
        inner.paused = paused;
        if !paused {
            self.room.notify_all();
        }
    }

    /// Refuses everything from now on. What is inside can still be taken.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
        self.room.notify_all();
    }

    fn wake_owner(&self, inner: MutexGuard<'_, Inner<T>>) {
        let asleep = inner.owner_sleeps;
        drop(inner); // woken with the lock held, the owner would only go back to sleep on it
        if asleep {
            self.ready.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why an offer was not taken.
#[derive(Debug)]
pub(crate) enum Rejected<T> {
    /// Too much is waiting.
    Full(T),
    /// The owner is gone.
    Closed(T),
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn takes_everything_at_once_and_in_order() {
        let mailbox = Mailbox::new(100, 100);
        mailbox.post(1);
        mailbox.post_all([2, 3]);
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert_eq!(items, [1, 2, 3]);
        items.clear();
        assert!(mailbox.take(&mut items, Some(Instant::now() + Duration::from_millis(1))));
        assert!(items.is_empty(), "the deadline passed");
    }

    #[test]
    fn clients_are_refused_and_readers_wait_when_it_is_full() {
        let mailbox = Arc::new(Mailbox::new(10, 1));
        assert!(mailbox.post_when_room(Lane::Bulk, [1], 50));
        assert!(matches!(mailbox.offer(2), Err(Rejected::Full(2))));
        let reader = std::thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.post_when_room(Lane::Bulk, [3], 1)
        });
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert!(reader.join().unwrap());
        let mut more = Vec::new();
        assert!(mailbox.take(&mut more, None));
        assert_eq!((items, more), (vec![1], vec![3]));
    }

    #[test]
    fn a_pause_holds_bulk_back_and_lets_control_pass() {
        let mailbox = Arc::new(Mailbox::new(10, 1));
        mailbox.pause(true);
        let reader = std::thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.post_when_room(Lane::Bulk, [2], 1)
        });
        assert!(mailbox.post_when_room(Lane::Control, [1], 1));
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None));
        assert_eq!(items, [1]);
        mailbox.pause(false);
        assert!(reader.join().unwrap());
    }

    #[test]
    fn closing_lets_everyone_go() {
        let mailbox = Arc::new(Mailbox::new(1, 1));
        assert!(mailbox.post_when_room(Lane::Bulk, [1], 1));
        let reader = std::thread::spawn({
            let mailbox = mailbox.clone();
            move || mailbox.post_when_room(Lane::Bulk, [2], 1)
        });
        mailbox.close();
        assert!(!reader.join().unwrap());
        mailbox.post(3);
        assert!(matches!(mailbox.offer(4), Err(Rejected::Closed(4))));
        let mut items = Vec::new();
        assert!(mailbox.take(&mut items, None), "what was inside before can still be taken");
        assert_eq!(items, [1]);
        items.clear();
        assert!(!mailbox.take(&mut items, None));
    }
}

//! Waiting for keys to change, inside the server.

use std::sync::Arc;

use bytes::Bytes;

use super::hub::Wish;
use super::index::Target;
use super::queue::Queue;
use crate::front::Front;

/// Wakes a task when a key is put, deleted or both.
///
/// Make it first, then look at the state, then wait for `changed`, then look again: nothing is missed, and a
/// wake-up without a change does no harm.
pub(crate) struct Notice {
    front: Arc<Front>,
    queue: Arc<Queue>,
    wish: Arc<Wish>,
    number: u64,
}

/// What to be told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Deletions of a key.
    Delete,
    /// Puts under a prefix.
    PutBelow,
    /// Every change of a key.
    Any,
}

impl Notice {
    pub(crate) fn new(front: &Arc<Front>, key: Bytes, change: Change) -> Notice {
        let target = match change {
            Change::PutBelow => Target::below(key),
            Change::Delete | Change::Any => Target::Key(key),
        };
        let wish = Arc::new(Wish {
            target,
            start: 0,
            no_put: change == Change::Delete,
            no_delete: change == Change::PutBelow,
            prev_kv: false,
            fragment: false,
            progress_notify: false,
        });
        let queue = Queue::new(front.metrics.clone());
        let number = front.hub.register_now(&queue, 0, &wish);
        Notice { front: front.clone(), queue, wish, number }
    }

    /// Returns when something may have changed since this was made, or since `changed` last returned.
    pub(crate) async fn changed(&mut self) {
        self.queue.filled().await;
        if self.queue.clear() {
            // It fell out of the hub: what happened meanwhile is what the caller looks for next.
            self.number = self.front.hub.register_now(&self.queue, 0, &self.wish);
        }
    }
}

impl Drop for Notice {
    fn drop(&mut self) {
        self.front.hub.unregister(self.number);
    }
}

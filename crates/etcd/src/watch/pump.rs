//! Carries the node's applied events to the hub.

use std::sync::Arc;
use std::time::Duration;

use crate::front::Front;

/// How long nothing may have come before it is checked whether the state moved on without events, as it does
/// when a checkpoint is installed.
const QUIET: Duration = Duration::from_millis(500);

/// Runs until the server or the node stops.
pub(crate) async fn pump(front: Arc<Front>, events: node::Subscription) {
    tokio::select! {
        () = carry(&front, events) => {}
        () = front.stopped() => {}
    }
}

async fn carry(front: &Front, mut events: node::Subscription) {
    loop {
        match tokio::time::timeout(QUIET, events.next()).await {
            Ok(Some(node::Next::Events(applied))) => front.hub.publish(&applied.revisions),
            Ok(Some(node::Next::Missed)) => skip(front),
            Ok(None) => return,
            Err(_quiet) => skip(front),
        }
    }
}

fn skip(front: &Front) {
    // The events up to this revision have been sent to us, or will never be.
    front.hub.skip(front.handle.revision());
}

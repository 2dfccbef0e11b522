//! Ctrl-C ends a campaign, not its account: what has run until then is summed up as if it had been all.

use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};

/// What a shell expects of a program that Ctrl-C has ended.
pub const CODE: u8 = 130;

/// A flag that is set by the first SIGINT or SIGTERM; the second ends the process. Where signals cannot be watched they
/// end it at once, as ever.
pub fn flag() -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&flag);
    std::thread::spawn(move || {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(watch(&watched));
        }
    });
    flag
}

async fn watch(flag: &AtomicBool) {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else { return };
    loop {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(CODE.into());
        }
    }
}

//! When a process is to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Waits until somebody wants this process to stop, and says how: SIGINT, SIGTERM, or, if asked to look there,
/// the end of standard input.
pub async fn shutdown_requested(watch_stdin: bool) -> &'static str {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return "signals cannot be watched";
    };
    tokio::select! {
        _ = interrupt.recv() => "interrupted",
        _ = terminate.recv() => "terminated",
        () = stdin_ended(), if watch_stdin => "standard input ended",
    }
}

async fn stdin_ended() {
    let (ended, end) = tokio::sync::oneshot::channel::<()>();
    // A thread of its own: the runtime would wait for a blocking task at its end.
    std::thread::spawn(move || {
        let result = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop((result, ended));
    });
    // Nothing is ever sent: the sender is dropped when standard input ends, whatever the reason.
    end.await.ok();
}

//! A member's life: configured, started, serving, stopped.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::args::ServeArgs;
use super::config::Config;
use super::settings::Settings;
use crate::failure::{Failure, Outcome};
use crate::logging;

/// Serves until it is told to stop.
///
/// # Errors
/// A configuration that cannot be served, or a failure while serving.
pub fn run(args: &ServeArgs) -> Outcome {
    let settings = Settings::gather(&args.given, args.config_file.as_deref(), std::env::vars())?;
    let config = Config::from_settings(&settings)?;
    logging::init(settings.text("log-level"), settings.text("log-format"))?;
    for warning in &settings.warnings {
        tracing::warn!("{warning}");
    }
    let _ = config;
    Ok(ExitCode::SUCCESS)
}

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
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own: the runtime would wait for a blocking task at its end.
    std::thread::spawn(move || {
        let result = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop((result, ended));
    });
    // The sender is dropped when standard input ends, whatever the reason.
    drop(end.await as Result<(), _>);
}

//! One seed again, and its trace.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sim::{Options, Report};
use trace::Recorder;

use crate::failure::{Failure, Outcome};
use crate::output;

/// Runs one seed. Succeeds if every promise held.
///
/// # Errors
/// The trace cannot be written.
pub fn run(options: &Options, seed: u64, trace: Option<&Path>) -> Outcome {
    let report = match trace {
        Some(path) => write_trace(options, seed, path)?,
        None => sim::run_seed(options, seed),
    };
    output::line(&report)?;
    if let Some(path) = trace {
        output::line(format_args!("trace: althing sim show {}", path.display()))?;
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where the trace of a failure is left.
pub fn trace_path(options: &Options, seed: u64) -> PathBuf {
    PathBuf::from(format!("{}-seed-{seed}.labtrace", options.protocol))
}

/// Runs a seed and writes its trace.
///
/// # Errors
/// The file cannot be written; the run's result is lost with it, since it can be had again.
pub fn write_trace(options: &Options, seed: u64, path: &Path) -> Result<Report, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format_args!("cannot write the trace {}: {error}", path.display()))
            .next("--trace with a file that you can write")
    };
    let file = File::create(path).map_err(failed)?;
    let mut sink = Sink(Arc::new(Mutex::new(BufWriter::new(file))));
    let header = sim::trace_header(options, seed, env!("CARGO_PKG_VERSION"));
    let recorder = Recorder::lines(&header, sink.clone()).map_err(failed)?;
    let report = sim::run_recorded(options, seed, recorder);
    sink.flush().map_err(failed)?;
    Ok(report)
}

/// A file that is still ours when the recorder, which the run takes, is gone: what could not be written is told.
#[derive(Clone)]
struct Sink(Arc<Mutex<BufWriter<File>>>);

impl Sink {
    fn file(&self) -> MutexGuard<'_, BufWriter<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The promise that traces are for: the same seed tells the same story, byte for byte.
    #[test]
    fn the_same_seed_writes_the_same_trace() {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { nodes: Some(3), ..Options::default() };
        let trace = |name: &str| {
            let path = dir.path().join(name);
            assert!(write_trace(&options, 11, &path).unwrap().is_ok());
            std::fs::read(path).unwrap()
        };
        let first = trace("a");
        assert!(first.len() > 10_000);
        assert!(first == trace("b"));
    }
}

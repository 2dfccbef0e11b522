//! `--hashes FILE`: a digest of each seed's trace, so that `cmp` tells whether two builds, or two runs, saw the same
//! worlds.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use sim::{Options, Report};
use trace::Recorder;
use types::Fingerprinter;

use crate::failure::Failure;

/// Runs a seed and digests every byte of its trace, as `--trace` would write it.
pub fn run_hashed(options: &Options, seed: u64) -> (Report, u128) {
    let digest = Digest::default();
    let header = sim::trace_header(options, seed, env!("CARGO_PKG_VERSION"));
    let recorder = Recorder::lines(&header, digest.clone()).unwrap_or_else(|_| Recorder::off());
    let report = sim::run_recorded(options, seed, recorder);
    let hash = digest.0.lock().unwrap_or_else(PoisonError::into_inner).finish128();
    (report, hash)
}

/// Writes a line for each seed, in their order: seed, digest.
///
/// # Errors
/// The file cannot be written.
pub fn write(hashes: &BTreeMap<u64, u128>, path: &Path) -> Result<(), Failure> {
    let lines: String = hashes.iter().map(|(seed, hash)| format!("{seed} {hash:032x}\n")).collect();
    std::fs::write(path, lines)
        .map_err(|error| Failure::new(format_args!("cannot write {}: {error}", path.display())))
}

/// A file that keeps nothing but the digest of what was written.
#[derive(Clone, Default)]
struct Digest(Arc<Mutex<Fingerprinter>>);

impl Write for Digest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_has_one_digest_and_another_seed_another() {
        let options = Options { nodes: Some(3), ..Options::default() };
        let hash = |seed| run_hashed(&options, seed).1;
        assert_eq!(hash(11), hash(11));
        assert_ne!(hash(11), hash(12));
    }
}

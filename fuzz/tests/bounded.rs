//! Every target on its corpus and on mutations of it: the same inputs every time.
//!
//! A failure prints its input; put it into `corpus/TARGET/` under a name that tells what it found.

mod mutate;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use fuzz::{TARGETS, Target};
use mutate::mutation;
use types::Rng;

/// Mutations of a target's corpus; debug builds of all targets together take well under a minute.
const MUTATIONS: u64 = 2000;

/// Longer ones find the same, slower.
const LEN_MAX: usize = 2048;

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(stringify!($name));
            }
        )*
        const TESTED: &[&str] = &[$(stringify!($name)),*];
    };
}

targets! {
    wire_batch trace history schedule peer_frames peer_greeting lease_talk raft_message raft_record raft_steps
    raft_recovery log_description log_sector log_files log_mutations log_batches kv_command kv_keys kv_values
    kv_apply kv_queries kv_checkpoint grpc_body grpc_request proc_files config_file serve_flags initial_cluster
    urls txn_syntax option_values
}

#[test]
fn every_target_is_tested_and_has_a_program_for_libfuzzer() {
    let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names, TESTED);
    let programs = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("libfuzzer/fuzz_targets"));
    let mut programs: Vec<_> = programs.iter().filter_map(|path| path.file_stem()?.to_str()).collect();
    let mut names = names;
    programs.sort_unstable();
    names.sort_unstable();
    assert_eq!(programs, names);
}

#[test]
fn the_memory_of_a_target_is_counted() {
    let greedy = Target {
        name: "greedy",
        run: |data| drop(std::hint::black_box(vec![0u8; 1000 * data.len()])),
        claim: "none",
        memory: (100, 999),
    };
    assert_eq!(excess(&greedy, &[0]), None);
    assert_eq!(excess(&greedy, &[0; 101]), Some((101_000, 100 + 101 * 999)));
}

fn check(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("it is in the table");
    let corpus: Vec<_> =
        corpus(name).iter().map(|file| fs::read(file).expect("a file of the corpus")).collect();
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for input in &corpus {
        attempt(target, input);
    }
    for seed in 0..MUTATIONS {
        attempt(target, &mutation(&mut Rng::keyed(seed, &[1]), &corpus, LEN_MAX));
    }
}

fn attempt(target: &Target, input: &[u8]) {
    match catch_unwind(AssertUnwindSafe(|| excess(target, input))) {
        Ok(None) => {}
        Ok(Some((took, allowed))) => {
            panic!("{} took {took} bytes of memory, {allowed} are allowed, for {}", target.name, shown(input))
        }
        Err(_) => panic!("{} panicked for {}", target.name, shown(input)),
    }
}

/// What a target took at most and what it may take, if that is less.
fn excess(target: &Target, input: &[u8]) -> Option<(u64, u64)> {
    let took = allocation_counter::measure(|| (target.run)(input)).bytes_max;
    let (fixed, each) = target.memory;
    let allowed = fixed + each * input.len() as u64;
    (took > allowed).then_some((took, allowed))
}

fn shown(input: &[u8]) -> String {
    format!("{} bytes: b\"{}\"", input.len(), input.escape_ascii())
}

fn corpus(name: &str) -> Vec<PathBuf> {
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name))
}

/// In the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    files.sort();
    files
}

//! Unknown and contradictory flags.

use std::path::Path;

use super::{claim, output_of};

/// Arguments, and words that the error must contain: what was wrong, and what to do.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("an unknown flag is named", &["serve", "--data-dri", "x"], &["--data-dri", "--data-dir"]),
    ("an unknown command is named", &["server"], &["server", "serve"]),
    ("a bad number is named", &["serve", "--election-timeout", "soon"], &["soon", "--election-timeout"]),
    (
        "a name outside the initial cluster is explained",
        &["serve", "--name", "x", "--initial-cluster", "a=http://127.0.0.1:2380"],
        &["\"x\"", "--initial-cluster"],
    ),
    (
        "an election timeout below the heartbeat is explained",
        &["serve", "--heartbeat-interval", "500", "--election-timeout", "400"],
        &["--election-timeout", "--heartbeat-interval"],
    ),
    (
        "a peer URL that contradicts the initial cluster is explained",
        &[
            "serve",
            "--name",
            "a",
            "--initial-advertise-peer-urls",
            "http://127.0.0.1:1",
            "--initial-cluster",
            "a=http://127.0.0.1:2380",
        ],
        &["--initial-advertise-peer-urls", "--initial-cluster"],
    ),
    (
        "a malformed URL is named",
        &["serve", "--listen-client-urls", "127.0.0.1:2379"],
        &["127.0.0.1:2379", "--listen-client-urls"],
    ),
    (
        "a missing configuration file is named",
        &["serve", "--config-file", "/nonexistent.yaml"],
        &["/nonexistent.yaml"],
    ),
];

/// Runs all cases.
///
/// # Errors
/// If an error is missing or unclear.
pub fn run(althing: &Path) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    for (text, arguments, words) in CASES {
        let mut arguments = arguments.to_vec();
        let data_dir = dir.path().display().to_string();
        if arguments[0] == "serve" && !arguments.contains(&"--data-dri") {
            arguments.extend(["--data-dir", &data_dir]);
        }
        let (code, output) = output_of(althing, &arguments)?;
        let clear = code != 0 && code != 124 && words.iter().all(|word| output.contains(word));
        claim(text, clear && !output.contains("panicked"), &output)?;
    }
    Ok(())
}

//! Runs a script's steps against one cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use rustix::process::{Pid, Signal, kill_process_group};

use super::mask::mask;
use super::script::Step;
use crate::cluster::Cluster;

/// A step that takes longer than this is stopped; what it printed until then is its output.
const STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// Points etcdctl at the cluster, unless the step names endpoints itself. (It refuses to be told by both its
/// environment and a flag.)
const PRELUDE: &str = r#"etcdctl() {
    case "$*" in
        *--endpoints=*) command etcdctl "$@" ;;
        *) command etcdctl --endpoints="$ENDPOINTS" "$@" ;;
    esac
}"#;

/// What every step printed, masked.
pub struct Transcript {
    /// One output a step: standard output, standard error and exit code.
    pub outputs: Vec<String>,
    commands: Vec<String>,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (command, output) in self.commands.iter().zip(&self.outputs) {
            writeln!(f, "$ {command}\n{output}")?;
        }
        Ok(())
    }
}

/// Runs all steps.
///
/// # Errors
/// If a step cannot be started, or an `@save` finds nothing.
pub fn run(steps: &[Step], binaries: &Path, cluster: &Cluster, label: &str) -> anyhow::Result<Transcript> {
    let style = ProgressStyle::with_template("{msg:>8} {bar:40} {pos}/{len}")?;
    let progress = ProgressBar::new(steps.len() as u64).with_style(style).with_message(label.to_owned());
    let mut variables = BTreeMap::from([("ENDPOINTS".to_owned(), cluster.endpoints())]);
    let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap_or_default());
    variables.insert("PATH".to_owned(), path);

    let mut transcript = Transcript { outputs: Vec::new(), commands: Vec::new() };
    for step in steps {
        let raw =
            run_step(step, &variables).with_context(|| format!("line {}: {}", step.line, step.command))?;
        if let Some((variable, expression)) = &step.save {
            let found = expression
                .find(&raw)
                .with_context(|| format!("line {}: {expression} is not in the output:\n{raw}", step.line))?;
            variables.insert(variable.clone(), found.as_str().to_owned());
        }
        let mut output = mask(&raw);
        if step.sort {
            let mut lines: Vec<&str> = output.lines().collect();
            lines.sort_unstable();
            output = lines.join("\n") + "\n";
        }
        transcript.outputs.push(output);
        transcript.commands.push(step.command.clone());
        progress.inc(1);
    }
    progress.finish();
    Ok(transcript)
}

fn run_step(step: &Step, variables: &BTreeMap<String, String>) -> anyhow::Result<String> {
    use std::os::unix::process::CommandExt;
    let mut child = Command::new("bash")
        .args(["-c", &format!("{PRELUDE}\n{}", step.command)])
        .envs(variables)
        .env("ETCDCTL_API", "3")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let stdout = lines_of(child.stdout.take().context("standard output is piped")?);
    let stderr = lines_of(child.stderr.take().context("standard error is piped")?);
    let deadline = Instant::now() + STEP_TIMEOUT;
    let mut output = collect(&stdout, step.lines_max.unwrap_or(usize::MAX), deadline);
    let stopped = step.lines_max.is_some() || Instant::now() >= deadline;
    if stopped {
        stop_group(&child);
    }
    let status = child.wait()?;
    if !stopped {
        output.push_str(&collect(&stderr, usize::MAX, Instant::now() + STEP_TIMEOUT));
        output.push_str(&format!("[exit {}]\n", status.code().unwrap_or(-1)));
    }
    Ok(output)
}

/// Reads a pipe's lines on a thread of its own, so that reading can be given up.
fn lines_of(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

fn collect(lines: &mpsc::Receiver<String>, lines_max: usize, deadline: Instant) -> String {
    let mut output = String::new();
    for _ in 0..lines_max {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => output.push_str(&format!("{line}\n")),
            Err(_) => break,
        }
    }
    output
}

/// Interrupts the command as Ctrl-C does, so that locks and elections release what they hold.
fn stop_group(child: &Child) {
    let group = Pid::from_child(child);
    // The group may have ended by itself.
    let _ended = kill_process_group(group, Signal::INT);
}

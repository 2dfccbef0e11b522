//! Starting the program, talking to it, waiting for what it says. Waits poll until a deadline; none hopes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take on a machine that does other things as well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments, in a clean environment.
pub fn althing(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_althing"));
    command.args(arguments).env_remove("ALTHING_ENDPOINTS").env_remove("ETCDCTL_ENDPOINTS");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end with something on standard input.
pub fn run_with_input(arguments: &[&str], input: &str) -> Output {
    let mut child = althing(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs it to its end.
pub fn run(arguments: &[&str]) -> Output {
    althing(arguments).output().unwrap()
}

/// What it printed, if it succeeded.
pub fn stdout_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// The error it printed, if it failed.
pub fn failure_of(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} succeeded: {}", text(&output.stdout));
    text(&output.stderr)
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Polls until `found` finds something.
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what} did not happen within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A port that nobody uses at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A process that runs, and what it has printed so far, on either stream.
pub struct Running {
    pub child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Running {
    pub fn start(mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let said = Arc::new(Mutex::new(Vec::new()));
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        follow(out, said.clone());
        follow(err, said.clone());
        Running { child, said }
    }

    /// All lines so far.
    pub fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// Waits for a line that contains `words`, and returns it.
    pub fn wait_for_line(&mut self, words: &str) -> String {
        wait_for(words, || {
            let found = self.said().into_iter().find(|line| line.contains(words));
            let ended = self.child.try_wait().unwrap();
            assert!(
                found.is_some() || ended.is_none(),
                "ended with {ended:?} before {words:?}: {:#?}",
                self.said()
            );
            found
        })
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        wait_for("the end of the process", || self.child.try_wait().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn follow(stream: impl Read + Send + 'static, said: Arc<Mutex<Vec<String>>>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

/// A cluster of one.
pub struct Server {
    pub process: Running,
    pub endpoint: String,
    arguments: Vec<String>,
    /// Removed with the server.
    _dir: tempfile::TempDir,
}

impl Server {
    pub fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let (client, peer) = (free_port(), free_port());
        let client_url = format!("http://127.0.0.1:{client}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut arguments: Vec<String> = ["serve", "--name=solo"].map(str::to_owned).into();
        arguments.push(format!("--data-dir={}", dir.path().join("data").display()));
        arguments.push(format!("--listen-client-urls={client_url}"));
        arguments.push(format!("--advertise-client-urls={client_url}"));
        arguments.push(format!("--listen-peer-urls={peer_url}"));
        arguments.push(format!("--initial-advertise-peer-urls={peer_url}"));
        arguments.push(format!("--initial-cluster=solo={peer_url}"));
        let process = Server::spawn(&arguments);
        Server { process, endpoint: format!("127.0.0.1:{client}"), arguments, _dir: dir }
    }

    fn spawn(arguments: &[String]) -> Running {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut process = Running::start(althing(&arguments));
        process.wait_for_line("ready to serve client requests");
        process
    }

    /// Its arguments, for a second one that gets in its way.
    pub fn arguments(&self) -> Vec<&str> {
        self.arguments.iter().map(String::as_str).collect()
    }

    pub fn kill_and_restart(&mut self) {
        self.process.signal(Signal::KILL);
        self.process.wait();
        self.process = Server::spawn(&self.arguments);
    }

    /// What a client command printed.
    pub fn client(&self, arguments: &[&str]) -> String {
        stdout_of(&self.with_endpoint(arguments))
    }

    pub fn client_failure(&self, arguments: &[&str]) -> String {
        failure_of(&self.with_endpoint(arguments))
    }

    pub fn with_endpoint<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--endpoints", self.endpoint.as_str()], arguments].concat()
    }
}

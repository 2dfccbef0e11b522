//! `althing serve`: starts, refuses and stops as supervisors expect.

use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Running, Server, althing, failure_of, run, stdout_of, text};

#[test]
fn a_signal_stops_it_in_good_order_and_the_data_is_there_again() {
    let mut server = Server::start();
    server.client(&["put", "kept", "yes"]);
    server.process.signal(Signal::TERM);
    assert!(server.process.wait().success());
    let log = server.process.said();
    assert!(log.iter().all(|line| line.starts_with("{\"level\":\"")), "{log:#?}");

    let mut again = Running::start(althing(&server.arguments()));
    again.wait_for_line("ready to serve client requests");
    assert_eq!(server.client(&["get", "kept"]), "yes\n");
}

#[test]
fn a_directory_in_use_is_refused() {
    let server = Server::start();
    let refused = failure_of(&server.arguments());
    assert!(refused.contains("in use"), "{refused}");
}

#[test]
fn the_data_of_an_etcd_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("member/wal")).unwrap();
    let refused = failure_of(&["serve", "--data-dir", dir.path().to_str().unwrap()]);
    assert!(refused.contains("holds the data of an etcd server"), "{refused}");
    assert_eq!(std::fs::read_dir(dir.path().join("member")).unwrap().count(), 1);
}

#[test]
fn whoever_joins_needs_somebody_to_ask() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("none");
    let arguments = ["serve", "--initial-cluster-state=existing", "--data-dir", data.to_str().unwrap()];
    let refused = failure_of(&arguments);
    assert!(refused.contains("names none of its members"), "{refused}");
    assert!(!data.exists(), "nothing was written");
}

/// The promise that `dev` stands on.
#[test]
fn it_stops_when_its_standard_input_ends() {
    let mut server = Server::start();
    server.process.signal(Signal::TERM);
    server.process.wait();
    let mut command = althing(&server.arguments());
    command.arg("--stop-with-stdin").stdin(Stdio::piped());
    let mut process = Running::start(command);
    process.wait_for_line("ready to serve client requests");
    drop(process.child.stdin.take());
    assert!(process.wait().success());
}

/// Quorum loss: nothing is done without consent, and nothing while the member runs.
#[test]
fn a_quorum_is_repaired_only_by_consent_and_on_a_stopped_member() {
    let mut server = Server::start();
    server.client(&["put", "kept", "yes"]);
    let data_dir =
        server.arguments().iter().find_map(|flag| flag.strip_prefix("--data-dir=")).unwrap().to_owned();
    let repair = ["repair-quorum", "--data-dir", &data_dir];
    let consent = "--i-accept-data-loss";
    assert!(failure_of(&[&repair[..], &[consent]].concat()).contains("in use"));
    server.process.signal(Signal::TERM);
    server.process.wait();

    let asked = run(&repair);
    assert!(!asked.status.success());
    assert!(text(&asked.stdout).contains("its log ends at term"), "{asked:?}");
    assert!(text(&asked.stderr).contains("nothing was changed") && text(&asked.stderr).contains(consent));
    assert!(stdout_of(&[&repair[..], &[consent]].concat()).contains("start this member as before"));

    let mut again = Running::start(althing(&server.arguments()));
    again.wait_for_line("ready to serve client requests");
    assert_eq!(server.client(&["get", "kept"]), "yes\n");
    assert!(failure_of(&["repair-quorum", "--data-dir", "/nonexistent"]).contains("holds no member"));
}

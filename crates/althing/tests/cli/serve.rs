//! `althing serve`: starts, refuses and stops as supervisors expect.

use std::process::Stdio;

use rustix::process::Signal;

use crate::process::{Running, Server, althing, failure_of, free_port, run, stdout_of, text, wait_for};

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

/// `docs/members.md`, word by word: what `members add` prints is what the new member is started with.
#[test]
fn a_member_is_added_started_as_told_removed_and_ends_for_good() {
    let server = Server::start();
    let dir = tempfile::tempdir().unwrap();
    let peer_url = format!("http://127.0.0.1:{}", free_port());
    let client_url = format!("http://127.0.0.1:{}", free_port());
    let said = server.client(&["members", "add", "second", "--peer-urls", &peer_url]);
    let told = said.lines().nth(1).unwrap().trim().strip_prefix("althing ").unwrap();
    let mut arguments: Vec<&str> = told.split(' ').collect();
    let data_dir = dir.path().join("data").display().to_string();
    arguments.extend(["--data-dir", &data_dir, "--listen-client-urls", &client_url]);
    let mut second = Running::start(althing(&arguments));
    second.wait_for_line("ready to serve client requests");
    let endpoint = client_url.trim_start_matches("http://");
    stdout_of(&["--endpoints", endpoint, "put", "by", "second"]);

    // Once it votes it may lead, and the first one may go.
    wait_for("the move", || {
        run(&server.with_endpoint(&["move-leader", "second"])).status.success().then_some(())
    });
    assert_eq!(server.client(&["get", "by"]), "second\n");
    assert!(stdout_of(&["--endpoints", endpoint, "members", "remove", "second"]).starts_with("removed "));
    assert_eq!(second.wait().code(), Some(3));
    let again = run(&arguments);
    assert_eq!(again.status.code(), Some(3));
    assert!(text(&again.stderr).contains("the member has been permanently removed from the cluster"));
    wait_for("the first one leads", || {
        run(&server.with_endpoint(&["put", "k", "v"])).status.success().then_some(())
    });
}

#[test]
fn a_member_that_has_moved_need_not_rewrite_its_initial_cluster() {
    let mut server = Server::start();
    server.client(&["put", "kept", "yes"]);
    let moved = format!("http://127.0.0.1:{}", free_port());
    server.client(&["members", "update", "solo", "--peer-urls", &moved]);
    server.process.signal(Signal::TERM);
    server.process.wait();
    let flags = [format!("--listen-peer-urls={moved}"), format!("--initial-advertise-peer-urls={moved}")];
    let is_old =
        |flag: &&str| flag.starts_with("--listen-peer-urls") || flag.starts_with("--initial-advertise");
    let mut arguments = server.arguments();
    arguments.retain(|flag| !is_old(flag));
    arguments.extend(flags.iter().map(String::as_str));
    let mut again = Running::start(althing(&arguments));
    again.wait_for_line("ready to serve client requests");
    assert_eq!(server.client(&["get", "kept"]), "yes\n");
    assert!(server.client(&["members"]).contains(&moved));
}

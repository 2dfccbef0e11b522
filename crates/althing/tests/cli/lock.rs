//! `althing lock` and `althing elect`: one holder at a time, and none that does not know that it has lost.

use std::time::Instant;

use rustix::process::Signal;

use crate::process::{Running, Server, althing, run, text};

#[test]
fn a_command_runs_with_its_fencing_number_and_its_exit_code_is_passed_on() {
    let server = Server::start();
    let script = "echo revision $ALTHING_LOCK_REVISION; exit 7";
    let output = run(&server.with_endpoint(&["lock", "l", "--", "sh", "-c", script]));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(text(&output.stdout), "revision 2\n");
    // Released: the next one holds it at once, with a higher number.
    let output = run(&server.with_endpoint(&["lock", "l", "--", "sh", "-c", script]));
    assert_eq!(text(&output.stdout), "revision 4\n");
}

#[test]
fn the_second_holder_waits_for_the_first() {
    let server = Server::start();
    let mut first = Running::start(althing(&server.with_endpoint(&["lock", "l"])));
    first.wait_for_line("holding l");
    let mut second = Running::start(althing(&server.with_endpoint(&["lock", "l"])));
    crate::process::wait_for("the second to queue up", || {
        (server.client(&["get", "l/", "--prefix", "--count-only"]) == "2\n").then_some(())
    });
    assert!(second.said().is_empty());

    first.signal(Signal::TERM);
    assert!(first.wait().success());
    second.wait_for_line("holding l");
    second.signal(Signal::INT);
    assert!(second.wait().success());
    assert_eq!(server.client(&["get", "l/", "--prefix", "--count-only"]), "0\n");
}

/// The command must be dead before the lease can have passed to somebody else.
#[test]
fn a_command_whose_lease_cannot_be_renewed_is_stopped() {
    let server = Server::start();
    let lock = ["lock", "l", "--ttl", "2", "--", "sh", "-c", "echo started; exec sleep 100"];
    let mut holder = Running::start(althing(&server.with_endpoint(&lock)));
    holder.wait_for_line("started");
    let stopped = Instant::now();
    server.process.signal(Signal::STOP);
    let status = holder.wait_for_line("nobody renews the lease");
    assert!(stopped.elapsed().as_secs_f64() < 2.5, "{status}");
    server.process.signal(Signal::CONT);
    assert!(!holder.wait().success());
}

#[test]
fn the_next_candidate_leads_when_the_first_resigns() {
    let server = Server::start();
    let mut observer = Running::start(althing(&server.with_endpoint(&["elect", "e"])));
    let mut first = Running::start(althing(&server.with_endpoint(&["elect", "e", "anna"])));
    first.wait_for_line("elected in e");
    observer.wait_for_line("anna leads");
    let mut second = Running::start(althing(&server.with_endpoint(&["elect", "e", "berta"])));
    first.signal(Signal::INT);
    assert!(first.wait().success());
    second.wait_for_line("elected in e");
    observer.wait_for_line("berta leads");
}

//! The client commands against a server.

use crate::process::{Running, Server, althing, run_with_input, text};

#[test]
fn what_was_put_can_be_read_counted_ordered_and_deleted() {
    let server = Server::start();
    assert_eq!(server.client(&["put", "a", "1"]), "ok, revision 2\n");
    assert_eq!(server.client(&["put", "a", "2", "--prev"]), "ok, revision 3; was 1\n");
    let stdin = run_with_input(&server.with_endpoint(&["put", "b"]), "from\nstdin");
    assert!(stdin.status.success(), "{}", text(&stdin.stderr));

    assert_eq!(server.client(&["get", "a"]), "2\n");
    assert_eq!(server.client(&["get", "a", "--rev", "2"]), "1\n");
    assert_eq!(server.client(&["get", "", "--prefix", "--keys-only"]), "a\nb\n");
    assert_eq!(server.client(&["get", "", "--prefix", "--keys-only", "--descending"]), "b\na\n");
    assert_eq!(server.client(&["get", "", "--from-key", "--count-only"]), "2\n");
    assert!(server.client(&["get", "", "--prefix"]).contains("from\\nstdin"));
    assert!(server.client(&["get", "", "--prefix", "--limit", "1"]).contains("1 of 2 keys"));
    let json = server.client(&["get", "b", "--json"]);
    assert!(json.contains(r#""value":"from\nstdin""#) && json.contains(r#""count":1"#), "{json}");

    assert_eq!(server.client(&["del", "", "--prefix"]), "deleted 2 keys, revision 5\n");
    let missing = server.client_failure(&["get", "a"]);
    assert!(missing.contains("there is no key \"a\""), "{missing}");
}

#[test]
fn a_transaction_is_read_from_its_argument_or_standard_input() {
    let server = Server::start();
    let create = "if missing(k) then put k 1 else get k";
    assert!(server.client(&["txn", create]).starts_with("the conditions held, revision 2"));
    let again = run_with_input(&server.with_endpoint(&["--json", "txn"]), create);
    let again = text(&again.stdout);
    assert!(again.contains(r#""succeeded":false"#) && again.contains(r#""value":"1""#), "{again}");
    let wrong = server.client_failure(&["txn", "if value(k) then"]);
    assert!(
        wrong.contains("column 13: expected =, !=, < or >") && wrong.contains("althing txn --help"),
        "{wrong}"
    );
}

#[test]
fn a_watch_goes_on_where_it_was_when_the_server_restarts() {
    let mut server = Server::start();
    let mut watch =
        Running::start(althing(&server.with_endpoint(&["--json", "watch", "w", "--prefix", "--rev", "1"])));
    server.client(&["put", "w1", "before"]);
    watch.wait_for_line("before");

    server.kill_and_restart();
    server.client(&["put", "w2", "after"]);
    watch.wait_for_line("after");
    server.client(&["del", "w1"]);
    watch.wait_for_line("delete");

    let events = watch.said().iter().filter(|line| line.starts_with('{')).count();
    assert_eq!(events, 3, "{:#?}", watch.said());
}

#[test]
fn a_lease_takes_its_keys_with_it() {
    let server = Server::start();
    let granted = server.client(&["lease", "grant", "100"]);
    let id = granted.split(' ').nth(1).unwrap();
    server.client(&["put", "leased", "1", "--lease", id]);
    assert!(server.client(&["lease", "list"]).contains(id));
    assert!(server.client(&["lease", "show", id]).contains("leased"));
    assert!(server.client(&["lease", "keep-alive", "--once", id]).contains("has 100 s again"));
    server.client(&["lease", "revoke", id]);
    server.client_failure(&["get", "leased"]);
    assert!(server.client_failure(&["lease", "show", id]).contains("does not exist or has expired"));
    assert!(server.client_failure(&["put", "k", "v", "--lease", id]).contains("requested lease not found"));
}

#[test]
fn status_and_members_name_the_server() {
    let server = Server::start();
    let status = server.client(&["status"]);
    assert!(status.contains("leader") && status.contains(&server.endpoint), "{status}");
    assert!(server.client(&["members"]).contains("solo"));
    let json = server.client(&["status", "--json"]);
    assert!(json.contains(r#""role":"leader""#), "{json}");
}

#[test]
fn members_are_added_moved_and_removed_by_name_or_id() {
    let server = Server::start();
    let json = server.client(&["--json", "members", "add", "second", "--peer-urls", "http://127.0.0.1:7"]);
    assert!(
        json.contains(",second=http://127.0.0.1:7") || json.contains("second=http://127.0.0.1:7,"),
        "{json}"
    );
    let id = json.split(r#""id":""#).nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(
        server.client(&["members", "update", id, "--peer-urls", "http://127.0.0.1:8"]),
        format!("updated {id}\n")
    );
    let list = server.client(&["members"]);
    assert!(list.contains("(not started)") && list.contains("http://127.0.0.1:8"), "{list}");
    assert!(server.client_failure(&["members", "promote", id]).contains("can only promote a learner member"));
    assert_eq!(server.client(&["members", "remove", id]), format!("removed {id}\n"));
    let gone = server.client_failure(&["members", "remove", id]);
    assert!(gone.contains(&format!("there is no member {id}")), "{gone}");

    let said = server.client(&["members", "add", "third", "--peer-urls", "http://127.0.0.1:9", "--learner"]);
    assert!(said.contains("--initial-cluster-state existing") && said.contains("--name third"), "{said}");
    assert!(server.client(&["members", "list"]).contains("learner"));
    assert!(server.client_failure(&["members", "remove", "solo"]).contains("not enough started members"));
    assert!(server.client(&["move-leader", "solo"]).starts_with("leadership moved from"));
}

#[test]
fn a_dead_endpoint_is_passed_over() {
    let server = Server::start();
    let both = format!("127.0.0.1:1,{}", server.endpoint);
    let value = crate::process::stdout_of(&["--endpoints", &both, "put", "k", "v"]);
    assert_eq!(value, "ok, revision 2\n");
    let none = crate::process::failure_of(&["--endpoints", "127.0.0.1:1", "get", "k"]);
    assert!(none.contains("no endpoint answers: 127.0.0.1:1") && none.contains("althing dev"), "{none}");
}

/// Every workload against a server, the report for machines.
#[test]
fn every_workload_runs_without_an_error() {
    let server = Server::start();
    let pid = server.process.child.id().to_string();
    for workload in ["put", "range", "txn", "mixed", "watch-fanout"] {
        let arguments = ["--json", "bench", workload, "--total", "200", "--clients", "8", "--pids", &pid];
        let report = server.client(&arguments);
        assert!(report.contains(r#""errors":0"#) && report.contains("cpu_us_per_operation"), "{report}");
    }
    let large = ["bench", "put", "--total", "20", "--clients", "4", "--value-size", "300000"];
    server.client(&large);
    let refused = ["--json", "bench", "put", "--total", "3", "--value-size", "3000000"];
    let output = crate::process::run(&server.with_endpoint(&refused));
    assert!(!output.status.success() && text(&output.stdout).contains("\"errors\":3"), "{output:?}");
}

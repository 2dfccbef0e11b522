//! `althing dev`: a cluster that mends itself, keeps its data, and leaves no process behind.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::process::{Running, althing, failure_of, free_port, stdout_of, wait_for};

/// A base port from which three nodes' ports fit, none of which is in use.
fn base_port() -> u16 {
    wait_for("three pairs of free ports", || {
        let port = 5_000 + free_port() % 25_000;
        let free = |offset: u16| {
            [0, 1].iter().all(|more| std::net::TcpListener::bind(("127.0.0.1", port + offset + more)).is_ok())
        };
        [0, 20_000, 30_000].into_iter().all(free).then_some(port)
    })
}

fn start(dir: &Path, port: u16) -> Running {
    let port = port.to_string();
    let mut dev =
        Running::start(althing(&["dev", "--base-port", &port, "--data-dir", dir.to_str().unwrap()]));
    dev.wait_for_line("Ctrl-C stops the cluster");
    dev
}

/// The nodes' process ids, from the table.
fn pids(dev: &Running) -> Vec<Pid> {
    let lines = dev.said();
    let rows = lines.iter().filter(|line| line.starts_with('n') && line.contains("ready"));
    rows.map(|row| Pid::from_raw(row.split_whitespace().nth(3).unwrap().parse().unwrap()).unwrap()).collect()
}

fn wait_until_gone(pids: &[Pid]) {
    for pid in pids {
        wait_for("the end of a node", || test_kill_process(*pid).is_err().then_some(()));
    }
}

#[test]
fn a_node_that_is_killed_comes_back_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let port = base_port();
    let mut dev = start(dir.path(), port);
    let endpoints = format!("127.0.0.1:{port},127.0.0.1:{},127.0.0.1:{}", port + 20_000, port + 30_000);
    stdout_of(&["--endpoints", &endpoints, "put", "greeting", "hello"]);

    let nodes = pids(&dev);
    assert_eq!(nodes.len(), 3, "{:#?}", dev.said());
    kill_process(nodes[1], Signal::KILL).unwrap();
    dev.wait_for_line("n2 killed by signal 9; starting it again in 2 s");
    dev.wait_for_line("n2 started again");
    let second = format!("127.0.0.1:{}", port + 20_000);
    wait_for("n2 to serve", || {
        let output = crate::process::run(&["--endpoints", &second, "get", "greeting"]);
        output.status.success().then_some(())
    });

    dev.signal(Signal::INT);
    assert!(dev.wait().success(), "{:#?}", dev.said());
    wait_until_gone(&nodes);

    // Its data is there at the next start, and only for the same cluster.
    let other = failure_of(&[
        "dev",
        "--nodes",
        "1",
        "--base-port",
        &port.to_string(),
        "--data-dir",
        dir.path().to_str().unwrap(),
    ]);
    assert!(other.contains("holds a cluster of 3 nodes"), "{other}");
    let dev = start(dir.path(), port);
    assert_eq!(stdout_of(&["--endpoints", &endpoints, "get", "greeting"]), "hello\n");

    // Whatever happens to us, no node outlives us.
    let nodes = pids(&dev);
    dev.signal(Signal::KILL);
    wait_until_gone(&nodes);
}

#[test]
fn a_port_in_use_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let refused = failure_of(&["dev", "--nodes", "1", "--base-port", &port, "--ephemeral"]);
    assert!(refused.contains(&format!("port {port}")) && refused.contains("--base-port"), "{refused}");
}

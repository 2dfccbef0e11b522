//! What people and other programs write: text in, text out, and again the same.

use std::fmt::Write;

use checker::{History, STEPS_DEFAULT, check_linearizable, check_revisions};
use node::Cluster;
use sim::{Schedule, Shape};

/// Longer histories are read but not judged: that takes time by design.
const OPERATIONS_JUDGED_MAX: usize = 12;

/// A trace, up to the first line that is not one.
pub fn trace(data: &[u8]) {
    let Some((header, events)) = read_trace(data) else { return };
    let mut again = serde_json::to_vec(&header).expect("a header is JSON");
    for event in &events {
        again.push(b'\n');
        serde_json::to_writer(&mut again, event).expect("an event is JSON");
        let mut shown = String::new();
        write!(shown, "{} {:?}", event.body, event).expect("a String takes everything");
    }
    assert_eq!(read_trace(&again), Some((header, events)));
}

fn read_trace(data: &[u8]) -> Option<(trace::Header, Vec<trace::Event>)> {
    let reader = trace::Reader::new(data).ok()?;
    let header = reader.header().clone();
    Some((header, reader.map_while(Result::ok).collect()))
}

/// A history of what clients saw.
pub fn history(data: &[u8]) {
    let Ok(history) = History::read_json(data) else { return };
    let mut written = Vec::new();
    history.write_json(&mut written).expect("memory takes everything");
    assert_eq!(History::read_json(&written[..]).ok().as_ref(), Some(&history));
    if history.operations().len() <= OPERATIONS_JUDGED_MAX {
        drop(check_revisions(&history));
        drop(check_linearizable(&history, STEPS_DEFAULT.min(1000)));
    }
}

/// The weather of a simulated run.
pub fn schedule(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(schedule) = text.parse::<Schedule>() {
        assert_eq!(schedule.to_string().parse(), Ok(schedule.clone()), "as {schedule}");
        assert!(schedule.faults.iter().all(|timed| timed.at <= schedule.end()));
    }
    if let Ok(shape) = text.parse::<Shape>() {
        assert_eq!(shape.to_string().parse(), Ok(shape));
    }
}

/// `--initial-cluster`: the token is the first line.
pub fn initial_cluster(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (token, members) = text.split_once('\n').unwrap_or(("", text));
    let Ok(cluster) = Cluster::parse(members, token) else { return };
    let backwards: Vec<&str> = members.split(',').rev().collect();
    assert_eq!(Cluster::parse(&backwards.join(","), token), Ok(cluster.clone()));
    for member in &cluster.members {
        assert_eq!(cluster.member(&member.name).map(|found| &found.name), Ok(&member.name));
    }
}

/// `--config-file`.
pub fn config_file(data: &[u8]) {
    with_text(data, althing::fuzzing::config_file);
}

/// The command line and the environment of `serve`.
pub fn serve_flags(data: &[u8]) {
    with_text(data, althing::fuzzing::flags);
}

/// A list of URLs.
pub fn urls(data: &[u8]) {
    with_text(data, althing::fuzzing::urls);
}

/// What is written behind options of the command line.
pub fn option_values(data: &[u8]) {
    with_text(data, althing::fuzzing::option_values);
}

/// `althing txn`; what it comes to is a request that the server reads.
pub fn txn_syntax(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(request) = althing::fuzzing::txn(text) {
        let asked = etcd::fuzzing::request(&[&[3], &request[..]].concat());
        assert!(matches!(asked, Some(etcd::fuzzing::Asked::Command(kv::Command::Txn(_)))), "{asked:?}");
    }
}

fn with_text(data: &[u8], read: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(data) {
        read(text);
    }
}

//! Nodes that die, fall behind, come back, or find their disk damaged. Nothing acknowledged is lost.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use common::{PATIENCE, TIMEOUT, TestCluster, get, get_local, put, put_ok, put_until_done, until};
use consensus::Role;
use node::{Cluster, Next, Node, NodeError, StartError, StateEngine, Storage};
use storage::{Engine, Space, View, WriteBatch};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_without_the_leader_and_it_catches_up_when_it_is_back() {
    let mut cluster = TestCluster::started(3).await;
    for round in 0..3 {
        put_ok(&cluster.handle(0), &format!("before{round}"), "v").await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        let other = (leader + 1) % 3;
        put_until_done(&cluster.handle(other), &format!("without{round}"), "v").await;
        cluster.start(leader);
        for key in ["before", "without"] {
            let value = get(&cluster.handle(leader), &format!("{key}{round}")).await;
            assert_eq!(value.as_deref(), Some("v"), "{key}{round}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_three_may_die_at_once_in_the_middle_of_writes() {
    let mut cluster = TestCluster::started(3).await;
    for round in 0..3 {
        let writers: Vec<_> = (0..30)
            .map(|index| {
                let handle = cluster.handle(index % 3);
                tokio::spawn(async move {
                    let mut done = 0;
                    while handle.propose(put(&format!("{round}-{index}-{done}"), "v"), TIMEOUT).await.is_ok()
                    {
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let revision = cluster.handle(0).revision();
        until("some are written", || cluster.handle(0).revision() > revision + 200).await;
        for index in 0..3 {
            cluster.kill(index);
        }
        for index in 0..3 {
            cluster.start(index);
        }
        for (index, writer) in writers.into_iter().enumerate() {
            for number in 0..writer.await.unwrap() {
                let key = format!("{round}-{index}-{number}");
                assert!(get(&cluster.handle(index % 3), &key).await.is_some(), "{key} was acknowledged");
            }
        }
    }
}

/// S1: retries of the submitter never execute a command twice. Every put of one key raises its version by one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_retried_across_leaders_executes_once() {
    let mut cluster = TestCluster::started(3).await;
    let mut proposed = 0;
    let mut acknowledged = 0;
    for _ in 0..3 {
        let leader = cluster.leader().await;
        let survivor = cluster.handle((leader + 1) % 3);
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let handle = survivor.clone();
                tokio::spawn(async move { handle.propose(put("counter", "v"), TIMEOUT).await.is_ok() })
            })
            .collect();
        proposed += tasks.len() as i64;
        cluster.kill(leader);
        for task in tasks {
            acknowledged += i64::from(task.await.unwrap());
        }
        cluster.start(leader);
        cluster.ready(leader).await;
    }
    cluster.handle(0).read_barrier(TIMEOUT).await.unwrap();
    let request = kv::RangeRequest { key: "counter".into(), ..kv::RangeRequest::default() };
    let version = cluster.handle(0).reader().range(&request).unwrap().1.kvs[0].version;
    assert!((acknowledged..=proposed).contains(&version), "{acknowledged} <= {version} <= {proposed}");
    assert_eq!(acknowledged, proposed, "the survivor lived and could wait, so every outcome became known");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_far_behind_gets_a_checkpoint() {
    let mut cluster = TestCluster::new(3);
    for config in &mut cluster.configs {
        config.checkpoint_entries = 50;
        config.retained_entries = 10;
    }
    for index in 0..3 {
        cluster.start(index);
    }
    for index in 0..3 {
        cluster.ready(index).await;
    }
    let behind = (cluster.leader().await + 1) % 3;
    let writer = (behind + 1) % 3;
    cluster.kill(behind);
    let value = "v".repeat(1000);
    for index in 0..300 {
        put_ok(&cluster.handle(writer), &format!("k{index}"), &value).await;
    }
    until("the log is compacted", || cluster.handle(writer).status().replication.first.0 > 200).await;

    cluster.start(behind);
    let mut subscription = cluster.handle(behind).subscribe();
    for index in 0..300 {
        assert!(get(&cluster.handle(behind), &format!("k{index}")).await.is_some(), "k{index}");
    }
    assert_eq!(cluster.handle(behind).metrics().checkpoints_installed.get(), 1);
    let next = tokio::time::timeout(PATIENCE, subscription.next()).await.unwrap();
    assert!(matches!(next, Some(Next::Missed)), "subscribers learn of the jump: {next:?}");

    // It is a full member again: it can make up a quorum.
    cluster.kill((behind + 2) % 3);
    put_until_done(&cluster.handle(behind), "after", "v").await;
}

/// "Protocol-Aware Recovery": a record that was acknowledged and is damaged is neither forgotten nor fatal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_the_log_is_repaired_from_peers() {
    let mut cluster = TestCluster::started(3).await;
    for index in 0..50 {
        put_ok(&cluster.handle(0), &format!("k{index}"), &"v".repeat(2000)).await;
    }
    let damaged = (cluster.leader().await + 1) % 3;
    cluster.kill(damaged);
    flip_a_bit_of_the_log(&cluster, damaged);
    // What the state had not synced is gone too: the log is needed.
    fs::remove_dir_all(cluster.data_dir(damaged).join("member/state")).unwrap();

    cluster.start(damaged);
    for index in 0..50 {
        assert!(get(&cluster.handle(damaged), &format!("k{index}")).await.is_some(), "k{index}");
    }
    until("it takes part again", || cluster.handle(damaged).status().replication.role != Role::Recovering)
        .await;
    let other = (damaged + 1) % 3;
    cluster.kill(other);
    put_until_done(&cluster.handle(damaged), "after", "v").await;
}

fn flip_a_bit_of_the_log(cluster: &TestCluster, index: usize) {
    let log = cluster.data_dir(index).join("member/log");
    let mut segments: Vec<_> = fs::read_dir(&log)
        .expect("the log's directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name != "lock"))
        .collect();
    segments.sort();
    let mut bytes = fs::read(&segments[0]).expect("a segment");
    let at = bytes.windows(100).position(|window| window == [b'v'; 100]).expect("a value in the log");
    bytes[at + 50] ^= 4;
    fs::write(&segments[0], bytes).expect("the segment is writable");
}

/// A1 of the acceptor: whatever arrives ends its connection and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_peer_port_is_hung_up_on() {
    let cluster = TestCluster::started(3).await;
    let address = cluster.configs[0].listen_peers[0].clone();
    let hung_up = move |bytes: Vec<u8>| {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&bytes).ok(); // it may hang up before we are through
        // Closed or reset; not left open until the time-out.
        match stream.read(&mut [0; 100]) {
            Ok(count) => assert_eq!(count, 0, "nothing is answered"),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
        }
    };
    tokio::task::spawn_blocking(move || {
        hung_up(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec());
        hung_up(vec![0xff; 1 << 20]);
        hung_up((0..=255).cycle().take(100_000).collect());
        hung_up(b"ALTHPEER\xff\xff and then nothing that makes sense at all, for a while".to_vec());
    })
    .await
    .unwrap();
    put_ok(&cluster.handle(0), "k", "v").await;
    assert_eq!(get(&cluster.handle(2), "k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_another_cluster_is_not_listened_to() {
    let mut cluster = TestCluster::started(3).await;
    cluster.kill(2);
    // The same addresses under another token: other ids.
    let mut stranger = cluster.configs[2].clone();
    let members = stranger.cluster.members.iter().map(|one| (one.name.clone(), one.peer_urls.clone()));
    stranger.cluster = Cluster::new(members.collect(), "another token").unwrap();
    stranger.storage = Storage::Ephemeral;
    let stranger = Node::start(&stranger).unwrap();
    put_ok(&cluster.handle(0), "k", "v").await;
    let ready = tokio::time::timeout(Duration::from_secs(2), stranger.handle().wait_ready()).await;
    assert!(ready.is_err(), "nobody votes for a stranger");
    drop(stranger);
    cluster.start(2);
    assert_eq!(get(&cluster.handle(2), "k").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_of_someone_else_is_refused_by_name() {
    let mut cluster = TestCluster::started(3).await;
    let text = |error: StartError| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        format!("{error}: {source}")
    };
    let in_use = Node::start(&{
        let mut config = cluster.configs[0].clone();
        config.listen_peers.clear();
        config
    });
    assert!(matches!(in_use, Err(StartError::Directory(_))), "{in_use:?}");
    for index in 0..3 {
        cluster.stop(index).await;
    }

    let mut config = cluster.configs[1].clone();
    config.storage = cluster.configs[0].storage.clone();
    let error = text(Node::start(&config).unwrap_err());
    let ids = [&cluster.configs[0], &cluster.configs[1]].map(|config| config.check().unwrap().to_string());
    assert!(ids.iter().all(|id| error.contains(id)) && error.contains("own data directory"), "{error}");

    let mut config = cluster.configs[0].clone();
    let members = config.cluster.members.iter().map(|one| (one.name.clone(), one.peer_urls.clone()));
    config.cluster = Cluster::new(members.collect(), "another token").unwrap();
    let error = text(Node::start(&config).unwrap_err());
    let clusters = [&config, &cluster.configs[0]].map(|config| format!("{:x}", config.cluster.id));
    // The member's id follows from the token too, but the cluster is what is wrong.
    assert!(clusters.iter().all(|id| error.contains(id)), "{error}");

    cluster.start(0);
    cluster.start(1);
    put_until_done(&cluster.handle(0), "k", "v").await;
    assert_eq!(get_local(&cluster.handle(0), "k").as_deref(), Some("v"), "nothing was harmed");
}

/// A state that is not what the log makes of it is found by comparing it with the others', and ends its member.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_state_is_odd_ends_and_the_others_go_on() {
    let mut cluster = TestCluster::new(3);
    cluster.configs.iter_mut().for_each(|config| config.audit_entries = 20);
    for index in 0..3 {
        cluster.start(index);
    }
    put_until_done(&cluster.handle(0), "k", "v").await;
    until("all have it", || (0..3).all(|index| get_local(&cluster.handle(index), "k").is_some())).await;
    cluster.stop(2).await;
    add_a_key_behind_its_back(&cluster, 2);
    cluster.start(2);
    for number in 0..60 {
        put_until_done(&cluster.handle(0), &format!("k{number}"), "v").await;
    }
    let ended = cluster.nodes[2].as_ref().expect("it runs").failed();
    let error = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert!(matches!(error, NodeError::Diverged { .. }), "{error}");
    cluster.kill(2);
    put_until_done(&cluster.handle(1), "after", "v").await;
    assert!(cluster.handle(0).metrics().state_audits.get() > 0);
}

/// Writes a copy of a row into the state of a stopped member, as a bug or a bad memory could.
fn add_a_key_behind_its_back(cluster: &TestCluster, index: usize) {
    let engine = StateEngine::open(&cluster.data_dir(index).join("member/state")).expect("the state opens");
    let latest = Space(1);
    let row = engine.view().get(latest, b"k").expect("readable").expect("it is there");
    let mut batch = WriteBatch::default();
    batch.put(latest, Bytes::from_static(b"kk"), row);
    engine.write(batch).expect("written");
    engine.persist().expect("durable");
}

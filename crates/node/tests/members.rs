//! Members that come, go, move and are replaced while the others serve. Nothing acknowledged is lost.

mod common;

use std::fs;
use std::time::Duration;

use common::{
    PATIENCE, TIMEOUT, TestCluster, add, change_until_known, get, put_ok, put_until_done, standing, until,
};
use consensus::{Change, ChangeRefusal, Refusal, Standing};
use node::{ErrandError, JoinError, MemberContext, Node, NodeError, Patient, StartError};
use types::{NodeId, Wire};

async fn remove(cluster: &TestCluster, asked: usize, node: NodeId) {
    match change_until_known(&cluster.handle(asked), Change::Remove { node }).await {
        Ok(()) | Err(ErrandError::Refused(Refusal::Change(ChangeRefusal::Unknown(_)))) => {}
        refused => panic!("it is removed: {refused:?}"),
    }
}

async fn votes(cluster: &TestCluster, asked: usize, node: NodeId) {
    let handle = cluster.handle(asked);
    until("the new member votes", || standing(&handle, node) == Some(Standing::Voter)).await;
}

/// Why a node ended by itself.
async fn ended(node: &Node) -> NodeError {
    tokio::time::timeout(PATIENCE, node.failed()).await.expect("it ends")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_grows_to_three_and_survives_its_founder() {
    let mut cluster = TestCluster::started(1).await;
    put_ok(&cluster.handle(0), "before", "v").await;
    for _ in 0..2 {
        let index = cluster.join(0, false).await;
        votes(&cluster, 0, cluster.id(index)).await;
        put_ok(&cluster.handle(index), &format!("by{index}"), "v").await;
    }
    let names: Vec<String> = cluster.handle(2).members().into_iter().map(|member| member.name).collect();
    assert!(["n0", "n1", "n2"].iter().all(|name| names.iter().any(|known| known == name)), "{names:?}");

    cluster.kill(0);
    put_until_done(&cluster.handle(1), "without the founder", "v").await;
    for key in ["before", "by1", "by2", "without the founder"] {
        assert_eq!(get(&cluster.handle(2), key).await.as_deref(), Some("v"), "{key}");
    }
    // What counts for all of them from now on is on their disks: the flags still say what they said at first.
    for index in 0..3 {
        cluster.kill(index);
    }
    for index in 0..3 {
        cluster.start(index);
    }
    put_until_done(&cluster.handle(0), "again", "v").await;
    cluster.kill(0);
    put_until_done(&cluster.handle(2), "and again", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn adding_a_member_that_never_starts_stops_nothing() {
    let mut cluster = TestCluster::started(1).await;
    let (index, urls) = cluster.describe_joiner();
    let node = add(&cluster.handle(0), index, &urls, false).await.unwrap();
    assert_eq!(standing(&cluster.handle(0), node), Some(Standing::Joining));
    put_ok(&cluster.handle(0), "k", "v").await;
    remove(&cluster, 0, node).await;
    assert_eq!(standing(&cluster.handle(0), node), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_is_promoted_once_it_has_caught_up_and_not_before() {
    let mut cluster = TestCluster::started(1).await;
    let (index, urls) = cluster.describe_joiner();
    let node = add(&cluster.handle(0), index, &urls, true).await.unwrap();
    let promote = [Change::Promote { node }];
    let refused = cluster.handle(0).reconfigure(&promote, TIMEOUT).await;
    assert_eq!(refused, Err(ErrandError::Refused(Refusal::Change(ChangeRefusal::NotCaughtUp(node)))));
    cluster.start(index);
    cluster.ready(index).await;
    until("it learns that it is a learner", || cluster.handle(index).is_learner()).await;
    // Any member may be asked, this one too.
    cluster.handle(index).reconfigure(&promote, TIMEOUT).await.expect("it has caught up");
    assert!(!cluster.handle(index).is_learner());
    put_ok(&cluster.handle(index), "k", "v").await;
    let again = cluster.handle(0).reconfigure(&promote, TIMEOUT).await;
    assert_eq!(again, Err(ErrandError::Refused(Refusal::Change(ChangeRefusal::NotLearner(node)))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_ends_and_never_starts_again_on_its_data() {
    let mut cluster = TestCluster::started(3).await;
    let leader = cluster.leader().await;
    let (goes, asked) = ((leader + 1) % 3, (leader + 2) % 3);
    remove(&cluster, asked, cluster.id(goes)).await;
    let node = cluster.nodes[goes].take().unwrap();
    assert!(matches!(ended(&node).await, NodeError::Removed));
    drop(node);
    let refused = Node::start(&cluster.configs[goes]).unwrap_err();
    assert!(matches!(refused, StartError::Removed { .. }), "{refused}");
    put_ok(&cluster.handle(asked), "k", "v").await;
}

/// Nobody tells it while it is down; whoever it dials does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_removed_while_it_was_down_is_told_by_the_others() {
    let mut cluster = TestCluster::started(3).await;
    let goes = (cluster.leader().await + 1) % 3;
    let asked = (goes + 1) % 3;
    let node = cluster.id(goes);
    cluster.kill(goes);
    remove(&cluster, asked, node).await;
    // The one that tells it may have restarted since.
    cluster.kill(asked);
    cluster.start(asked);
    cluster.start(goes);
    let node = cluster.nodes[goes].take().unwrap();
    assert!(matches!(ended(&node).await, NodeError::Removed));
    drop(node);
    assert!(matches!(Node::start(&cluster.configs[goes]), Err(StartError::Removed { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_remove_itself_answers_hands_over_and_ends() {
    let mut cluster = TestCluster::started(3).await;
    let leader = cluster.leader().await;
    let asked = (leader + 1) % 3;
    remove(&cluster, leader, cluster.id(leader)).await;
    let node = cluster.nodes[leader].take().unwrap();
    assert!(matches!(ended(&node).await, NodeError::Removed));
    drop(node);
    put_until_done(&cluster.handle(asked), "k", "v").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_is_replaced_by_another_and_one_that_slept_through_it_wakes_up() {
    let mut cluster = TestCluster::started(3).await;
    put_ok(&cluster.handle(0), "old", "v").await;
    cluster.kill(2); // sleeps, and knows nobody who will be there when it wakes up
    for goes in 0..2 {
        let joined = cluster.join(goes, false).await;
        votes(&cluster, joined, cluster.id(joined)).await;
        let node = cluster.id(goes);
        remove(&cluster, joined, node).await;
        ended(cluster.nodes[goes].as_ref().unwrap()).await;
        cluster.kill(goes);
    }
    put_until_done(&cluster.handle(3), "new", "v").await;
    cluster.start(2);
    assert_eq!(get(&cluster.handle(2), "new").await.as_deref(), Some("v"));
    assert_eq!(get(&cluster.handle(2), "old").await.as_deref(), Some("v"));
    cluster.kill(3);
    put_until_done(&cluster.handle(2), "newer", "v").await;
}

/// Its log is compacted: what the joiner needs is only in a checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_may_join_long_after_the_beginning_and_restart_in_between() {
    let mut cluster = TestCluster::new(1);
    cluster.configs[0].checkpoint_entries = 50;
    cluster.configs[0].retained_entries = 10;
    cluster.start(0);
    cluster.ready(0).await;
    for index in 0..200 {
        put_ok(&cluster.handle(0), &format!("k{index}"), &"v".repeat(1000)).await;
    }
    until("the log is compacted", || cluster.handle(0).status().replication.first.0 > 100).await;
    let (index, urls) = cluster.describe_joiner();
    let node = add(&cluster.handle(0), index, &urls, false).await.unwrap();
    for _ in 0..3 {
        cluster.start(index);
        tokio::time::sleep(Duration::from_millis(30)).await;
        cluster.kill(index);
    }
    cluster.start(index);
    votes(&cluster, 0, node).await;
    for key in ["k0", "k199"] {
        assert!(get(&cluster.handle(index), key).await.is_some(), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_moves_to_another_address() {
    let mut cluster = TestCluster::started(3).await;
    let moves = (cluster.leader().await + 1) % 3;
    let asked = (moves + 1) % 3;
    let node = cluster.id(moves);
    cluster.kill(moves);
    let (_, urls) = cluster.describe_joiner(); // for its free port
    let context = MemberContext { peer_urls: urls.clone() }.to_bytes();
    cluster.handle(asked).reconfigure(&[Change::Describe { node, context }], TIMEOUT).await.unwrap();
    cluster.configs[moves].listen_peers = vec![urls[0].trim_start_matches("http://").to_owned()];
    cluster.start(moves);
    // Without it there is no quorum.
    cluster.kill((moves + 2) % 3);
    put_until_done(&cluster.handle(moves), "k", "v").await;
    let members = cluster.handle(asked).members();
    assert_eq!(members.iter().find(|member| member.id == node).unwrap().peer_urls, urls);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_was_not_added_or_lost_its_data_is_told_so() {
    let mut cluster = TestCluster::started(1).await;
    let (stranger, _) = cluster.describe_joiner();
    let refused = Node::start(&cluster.configs[stranger]).unwrap_err();
    assert!(matches!(refused, StartError::Join(JoinError::NotAdded { .. })), "{refused}");

    let joined = cluster.join(0, true).await;
    cluster.kill(joined);
    fs::remove_dir_all(cluster.data_dir(joined)).unwrap();
    let refused = Node::start(&cluster.configs[joined]).unwrap_err();
    assert!(matches!(refused, StartError::Join(JoinError::StartedBefore { .. })), "{refused}");

    cluster.kill(0);
    let refused = Node::start(&cluster.configs[stranger]).unwrap_err();
    assert!(matches!(refused, StartError::Join(JoinError::NobodyAnswers { .. })), "{refused}");
}

/// What `member/identity` says, the log and the other members say as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_identity_is_named_and_can_be_moved_away() {
    let mut cluster = TestCluster::started(1).await;
    let joined = cluster.join(0, false).await;
    votes(&cluster, 0, cluster.id(joined)).await;
    for index in [joined, 0] {
        put_until_done(&cluster.handle(0), "k", "v").await;
        cluster.kill(index);
        let file = cluster.data_dir(index).join("member/identity");
        let mut bytes = fs::read(&file).unwrap();
        bytes[20] ^= 1;
        fs::write(&file, bytes).unwrap();
        let refused = Node::start(&cluster.configs[index]).unwrap_err();
        assert!(matches!(refused, StartError::Identity { .. }), "{refused}");
        fs::remove_file(&file).unwrap();
        cluster.start(index);
        assert_eq!(get(&cluster.handle(index), "k").await.as_deref(), Some("v"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stops_hands_over_first() {
    let cluster = TestCluster::started(3).await;
    let leader = cluster.leader().await;
    let epoch = cluster.handle(leader).epoch();
    cluster.handle(leader).hand_over(TIMEOUT).await;
    let next = cluster.leader().await;
    assert!(next != leader && cluster.handle(next).epoch() == epoch + 1, "one election, won at once");
    cluster.handle(leader).hand_over(TIMEOUT).await; // it leads no more: nothing to do
    assert_eq!(cluster.leader().await, next);
}

/// It may have voted for what it has forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_founder_that_lost_its_data_is_not_let_in_again() {
    let mut cluster = TestCluster::started(3).await;
    cluster.kill(2);
    fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    let refused = Node::start(&cluster.configs[2]).unwrap_err();
    assert!(matches!(refused, StartError::Join(JoinError::StartedBefore { .. })), "{refused}");
    put_ok(&cluster.handle(0), "k", "v").await;
}

/// Quorum loss: one of three is left, and a person decides that it goes on alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_survivor_goes_on_when_it_is_told_to_and_the_others_are_told_so() {
    let mut cluster = TestCluster::started(3).await;
    for index in 0..50 {
        put_ok(&cluster.handle(0), &format!("k{index}"), "v").await;
    }
    get(&cluster.handle(2), "k49").await;
    assert!(Patient::open(&cluster.data_dir(2)).is_err(), "it still runs");
    for index in 0..3 {
        cluster.kill(index);
    }
    let patient = Patient::open(&cluster.data_dir(2)).unwrap();
    let survey = patient.survey();
    assert_eq!((survey.members.len(), survey.damaged), (3, 0));
    assert!(survey.last >= survey.applied && survey.last.0 > 0, "{survey:?}");
    patient.go_on_alone().unwrap();

    cluster.start(2);
    put_until_done(&cluster.handle(2), "alone", "v").await;
    for index in 0..50 {
        assert!(get(&cluster.handle(2), &format!("k{index}")).await.is_some(), "k{index}");
    }
    assert_eq!(cluster.handle(2).members().len(), 1);
    // A majority of the old configuration comes back. It may elect a leader, until it hears of the survivor.
    for index in 0..2 {
        cluster.start(index);
    }
    for index in 0..2 {
        assert!(matches!(ended(cluster.nodes[index].as_ref().unwrap()).await, NodeError::Removed));
        cluster.kill(index);
    }
    let joined = cluster.join(2, false).await;
    votes(&cluster, 2, cluster.id(joined)).await;
    assert_eq!(get(&cluster.handle(joined), "alone").await.as_deref(), Some("v"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_hands_over_to_whom_it_is_told() {
    let cluster = TestCluster::started(3).await;
    let leader = cluster.leader().await;
    let to = (leader + 1) % 3;
    let target = Some(cluster.id(to));
    let refused = cluster.handle(to).transfer_leadership(target, TIMEOUT).await;
    assert_eq!(refused, Err(ErrandError::Refused(Refusal::NotLeader)));
    cluster.handle(leader).transfer_leadership(target, TIMEOUT).await.unwrap();
    assert_eq!(cluster.leader().await, to);
    put_ok(&cluster.handle(leader), "k", "v").await;
}

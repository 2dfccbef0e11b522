use super::world::World;
use consensus::Role;

#[test]
fn three_nodes_elect_a_leader_and_replicate() {
    let mut world = World::new(3);
    world.elect(1);
    assert_eq!(world.leader(), Some(1));
    world.propose(1, "a");
    world.deliver_all();
    for node in 1..=3 {
        assert_eq!(world.applied(node), ["a"], "node {node}");
    }
    world.assert_sound();
}

#[test]
fn one_node_leads_itself_and_commits_what_is_durable() {
    let mut world = World::new(1);
    world.time_out(1);
    assert_eq!(world.role(1), Role::Leader);
    world.machine(1).disk_is_fast = false;
    world.propose(1, "a");
    assert!(world.applied(1).is_empty(), "not durable yet");
    world.sync(1);
    assert_eq!(world.applied(1), ["a"]);
    world.assert_sound();
}

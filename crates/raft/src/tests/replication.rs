use super::world::World;
use consensus::Input;
use std::time::Duration;
use types::Rng;

/// Everything at once: loss, doubling, reordering, slow disks, crashes. Whatever happens, all agree, and
/// when it stops, they go on.
fn weather(seed: u64, nodes: u64) {
    let mut world = World::with(nodes, |config| {
        config.checkpoint_entries = 10;
        config.retained_entries = 3;
        config.cache_bytes_max = 300;
    });
    let mut rng = Rng::new(seed);
    for round in 0..600 {
        let node = rng.between(1, nodes);
        world.now = world.now + Duration::from_millis(rng.below(40));
        match rng.below(100) {
            0..60 => {
                if let Some(envelope) = world.pick_message(&mut rng) {
                    if rng.chance_ppm(100_000) {
                        world.bag.push_back(envelope.clone());
                    }
                    if !rng.chance_ppm(50_000) {
                        world.deliver(envelope);
                    }
                }
            }
            60..75 => {
                world.propose(node, &format!("{round}"));
            }
            75..80 => drop(world.read(node)),
            80..88 => world.sync(node),
            88..90 => {
                let fast = rng.chance_ppm(500_000);
                world.machine(node).disk_is_fast = fast;
            }
            90..92 => {
                if world.machine(node).is_up {
                    world.crash(node);
                } else {
                    world.restart(node);
                }
            }
            _ => world.step(node, Input::Timer),
        }
        assert_eq!(world.violation, None, "seed {seed} round {round}");
    }
    for node in 1..=nodes {
        world.machine(node).disk_is_fast = true;
        world.sync(node);
        if !world.machine(node).is_up {
            world.restart(node);
        }
    }
    world.run_for(Duration::from_secs(20));
    let leader = world.leader().unwrap_or_else(|| panic!("seed {seed}: no leader"));
    world.propose(leader, "end");
    world.run_for(Duration::from_secs(5));
    for node in 1..=nodes {
        assert_eq!(world.applied(node).last().map(String::as_str), Some("end"), "seed {seed} node {node}");
        assert_eq!(world.applied(node), world.applied(leader), "seed {seed} node {node}");
    }
    world.assert_sound();
}

#[test]
fn all_agree_in_any_weather() {
    for seed in 0..300 {
        weather(seed, 1 + seed % 5);
    }
}

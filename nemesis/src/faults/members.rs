//! Members come, go, are replaced and lead, while clients work and whatever else is wrong.
//!
//! Only one voter is missing at a time, and the change goes on until it is done, however long the cluster needs. A
//! removed member's disk is emptied, and what starts on it is another member, with an id of its own.

use super::{Act, Kind, Lane, Need, USUAL};
use crate::arena::{Arena, Change, Step};

pub(super) const KINDS: &[Kind] = &[
    kind("member-replace", "a running member is removed; later another comes in its place", replace),
    kind("member-replace-leader", "the same, after it was made the leader", replace_leader),
    kind(
        "member-replace-dead",
        "a member is killed, later removed, and another comes in its place",
        replace_dead,
    ),
    kind(
        "member-learner",
        "a member is removed and comes back as a learner, which later gets its vote",
        learn,
    ),
    Kind { nodes_min: 1, need: Need::Spare, ..kind("member-grow", "a member more, later removed", grow) },
    Kind {
        nodes_min: 2,
        changes_members: false,
        hold_ms: (0, 1_000),
        ..kind("move-leader", "the leader hands over", move_leader)
    },
];

const fn kind(name: &'static str, what: &'static str, inject: Act) -> Kind {
    Kind {
        name,
        what,
        lane: Lane::Members,
        hold_ms: (1_000, 6_000),
        nodes_min: 3,
        changes_members: true,
        inject,
        heal: release,
        ..USUAL
    }
}

fn replace(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    begin(arena, victims, &[Step::Remove, Step::End, Step::Hold], &JOIN)
}

fn replace_leader(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    begin(arena, victims, &[Step::Lead, Step::Remove, Step::End, Step::Hold], &JOIN)
}

fn replace_dead(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    begin(arena, victims, &[Step::Kill, Step::Hold, Step::Remove], &JOIN)
}

fn learn(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    let joins = [Step::Empty, Step::AddLearner, Step::Start, Step::Hold, Step::Promote, Step::Vote];
    begin(arena, victims, &[Step::Remove, Step::End], &joins)
}

fn grow(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    let spare = arena.spare()?;
    begin(arena, &[spare], &JOIN, &[Step::Hold, Step::Remove, Step::End])
}

fn move_leader(arena: &mut Arena, victims: &[usize], _: u64) -> anyhow::Result<()> {
    let next = (victims[0] + 1) % arena.founders;
    begin(arena, &[next], &[Step::Lead], &[])
}

/// How a new member comes to vote.
pub(super) const JOIN: [Step; 4] = [Step::Empty, Step::Add, Step::Start, Step::Vote];

fn begin(arena: &mut Arena, victims: &[usize], first: &[Step], then: &[Step]) -> anyhow::Result<()> {
    let steps: Vec<Step> = first.iter().chain(then).copied().collect();
    victims.iter().for_each(|&node| arena.begin(Change::new(node, &steps)));
    Ok(())
}

fn release(arena: &mut Arena, _: &[usize], _: u64) -> anyhow::Result<()> {
    (0..arena.nodes.len()).for_each(|node| arena.release(node));
    Ok(())
}

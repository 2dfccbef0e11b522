use super::*;

fn n(number: u64) -> NodeId {
    NodeId(number)
}

fn group(voters: &[u64]) -> Membership {
    Membership::of(voters.iter().map(|number| n(*number)))
}

fn ids(nodes: impl Iterator<Item = NodeId>) -> Vec<u64> {
    nodes.map(|node| node.0).collect()
}

fn is_quorum(membership: &Membership, nodes: &[u64]) -> bool {
    membership.is_quorum(|node| nodes.contains(&node.0))
}

fn promoted(membership: &Membership, node: u64) -> Membership {
    let added = membership.changed(&[Change::AddVoter { node: n(node), context: Bytes::new() }]);
    added.and_then(|added| added.changed(&[Change::Promote { node: n(node) }])).expect("a change")
}

/// openraft #1802: a majority is counted over all voters, in whatever order they answered.
#[test]
fn a_majority_has_the_middle_value_whatever_the_order() {
    let values = [3, 9, 1, 7, 5];
    let membership = group(&[1, 2, 3, 4, 5]);
    for shift in 0..5 {
        let value = |node: NodeId| values[((node.0 - 1 + shift) % 5) as usize];
        assert_eq!(membership.quorum_value(value), Some(5), "shifted by {shift}");
    }
    assert_eq!(group(&[1, 2]).quorum_value(|node| node.0), Some(1), "two voters need each other");
    assert_eq!(group(&[1, 2, 3, 4]).quorum_value(|node| node.0), Some(2), "half is not a majority");
    assert_eq!(Membership::default().quorum_value(|node| node.0), None, "nobody can decide nothing");
    assert!(!is_quorum(&Membership::default(), &[1]));
}

#[test]
fn a_change_of_voters_is_joint_and_needs_both_majorities() {
    let joint = group(&[1, 2, 3]).changed(&[Change::Remove { node: n(3) }]).expect("a change");
    assert!(joint.is_joint() && joint.votes(n(3)));
    assert!(is_quorum(&joint, &[1, 2]));
    assert!(!is_quorum(&joint, &[1, 3]), "a majority of the old one alone");
    let joint = promoted(&group(&[1, 2, 3]), 4);
    assert!(is_quorum(&joint, &[1, 2, 3]) && is_quorum(&joint, &[1, 2, 4]));
    assert!(!is_quorum(&joint, &[1, 2]), "no majority of the new one");
    assert!(!is_quorum(&joint, &[1, 4]), "a majority of neither");
    assert!(!is_quorum(&promoted(&group(&[1]), 2), &[2]), "a majority of neither");
}

#[test]
fn learners_do_not_count_and_come_and_go_in_one_step() {
    let add = Change::AddLearner { node: n(4), context: Bytes::from_static(b"four") };
    let with = group(&[1, 2, 3]).changed(&[add]).expect("a change");
    assert!(!with.is_joint() && !with.votes(n(4)));
    assert_eq!((ids(with.voters()), ids(with.learners())), (vec![1, 2, 3], vec![4]));
    assert!(!is_quorum(&with, &[1, 4]));
    let without = with.changed(&[Change::Remove { node: n(4) }]).expect("a change");
    assert_eq!(without, group(&[1, 2, 3]));
}

#[test]
fn whoever_leaves_votes_until_the_configuration_has_settled() {
    let joint = group(&[1, 2]).changed(&[Change::Remove { node: n(1) }]).expect("a change");
    assert_eq!(joint.standing(n(1)), Some(Standing::Leaving));
    assert!(joint.votes(n(1)) && !is_quorum(&joint, &[2]));
    let settled = joint.settled();
    assert_eq!((ids(settled.voters()), settled.standing(n(1)), settled.is_joint()), (vec![2], None, false));
    assert!(is_quorum(&settled, &[2]));
}

#[test]
fn several_changes_are_one_step() {
    let group = group(&[1, 2, 3]).changed(&[
        Change::AddLearner { node: n(4), context: Bytes::new() },
        Change::Promote { node: n(4) },
        Change::Remove { node: n(1) },
    ]);
    let group = group.expect("a replacement");
    assert_eq!((ids(group.voters()), group.outgoing.len()), (vec![2, 3, 4], 3));
}

#[test]
fn senseless_changes_are_refused_and_change_nothing() {
    use ChangeRefusal::*;
    let three = group(&[1, 2, 3]);
    let refused = |group: &Membership, change: Change| group.changed(&[change]).expect_err("a refusal");
    let add = Change::AddVoter { node: n(2), context: Bytes::new() };
    assert_eq!(refused(&three, add), Exists(n(2)));
    assert_eq!(refused(&three, Change::Remove { node: n(9) }), Unknown(n(9)));
    assert_eq!(refused(&three, Change::Promote { node: n(1) }), NotLearner(n(1)));
    assert_eq!(refused(&group(&[1]), Change::Remove { node: n(1) }), LastVoter);
    let joint = three.changed(&[Change::Remove { node: n(3) }]).expect("a change");
    assert_eq!(refused(&joint, Change::Remove { node: n(2) }), Pending);
}

#[test]
fn a_description_changes_nothing_else() {
    let named = Change::Describe { node: n(2), context: Bytes::from_static(b"two") };
    let group = group(&[1, 2, 3]).changed(&[named]).expect("a change");
    assert!(!group.is_joint());
    assert_eq!(group.members[&n(2)].context, Bytes::from_static(b"two"));
}

#[test]
fn members_that_are_doubled_or_out_of_order_are_refused() {
    let bytes = |ids: &[u64]| {
        let mut out = Vec::new();
        (ids.len() as u32).encode(&mut out);
        for id in ids {
            n(*id).encode(&mut out);
            Member::new(Standing::Voter, Bytes::new()).encode(&mut out);
        }
        Vec::<NodeId>::new().encode(&mut out);
        Bytes::from(out)
    };
    assert_eq!(Membership::from_bytes(bytes(&[1, 2])), Ok(group(&[1, 2])));
    for ids in [&[2, 1][..], &[1, 1]] {
        let refused = Err(types::WireError::Range { what: "order of members" });
        assert_eq!(Membership::from_bytes(bytes(ids)), refused, "{ids:?}");
    }
}

#[test]
fn every_configuration_and_change_survives_the_wire() {
    let mut joint = promoted(&group(&[1, 2, 3]), 4);
    joint.members.get_mut(&n(2)).expect("a member").incarnation = 77;
    assert_eq!(Membership::from_bytes(joint.to_bytes()), Ok(joint));
    let context = Bytes::from_static(b"x");
    let changes = [
        Change::AddLearner { node: n(1), context: context.clone() },
        Change::AddVoter { node: n(2), context: context.clone() },
        Change::Promote { node: n(3) },
        Change::Remove { node: n(4) },
        Change::Describe { node: n(5), context },
    ];
    for change in changes {
        assert_eq!(Change::from_bytes(change.to_bytes()), Ok(change));
    }
    use ChangeRefusal::*;
    for refusal in
        [Pending, Exists(n(1)), Unknown(n(2)), NotLearner(n(3)), NotCaughtUp(n(4)), LastVoter, Unhealthy]
    {
        assert_eq!(ChangeRefusal::from_bytes(refusal.to_bytes()), Ok(refusal));
    }
}

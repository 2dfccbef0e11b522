//! Between which nodes a network fault stands.

use std::collections::BTreeSet;

use types::NodeId;

use super::Target;

/// A set of directed links, in words that a person can edit.
///
/// | text | links that it names |
/// |---|---|
/// | `all` | every link |
/// | `n1,n2\|n3` | those whose ends share no group: a partition |
/// | `n1,n2\|n2,n3` | the same with `n2` as a bridge: not transitive |
/// | `n1,n2\|n2,n3\|n3,n4` | a chain |
/// | `n1,n2>n3` | from the left to the right only |
/// | `leader`, `leader>`, `>leader` | around one node: both ways, what it says, what it hears |
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Every link.
    All,
    /// Links whose two ends share no group. A node in no group is alone.
    Groups(Vec<BTreeSet<NodeId>>),
    /// Links from one set to another.
    OneWay {
        /// Who speaks.
        from: BTreeSet<NodeId>,
        /// Who is spoken to.
        to: BTreeSet<NodeId>,
    },
    /// Links of one node.
    Around {
        /// The node.
        who: Target,
        /// Those that carry what it says.
        says: bool,
        /// Those that carry what it hears.
        hears: bool,
    },
}

impl Shape {
    /// Returns the links as (from, to) pairs; `resolve` says which nodes a target means now.
    pub(crate) fn links(
        &self,
        nodes: &[NodeId],
        resolve: impl Fn(Target) -> Vec<NodeId>,
    ) -> BTreeSet<(NodeId, NodeId)> {
        let around = match self {
            Shape::Around { who, .. } => resolve(*who),
            _ => Vec::new(),
        };
        let names = |from: NodeId, to: NodeId| match self {
            Shape::All => true,
            Shape::Groups(groups) => !groups.iter().any(|group| group.contains(&from) && group.contains(&to)),
            Shape::OneWay { from: speakers, to: hearers } => {
                speakers.contains(&from) && hearers.contains(&to)
            }
            Shape::Around { says, hears, .. } => {
                (*says && around.contains(&from)) || (*hears && around.contains(&to))
            }
        };
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| from != to && names(*from, *to)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(shape: &str) -> Vec<String> {
        let nodes: Vec<NodeId> = (1..=4).map(NodeId).collect();
        let shape: Shape = shape.parse().unwrap();
        let links = shape.links(&nodes, |_| vec![NodeId(2)]);
        links.iter().map(|(from, to)| format!("{from}{to}")).collect()
    }

    #[test]
    fn every_partition_is_a_set_of_directed_links() {
        assert_eq!(links("n1,n2,n3|n4"), ["14", "24", "34", "41", "42", "43"]);
        assert_eq!(links("n1,n2|n2,n3,n4"), ["13", "14", "31", "41"], "n2 is a bridge");
        assert_eq!(links("n1,n2|n2,n3|n3,n4"), ["13", "14", "24", "31", "41", "42"], "a chain");
        assert_eq!(links("n1>n3,n4"), ["13", "14"]);
        assert_eq!(links("leader>"), ["21", "23", "24"]);
        assert_eq!(links(">leader"), ["12", "32", "42"]);
        assert_eq!(links("leader"), ["12", "21", "23", "24", "32", "42"]);
        assert_eq!(links("all").len(), 12);
    }
}

//! States and steps of the world, in numbers.

use std::hash::Hash;

use types::Fingerprinter;

/// One thing that can happen. Nodes are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Step {
    /// A message arrives; with `again` a copy of it stays under way.
    Deliver { letter: u32, again: bool },
    /// A node's oldest write becomes durable.
    Durable { node: u8 },
    /// A node's deadline passes.
    Timer { node: u8 },
    /// Time passes at a node.
    Elapse { node: u8 },
    /// A client proposes at a node.
    Propose { node: u8 },
    /// A client asks a node for a read point.
    Read { node: u8 },
    /// A node dies with `kept` of its writes on the disk, and starts again.
    Crash { node: u8, kept: u8 },
}

/// How much of its bounds a state has used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Spent {
    pub(super) proposals: u8,
    pub(super) reads: u8,
    pub(super) timers: u8,
    pub(super) crashes: u8,
    pub(super) duplicates: u8,
}

/// A state of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) nodes: Vec<u32>,
    /// Messages under way, in order; one that was sent twice stands here twice.
    pub(super) net: Vec<u32>,
    pub(super) ghost: u32,
    pub(super) spent: Spent,
}

impl Spent {
    pub(super) fn spend(&mut self, step: Step) {
        match step {
            Step::Deliver { again: true, .. } => self.duplicates += 1,
            Step::Timer { .. } | Step::Elapse { .. } => self.timers += 1,
            Step::Propose { .. } => self.proposals += 1,
            Step::Read { .. } => self.reads += 1,
            Step::Crash { .. } => self.crashes += 1,
            Step::Deliver { again: false, .. } | Step::Durable { .. } => {}
        }
    }

    fn pack(self) -> [u32; 2] {
        let Spent { proposals, reads, timers, crashes, duplicates } = self;
        [u32::from_le_bytes([proposals, reads, timers, crashes]), duplicates.into()]
    }

    fn unpack(words: [u32; 2]) -> Spent {
        let [proposals, reads, timers, crashes] = words[0].to_le_bytes();
        Spent { proposals, reads, timers, crashes, duplicates: words[1].to_le_bytes()[0] }
    }
}

impl State {
    /// Writes the state as numbers: as many nodes as the world has, the rest is the network.
    pub(super) fn write(&self, words: &mut Vec<u32>) {
        words.extend(self.spent.pack());
        words.push(self.ghost);
        words.extend_from_slice(&self.nodes);
        words.extend_from_slice(&self.net);
    }

    /// Reads what [`State::write`] wrote of a world of so many nodes.
    pub(super) fn read(&mut self, words: &[u32], nodes: usize) {
        self.spent = Spent::unpack([words[0], words[1]]);
        self.ghost = words[2];
        self.nodes.clear();
        self.nodes.extend_from_slice(&words[3..3 + nodes]);
        self.net.clear();
        self.net.extend_from_slice(&words[3 + nodes..]);
    }
}

/// The fingerprint of a state that was written as numbers.
pub(super) fn print_words(words: &[u32]) -> u128 {
    let mut into = Fingerprinter::default();
    words.hash(&mut into);
    into.finish128()
}

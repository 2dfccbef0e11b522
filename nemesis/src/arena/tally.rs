//! What became of damage to files.

use std::fmt;

use serde::Serialize;

/// What became of damage to files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Bits flipped, sectors swapped or overwritten, files cut.
    pub harms: u64,
    /// Nodes that were harmed.
    pub nodes: u64,
    /// Ends of processes over it, at once or when they were started again.
    pub ended: u64,
    /// Nodes that served again by themselves.
    pub mended: u64,
    /// Nodes that had to be replaced as members.
    pub replaced: u64,
    /// What they said before that.
    pub reports: Vec<String>,
}

impl Tally {
    /// Adds what came of other damage.
    pub fn add(&mut self, other: Tally) {
        self.harms += other.harms;
        self.nodes += other.nodes;
        self.ended += other.ended;
        self.mended += other.mended;
        self.replaced += other.replaced;
        self.reports.extend(other.reports);
    }
}

/// `damage to files: 99 harms on 7 occasions …`
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally { harms, nodes, ended, mended, replaced, reports } = self;
        write!(
            f,
            "damage to files: {harms} harms on {nodes} occasions; the process ended by itself {ended} times, \
             served again {mended} times, had to be replaced {replaced} times"
        )?;
        reports.iter().try_for_each(|report| write!(f, "\n  {report}"))
    }
}

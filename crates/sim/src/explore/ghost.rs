//! What a world has promised so far: the part of its history that later states are judged by.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

use consensus::Token;
use types::{Epoch, Fingerprinter, NodeId, Slot};

use super::local::Seen;
use crate::oracle::Broken;

/// What every state is judged by, as [`Broken::check`] names it.
pub const PROMISES: [&str; 7] = [
    "one leader per epoch",
    "leader completeness",
    "agreement per slot",
    "durable while committed",
    "apply after durable",
    "reads see what was committed",
    "invariant of the core",
];

/// The promises of a world, as [`Broken`] names them when they do not hold.
#[derive(Clone, Debug, Default, Hash)]
pub(super) struct Ghost {
    leaders: BTreeMap<Epoch, NodeId>,
    /// From slot 1 on.
    committed: Vec<Committed>,
    /// Reads that are not answered, and what they must at least see.
    floors: BTreeMap<u64, Slot>,
}

#[derive(Clone, Debug, Hash)]
struct Committed {
    entry: u128,
    record: u128,
    /// The epoch of the node that reported it first.
    epoch: Epoch,
}

impl Ghost {
    pub(super) fn fingerprint(&self) -> u128 {
        let mut into = Fingerprinter::default();
        self.hash(&mut into);
        into.write_u8(0);
        into.finish128()
    }

    /// The same promises, made by nodes of other names.
    pub(super) fn renamed(&self, name: impl Fn(NodeId) -> NodeId) -> Ghost {
        let leaders = self.leaders.iter().map(|(epoch, node)| (*epoch, name(*node))).collect();
        Ghost { leaders, ..self.clone() }
    }

    fn last(&self) -> Slot {
        Slot(self.committed.len() as u64)
    }

    /// Whether it is known that `node` leads in `epoch`.
    pub(super) fn is_led(&self, epoch: Epoch, node: NodeId) -> bool {
        self.leaders.get(&epoch) == Some(&node)
    }

    /// A client asked for a read point: everything reported until now must be below it.
    pub(super) fn asked(&mut self, token: Token) {
        let floor = self.last();
        self.floors.insert(token.0, floor);
    }

    /// A node leads with this log.
    pub(super) fn leads(
        &mut self,
        node: NodeId,
        epoch: Epoch,
        log: impl FnOnce() -> BTreeMap<Slot, u128>,
    ) -> Result<(), Broken> {
        match self.leaders.insert(epoch, node) {
            Some(other) if other == node => Ok(()),
            Some(other) => Err(Broken {
                check: "one leader per epoch",
                detail: format!("{other:?} and {node:?} both lead in {epoch:?}"),
            }),
            None => self.is_complete(node, epoch, &log()),
        }
    }

    fn is_complete(&self, node: NodeId, epoch: Epoch, log: &BTreeMap<Slot, u128>) -> Result<(), Broken> {
        let missing = (1..)
            .map(Slot)
            .zip(&self.committed)
            .find(|(slot, committed)| committed.epoch < epoch && log.get(slot) != Some(&committed.record));
        let Some((slot, committed)) = missing else { return Ok(()) };
        let before = committed.epoch;
        let detail = format!("{node:?} leads in {epoch:?} without slot {slot}, committed in {before:?}");
        Err(Broken { check: "leader completeness", detail })
    }

    /// A node reported something.
    pub(super) fn see(&mut self, node: NodeId, seen: &Seen) -> Result<(), Broken> {
        match *seen {
            Seen::Committed { slot, entry, record, epoch } => {
                self.commit(node, slot, Committed { entry, record, epoch })
            }
            Seen::ReadReady { token, at } => {
                let floor = self.floors.remove(&token.0).unwrap_or_default();
                if at >= floor {
                    return Ok(());
                }
                let detail =
                    format!("{node:?} lets a read see slot {at}, {floor} was committed when it was asked");
                Err(Broken { check: "reads see what was committed", detail })
            }
        }
    }

    fn commit(&mut self, node: NodeId, slot: Slot, committed: Committed) -> Result<(), Broken> {
        let next = self.last().next();
        if slot == next {
            self.committed.push(committed);
            return Ok(());
        }
        let known = usize::try_from(slot.prev().0).ok().and_then(|index| self.committed.get(index));
        match known {
            Some(known) if known.entry == committed.entry => Ok(()),
            Some(_) => Err(Broken {
                check: "agreement per slot",
                detail: format!("{node:?} reports another entry of slot {slot}"),
            }),
            None => Err(Broken {
                check: "no gaps",
                detail: format!("{node:?} reports slot {slot}, the next one to be reported is {next}"),
            }),
        }
    }

    /// Everything reported is durable on a majority, for ever: `durable` are the nodes' records.
    pub(super) fn is_durable<'a>(
        &self,
        durable: impl Iterator<Item = &'a BTreeMap<Slot, u128>> + Clone,
    ) -> Result<(), Broken> {
        for (slot, committed) in (1..).map(Slot).zip(&self.committed) {
            let nodes = durable.clone().count();
            let holders = durable.clone().filter(|held| held.get(&slot) == Some(&committed.record)).count();
            if holders <= nodes / 2 {
                let detail = format!("slot {slot} is committed, and durable on {holders} of {nodes}");
                return Err(Broken { check: "durable while committed", detail });
            }
        }
        Ok(())
    }
}

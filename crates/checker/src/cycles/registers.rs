//! Registers: a read tells whose write it saw, and the order of versions is pieced together.

use std::collections::BTreeMap;
use std::ops::Range;

use super::fan::Fan;
use super::graph::{Edges, Kind, Node};
use super::versions::{self, INITIAL, Step, Version};
use super::writers::Writers;
use super::{Action, Ended, Key, Transactions, Value, violation};
use crate::{Revision, Verdict, Violation};

/// All that is known about all registers.
pub(super) struct Registers<'t> {
    txns: &'t Transactions,
    pub writers: Writers,
    /// By write: where the writes to its key begin.
    starts: Vec<usize>,
    /// By write: its revision, if somebody was told.
    revisions: Vec<Option<Revision>>,
    /// By key and transaction.
    touches: Vec<Touch>,
}

/// What one transaction had to do with one register.
#[derive(Clone, Copy, Debug)]
pub(super) struct Touch {
    pub key: Key,
    pub txn: Node,
    /// The version that it found, if it read before it wrote.
    pub found: Option<Version>,
    /// The version that it left, if it wrote.
    pub left: Option<Version>,
}

impl Touch {
    fn new(key: Key, txn: Node) -> Touch {
        Touch { key, txn, found: None, left: None }
    }
}

impl<'t> Registers<'t> {
    /// Gathers what `txns` say about registers.
    ///
    /// # Errors
    /// E1 or E3 is broken, or a value is written twice.
    pub fn new(txns: &'t Transactions) -> Result<Registers<'t>, Verdict> {
        let writers = Writers::new(txns, |action| match action {
            Action::Write { key, value, .. } => Some((*key, *value)),
            _ => None,
        })?;
        let mut starts = Vec::with_capacity(writers.list.len());
        for group in writers.list.chunk_by(|a, b| a.key == b.key) {
            starts.resize(starts.len() + group.len(), starts.len());
        }
        let revisions = vec![None; writers.list.len()];
        let mut registers = Registers { txns, writers, starts, revisions, touches: Vec::new() };
        registers.gather().map_err(Verdict::Violated)?;
        registers.check_lost_updates().map_err(Verdict::Violated)?;
        Ok(registers)
    }

    fn gather(&mut self) -> Result<(), Violation> {
        let mut own = BTreeMap::new();
        for (index, txn) in self.txns.list.iter().enumerate() {
            for action in &txn.actions {
                match action {
                    Action::Write { key, value, revision } if txn.ended != Ended::Aborted => {
                        self.gather_write(index as Node, (*key, *value), *revision, &mut own)?;
                    }
                    Action::Read { key, value, revision } if txn.ended == Ended::Committed => {
                        self.gather_read(index as Node, (*key, *value), *revision, &mut own)?;
                    }
                    _ => {}
                }
            }
            self.touches.extend(std::mem::take(&mut own).into_values());
        }
        self.touches.sort_by_key(|touch| touch.key);
        Ok(())
    }

    fn gather_write(
        &mut self,
        txn: Node,
        (key, value): (Key, Value),
        revision: Option<Revision>,
        own: &mut BTreeMap<Key, Touch>,
    ) -> Result<(), Violation> {
        let Some(write) = self.writers.find(key, value) else { return Ok(()) };
        self.note_revision(write, revision, txn)?;
        own.entry(key).or_insert(Touch::new(key, txn)).left = Some(self.version(write));
        Ok(())
    }

    fn gather_read(
        &mut self,
        txn: Node,
        (key, value): (Key, Option<Value>),
        revision: Option<Revision>,
        own: &mut BTreeMap<Key, Touch>,
    ) -> Result<(), Violation> {
        let mut found = INITIAL;
        if let Some(value) = value {
            let write = self.writers.seen(self.txns, txn, (key, value), || self.updater(txn, key))?;
            self.note_revision(write, revision, txn)?;
            self.writers.check_final(self.txns, txn, write)?;
            found = self.version(write);
        }
        let touch = own.entry(key).or_insert(Touch::new(key, txn));
        if touch.left.is_none() {
            touch.found = Some(found);
        }
        Ok(())
    }

    /// `txn`, if it writes to `key`.
    fn updater(&self, txn: Node, key: Key) -> Option<Node> {
        let writes = |action: &Action| matches!(action, Action::Write { key: own, .. } if *own == key);
        self.txns.list[txn as usize].actions.iter().any(writes).then_some(txn)
    }

    fn version(&self, write: usize) -> Version {
        (write - self.starts[write]) as Version + 1
    }

    fn note_revision(&mut self, write: usize, told: Option<Revision>, by: Node) -> Result<(), Violation> {
        let known = &mut self.revisions[write];
        match (*known, told) {
            (Some(known), Some(told)) if known != told => {
                let write = self.writers.list[write];
                let (key, value) = (self.txns.key(write.key), self.txns.value(write.value));
                let ops = [by, write.txn].map(|txn| self.txns.list[txn as usize].id);
                let expected = format!("{key} = {value} written at revision {known}, as others were told");
                let found = format!("revision {told} in operation {}", ops[0].0);
                Err(violation("one write at two revisions", &expected, found, ops.to_vec()))
            }
            (known_before, told) => {
                *known = known_before.or(told);
                Ok(())
            }
        }
    }

    /// E3.
    fn check_lost_updates(&self) -> Result<(), Violation> {
        let committed = |touch: &&Touch| self.txns.list[touch.txn as usize].ended == Ended::Committed;
        let updates = self.touches.iter().filter(committed).filter(|touch| touch.left.is_some());
        let mut updates: Vec<(Key, Version, Node)> =
            updates.filter_map(|touch| Some((touch.key, touch.found?, touch.txn))).collect();
        updates.sort_unstable();
        match updates.windows(2).find(|pair| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1)) {
            None => Ok(()),
            Some(pair) => {
                let (key, version) = (pair[0].0, self.version_text(pair[0].0, pair[0].1));
                let ops = [pair[0].2, pair[1].2].map(|txn| self.txns.list[txn as usize].id);
                let found = format!("operations {} and {} each replaced it", ops[0].0, ops[1].0);
                let expected = format!("{} = {version} replaced once", self.txns.key(key));
                Err(violation("lost update", &expected, found, ops.to_vec()))
            }
        }
    }

    fn version_text(&self, key: Key, version: Version) -> String {
        match (version as usize).checked_sub(1) {
            Some(index) => self.txns.value(self.writers.list[self.writers.of_key(key).start + index].value),
            None => "nothing".to_owned(),
        }
    }

    /// Marks the transactions without an answer of which a value was seen.
    pub fn mark_seen(&self, happened: &mut [bool]) {
        for touches in self.touches.chunk_by(|a, b| a.key == b.key) {
            let first = self.writers.of_key(touches[0].key).start;
            let found = touches.iter().filter_map(|touch| (touch.found? as usize).checked_sub(1));
            found.for_each(|index| happened[self.writers.list[first + index].txn as usize] = true);
        }
    }

    /// Adds what registers say about the order of the transactions that `happened`. Returns E6, if it is broken.
    pub fn add_edges(&self, happened: &[bool], edges: &mut Edges) -> Option<Violation> {
        let mut circle = None;
        for touches in self.touches.chunk_by(|a, b| a.key == b.key) {
            let key = touches[0].key;
            let touches: Vec<Touch> =
                touches.iter().copied().filter(|touch| happened[touch.txn as usize]).collect();
            let writes = self.writers.of_key(key);
            let revisions = &self.revisions[writes.clone()];
            let (steps, cycle) = versions::order(&self.txns.list, &touches, revisions);
            let text = |version: Version| self.version_text(key, version);
            circle = circle.or(cycle.map(|cycle| versions::circle(self.txns, key, &cycle, text)));
            self.add_edges_of(key, writes, &touches, &steps, edges);
        }
        circle
    }

    fn add_edges_of(
        &self,
        key: Key,
        writes: Range<usize>,
        touches: &[Touch],
        steps: &[Step],
        edges: &mut Edges,
    ) {
        let writer = |version: Version| {
            (version as usize).checked_sub(1).map(|index| self.writers.list[writes.start + index].txn)
        };
        let mut readers: Vec<(Version, Node)> =
            touches.iter().filter_map(|touch| Some((touch.found?, touch.txn))).collect();
        readers.sort_unstable();
        for (version, reader) in &readers {
            if let Some(writer) = writer(*version) {
                edges.add(writer, *reader, Kind::Wr, key);
            }
        }
        let mut preceded = vec![false; writes.len() + 1];
        for step in steps {
            preceded[step.to as usize] = true;
            let Some(next) = writer(step.to) else { continue };
            if let Some(before) = writer(step.from) {
                edges.add(before, next, Kind::Ww, key);
            }
            let first = readers.partition_point(|(version, _)| *version < step.from);
            let readers = readers[first..].iter().take_while(|(version, _)| *version == step.from);
            readers.for_each(|(_, reader)| edges.add(*reader, next, Kind::Rw, key));
        }
        // Whoever found nothing came before every write.
        let unread = readers.iter().take_while(|(version, _)| *version == INITIAL);
        let sources =
            touches.iter().filter(|touch| touch.left.is_some_and(|version| !preceded[version as usize]));
        let fan = Fan::new(edges, sources.map(|touch| touch.txn).collect());
        unread.for_each(|(_, reader)| fan.reach(edges, *reader, Kind::Rw, key));
    }
}

//! Which operation stands at which revision, as far as answers and watchers tell (S1).

use trace::OpId;

use crate::lower::{Key, LowChange, LowOp, Lowered};
use crate::{Revision, Verdict, Violation};

/// Every op at its revision, and those that have none.
pub(super) struct Plan<'a> {
    pub lowered: &'a Lowered<'a>,
    /// The revision before the first write.
    pub start: Revision,
    /// The highest revision that anybody saw.
    pub last: Revision,
    /// By revision above `start`: who wrote it, if known.
    writes: Vec<Option<usize>>,
    /// Answered ops that changed nothing, with the revision they name, ascending.
    reads: Vec<(Revision, usize)>,
    /// Unanswered writes that nobody saw at any revision, by invocation.
    pub spare: Vec<usize>,
    /// By op: an unanswered op that must take effect before it.
    pub twins: Vec<Option<usize>>,
}

impl<'a> Plan<'a> {
    /// Puts every op in its place.
    ///
    /// # Errors
    /// A broken S1, or what is missing to decide.
    pub fn new(lowered: &'a Lowered<'a>, start: Revision) -> Result<Plan<'a>, Verdict> {
        if let Some(value) = lowered.repeated {
            let value = lowered.value(value);
            return Err(Verdict::Undecided {
                reason: format!("{value} is written twice; values must be unique"),
            });
        }
        check_changes(lowered, start)?;
        let last = last_revision(lowered, start)?;
        let revisions = usize::try_from(last - start).expect("checked to be at most the number of writes");
        let mut plan = Plan {
            lowered,
            start,
            last,
            writes: vec![None; revisions],
            reads: Vec::new(),
            spare: Vec::new(),
            twins: lowered.twins(&lowered.mentioned()),
        };
        plan.place_answered()?;
        plan.place_seen()?;
        Ok(plan)
    }

    fn place_answered(&mut self) -> Result<(), Verdict> {
        for (index, op) in self.lowered.ops.iter().enumerate().filter(|(_, op)| op.answer.is_some()) {
            let Some(revision) = op.revision else {
                let reason = format!("the answer to operation {} names no revision", op.id.0);
                return Err(Verdict::Undecided { reason });
            };
            if op.is_effective() {
                self.place_write(index, revision, None)?;
            } else if revision < self.start {
                return Err(violation(
                    "revision too low",
                    format!("at least {}", self.start),
                    revision,
                    [op.id],
                ));
            } else {
                self.reads.push((revision, index));
            }
        }
        self.reads.sort_unstable();
        Ok(())
    }

    /// Places the unanswered writes whose values were seen with a revision; the others are spare.
    fn place_seen(&mut self) -> Result<(), Verdict> {
        let lowered = self.lowered;
        let mut seen_at: Vec<Option<(Revision, Option<OpId>)>> = vec![None; lowered.ops.len()];
        for (revision, value, reader) in sightings(lowered) {
            let Some((writer, _)) = lowered.writers[value as usize] else { continue };
            if lowered.ops[writer].answer.is_some() {
                continue;
            }
            match seen_at[writer] {
                None => seen_at[writer] = Some((revision, reader)),
                Some((first, _)) if first == revision => {}
                Some((first, other)) => {
                    let ops = reader.into_iter().chain(other).chain([lowered.ops[writer].id]);
                    let expected = format!("{} at revision {first}, as seen before", lowered.value(value));
                    return Err(violation("one write at two revisions", expected, revision, ops));
                }
            }
        }
        for (index, op) in lowered.ops.iter().enumerate().filter(|(_, op)| op.answer.is_none()) {
            match seen_at[index] {
                Some((revision, reader)) => self.place_write(index, revision, reader)?,
                None if op.written_keys().next().is_some() => self.spare.push(index),
                None => {}
            }
        }
        self.spare.sort_by_key(|index| lowered.ops[*index].invoked);
        Ok(())
    }

    fn place_write(&mut self, op: usize, revision: Revision, reader: Option<OpId>) -> Result<(), Verdict> {
        let ops = &self.lowered.ops;
        let ids = std::iter::once(ops[op].id).chain(reader);
        let above = revision.checked_sub(self.start).and_then(|above| usize::try_from(above - 1).ok());
        let Some(place) = above.and_then(|above| self.writes.get_mut(above)) else {
            let expected = format!("a write above {}", self.start);
            return Err(violation("revision too low", expected, revision, ids));
        };
        match place {
            Some(other) => {
                let expected = format!("only operation {} to write revision {revision}", ops[*other].id.0);
                let found = format!("operation {} too", ops[op].id.0);
                let ops = ids.chain([ops[*other].id]).collect();
                Err(Verdict::Violated(Violation { rule: "two writes at one revision", expected, found, ops }))
            }
            None => {
                *place = Some(op);
                Ok(())
            }
        }
    }

    /// Who wrote `revision`, if that is known.
    pub fn write(&self, revision: Revision) -> Option<usize> {
        self.writes[self.index(revision)? - 1]
    }

    /// How far `revision` is above `start`; `None` if it is not above.
    fn index(&self, revision: Revision) -> Option<usize> {
        usize::try_from(revision - self.start).ok().filter(|index| *index > 0)
    }

    /// Known writes with their revisions, ascending.
    pub fn writes(&self) -> impl DoubleEndedIterator<Item = (Revision, usize)> + '_ {
        let above = self.writes.iter().enumerate();
        above.filter_map(|(index, op)| Some((self.start + 1 + index as Revision, (*op)?)))
    }

    /// Reads with their revisions, ascending.
    pub fn reads(&self) -> &[(Revision, usize)] {
        &self.reads
    }

    /// The reads at one revision.
    pub fn reads_at(&self, revision: Revision) -> &'_ [(Revision, usize)] {
        let from = self.reads.partition_point(|(at, _)| *at < revision);
        let to = self.reads.partition_point(|(at, _)| *at <= revision);
        &self.reads[from..to]
    }

    /// What a watcher saw at one revision; `None` if nobody watched that far.
    pub fn changes_at(&self, revision: Revision) -> Option<&'_ [LowChange]> {
        let changes = &self.lowered.changes;
        changes.last().filter(|last| revision <= last.revision)?;
        let from = changes.partition_point(|change| change.revision < revision);
        let to = changes.partition_point(|change| change.revision <= revision);
        Some(&changes[from..to])
    }

    /// Every key that `op` may look at or change.
    pub fn keys(&self, op: usize) -> impl Iterator<Item = Key> + '_ {
        self.lowered.ops[op].keys()
    }
}

/// Values that were seen with the revision of their write, and by whom; a watcher is nobody.
fn sightings<'a>(lowered: &'a Lowered<'a>) -> impl Iterator<Item = (Revision, u32, Option<OpId>)> + 'a {
    let read = lowered.ops.iter().flat_map(|op| {
        op.items().filter_map(|(_, item)| Some((item.mod_revision?, item.value, Some(op.id))))
    });
    let watched = lowered.changes.iter().filter(|change| change.value != 0);
    read.chain(watched.map(|change| (change.revision, change.value, None)))
}

fn check_changes(lowered: &Lowered<'_>, start: Revision) -> Result<(), Verdict> {
    let mut last = start.saturating_add(1);
    for change in &lowered.changes {
        if change.revision < last {
            let expected = format!("a watcher's next change at {last} or above");
            return Err(violation("changes out of order", expected, change.revision, []));
        }
        last = change.revision;
    }
    Ok(())
}

/// The highest revision that anybody saw.
///
/// # Errors
/// If that is more than all writes together can have made.
fn last_revision(lowered: &Lowered<'_>, start: Revision) -> Result<Revision, Verdict> {
    let named = lowered.ops.iter().filter_map(|op| Some((op.revision?, Some(op.id))));
    let seen = sightings(lowered).map(|(revision, _, reader)| (revision, reader));
    let watched = lowered.changes.last().map(|change| (change.revision, None));
    let Some((last, op)) = named.chain(seen).chain(watched).max() else { return Ok(start) };
    let may_write = |op: &&LowOp| op.is_effective() || op.answer.is_none();
    let writes = lowered.ops.iter().filter(may_write).count() as Revision;
    if last > start.saturating_add(writes) {
        let expected =
            format!("at most revision {}, as {writes} operations may have written", start + writes);
        return Err(violation("revision gap", expected, last, op));
    }
    Ok(last.max(start))
}

fn violation(
    rule: &'static str,
    expected: String,
    found: Revision,
    ops: impl IntoIterator<Item = OpId>,
) -> Verdict {
    let ops = ops.into_iter().collect();
    Verdict::Violated(Violation { rule, expected, found: format!("revision {found}"), ops })
}

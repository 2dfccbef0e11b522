//! Removing what compaction made unreadable, a little with every entry.
//!
//! Compaction takes effect at once: reads below the compacted revision are refused from then on. Old rows
//! are removed afterwards, in an amount that depends on each entry alone, so that replicas stay
//! byte-identical whatever groups they apply entries in, and no entry pays for a long pause.

use std::ops::Bound;
use storage::{EngineError, View};

use crate::layout::{REVISIONS, VERSIONS, parse_revision_key, revision_key, version_key};
use crate::meta::Meta;
use crate::record::Change;
use crate::store::Store;

/// Rows of `REVISIONS` looked at with an entry, and for each command in it. The second must be well above the
/// changes of a usual command (one), so that removal overtakes writing.
const ROWS_PER_ENTRY: usize = 32;
const ROWS_PER_COMMAND: usize = 4;

/// Removes some of what is below the compacted revision, if anything is left.
///
/// A row of `REVISIONS` leads to the pair that its change replaced, which nobody can read any more once that
/// change is at or below the compacted revision. The rows of the compacted revision itself stay, because a
/// watch may start there, until the next compaction.
pub(crate) fn sweep<V: View>(
    store: &mut Store<V>,
    meta: &mut Meta,
    commands: usize,
) -> Result<(), EngineError> {
    if meta.swept >= meta.compacted {
        return Ok(());
    }
    let rows_max = ROWS_PER_ENTRY + commands.saturating_mul(ROWS_PER_COMMAND);
    let low = Bound::Included(revision_key(meta.sweep_at.0, meta.sweep_at.1));
    let high = Bound::Excluded(revision_key(meta.compacted.saturating_add(1), 0));
    let rows: Vec<_> = store.scan(REVISIONS, (low, high)).take(rows_max).collect::<Result<_, _>>()?;
    let finished = rows.len() < rows_max;
    for (row, change) in rows {
        let (revision, sub) = parse_revision_key(&row)?;
        let change = Change::decode(change)?;
        if change.previous > 0 {
            store.remove(VERSIONS, version_key(&change.key, change.previous));
        }
        if revision < meta.compacted || planted!(store.bugs, SweepsFloor) {
            store.remove(REVISIONS, row);
        }
        meta.sweep_at = (revision, sub.saturating_add(1));
    }
    if finished {
        meta.swept = meta.compacted;
        meta.sweep_at = (meta.compacted, 0);
    }
    Ok(())
}

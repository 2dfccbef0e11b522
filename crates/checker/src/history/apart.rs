//! Taking out what others did to the store, so that what is left is a history as checkers assume it.
//!
//! ```text
//!   revision    2    3    4    5    6          others made 3 and 5
//!   becomes     2    2    3    3    4          a state after others' change is the one before it, to us
//! ```

use super::{Answer, Compare, Found, History, Item, Outcome, Revision};

impl History {
    /// Numbers the store's revisions as if those of `others` had never been. `others` must be all revisions, after
    /// the first of this history, that were made without touching any of its keys.
    pub fn without_revisions(mut self, mut others: Vec<Revision>) -> History {
        others.sort_unstable();
        others.dedup();
        let renumber = |revision: &mut Revision| {
            let before = others.partition_point(|other| other <= revision);
            *revision -= i64::try_from(before).unwrap_or(i64::MAX);
        };
        for operation in &mut self.operations {
            let (super::Call::Txn(txn), outcome) = (&mut operation.call, &mut operation.outcome) else {
                renumber_outcome(&mut operation.outcome, &renumber);
                continue;
            };
            for compare in &mut txn.compare {
                match compare {
                    Compare::ModRevision(_, revision) | Compare::CreateRevision(_, revision) => {
                        renumber(revision);
                    }
                    Compare::Value(..) | Compare::Version(..) => {}
                }
            }
            renumber_outcome(outcome, &renumber);
        }
        self.changes.iter_mut().for_each(|change| renumber(&mut change.revision));
        self
    }
}

fn renumber_outcome(outcome: &mut Outcome, renumber: &impl Fn(&mut Revision)) {
    let Outcome::Answered { revision, answer } = outcome else { return };
    revision.iter_mut().for_each(renumber);
    let found = match answer {
        Answer::One(found) => std::slice::from_mut(found),
        Answer::Txn { found, .. } => &mut found[..],
    };
    for found in found {
        match found {
            Found::Get(item) => item.iter_mut().for_each(|item| renumber_item(item, renumber)),
            Found::Range(items) => items.iter_mut().for_each(|(_, item)| renumber_item(item, renumber)),
            Found::Put | Found::Delete(_) => {}
        }
    }
}

fn renumber_item(item: &mut Item, renumber: &impl Fn(&mut Revision)) {
    item.mod_revision.iter_mut().for_each(renumber);
    item.create_revision.iter_mut().for_each(renumber);
}

#[cfg(test)]
mod tests {
    use types::Time;

    use super::*;
    use crate::{Call, Change, ClientId, check_revisions};

    /// A put at revision 3 and one at 5, read at 6; `others` made 2, 4 and 6.
    fn history() -> History {
        let mut history = History::new();
        for (revision, value) in [(3, "1"), (5, "2")] {
            let put = history.invoke(ClientId(1), Time(1), Call::put("k", value));
            history.complete(put, Time(2), Outcome::ok(revision, Found::Put));
            history.changes.push(Change { revision, key: "k".into(), value: Some(value.into()) });
        }
        let read = history.invoke(ClientId(1), Time(3), Call::get("k"));
        let item =
            Item { value: "2".into(), mod_revision: Some(5), create_revision: Some(3), version: Some(2) };
        history.complete(read, Time(4), Outcome::ok(6, Found::Get(Some(item))));
        history
    }

    #[test]
    fn what_is_left_has_no_gaps_and_still_holds() {
        assert!(!check_revisions(&history()).holds());
        assert!(check_revisions(&history().without_revisions(vec![6, 2, 4, 4])).holds());
    }

    #[test]
    fn a_revision_that_nobody_made_is_still_missed() {
        assert!(check_revisions(&history().without_revisions(vec![2, 6])).violated());
    }
}

//! Histories of clients that are not told revisions.

use checker::{Answer, Call, Compare, Found, History, Item, Outcome};

/// The history as clients tell it who see values and versions only.
pub fn without_revisions(history: &History) -> History {
    let mut operations = history.operations().to_vec();
    for operation in &mut operations {
        if let Call::Txn(txn) = &mut operation.call {
            for compare in &mut txn.compare {
                if let Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) = compare {
                    *compare = Compare::Version(key.clone(), 1);
                }
            }
        }
        let Outcome::Answered { revision, answer } = &mut operation.outcome else { continue };
        *revision = None;
        let found = match answer {
            Answer::One(found) => std::slice::from_mut(found),
            Answer::Txn { found, .. } => found,
        };
        found.iter_mut().for_each(forget);
    }
    History::from_operations(operations)
}

pub fn forget(found: &mut Found) {
    let items: Vec<&mut Item> = match found {
        Found::Get(item) => item.iter_mut().collect(),
        Found::Range(items) => items.iter_mut().map(|(_, item)| item).collect(),
        Found::Put | Found::Delete(_) => Vec::new(),
    };
    for item in items {
        (item.mod_revision, item.create_revision) = (None, None);
    }
}

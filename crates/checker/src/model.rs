//! The store as every checker knows it: what a call answers in a state, and what the state is then.
//!
//! A key is its value, version and two revisions. A revision may be unknown: a search that places an
//! unanswered write somewhere does not know which number the store gave it. Unknown equals anything.

use crate::Revision;
use crate::lower::{Key, LowFound, LowItem, LowOp, LowStep, LowTest, Lowered, Value};

/// Stands for a revision that is not known.
pub(crate) const UNKNOWN: Revision = -1;

/// One key's state; all zero if it does not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Slot {
    pub value: Value,
    pub version: i64,
    pub mod_revision: Revision,
    pub create_revision: Revision,
}

/// All keys, with a log to take changes back and a digest to recognise a state.
#[derive(Debug)]
pub(crate) struct Store {
    slots: Vec<Slot>,
    undo: Vec<(Key, Slot)>,
    digest: u128,
}

/// The step of the branch that does not fit its answer; `None`: the other branch should have been taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub step: Option<usize>,
}

impl Slot {
    pub fn exists(&self) -> bool {
        self.value != 0
    }

    /// The slot after a put.
    pub fn put(self, value: Value, revision: Revision) -> Slot {
        let create_revision = if self.exists() { self.create_revision } else { revision };
        Slot { value, version: self.version + 1, mod_revision: revision, create_revision }
    }

    pub fn shows(&self, item: &LowItem) -> bool {
        self.value == item.value
            && item.version.is_none_or(|version| version == self.version)
            && item.mod_revision.is_none_or(|revision| may_equal(self.mod_revision, revision))
            && item.create_revision.is_none_or(|revision| may_equal(self.create_revision, revision))
    }
}

fn may_equal(known: Revision, other: Revision) -> bool {
    known == UNKNOWN || known == other
}

impl Store {
    pub fn new(keys: usize) -> Store {
        Store { slots: vec![Slot::default(); keys], undo: Vec::new(), digest: 0 }
    }

    pub fn slot(&self, key: Key) -> Slot {
        self.slots[key as usize]
    }

    /// A number that tells states apart with overwhelming probability.
    pub fn digest(&self) -> u128 {
        self.digest
    }

    /// Where the log stands, to come back to.
    pub fn mark(&self) -> usize {
        self.undo.len()
    }

    /// What changed since `mark`: keys and their former states, oldest first.
    pub fn changed_since(&self, mark: usize) -> &[(Key, Slot)] {
        &self.undo[mark..]
    }

    /// Takes back everything since `mark`.
    pub fn rollback(&mut self, mark: usize) {
        while self.undo.len() > mark {
            if let Some((key, slot)) = self.undo.pop() {
                self.replace(key, slot);
            }
        }
    }

    /// Forgets how to take anything back.
    pub fn commit(&mut self) {
        self.undo.clear();
    }

    fn set(&mut self, key: Key, slot: Slot) {
        let before = self.replace(key, slot);
        self.undo.push((key, before));
    }

    fn replace(&mut self, key: Key, slot: Slot) -> Slot {
        let before = std::mem::replace(&mut self.slots[key as usize], slot);
        self.digest ^= slot_digest(key, before) ^ slot_digest(key, slot);
        before
    }

    /// Executes one branch of `op`; its writes get `revision`. If `op` is answered, the answer must fit.
    ///
    /// Returns whether anything changed.
    ///
    /// # Errors
    /// What does not fit; nothing is changed then.
    pub fn run(&mut self, op: &LowOp, branch: bool, revision: Revision) -> Result<bool, Mismatch> {
        if !self.may_branch(op, branch) {
            return Err(Mismatch { step: None });
        }
        let mark = self.mark();
        let found = op.answer.as_ref().map(|answer| &answer.found);
        for (index, step) in op.branch(branch).iter().enumerate() {
            let fits = found.is_none_or(|found| self.fits(step, &found[index]));
            if !fits {
                self.rollback(mark);
                return Err(Mismatch { step: Some(index) });
            }
            self.execute(step, revision);
        }
        Ok(self.mark() > mark)
    }

    /// The branch that an op without unknown revisions takes here.
    pub fn branch(&self, op: &LowOp) -> bool {
        self.may_branch(op, true)
    }

    fn may_branch(&self, op: &LowOp, branch: bool) -> bool {
        let mut tests = op.tests.iter().map(|test| self.test(test));
        if branch { tests.all(|(may_hold, _)| may_hold) } else { tests.any(|(_, may_fail)| may_fail) }
    }

    /// Whether a test may hold, and whether it may fail.
    fn test(&self, test: &LowTest) -> (bool, bool) {
        let slot = self.slot(test.key());
        let revision = |known: Revision, wanted: Revision| match known {
            UNKNOWN => (wanted > 0, true),
            _ => (known == wanted, known != wanted),
        };
        match test {
            LowTest::Value(_, value) => (slot.value == *value, slot.value != *value),
            LowTest::Version(_, version) => (slot.version == *version, slot.version != *version),
            LowTest::Mod(_, wanted) => revision(slot.mod_revision, *wanted),
            LowTest::Create(_, wanted) => revision(slot.create_revision, *wanted),
        }
    }

    fn fits(&self, step: &LowStep, found: &LowFound) -> bool {
        match (step, found) {
            (LowStep::Get(key), LowFound::Get(item)) => self.shows(*key, item.as_ref()),
            (LowStep::Range(from, to), LowFound::Range(items)) => {
                let present = (*from..*to).filter(|key| self.slot(*key).exists()).count();
                present == items.len() && items.iter().all(|(key, item)| self.slot(*key).shows(item))
            }
            (LowStep::Delete(key), LowFound::Delete(count)) => *count == i64::from(self.slot(*key).exists()),
            _ => true,
        }
    }

    fn shows(&self, key: Key, item: Option<&LowItem>) -> bool {
        let slot = self.slot(key);
        item.map_or(!slot.exists(), |item| slot.shows(item))
    }

    fn execute(&mut self, step: &LowStep, revision: Revision) {
        match step {
            LowStep::Put(key, value) => self.set(*key, self.slot(*key).put(*value, revision)),
            LowStep::Delete(key) if self.slot(*key).exists() => self.set(*key, Slot::default()),
            LowStep::Delete(_) | LowStep::Get(_) | LowStep::Range(..) => {}
        }
    }

    /// Says what `op` should have answered here and what it did answer, for a mismatch that `run` reported.
    pub fn explain(&mut self, op: &LowOp, mismatch: Mismatch, names: &Lowered<'_>) -> (String, String) {
        let answer = op.answer.as_ref().expect("only an answer can mismatch");
        let Some(index) = mismatch.step else {
            let (holds, took) = if answer.succeeded { ("do not hold", "then") } else { ("hold", "else") };
            return (format!("the other branch, as the compares {holds}"), format!("the {took} branch"));
        };
        let mark = self.mark();
        let steps = op.branch(answer.succeeded);
        steps[..index].iter().for_each(|step| self.execute(step, UNKNOWN));
        let expected = self.expected(&steps[index], names);
        self.rollback(mark);
        (expected, found_text(&steps[index], &answer.found[index], names))
    }

    fn expected(&self, step: &LowStep, names: &Lowered<'_>) -> String {
        match step {
            LowStep::Get(key) => slot_text(names, *key, self.slot(*key)),
            LowStep::Delete(key) => format!("{} deleted", i64::from(self.slot(*key).exists())),
            LowStep::Put(..) => "ok".to_owned(),
            LowStep::Range(from, to) => {
                let present = (*from..*to).map(|key| (key, self.slot(key))).filter(|(_, slot)| slot.exists());
                list(present.map(|(key, slot)| slot_text(names, key, slot)))
            }
        }
    }
}

fn slot_text(names: &Lowered<'_>, key: Key, slot: Slot) -> String {
    if !slot.exists() {
        return format!("{} absent", names.key(key));
    }
    let revision = if slot.mod_revision == UNKNOWN { "?".to_owned() } else { slot.mod_revision.to_string() };
    format!("{} = {} (mod {revision}, version {})", names.key(key), names.value(slot.value), slot.version)
}

fn found_text(step: &LowStep, found: &LowFound, names: &Lowered<'_>) -> String {
    let item = |key: Key, item: &LowItem| {
        let number = |number: Option<i64>| number.map_or("?".to_owned(), |number| number.to_string());
        let (revision, version) = (number(item.mod_revision), number(item.version));
        format!("{} = {} (mod {revision}, version {version})", names.key(key), names.value(item.value))
    };
    match (step, found) {
        (LowStep::Get(key), LowFound::Get(Some(seen))) => item(*key, seen),
        (LowStep::Get(key), _) => format!("{} absent", names.key(*key)),
        (_, LowFound::Range(items)) => list(items.iter().map(|(key, seen)| item(*key, seen))),
        (_, LowFound::Delete(count)) => format!("{count} deleted"),
        _ => "ok".to_owned(),
    }
}

/// Up to some items, so that a report stays short.
fn list(items: impl Iterator<Item = String>) -> String {
    const SHOWN_MAX: usize = 8;
    let mut items: Vec<String> = items.collect();
    if items.len() > SHOWN_MAX {
        let hidden = items.len() - SHOWN_MAX;
        items.truncate(SHOWN_MAX);
        items.push(format!("and {hidden} more"));
    }
    format!("{{{}}}", items.join(", "))
}

fn slot_digest(key: Key, slot: Slot) -> u128 {
    if !slot.exists() {
        return 0;
    }
    let words =
        [u64::from(slot.value), slot.version as u64, slot.mod_revision as u64, slot.create_revision as u64];
    digest(u64::from(key) + 1, &words)
}

/// A 128-bit digest of a few numbers; `domain` keeps digests of different things apart.
pub(crate) fn digest(domain: u64, words: &[u64]) -> u128 {
    let half = |seed: u64| {
        words.iter().fold(scramble(domain ^ seed), |state, word| {
            scramble(state.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ scramble(word ^ seed.rotate_left(17)))
        })
    };
    (u128::from(half(0x243f_6a88_85a3_08d3)) << 64) | u128::from(half(0x1319_8a2e_0370_7344))
}

fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

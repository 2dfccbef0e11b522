//! What a checker says, and how it explains itself.

use std::fmt;

use trace::OpId;

use crate::History;

/// A checker's judgement of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The history is as promised.
    Holds,
    /// It is not, and here is why.
    Violated(Violation),
    /// The checker cannot tell: it ran out of its budget, or the history lacks what it needs.
    Undecided {
        /// What it ran out of, or what is missing.
        reason: String,
    },
}

/// A broken promise: which, by which operations, what should have been and what was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The rule, in a few words: `stale read`, `revision gap`.
    pub rule: &'static str,
    /// What the rule demands here.
    pub expected: String,
    /// What was found.
    pub found: String,
    /// The operations that show it, the offender first.
    pub ops: Vec<OpId>,
}

impl Verdict {
    /// Whether the promise holds; false if that is undecided.
    pub fn holds(&self) -> bool {
        matches!(self, Verdict::Holds)
    }

    /// Whether the promise is broken; false if that is undecided.
    pub fn violated(&self) -> bool {
        matches!(self, Verdict::Violated(_))
    }

    /// The broken promise, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Verdict::Violated(violation) => Some(violation),
            Verdict::Holds | Verdict::Undecided { .. } => None,
        }
    }
}

impl Violation {
    /// The report for people: this violation and the operations it names, a line each.
    pub fn explain<'a>(&'a self, history: &'a History) -> impl fmt::Display + 'a {
        Explained { violation: self, history }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}; found {}", self.rule, self.expected, self.found)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Holds => f.write_str("holds"),
            Verdict::Violated(violation) => write!(f, "{violation}"),
            Verdict::Undecided { reason } => write!(f, "undecided: {reason}"),
        }
    }
}

struct Explained<'a> {
    violation: &'a Violation,
    history: &'a History,
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.violation)?;
        for op in &self.violation.ops {
            if let Some(operation) = self.history.get(*op) {
                write!(f, "\n  op {} {operation}", op.0)?;
            }
        }
        Ok(())
    }
}

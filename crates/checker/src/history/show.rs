//! How operations read in a report: one line each.

use std::fmt;

use bytes::Bytes;

use super::{Answer, Call, Change, Compare, Found, Item, Operation, Outcome, Step};

/// Bytes for people, and for JSON: text as it is; anything else, and the backslash, as `\xNN`.
pub(crate) struct Text<'a>(pub &'a Bytes);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| match byte {
            b'\\' => f.write_str("\\x5c"),
            b' '..=b'~' => write!(f, "{}", char::from(byte)),
            _ => write!(f, "\\x{byte:02x}"),
        })
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Get(key) => write!(f, "get {}", Text(key)),
            Step::Range(from, to) => write!(f, "range {}..{}", Text(from), Text(to)),
            Step::Put(key, value) => write!(f, "put {} = {}", Text(key), Text(value)),
            Step::Delete(key) => write!(f, "delete {}", Text(key)),
        }
    }
}

impl fmt::Display for Compare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compare::Value(key, value) => write!(f, "value({}) = {}", Text(key), Text(value)),
            Compare::Version(key, version) => write!(f, "version({}) = {version}", Text(key)),
            Compare::ModRevision(key, revision) => write!(f, "mod({}) = {revision}", Text(key)),
            Compare::CreateRevision(key, revision) => write!(f, "create({}) = {revision}", Text(key)),
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Call::One(step) => write!(f, "{step}"),
            Call::Txn(txn) => {
                write!(f, "txn if [{}] then [{}]", List(&txn.compare), List(&txn.then))?;
                if txn.otherwise.is_empty() { Ok(()) } else { write!(f, " else [{}]", List(&txn.otherwise)) }
            }
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Text(&self.value))?;
        let known = [("mod", self.mod_revision), ("create", self.create_revision), ("version", self.version)];
        let known: Vec<String> =
            known.iter().filter_map(|(name, number)| Some(format!("{name} {}", (*number)?))).collect();
        if known.is_empty() { Ok(()) } else { write!(f, " ({})", known.join(", ")) }
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Found::Get(None) => f.write_str("absent"),
            Found::Get(Some(item)) => write!(f, "{item}"),
            Found::Range(items) => {
                let items: Vec<_> =
                    items.iter().map(|(key, item)| format!("{} = {item}", Text(key))).collect();
                write!(f, "{{{}}}", items.join(", "))
            }
            Found::Put => f.write_str("ok"),
            Found::Delete(count) => write!(f, "{count} deleted"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::One(found) => write!(f, "{found}"),
            Answer::Txn { succeeded, found } => {
                write!(f, "{} [{}]", if *succeeded { "then" } else { "else" }, List(found))
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Answered { revision: Some(revision), answer } => {
                write!(f, "{answer} at revision {revision}")
            }
            Outcome::Answered { revision: None, answer } => write!(f, "{answer}"),
            Outcome::Refused => f.write_str("refused"),
            Outcome::Unknown => f.write_str("unknown"),
        }
    }
}

/// `client 3: put k = 7 [1.000000ms..2.500000ms] -> ok at revision 9`
impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {}: {} [{:?}..", self.client.0, self.call, self.invoked)?;
        match self.returned {
            Some(returned) => write!(f, "{returned:?}")?,
            None => f.write_str("never")?,
        }
        write!(f, "] -> {}", self.outcome)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {} at revision {}", Text(&self.key), Text(value), self.revision),
            None => write!(f, "{} deleted at revision {}", Text(&self.key), self.revision),
        }
    }
}

struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

//! Histories as text: one header line, then one line an operation or a change.
//!
//! ```text
//! {"schema":"althing-history/1","start_revision":1}
//! {"op":{"client":1,"invoked":10,"returned":20,"call":{"one":{"put":["k","1"]}},
//!        "outcome":{"answered":{"revision":2,"answer":{"one":"put"}}}}}
//! {"change":{"revision":2,"key":"k","value":"1"}}
//! ```
//!
//! Times are nanoseconds. Keys and values are text in which any byte but printable ASCII, and the backslash, is
//! `\xNN`; so a program in any language that sticks to plain words needs no encoder.

use std::io::{self, BufRead, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::show::Text;
use super::{Change, History, Operation};

const SCHEMA: &str = "althing-history/1";

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadHistoryError {
    /// The input failed.
    #[error("cannot read line {line} of the history")]
    Read {
        /// Counted from 1.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be.
    #[error("line {line} of the history is malformed")]
    Malformed {
        /// Counted from 1.
        line: u64,
        /// Where and how.
        #[source]
        source: serde_json::Error,
    },
    /// The first line names another format.
    #[error("the history's schema is {found:?}; this program reads {SCHEMA:?}")]
    Schema {
        /// What it names.
        found: String,
    },
    /// There is no first line.
    #[error("the history is empty; its first line should be a header")]
    Empty,
    /// An operation returns before it was invoked, or returns without being answered.
    #[error(
        "line {line} of the history: the operation returned at {returned} ns and was invoked at {invoked} ns"
    )]
    Backwards {
        /// Counted from 1.
        line: u64,
        /// When it was invoked.
        invoked: u64,
        /// When it returned.
        returned: u64,
    },
}

#[derive(Serialize, Deserialize)]
struct Header {
    schema: String,
    start_revision: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Op(&'a Operation),
    Change(&'a Change),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Op(Operation),
    Change(Change),
}

impl History {
    /// Writes the history as lines of JSON.
    ///
    /// # Errors
    /// If `out` cannot be written.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut buffer = Vec::new();
        let header = Header { schema: SCHEMA.to_owned(), start_revision: self.start_revision };
        write_line(out, &mut buffer, &header)?;
        for operation in &self.operations {
            write_line(out, &mut buffer, &LineRef::Op(operation))?;
        }
        self.changes.iter().try_for_each(|change| write_line(out, &mut buffer, &LineRef::Change(change)))
    }

    /// Reads what [`write_json`](History::write_json) wrote, or another program in its format. Operations may
    /// come in any order.
    ///
    /// # Errors
    /// [`ReadHistoryError`], with the number of the line.
    pub fn read_json(input: impl BufRead) -> Result<History, ReadHistoryError> {
        let mut lines = (1..).zip(input.lines());
        let header: Header = match lines.next() {
            None => return Err(ReadHistoryError::Empty),
            Some((line, text)) => parse(line, text)?,
        };
        if header.schema != SCHEMA {
            return Err(ReadHistoryError::Schema { found: header.schema });
        }
        let (mut operations, mut changes) = (Vec::new(), Vec::new());
        for (line, text) in lines {
            match parse(line, text)? {
                Line::Op(operation) => operations.push(checked(line, operation)?),
                Line::Change(change) => changes.push(change),
            }
        }
        let start_revision = header.start_revision;
        Ok(History { changes, start_revision, ..History::from_operations(operations) })
    }
}

fn parse<T: for<'de> Deserialize<'de>>(line: u64, text: io::Result<String>) -> Result<T, ReadHistoryError> {
    let text = text.map_err(|source| ReadHistoryError::Read { line, source })?;
    serde_json::from_str(&text).map_err(|source| ReadHistoryError::Malformed { line, source })
}

fn checked(line: u64, operation: Operation) -> Result<Operation, ReadHistoryError> {
    match operation.returned {
        Some(returned) if returned < operation.invoked => {
            Err(ReadHistoryError::Backwards { line, invoked: operation.invoked.0, returned: returned.0 })
        }
        _ => Ok(operation),
    }
}

fn write_line(out: &mut dyn Write, buffer: &mut Vec<u8>, value: &impl Serialize) -> io::Result<()> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, value)?;
    buffer.push(b'\n');
    out.write_all(buffer)
}

fn unescape(text: &str) -> Option<Bytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte == b'\\' {
            let (digits, tail) = tail.strip_prefix(b"x")?.split_first_chunk::<2>()?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = tail;
        } else {
            bytes.push(byte);
        }
    }
    Some(Bytes::from(bytes))
}

pub(super) mod text {
    use super::{Bytes, Text, unescape};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Text(bytes))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(deserializer)?;
        unescape(&text).ok_or_else(|| D::Error::custom(format_args!("a backslash in {text:?} is not \\xNN")))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Plain(#[serde(with = "text")] Bytes);

pub(super) mod optional_text {
    use super::{Bytes, Plain};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
        bytes.clone().map(Plain).serialize(serializer)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Bytes>, D::Error> {
        Ok(Option::<Plain>::deserialize(deserializer)?.map(|Plain(bytes)| bytes))
    }
}

pub(super) mod pairs {
    use super::super::Item;
    use super::{Bytes, Plain};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(pairs: &[(Bytes, Item)], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(pairs.iter().map(|(key, item)| (Plain(key.clone()), item)))
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Bytes, Item)>, D::Error> {
        let pairs = Vec::<(Plain, Item)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().map(|(Plain(key), item)| (key, item)).collect())
    }
}

pub(super) mod time {
    use serde::{Deserialize, Deserializer, Serializer};
    use types::Time;

    pub fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(time.0)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        Ok(Time(u64::deserialize(deserializer)?))
    }
}

pub(super) mod optional_time {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use types::Time;

    pub fn serialize<S: Serializer>(time: &Option<Time>, serializer: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.0).serialize(serializer)
    }
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Time>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Call, ClientId, Compare, Found, Item, Level, Outcome, Step};
    use types::Time;

    fn history() -> History {
        let mut history = History::new();
        let put = history.invoke(ClientId(1), Time(10), Call::put(&b"k\xff\\\n"[..], "v\u{e9}"));
        history.complete(put, Time(20), Outcome::ok(2, Found::Put));
        let lost = history.invoke(ClientId(2), Time(21), Call::delete("k"));
        history.complete(lost, Time(30), Outcome::Unknown);
        let txn = Call::txn(
            vec![Compare::ModRevision("k".into(), 2)],
            vec![Step::Range("a".into(), "z".into())],
            vec![],
        );
        let txn = history.invoke(ClientId(1), Time(31), txn);
        let item = Item { value: "1".into(), version: Some(1), ..Item::default() };
        let found = vec![Found::Range(vec![("k".into(), item)])];
        let answer = Answer::Txn { succeeded: true, found };
        history.complete(txn, Time(32), Outcome::Answered { revision: None, answer });
        history.invoke_at_level(ClientId(3), Time(33), Call::get("k"), Level::Serializable);
        history.changes.push(Change { revision: 3, key: "k".into(), value: None });
        history
    }

    #[test]
    fn a_history_is_read_back_as_it_was() {
        let mut written = Vec::new();
        history().write_json(&mut written).unwrap();
        let read = History::read_json(&written[..]).unwrap();
        assert_eq!(read, history());
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(r#"{"put":["k\\xff\\x5c\\x0a","v\\xc3\\xa9"]}"#), "{text}");
    }

    #[test]
    fn every_damaged_line_is_an_error_that_names_it() {
        let mut written = Vec::new();
        history().write_json(&mut written).unwrap();
        let text = String::from_utf8(written).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in (1..).zip(&lines) {
            let mut broken: Vec<&str> = lines.clone();
            broken[number - 1] = &line[..line.len() - 1];
            let error = History::read_json(broken.join("\n").as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {number} ")), "{error}");
        }
        assert!(matches!(History::read_json(&b""[..]), Err(ReadHistoryError::Empty)));
        let backwards = text.replace("\"returned\":20", "\"returned\":9");
        assert!(matches!(
            History::read_json(backwards.as_bytes()),
            Err(ReadHistoryError::Backwards { line: 2, invoked: 10, returned: 9 })
        ));
    }
}

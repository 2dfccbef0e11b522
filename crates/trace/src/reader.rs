//! Reads a trace line by line (T4).

use std::io::{self, BufRead, Read};

use serde::de::DeserializeOwned;

use crate::{Event, EventId, Header, SCHEMA};

/// No line that this crate writes is longer; a longer one is not held in memory.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// Why a trace could not be read on. Lines are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The input failed.
    #[error("cannot read line {line} of the trace")]
    Read {
        /// Where.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line is not what it should be: damaged, or cut off by the end of the run that wrote it.
    #[error("line {line} of the trace is malformed")]
    Malformed {
        /// Where.
        line: u64,
        /// How.
        #[source]
        source: serde_json::Error,
    },
    /// A line is longer than any event.
    #[error("line {line} of the trace is longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Where.
        line: u64,
    },
    /// There is nothing, not even a header.
    #[error("the trace is empty; its first line should be a header")]
    Empty,
    /// The header names another format.
    #[error("the trace's schema is {found:?}; this program reads {SCHEMA:?}")]
    Schema {
        /// What it names.
        found: String,
    },
    /// Events do not follow each other: two traces in one file, or lines moved about.
    #[error("line {line} of the trace is event {found}, after event {before}; numbers must grow")]
    OutOfOrder {
        /// Where.
        line: u64,
        /// The number there.
        found: u64,
        /// The number before.
        before: u64,
    },
}

/// The header of a trace, and its events one by one.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    line: u64,
    last: EventId,
    buffer: Vec<u8>,
    failed: bool,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`ReadError`] if there is none that this crate understands.
    pub fn new(mut input: R) -> Result<Reader<R>, ReadError> {
        let mut buffer = Vec::new();
        if !fill(&mut input, &mut buffer, 1)? {
            return Err(ReadError::Empty);
        }
        // The schema comes first, so that a trace of another version is named and not just malformed.
        #[derive(serde::Deserialize)]
        struct Named {
            schema: String,
        }
        let named: Named = parse(&buffer, 1)?;
        if named.schema != SCHEMA {
            return Err(ReadError::Schema { found: named.schema });
        }
        let header = parse(&buffer, 1)?;
        Ok(Reader { input, header, line: 1, last: EventId(0), buffer, failed: false })
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    fn read(&mut self) -> Result<Option<Event>, ReadError> {
        self.line += 1;
        let line = self.line;
        if !fill(&mut self.input, &mut self.buffer, line)? {
            return Ok(None);
        }
        let event: Event = parse(&self.buffer, line)?;
        if event.id <= self.last {
            return Err(ReadError::OutOfOrder { line, found: event.id.0, before: self.last.0 });
        }
        self.last = event.id;
        Ok(Some(event))
    }
}

/// Ends after the last event, or after the first error.
impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Event, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let event = self.read().transpose();
        self.failed = !matches!(event, Some(Ok(_)));
        event
    }
}

/// Reads one line into `buffer`; false at the end of the input.
fn fill(input: &mut impl BufRead, buffer: &mut Vec<u8>, line: u64) -> Result<bool, ReadError> {
    buffer.clear();
    let mut bounded = input.take(LINE_BYTES_MAX + 1);
    bounded.read_until(b'\n', buffer).map_err(|source| ReadError::Read { line, source })?;
    if buffer.len() as u64 > LINE_BYTES_MAX {
        return Err(ReadError::TooLong { line });
    }
    Ok(!buffer.is_empty())
}

fn parse<T: DeserializeOwned>(line_bytes: &[u8], line: u64) -> Result<T, ReadError> {
    serde_json::from_slice(line_bytes).map_err(|source| ReadError::Malformed { line, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::sample;

    #[test]
    fn what_was_recorded_is_read_back() {
        let trace = sample();
        let reader = Reader::new(&trace[..]).unwrap();
        assert_eq!(reader.header().seed, 0x2a7f);
        let mut again = serde_json::to_vec(reader.header()).unwrap();
        for event in reader {
            again.push(b'\n');
            serde_json::to_writer(&mut again, &event.unwrap()).unwrap();
        }
        again.push(b'\n');
        assert_eq!(String::from_utf8(again), String::from_utf8(trace));
    }

    #[test]
    fn every_cut_is_an_event_less_or_an_error_that_names_the_line() {
        let trace = sample();
        for len in 0..trace.len() {
            let cut = &trace[..len];
            let lines = cut.iter().filter(|byte| **byte == b'\n').count() as u64;
            let error = match Reader::new(cut) {
                Err(error) => Some(error),
                Ok(reader) => reader.filter_map(Result::err).next(),
            };
            match error {
                None => {}
                Some(ReadError::Empty) => assert_eq!(len, 0),
                Some(ReadError::Malformed { line, .. }) => assert_eq!(line, lines + 1, "cut to {len} bytes"),
                Some(error) => panic!("cut to {len} bytes: {error}"),
            }
        }
    }

    #[test]
    fn foreign_and_mixed_up_files_are_named() {
        let said = |text: &str| match Reader::new(text.as_bytes()) {
            Err(error) => error.to_string(),
            Ok(mut reader) => reader.find_map(Result::err).map(|error| error.to_string()).unwrap_or_default(),
        };
        let trace = String::from_utf8(sample()).unwrap();
        assert_eq!(said(""), "the trace is empty; its first line should be a header");
        assert_eq!(said("PK\u{3}\u{4}"), "line 1 of the trace is malformed");
        assert_eq!(
            said(&trace.replace("althing-trace/1", "althing-trace/2")),
            "the trace's schema is \"althing-trace/2\"; this program reads \"althing-trace/1\""
        );
        let (_, events) = trace.split_once('\n').unwrap();
        let twice = format!("{trace}{events}");
        let count = events.lines().count();
        assert_eq!(
            said(&twice),
            format!("line {} of the trace is event 1, after event {count}; numbers must grow", count + 2)
        );
    }

    #[test]
    fn a_line_without_end_is_not_held_in_memory() {
        let endless = io::BufReader::new(io::repeat(b'x'));
        assert!(matches!(Reader::new(endless), Err(ReadError::TooLong { line: 1 })));
    }
}

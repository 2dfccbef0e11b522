//! A trace in the forms that other programs draw. Each reads events one by one and keeps only what is open, so that a
//! long trace takes no more memory than a short one.

mod perfetto;
mod shiviz;

use std::io::{BufRead, Write};

use crate::{Filter, Reader, ShowError};

/// What to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Chrome's trace events as JSON, which ui.perfetto.dev and chrome://tracing open: a process a node, with tracks
    /// for its state, its messages and its work; arrows for messages; faults and violations as instants.
    Perfetto,
    /// A log with vector clocks for ShiViz (bestchai.bitbucket.io/shiviz): two lines an event, `host {clock}` and what
    /// happened. The first line is the regular expression that ShiViz asks for.
    ShiViz,
}

/// Exports what `filter` admits of a trace, and returns how many events it has and how many were exported.
///
/// # Errors
/// [`ShowError`]; what was readable before has been written.
pub fn export(
    format: Format,
    input: impl BufRead,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<(u64, u64), ShowError> {
    let reader = Reader::new(input)?;
    let mut writer: Box<dyn Export> = match format {
        Format::Perfetto => Box::new(perfetto::Perfetto::new(reader.header())),
        Format::ShiViz => Box::new(shiviz::ShiViz::new(reader.header())),
    };
    writer.begin(reader.header(), out)?;
    let (mut all, mut shown) = (0, 0);
    for event in reader {
        let event = event?;
        let is_admitted = filter.admits(&event);
        all += 1;
        shown += u64::from(is_admitted);
        writer.event(&event, is_admitted, out)?;
    }
    writer.end(out)?;
    Ok((all, shown))
}

/// One format. Every event is handed in, admitted or not, so that it knows who runs and what caused what.
trait Export {
    fn begin(&mut self, header: &crate::Header, out: &mut dyn Write) -> std::io::Result<()>;
    fn event(&mut self, event: &crate::Event, is_admitted: bool, out: &mut dyn Write) -> std::io::Result<()>;
    fn end(&mut self, out: &mut dyn Write) -> std::io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::tests::sample;

    fn exported(format: Format, filter: &Filter) -> String {
        let mut out = Vec::new();
        export(format, &sample()[..], filter, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn perfetto_gets_tracks_slices_and_arrows() {
        let text = exported(Format::Perfetto, &Filter::default());
        insta::assert_snapshot!(text);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        let count = |phase: &str| events.iter().filter(|event| event["ph"] == phase).count();
        assert_eq!(count("B"), count("E"), "every slice that begins ends");
        assert_eq!(count("b"), count("e"), "and every operation");
    }

    #[test]
    fn shiviz_gets_vector_clocks() {
        insta::assert_snapshot!(exported(Format::ShiViz, &Filter::default()));
    }

    #[test]
    fn what_is_left_out_still_counts_as_a_cause() {
        let kinds = vec![Kind::Send, Kind::Decide];
        let text = exported(Format::ShiViz, &Filter { kinds, ..Filter::default() });
        let decided = text.lines().position(|line| line.contains("decide")).unwrap();
        let clock = text.lines().nth(decided - 1).unwrap();
        assert_eq!(clock, r#"n1 {"n1":3, "n3":1}"#, "the answer that n3 sent is behind it: {text}");
    }

    #[test]
    fn a_trace_that_ends_in_the_middle_is_exported_as_far_as_it_goes() {
        let trace = sample();
        let mut out = Vec::new();
        let cut = &trace[..trace.len() - 20];
        assert!(export(Format::Perfetto, cut, &Filter::default(), &mut out).is_err());
        assert!(out.len() > 1000);
    }
}

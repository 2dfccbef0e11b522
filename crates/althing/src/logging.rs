//! A server's log on standard error: one JSON object a line in the shape that etcd's zap logger writes, so that
//! log collectors and scripts written for etcd read it, or plain lines for people.

use std::fmt;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::Failure;

/// What these say below a warning is about their own files, and no news to anybody here.
const LIBRARIES: [&str; 2] = ["fjall", "lsm_tree"];

/// Starts logging.
///
/// # Errors
/// An unknown level or format.
pub fn init(level: &str, format: &str) -> Result<(), Failure> {
    let filter = match level {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" => LevelFilter::WARN,
        "error" | "panic" | "fatal" => LevelFilter::ERROR,
        _ => {
            return Err(Failure::new(format_args!("--log-level is {level:?}"))
                .next("--log-level with one of: debug, info, warn, error, panic, fatal"));
        }
    };
    let filter = LIBRARIES.into_iter().fold(Targets::new().with_default(filter), |filter, library| {
        filter.with_target(library, Level::WARN)
    });
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    let started = match format {
        "json" => registry.with(layer.event_format(Zap)).try_init(),
        "console" => registry.with(layer.with_target(false).with_ansi(false)).try_init(),
        _ => {
            return Err(Failure::new(format_args!("--log-format is {format:?}"))
                .next("--log-format with one of: json, console"));
        }
    };
    started.map_err(Failure::new)
}

/// `{"level":"info","ts":"…","caller":"node::disk","msg":"…", fields…}`
struct Zap;

impl<S, N> FormatEvent<S, N> for Zap
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut ts = String::new();
        SystemTime.format_time(&mut Writer::new(&mut ts))?;
        writeln!(writer, "{}", line(event, ts))
    }
}

/// The object by hand, because readers of logs expect the level first and the fields last.
fn line(event: &Event<'_>, ts: String) -> String {
    let metadata = event.metadata();
    let mut fields = Fields::default();
    event.record(&mut fields);
    let head = [
        ("level", level_name(*metadata.level()).into()),
        ("ts", ts.into()),
        ("caller", metadata.target().into()),
        ("msg", fields.message.into()),
    ];
    let pairs: Vec<String> = head
        .into_iter()
        .chain(fields.others.iter().map(|(name, value)| (name.as_str(), value.clone())))
        .map(|(name, value): (&str, Value)| format!("{}:{value}", Value::from(name)))
        .collect();
    format!("{{{}}}", pairs.join(","))
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG | Level::TRACE => "debug",
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        self.others.push((field.name().replace('_', "-"), value));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.put(field, text.into()) }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned()
        } else {
            self.put(field, value.into())
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What scripts that wait for an etcd grep for.
    #[test]
    fn a_line_has_the_shape_that_zap_writes() {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber =
            tracing_subscriber::fmt().event_format(Zap).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(member_id = 7_u64, "ready to serve client requests");
        });
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["level"], "info");
        assert_eq!(line["msg"], "ready to serve client requests");
        assert_eq!(line["member-id"], 7);
        assert!(text.starts_with("{\"level\":\"info\",\"ts\":\""), "{text}");
        assert!(line["ts"].as_str().unwrap().ends_with('Z'));
    }
}

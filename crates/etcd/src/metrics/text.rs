//! Prometheus' text exposition format, version 0.0.4.

use std::fmt::{Display, Write};

/// The content type of what [`Text`] writes.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page being written.
#[derive(Debug, Default)]
pub(crate) struct Text {
    out: String,
}

impl Text {
    /// Begins a family: its help and type lines.
    pub(crate) fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// One sample. `labels` is what stands between the braces, or empty.
    pub(crate) fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{labels}}} {value}"));
        }
    }

    /// A counter with one sample.
    pub(crate) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, "counter", help);
        self.sample(name, "", value);
    }

    /// A gauge with one sample.
    pub(crate) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, "gauge", help);
        self.sample(name, "", value);
    }

    /// The samples of one histogram; `buckets` are cumulative counts with their upper bounds in seconds.
    pub(crate) fn histogram(
        &mut self,
        name: &str,
        labels: &str,
        buckets: impl IntoIterator<Item = (f64, u64)>,
        count: u64,
        sum_seconds: f64,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (bound, below) in buckets {
            self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"));
        }
        self.line(format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
        self.sample(&format!("{name}_sum"), labels, sum_seconds);
        self.sample(&format!("{name}_count"), labels, count);
    }

    /// The page.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.out, "{line}").expect("a String takes everything");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_prometheus_reads_them() {
        let mut text = Text::default();
        text.counter("a_total", "How many.", 3);
        text.family("b", "histogram", "How long.");
        text.histogram("b", "x=\"y\"", [(0.001, 1), (0.002, 2)], 3, 0.5);
        assert_eq!(
            text.finish(),
            "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n\
             # HELP b How long.\n# TYPE b histogram\n\
             b_bucket{x=\"y\",le=\"0.001\"} 1\nb_bucket{x=\"y\",le=\"0.002\"} 2\n\
             b_bucket{x=\"y\",le=\"+Inf\"} 3\nb_sum{x=\"y\"} 0.5\nb_count{x=\"y\"} 3\n"
        );
    }
}

//! Writes a page of metrics: Prometheus' text 0.0.4, or OpenMetrics 1.0.0 with exemplars.
//!
//! `prometheus-client` writes both, but accepts only exemplars that it made itself (0.26).

use std::time::UNIX_EPOCH;

use super::format::Format;
use crate::stats::{Exemplar, View};
use crate::telemetry::names::Metric;

pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(super) enum Value {
    Counter(u64),
    /// A counter with a fraction.
    Sum(f64),
    Gauge(f64),
    Histogram(View),
}

impl Value {
    const fn kind(&self) -> &'static str {
        match self {
            Self::Counter(_) | Self::Sum(_) => "counter",
            Self::Gauge(_) => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric and its series, which have one kind.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) metric: Metric,
    pub(super) samples: Vec<(Labels, Value)>,
}

impl Family {
    pub(super) const fn new(metric: Metric, samples: Vec<(Labels, Value)>) -> Self {
        Self { metric, samples }
    }

    /// Creates a metric with a single series without labels.
    pub(super) fn one(metric: Metric, value: Value) -> Self {
        Self::new(metric, vec![(Vec::new(), value)])
    }
}

/// Converts a count to a gauge.
#[expect(clippy::cast_precision_loss, reason = "gauges are floats in this format")]
pub(super) const fn gauge(count: u64) -> Value {
    Value::Gauge(count as f64)
}

pub(super) fn write(families: &[Family], format: Format) -> String {
    let mut page = Page { text: String::with_capacity(32 * 1024), format };
    for family in families {
        page.family(family);
    }
    if format == Format::OpenMetrics {
        page.text.push_str("# EOF\n");
    }
    page.text
}

struct Page {
    text: String,
    format: Format,
}

impl Page {
    /// Writes a metric; one without series is omitted.
    fn family(&mut self, family: &Family) {
        let Some((_, first)) = family.samples.first() else { return };
        let kind = first.kind();
        let counted = if kind == "counter" { "_total" } else { "" };
        // OpenMetrics describes the metric, the older format the sample, so the name differs.
        let described = if self.format == Format::Text { counted } else { "" };
        let Metric { name, help, .. } = family.metric;
        self.text.extend(["# HELP ", name, described, " ", help, "\n"]);
        self.text.extend(["# TYPE ", name, described, " ", kind, "\n"]);
        for (labels, value) in &family.samples {
            let labels = written(labels);
            match value {
                Value::Counter(count) => self.line(name, counted, &labels, &count.to_string()),
                Value::Sum(sum) => self.line(name, counted, &labels, &float(*sum)),
                Value::Gauge(value) => self.line(name, counted, &labels, &float(*value)),
                Value::Histogram(view) => self.histogram(name, &labels, view),
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &str, view: &View) {
        let mut total = 0;
        let comma = if labels.is_empty() { "" } else { "," };
        let bounds = view.bounds.iter().copied().chain([f64::INFINITY]);
        for (place, (bound, count)) in bounds.zip(&view.counts).enumerate() {
            total += count;
            let le = self.bound(bound);
            self.text.extend([name, "_bucket{", labels, comma, "le=\"", &le, "\"} ", &total.to_string()]);
            if let (Format::OpenMetrics, Some(Some(exemplar))) = (self.format, view.exemplars.get(place)) {
                self.exemplar(exemplar);
            }
            self.text.push('\n');
        }
        self.line(name, "_sum", labels, &float(view.sum));
        self.line(name, "_count", labels, &total.to_string());
    }

    fn exemplar(&mut self, exemplar: &Exemplar) {
        let at = exemplar.at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let (trace, value) = (exemplar.trace.as_str(), float(exemplar.value));
        let at = format!("{}.{:03}", at.as_secs(), at.subsec_millis());
        self.text.extend([" # {trace_id=\"", trace, "\"} ", &value, " ", &at]);
    }

    fn line(&mut self, name: &str, suffix: &str, labels: &str, value: &str) {
        let (open, close) = if labels.is_empty() { ("", "") } else { ("{", "}") };
        self.text.extend([name, suffix, open, labels, close, " ", value, "\n"]);
    }

    /// Formats a bucket's bound. Bounds are compared as text, so they are written as in Go (`%g`), which other
    /// exporters follow. OpenMetrics requires a fraction.
    fn bound(&self, bound: f64) -> String {
        let mut text = written_below(bound, 6);
        if self.format == Format::OpenMetrics && text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(".0");
        }
        text
    }
}

fn written(labels: &Labels) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend([name, "=\""]);
        for c in value.chars() {
            match c {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                c => text.push(c),
            }
        }
        text.push('"');
    }
    text
}

fn float(value: f64) -> String {
    written_below(value, 21)
}

/// Formats a number, with an exponent from the power of ten `limit` on.
fn written_below(value: f64, limit: i32) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let parts = scientific.split_once('e').and_then(|(digits, power)| Some((digits, power.parse::<i32>().ok()?)));
    match parts {
        Some((digits, power)) if value != 0.0 && !(-4..limit).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::TraceId;
    use crate::stats::{Histogram, Traced};

    const BOUNDS: [f64; 3] = [0.000_01, 1.0, 1_048_576.0];

    fn metric(name: &'static str, help: &'static str) -> Metric {
        Metric { name, help, convention: None }
    }

    fn families() -> Vec<Family> {
        let histogram = Histogram::new(&BOUNDS);
        let at = UNIX_EPOCH + Duration::from_millis(1_764_000_000_007);
        histogram.observe(0.5, Some(Traced { trace: TraceId::new(7), at }));
        histogram.observe(2e9, None);
        vec![
            Family::one(metric("a_runs", "Runs"), Value::Counter(3)),
            Family::new(metric("empty", "Nothing"), Vec::new()),
            Family::new(metric("b_state", "State"), vec![(vec![("of", "x # \"\\\n".to_owned())], Value::Gauge(1.5))]),
            Family::new(
                metric("c_seconds", "Times"),
                vec![(vec![("of", String::new())], Value::Histogram(histogram.view()))],
            ),
        ]
    }

    #[test]
    fn text_has_no_exemplars() {
        let expected = "\
# HELP a_runs_total Runs
# TYPE a_runs_total counter
a_runs_total 3
# HELP b_state State
# TYPE b_state gauge
b_state{of=\"x # \\\"\\\\\\n\"} 1.5
# HELP c_seconds Times
# TYPE c_seconds histogram
c_seconds_bucket{of=\"\",le=\"1e-05\"} 0
c_seconds_bucket{of=\"\",le=\"1\"} 1
c_seconds_bucket{of=\"\",le=\"1.048576e+06\"} 1
c_seconds_bucket{of=\"\",le=\"+Inf\"} 2
c_seconds_sum{of=\"\"} 2000000000.5
c_seconds_count{of=\"\"} 2
";
        assert_eq!(write(&families(), Format::Text), expected);
    }

    #[test]
    fn open_metrics_has_exemplars_and_an_end() {
        let expected = "\
# HELP a_runs Runs
# TYPE a_runs counter
a_runs_total 3
# HELP b_state State
# TYPE b_state gauge
b_state{of=\"x # \\\"\\\\\\n\"} 1.5
# HELP c_seconds Times
# TYPE c_seconds histogram
c_seconds_bucket{of=\"\",le=\"1e-05\"} 0
c_seconds_bucket{of=\"\",le=\"1.0\"} 1 # {trace_id=\"00000000000000000000000000000007\"} 0.5 1764000000.007
c_seconds_bucket{of=\"\",le=\"1.048576e+06\"} 1
c_seconds_bucket{of=\"\",le=\"+Inf\"} 2
c_seconds_sum{of=\"\"} 2000000000.5
c_seconds_count{of=\"\"} 2
# EOF
";
        assert_eq!(write(&families(), Format::OpenMetrics), expected);
    }

    #[test]
    fn bounds_are_written_as_go_does() {
        for (value, expected) in [
            (0.0, "0"),
            (0.0001, "0.0001"),
            (0.000_022_5, "2.25e-05"),
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(written_below(value, 6), expected);
        }
    }
}

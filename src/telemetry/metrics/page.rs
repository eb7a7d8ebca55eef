//! The two formats of a page of metrics: Prometheus' text 0.0.4, and OpenMetrics 1.0.0 with exemplars.
//!
//! `prometheus-client` writes both, but takes no exemplar that it did not make itself (0.26).

use std::time::UNIX_EPOCH;

use super::Format;
use crate::telemetry::histogram::{Exemplar, View};

pub(super) type Labels = Vec<(&'static str, String)>;

#[derive(Debug)]
pub(super) enum Value {
    Counter(u64),
    /// A counter that is no whole number.
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

/// One metric and all its series, which are of one kind. A counter's name is without `_total`.
#[derive(Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) samples: Vec<(Labels, Value)>,
}

impl Family {
    pub(super) const fn new(name: &'static str, help: &'static str, samples: Vec<(Labels, Value)>) -> Self {
        Self { name, help, samples }
    }

    /// The only series of its metric.
    pub(super) fn one(name: &'static str, help: &'static str, value: Value) -> Self {
        Self::new(name, help, vec![(Vec::new(), value)])
    }
}

/// A gauge of something counted.
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
    /// A metric without series is not told of.
    fn family(&mut self, family: &Family) {
        let Some((_, first)) = family.samples.first() else { return };
        let kind = first.kind();
        let counted = if kind == "counter" { "_total" } else { "" };
        // OpenMetrics describes the metric, the older format the sample.
        let described = if self.format == Format::Text { counted } else { "" };
        let (name, help) = (family.name, family.help);
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

    /// OpenMetrics' bounds are never whole numbers.
    fn bound(&self, bound: f64) -> String {
        let mut text = float(bound);
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

/// As Go's `%g` writes it, which both formats take for the canonical form.
fn float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let parts = scientific.split_once('e').and_then(|(digits, power)| Some((digits, power.parse::<i32>().ok()?)));
    match parts {
        Some((digits, power)) if value != 0.0 && !(-4..6).contains(&power) => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", power.unsigned_abs())
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests;

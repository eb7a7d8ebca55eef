//! Reads `[telemetry]`.

use super::super::problem::Problems;
use super::super::reader::{Section, Value, duration, fraction, string, whole, wrong};
use super::super::types::Telemetry;
use super::super::url::{UrlProblem, http_url};

/// Reads the section; without `otlp` the collector is one on this machine.
pub(crate) fn read(value: &Value<'_>, p: &mut Problems<'_>) -> Telemetry {
    let mut s = Section::new("[telemetry]", value, p);
    let Telemetry { mut keep, service_name: default_name, sample: default_sample, .. } = Telemetry::default();
    let otlp = s.read("otlp", p, |value| {
        let text = string(value)?;
        match http_url(text) {
            Ok(_) => Ok(text.to_owned()),
            Err(problem @ (UrlProblem::User | UrlProblem::Query)) => wrong(
                problem.to_string(),
                "leave it out: credentials for a collector belong into OTEL_EXPORTER_OTLP_HEADERS",
            ),
            Err(problem) => wrong(problem.to_string(), "write \"http://127.0.0.1:4317\""),
        }
    });
    let service_name = s.read("service_name", p, |value| string(value).map(str::to_owned));
    let sample = s.read("sample", p, fraction);
    if let Some(value) = s.get("keep") {
        let mut s = Section::new("keep", value, p);
        keep.slower_than = s.read("slower_than", p, duration).unwrap_or(keep.slower_than);
        keep.per_second = s
            .read("per_second", p, |value| whole(value, 0, 10_000))
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(keep.per_second);
        s.finish(p);
    }
    s.finish(p);
    Telemetry {
        otlp: Some(otlp.unwrap_or_else(|| "http://127.0.0.1:4317".to_owned())),
        service_name: service_name.unwrap_or(default_name),
        sample: sample.unwrap_or(default_sample),
        keep,
    }
}

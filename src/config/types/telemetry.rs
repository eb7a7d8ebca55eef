//! Export of traces.

use std::time::Duration;

/// `[telemetry]`. Without the section nothing is exported, unless an `OTEL_*` variable names a collector.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// URL of the collector.
    pub otlp: Option<String>,
    /// `service.name` of the exported spans.
    pub service_name: String,
    /// Share, 0 to 1, of the traces that begin here and are exported.
    pub sample: f64,
    /// Traces that are exported although they were not sampled.
    pub keep: Keep,
}

/// Export of traces that were not sampled: those of errors, failovers, aborts and slow requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Duration above which a request is slow.
    pub slower_than: Duration,
    /// Limit on traces kept this way in one second.
    pub per_second: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        let keep = Keep { slower_than: Duration::from_secs(30), per_second: 10 };
        Self { otlp: None, service_name: "shiftgate".to_owned(), sample: 1.0, keep }
    }
}

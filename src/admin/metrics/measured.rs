//! Histograms of requests: `gen_ai_*`, `http_server_*`, and shiftgate's own time.

use super::page::{Family, Value, gauge};
use crate::telemetry::meters::{Meters, Series};

pub(super) fn families(meters: &Meters) -> Vec<Family> {
    let calls = meters.calls();
    let active = meters.active().map(|(method, count)| {
        (vec![("http_request_method", method.to_owned()), ("url_scheme", "http".to_owned())], gauge(count))
    });
    vec![
        Family::new(
            "gen_ai_client_operation_duration_seconds",
            "Durations of calls to models, from sending to the end of the answer, in seconds",
            series(calls.duration),
        ),
        Family::new(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "Times from sending to the first generated token of streams, in seconds",
            series(calls.first_chunk),
        ),
        Family::new(
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            "Times between the chunks of streams, in seconds",
            series(calls.per_chunk),
        ),
        Family::new(
            "gen_ai_client_token_usage",
            "Tokens per call as counted by the backend, by type",
            series(calls.tokens),
        ),
        Family::new(
            "http_server_request_duration_seconds",
            "Durations of applications' requests, to the end of the answer, in seconds",
            series(meters.requests()),
        ),
        Family::new("http_server_active_requests", "Requests of applications in flight", active.collect()),
        Family::new(
            "shiftgate_overhead_duration_seconds",
            "Time per request spent in shiftgate, without waiting for backends or the application, in seconds by phase",
            series(meters.overhead()),
        ),
    ]
}

fn series(series: Series) -> Vec<(super::page::Labels, Value)> {
    series.into_iter().map(|(labels, view)| (labels, Value::Histogram(view))).collect()
}

//! Histograms of requests: `gen_ai_*`, `http_server_*`, and our own time.

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
            "How long calls of models took, from sending to the end of the answer",
            series(calls.duration),
        ),
        Family::new(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "How long streams took until their first generated token",
            series(calls.first_chunk),
        ),
        Family::new(
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            "Times between the chunks of streams",
            series(calls.per_chunk),
        ),
        Family::new(
            "gen_ai_client_token_usage",
            "Tokens of one call as the backend counted them, by type",
            series(calls.tokens),
        ),
        Family::new(
            "http_server_request_duration_seconds",
            "How long requests of applications took, to the end of the answer",
            series(meters.requests()),
        ),
        Family::new("http_server_active_requests", "Requests of applications being answered", active.collect()),
        Family::new(
            "shiftgate_overhead_duration_seconds",
            "Time of a request that was not spent waiting for a backend or the application, by phase",
            series(meters.overhead()),
        ),
    ]
}

fn series(series: Series) -> Vec<(super::page::Labels, Value)> {
    series.into_iter().map(|(labels, view)| (labels, Value::Histogram(view))).collect()
}

//! Histograms and counters of requests: `gen_ai_*`, `http_server_*`, and shiftgate's own time.

use super::page::{Family, Labels, Value, gauge};
use crate::telemetry::meters::{CountSeries, Meters, Series, USAGE};
use crate::telemetry::names::{self, label};

pub(super) fn families(meters: &Meters) -> Vec<Family> {
    let calls = meters.calls();
    let mut families = vec![
        Family::new(names::INFERENCE_DURATION, histograms(calls.duration)),
        Family::new(names::TIME_TO_FIRST_CHUNK, histograms(calls.first_chunk)),
        Family::new(names::TIME_PER_OUTPUT_CHUNK, histograms(calls.per_chunk)),
    ];
    families.extend(USAGE.into_iter().zip(calls.usage).map(|(metric, series)| Family::new(metric, counters(series))));
    let active = meters.active().map(|(method, count)| {
        (vec![(label::METHOD, method.to_owned()), (label::SCHEME, "http".to_owned())], gauge(count))
    });
    families.extend([
        Family::new(names::EMBEDDINGS_DURATION, histograms(calls.embeddings_duration)),
        Family::new(names::EMBEDDINGS_INPUT, histograms(calls.embeddings_input)),
        Family::new(names::TOKEN_USAGE, histograms(calls.tokens)),
        Family::new(names::HTTP_SERVER_DURATION, histograms(meters.requests())),
        Family::new(names::HTTP_SERVER_ACTIVE, active.collect()),
        Family::new(names::OVERHEAD, histograms(meters.overhead())),
    ]);
    families
}

fn histograms(series: Series) -> Vec<(Labels, Value)> {
    series.into_iter().map(|(labels, view)| (labels, Value::Histogram(view))).collect()
}

fn counters(series: CountSeries) -> Vec<(Labels, Value)> {
    series.into_iter().map(|(labels, count)| (labels, Value::Counter(count))).collect()
}

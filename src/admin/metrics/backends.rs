//! Metrics of each backend: attempts, tokens, cost, connections, translations.

use super::page::{Family, Labels, Value, gauge};
use crate::admin::view::{BackendView, View};
use crate::outcome::LegKind;
use crate::stats::BackendStats;
use crate::telemetry::names::{self, Metric, label};
use crate::translate::answer::Note;

type Backends = [(String, std::sync::Arc<BackendStats>)];

pub(super) fn families(view: &View) -> Vec<Family> {
    let backends = view.stats.backends();
    let mut families = counters(&backends);
    families.push(cost(&backends, view));
    families.extend(by_reason(&backends));
    families.extend(connections(view));
    families.extend(translations(&backends));
    families
}

fn labels_of(backend: &str) -> Labels {
    vec![("backend", backend.to_owned())]
}

fn counters(backends: &Backends) -> Vec<Family> {
    type Read = fn(&BackendStats) -> Value;
    let table: [(Metric, Read); 11] = [
        (names::ATTEMPTS, |s| Value::Counter(s.attempts.get())),
        (names::SERVED, |s| Value::Counter(s.served.get())),
        (names::ERRORS, |s| Value::Counter(s.errors.get())),
        (names::FAILOVERS, |s| Value::Counter(s.failovers.get())),
        (names::REPLAYS, |s| Value::Counter(s.replays.get())),
        (names::EARLY_HEADS, |s| Value::Counter(s.early_heads.get())),
        (names::MISCONFIGURED, |s| Value::Counter(s.misconfigured.get())),
        (names::TOKENS_INPUT, |s| Value::Counter(s.input_tokens.get())),
        (names::TOKENS_OUTPUT, |s| Value::Counter(s.output_tokens.get())),
        (names::BACKEND_IN_FLIGHT, |s| gauge(s.in_flight.get())),
        (names::POOL_CONNECTIONS, |s| gauge(s.connections.get())),
    ];
    let family = |(metric, read): (Metric, Read)| {
        let samples = backends.iter().map(|(backend, stats)| (labels_of(backend), read(stats)));
        Family::new(metric, samples.collect())
    };
    table.into_iter().map(family).collect()
}

/// Cost by backend. A backend without a price has no series, because its cost is unknown and not zero.
fn cost(backends: &Backends, view: &View) -> Family {
    let has_price = |name: &str| view.backends.iter().any(|one| one.labels.name == name && one.has_price);
    let samples = backends.iter().filter_map(|(backend, stats)| {
        let usd = stats.cost_usd().or_else(|| has_price(backend).then_some(0.0))?;
        let mut labels = labels_of(backend);
        labels.push(("leg", LegKind::Served.as_str().to_owned()));
        Some((labels, Value::Sum(usd)))
    });
    Family::new(names::COST, samples.collect())
}

fn by_reason(backends: &Backends) -> [Family; 2] {
    let mut retries = Vec::new();
    let mut cancelled = Vec::new();
    for (backend, stats) in backends {
        let labelled = |(reason, count): (&str, u64)| {
            let mut labels = labels_of(backend);
            labels.push(("reason", reason.to_owned()));
            (labels, Value::Counter(count))
        };
        retries.extend(stats.retries().map(labelled));
        cancelled.extend(stats.cancellations().map(labelled));
    }
    [Family::new(names::UPSTREAM_RETRIES, retries), Family::new(names::UPSTREAM_CANCELLED, cancelled)]
}

fn connections(view: &View) -> [Family; 2] {
    let address = |view: &BackendView| {
        vec![
            (label::SERVER_ADDRESS, view.labels.host.clone()),
            (label::SERVER_PORT, view.labels.port.to_string()),
            ("backend", view.labels.name.clone()),
        ]
    };
    let mut open = Vec::new();
    let mut lifetimes = Vec::new();
    for view in &view.backends {
        let idle = view.idle.min(view.stats.connections.get());
        for (state, count) in [("active", view.stats.connections.get().saturating_sub(idle)), ("idle", idle)] {
            let mut labels = address(view);
            labels.push((label::CONNECTION_STATE, state.to_owned()));
            open.push((labels, gauge(count)));
        }
        lifetimes.push((address(view), Value::Histogram(view.stats.lifetimes.view())));
    }
    [Family::new(names::HTTP_CLIENT_CONNECTIONS, open), Family::new(names::HTTP_CLIENT_CONNECTION_DURATION, lifetimes)]
}

fn translations(backends: &Backends) -> [Family; 2] {
    let mut fields = Vec::new();
    let mut notes = Vec::new();
    for (backend, stats) in backends {
        for ((field, action), count) in stats.translations() {
            let mut labels = labels_of(backend);
            labels.extend([("field", field.to_owned()), ("action", action.to_owned())]);
            fields.push((labels, Value::Counter(count)));
        }
        let noticed = stats.notices();
        for note in Note::ALL {
            let mut labels = labels_of(backend);
            labels.push(("note", note.as_str().to_owned()));
            notes.push((labels, Value::Counter(noticed.get(note.as_str()).copied().unwrap_or(0))));
        }
    }
    [Family::new(names::TRANSLATE, fields), Family::new(names::ANSWER_NOTES, notes)]
}
